//! One link's worker: switches the link on, gives it its static addresses, runs its DHCP client,
//! and follows its carrier, until the link is gone. Every other fault is said once per doubling and
//! tried again for ever, since nobody can reach a server to repair its network.
//!
//! What to do is decided in `dhcp`, `backoff` and `assignment`; here it is done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use repave_sys::PacketSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use thiserror::Error;

use super::Paths;
use super::assignment::Assignment;
use super::backoff::Backoff;
use super::config::{Address, Ipv4Config, Ipv6Config, MacAddress, Prefix, StaticAddress};
use super::dhcp::{DhcpClient, Lease, LeaseChange, MAX_FRAME_BYTES};
use super::frame_filter::DHCP_AND_ARP_REPLIES;
use super::kernel_files::{LinkState, index_and_mac, link_state, prepare_link};
use super::route_message::RouteMessage;
use super::route_socket::{ChangeSocket, RouteSocket};
use super::state::{LinkReport, SharedState};

/// The waits after a fault of the link's set-up.
const FIRST_FAULT_WAIT: Duration = Duration::from_millis(250);
const LONGEST_FAULT_WAIT: Duration = Duration::from_secs(16);
/// A set-up that lasted this long was good: the next fault starts with short waits again.
const STABLE: Duration = Duration::from_secs(60);
/// How long a carrier may take before the console hears of it; negotiation takes up to four
/// seconds on copper. Then at doubling distances.
const FIRST_CARRIER_LINE: Duration = Duration::from_secs(5);
const LONGEST_CARRIER_LINE: Duration = Duration::from_secs(600);
/// DHCP tries without a lease before the console hears of it. Two are an undisturbed exchange.
const QUIET_TRIES: u32 = 4;
/// Frames taken from the packet socket in one turn, so that a flood cannot starve the clock.
const FRAMES_PER_TURN: usize = 64;

/// Why a link's set-up failed.
#[derive(Debug, Error)]
enum Fault {
    #[error("cannot {what}")]
    Kernel { what: &'static str, source: Errno },
    #[error("there is no interface {parent} for it")]
    NoParent { parent: String },
    #[error("{mac} is no host's hardware address, so that DHCP is not possible")]
    NotAHost { mac: MacAddress },
    #[error("it was switched off")]
    SwitchedOff,
}

impl Fault {
    fn kernel(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Kernel { what, source }
    }
}

/// What a worker is given.
pub(super) struct Worker {
    assignment: Assignment,
    paths: Arc<Paths>,
    shared: Arc<SharedState>,
    seed: u64,
    metric: u32,
    started: Instant,
    /// The lease whose address the kernel has, kept across faults so that it is taken away.
    applied: Option<Lease>,
    report: LinkReport,
}

/// A link that is switched on.
struct Link {
    index: u32,
    mac: MacAddress,
    kernel: RouteSocket,
}

/// The DHCP client of a link, and the socket to its wire.
struct Dhcp {
    client: DhcpClient,
    socket: PacketSocket,
}

impl Worker {
    pub(super) fn new(
        assignment: Assignment,
        paths: Arc<Paths>,
        shared: Arc<SharedState>,
        seed: u64,
        metric: u32,
    ) -> Self {
        let report = LinkReport {
            mac: MacAddress([0; 6]),
            carrier: false,
            dhcp_server: None,
            gateway: None,
            dns: Vec::new(),
            fault: None,
            metric,
        };
        let started = Instant::now();
        Self { assignment, paths, shared, seed, metric, started, applied: None, report }
    }

    /// Serves the link until it is gone.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_FAULT_WAIT, LONGEST_FAULT_WAIT, self.seed);
        loop {
            let since = Instant::now();
            let Err(fault) = self.serve() else { break };
            if since.elapsed() > STABLE {
                backoff.reset();
            }
            let wait = backoff.next();
            let text = match std::error::Error::source(&fault) {
                Some(source) => format!("{fault}: {source}"),
                None => fault.to_string(),
            };
            if backoff.worth_a_line() {
                let (tries, wait_s) = (backoff.attempts(), wait.as_secs_f32());
                log::warn!("{}: {text}; try {tries}, again in {wait_s:.1} s", self.link());
            }
            self.report.fault = Some(text);
            self.publish();
            std::thread::sleep(wait);
            if link_state(&self.paths.sys, &self.assignment.parent) == LinkState::Gone {
                break;
            }
        }
        log::info!("{}: gone", self.link());
        self.shared.report(self.link(), None);
    }

    fn link(&self) -> &str {
        &self.assignment.link
    }

    fn publish(&self) {
        self.shared.report(self.link(), Some(self.report.clone()));
    }

