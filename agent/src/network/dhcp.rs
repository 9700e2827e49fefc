//! The DHCPv4 client of one interface (RFC 2131), as values: frames and the time go in, frames,
//! leases and the next deadline come out. It opens nothing and reads no clock.
//!
//! smoltcp's client does the protocol: discovery, renewal at T1, rebinding at T2, expiry. Here are
//! only the queues that it reads and writes, its retry schedule, and a brake against a server that
//! offers and refuses without end. Frames that are no business of a DHCP client must not come in:
//! smoltcp would answer them as a host of its own.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::backoff::Backoff;
use super::config::{MacAddress, Prefix};

/// The first DISCOVER is repeated after about this long.
const FIRST_DISCOVER_WAIT: Duration = Duration::from_secs(1);
/// The longest pause between two DISCOVERs. It bounds how long an address takes once a switch
/// port that was blocked by STP or LACP starts to forward.
const LONGEST_DISCOVER_WAIT: Duration = Duration::from_secs(16);
/// A REQUEST that is not answered is repeated after this long, twice, then discovery starts over.
const REQUEST_WAIT: Duration = Duration::from_secs(2);
const REQUEST_TRIES: u16 = 3;
/// The brake: more frames than these within a window, and the client is quiet until its end. An
/// undisturbed exchange takes two; a server that offers and refuses in a loop takes any number.
const FRAMES_PER_WINDOW: usize = 12;
const WINDOW: Duration = Duration::from_secs(16);
/// Received frames that wait to be looked at; more are dropped, as a NIC would.
const MAX_QUEUED_FRAMES: usize = 32;
/// The largest Ethernet frame without a tag, and without its checksum.
pub(super) const MAX_FRAME_BYTES: usize = 1514;

/// An IPv4 configuration that a server granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address, with the length of its network's prefix.
    pub address: Prefix<Ipv4Addr>,
    /// The default router.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Who granted it.
    pub server: Ipv4Addr,
}

/// What happened to the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A lease was granted, or a renewal changed it.
    Granted(Lease),
    /// The lease expired, or the server took it back: its address must not be used any more.
    Lost,
}

/// The client. Feed it with [`receive`](Self::receive), call [`poll`](Self::poll) after that and
/// at every [`deadline`](Self::deadline), then send all of [`take_frame`](Self::take_frame).
pub struct DhcpClient {
    queues: FrameQueues,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    backoff: Backoff,
    discover_wait: Duration,
    leased: bool,
    tries: u32,
    brake: Brake,
}

impl DhcpClient {
    /// A client that sends its first DISCOVER at the first poll. `now` is the time since any fixed
    /// instant, the same one for all calls. `None` if the hardware address is not a host's.
    pub fn new(mac: MacAddress, seed: u64, now: Duration) -> Option<Self> {
        let address = EthernetAddress(mac.0);
        if !address.is_unicast() {
            return None;
        }
        let mut queues = FrameQueues::default();
        let mut config = Config::new(HardwareAddress::Ethernet(address));
        config.random_seed = seed;
        let interface = Interface::new(config, &mut queues, instant(now));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(Socket::new());
        // A new socket reports once that it has no configuration; nobody needs to hear that.
        let _ = sockets.get_mut::<Socket<'_>>(socket).poll();
        let mut backoff = Backoff::new(FIRST_DISCOVER_WAIT, LONGEST_DISCOVER_WAIT, seed);
        let discover_wait = backoff.next();
        let (leased, tries, brake) = (false, 0, Brake::default());
        Some(Self {
            queues,
            interface,
            sockets,
            socket,
            backoff,
            discover_wait,
            leased,
            tries,
            brake,
        })
    }

    /// Takes a frame from the wire; [`poll`](Self::poll) looks at it.
    pub fn receive(&mut self, frame: &[u8]) {
        if self.queues.received.len() < MAX_QUEUED_FRAMES {
            self.queues.received.push_back(frame.to_vec());
        }
    }