    /// Sets the link up and serves it; returns when it is gone.
    fn serve(&mut self) -> Result<(), Fault> {
        let changes = ChangeSocket::links().map_err(Fault::kernel("listen for link changes"))?;
        let mut link = self.switch_on()?;
        self.apply_static(&mut link)?;
        let mut dhcp = match self.assignment.config.ipv4 {
            Ipv4Config::Dhcp => Some(self.open_dhcp(&link)?),
            Ipv4Config::Static(_) | Ipv4Config::Off => None,
        };
        self.report.mac = link.mac;
        self.report.fault = None;
        self.report.carrier = false;
        self.publish();

        let mut silence = Backoff::new(FIRST_CARRIER_LINE, LONGEST_CARRIER_LINE, self.seed);
        let mut next_line = self.now() + silence.next();
        loop {
            changes.drain();
            let deadline = match link_state(&self.paths.sys, self.link()) {
                LinkState::Gone => return Ok(()),
                LinkState::Down => return Err(Fault::SwitchedOff),
                LinkState::NoCarrier => {
                    if self.set_carrier(false) {
                        silence.reset();
                        next_line = self.now() + silence.next();
                    } else if self.now() >= next_line {
                        log::info!("{}: no carrier yet, waiting for it", self.link());
                        next_line = self.now() + silence.next();
                    }
                    Some(next_line.saturating_sub(self.now()))
                }
                LinkState::Carrier => {
                    if self.set_carrier(true)
                        && let Some(dhcp) = &mut dhcp
                    {
                        dhcp.client.restart();
                    }
                    match &mut dhcp {
                        Some(dhcp) => Some(self.turn(dhcp, &mut link)?),
                        None => None,
                    }
                }
            };
            wait(&changes, dhcp.as_ref().map(|dhcp| &dhcp.socket), deadline)
                .map_err(Fault::kernel("wait"))?;
        }
    }

    /// Makes the VLAN if it is one, sets MTU and IPv6 up, and switches the link on.
    fn switch_on(&self) -> Result<Link, Fault> {
        let mut kernel = RouteSocket::open().map_err(Fault::kernel("open a route socket"))?;
        let Assignment { link, parent, config } = &self.assignment;
        let no_parent = || Fault::NoParent { parent: parent.clone() };
        let (mut index, mut mac) = index_and_mac(&self.paths.sys, parent).ok_or_else(no_parent)?;
        if let Some(id) = config.vlan {
            let switch_on = RouteMessage::link_up(index, None);
            kernel.request(switch_on).map_err(Fault::kernel("switch the VLAN's interface on"))?;
            match kernel.request(RouteMessage::new_vlan(index, link, id)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(source) => {
                    return Err(Fault::Kernel { what: "make the VLAN", source });
                }
            }
            (index, mac) = index_and_mac(&self.paths.sys, link).ok_or_else(no_parent)?;
        }
        for (path, error) in prepare_link(&self.paths.proc, link, &config.ipv6) {
            log::warn!("{link}: {}: {error}", path.display());
        }
        let switch_on = RouteMessage::link_up(index, config.mtu);
        kernel.request(switch_on).map_err(Fault::kernel("switch it on"))?;
        Ok(Link { index, mac, kernel })
    }

    fn apply_static(&mut self, link: &mut Link) -> Result<(), Fault> {
        self.report.dns.clear();
        let config = self.assignment.config.clone();
        if let Ipv4Config::Static(address) = &config.ipv4 {
            self.apply_static_address(link, address)?;
            self.report.gateway = address.gateway;
        }
        if let Ipv6Config::Static(address) = &config.ipv6 {
            self.apply_static_address(link, address)?;
        }
        Ok(())
    }

    fn apply_static_address<A: Address>(
        &mut self,
        link: &mut Link,
        config: &StaticAddress<A>,
    ) -> Result<(), Fault> {
        log::info!("{}: {} as configured", self.link(), config.address);
        // A router outside the prefix is meant to be a neighbour; IPv6's are by link-local address.
        let gateway = config.gateway.map(|gateway| {
            let on_link = !config.address.contains(gateway);
            (gateway.into(), on_link)
        });
        add_address(link, &config.address, gateway, self.metric)?;
        self.report.dns.extend(&config.dns);
        Ok(())
    }

    fn open_dhcp(&self, link: &Link) -> Result<Dhcp, Fault> {
        let client = DhcpClient::new(link.mac, self.seed, self.now())
            .ok_or(Fault::NotAHost { mac: link.mac })?;
        let socket = PacketSocket::open(link.index, &DHCP_AND_ARP_REPLIES)
            .map_err(Fault::kernel("open a packet socket"))?;
        Ok(Dhcp { client, socket })
    }

    /// One turn of the DHCP client: takes what was received, does what is due, sends. Gives the
    /// time until the next turn at the latest.
    fn turn(&mut self, dhcp: &mut Dhcp, link: &mut Link) -> Result<Duration, Fault> {
        let mut frame = [0; MAX_FRAME_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            match dhcp.socket.receive(&mut frame) {
                Ok(len) => dhcp.client.receive(&frame[..len]),
                Err(Errno::INTR) => {}
                // Nothing more; or the link just went down, which its state will say.
                Err(Errno::AGAIN | Errno::NETDOWN) => break,
                Err(source) => {
                    return Err(Fault::Kernel { what: "receive", source });
                }
            }
        }
        let tries = dhcp.client.tries();
        let change = dhcp.client.poll(self.now());
        while let Some(frame) = dhcp.client.take_frame() {
            // A frame that is lost here is one that the wire lost: the client sends it again.
            if let Err(error) = dhcp.socket.send(&frame) {
                log::debug!("{}: cannot send: {error}", self.link());
            }
        }
        match change {
            Some(LeaseChange::Granted(lease)) => self.apply_lease(link, lease)?,
            Some(LeaseChange::Lost) => self.withdraw_lease(link)?,
            None => {}
        }
        let deadline = dhcp.client.deadline(self.now());
        let now = dhcp.client.tries();
        if now != tries && now >= QUIET_TRIES && now.is_power_of_two() {
            log::info!("{}: no DHCP lease after {now} tries, still asking", self.link());
        }
        Ok(deadline)
    }

    fn apply_lease(&mut self, link: &mut Link, lease: Lease) -> Result<(), Fault> {
        if self.applied.as_ref().is_some_and(|applied| *applied != lease) {
            self.withdraw_lease(link)?;
        }
        log::info!("{}: {} from DHCP server {}", self.link(), lease.address, lease.server);
        // Noted before it is done: half of it must be taken away as well.
        self.applied = Some(lease.clone());
        let gateway = lease.gateway.map(|gateway| {
            let on_link = !lease.address.contains(gateway);
            (IpAddr::V4(gateway), on_link)
        });
        add_address(link, &lease.address, gateway, self.metric)?;
        self.set_lease_report(Some(&lease));
        Ok(())
    }

    fn withdraw_lease(&mut self, link: &mut Link) -> Result<(), Fault> {
        let Some(lease) = self.applied.clone() else {
            return Ok(());
        };
        log::info!("{}: {} is no longer ours", self.link(), lease.address);
        if let Some(gateway) = lease.gateway {
            let route = RouteMessage::delete_default_route(link.index, gateway, self.metric);
            match link.kernel.request(route) {
                // The kernel drops routes by itself when a link goes down.
                Ok(()) | Err(Errno::SRCH | Errno::NODEV) => {}
                Err(source) => {
                    return Err(Fault::Kernel { what: "delete a route", source });
                }
            }
        }
        match link.kernel.request(RouteMessage::delete_address(link.index, &lease.address)) {
            Ok(()) | Err(Errno::ADDRNOTAVAIL) => {}
            Err(source) => {
                return Err(Fault::Kernel { what: "delete an address", source });
            }
        }
        self.applied = None;
        self.set_lease_report(None);
        Ok(())
    }

    fn set_lease_report(&mut self, lease: Option<&Lease>) {
        self.report.dhcp_server = lease.map(|lease| lease.server);
        self.report.gateway = lease.and_then(|lease| lease.gateway);
        self.report.dns.clear();
        if let Some(lease) = lease {
            self.report.dns.extend(lease.dns.iter().copied().map(IpAddr::V4));
        }
        if let Ipv6Config::Static(address) = &self.assignment.config.ipv6 {
            self.report.dns.extend(&address.dns);
        }
        self.publish();
    }

    /// Takes note of the carrier; says whether it changed.
    fn set_carrier(&mut self, carrier: bool) -> bool {
        if self.report.carrier == carrier {
            return false;
        }
        let text = if carrier { "carrier" } else { "carrier lost" };
        log::info!("{}: {text}", self.link());
        self.report.carrier = carrier;
        self.publish();
        true
    }

    /// The time since the worker began, which is the DHCP client's clock.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

fn add_address<A: Address>(
    link: &mut Link,
    prefix: &Prefix<A>,
    gateway: Option<(IpAddr, bool)>,
    metric: u32,
) -> Result<(), Fault> {
    let address = RouteMessage::add_address(link.index, prefix);
    link.kernel.request(address).map_err(Fault::kernel("add an address"))?;
    if let Some((gateway, on_link)) = gateway {
        let route = RouteMessage::add_default_route(link.index, gateway, metric, on_link);
        link.kernel.request(route).map_err(Fault::kernel("add the default route"))?;
    }
    Ok(())
}

/// Waits for a change of a link, for a frame, or until the time is up.
fn wait(
    changes: &ChangeSocket,
    frames: Option<&PacketSocket>,
    timeout: Option<Duration>,
) -> rustix::io::Result<()> {
    let mut files = vec![PollFd::new(changes, PollFlags::IN)];
    files.extend(frames.map(|socket| PollFd::new(socket, PollFlags::IN)));
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    match poll(&mut files, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