    /// Works on what was received and on what is due at `now`.
    pub fn poll(&mut self, now: Duration) -> Option<LeaseChange> {
        if self.brake.holds(now) {
            self.queues.received.clear();
            return None;
        }
        let mut retry = RetryConfig::default();
        retry.discover_timeout = self.discover_wait.into();
        retry.initial_request_timeout = REQUEST_WAIT.into();
        retry.request_retries = REQUEST_TRIES;
        self.sockets.get_mut::<Socket<'_>>(self.socket).set_retry_config(retry);

        let queued = self.queues.to_send.len();
        self.interface.poll(instant(now), &mut self.queues, &mut self.sockets);
        let sent = self.queues.to_send.len() - queued;
        self.brake.count(sent, now);
        let change = self.lease_change();
        if sent > 0 && !self.leased {
            self.tries = self.tries.saturating_add(1);
            self.discover_wait = self.backoff.next();
        }
        change
    }

    /// The next frame to put on the wire, if any.
    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.queues.to_send.pop_front()
    }

    /// How long after `now` [`poll`](Self::poll) must be called even if no frame comes.
    pub fn deadline(&mut self, now: Duration) -> Duration {
        if self.brake.holds(now) {
            return self.brake.window_end - now;
        }
        let delay = self.interface.poll_delay(instant(now), &self.sockets);
        delay.map_or(WINDOW, Duration::from)
    }

    /// Starts over with a DISCOVER, for a link that was away and may be another network now. A
    /// lease that was held is reported as lost by the next poll.
    pub fn restart(&mut self) {
        self.queues.received.clear();
        self.sockets.get_mut::<Socket<'_>>(self.socket).reset();
        self.forget_tries();
    }

    /// How often the client spoke since it last had a lease, or was started over.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Hears of the lease from the socket, and tells the interface, which needs the address to
    /// renew by unicast.
    fn lease_change(&mut self) -> Option<LeaseChange> {
        let event = self.sockets.get_mut::<Socket<'_>>(self.socket).poll()?;
        let Event::Configured(config) = event else {
            self.leased = false;
            self.interface.update_ip_addrs(|addresses| addresses.clear());
            self.interface.routes_mut().remove_default_ipv4_route();
            return Some(LeaseChange::Lost);
        };
        let address = Prefix::new(config.address.address(), config.address.prefix_len())?;
        let lease = Lease {
            address,
            // Some servers say 0.0.0.0 for none; the kernel refuses a route through what is no host,
            // and the address would go with it.
            gateway: config.router.filter(is_host),
            dns: config.dns_servers.to_vec(),
            server: config.server.identifier,
        };
        let cidr = IpCidr::Ipv4(config.address);
        self.leased = true;
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for one: it was just cleared.
            let _ = addresses.push(cidr);
        });
        match lease.gateway {
            // The table has room for it too: there is one default route, which this replaces.
            Some(gateway) => drop(self.interface.routes_mut().add_default_ipv4_route(gateway)),
            None => drop(self.interface.routes_mut().remove_default_ipv4_route()),
        }
        self.forget_tries();
        Some(LeaseChange::Granted(lease))
    }

    fn forget_tries(&mut self) {
        self.tries = 0;
        self.backoff.reset();
        self.discover_wait = self.backoff.next();
    }
}

/// Counts frames in windows of time, so that no server can make the client talk without end.
#[derive(Default)]
struct Brake {
    window_end: Duration,
    frames: usize,
}

impl Brake {
    fn count(&mut self, frames: usize, now: Duration) {
        if now >= self.window_end {
            *self = Self { window_end: now + WINDOW, frames: 0 };
        }
        self.frames += frames;
    }

    fn holds(&self, now: Duration) -> bool {
        now < self.window_end && self.frames > FRAMES_PER_WINDOW
    }
}

fn is_host(address: &Ipv4Addr) -> bool {
    let is_other = address.is_unspecified() || address.is_broadcast() || address.is_multicast();
    !is_other && !address.is_loopback()
}

fn instant(since_start: Duration) -> Instant {
    // A signed 64-bit count of microseconds lasts 292,000 years.
    Instant::from_micros(since_start.as_micros() as i64)
}

/// The device that smoltcp sees: two queues of whole frames.
#[derive(Default)]
struct FrameQueues {
    received: VecDeque<Vec<u8>>,
    to_send: VecDeque<Vec<u8>>,
}

impl Device for FrameQueues {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, ToSend<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), ToSend(&mut self.to_send)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<ToSend<'_>> {
        Some(ToSend(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME_BYTES;
        // A packet socket sees frames from the same host (a hypervisor's, a container's) before
        // the checksum that the sender left to the hardware was filled in.
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct ToSend<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests;
