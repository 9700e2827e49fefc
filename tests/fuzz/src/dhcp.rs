//! A DHCP server, and whoever else is on the wire, for a client in simulated time: frames with
//! options of any kind, time that jumps, a link that comes back.

use std::time::Duration;

use repave_agent::network::{DhcpClient, Lease, LeaseChange, MacAddress};

use crate::input::Input;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: [u8; 4] = [10, 0, 2, 2];
const ETHERNET_BYTES: usize = 14;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// Most things that happen to one client.
const EVENTS: usize = 48;
/// A frame of Ethernet without its tag and checksum.
const FRAME_BYTES: usize = 1514;
/// As the client's brake counts: so many frames in a window, and what one look at the queue may
/// bring on top.
const WINDOW: Duration = Duration::from_secs(16);
const FRAMES_PER_WINDOW: usize = 12 + 34;

/// A client, what it sent, and what is known of it.
struct World {
    client: DhcpClient,
    now: Duration,
    /// Of the last request: its transaction's number and its kind.
    asked: ([u8; 4], u8),
    sent: Vec<Duration>,
}

/// One client's life.
pub fn dhcp(data: &[u8]) {
    let mut input = Input::new(data);
    let now = Duration::from_secs(10);
    let client =
        DhcpClient::new(MacAddress(MAC), input.u8().into(), now).expect("a host's address");
    let mut world = World { client, now, asked: ([0; 4], 0), sent: Vec::new() };
    world.poll();
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        world.event(&mut input);
        world.poll();
    }
    world.check_it_does_not_spin();
}

impl World {
    fn event(&mut self, input: &mut Input<'_>) {
        match input.u8() % 8 {
            0 => {
                let frame = input.piece();
                if passes(frame) {
                    self.client.receive(&frame[..frame.len().min(FRAME_BYTES)]);
                }
            }
            1 => self.now += Duration::from_millis(input.u16().into()),
            2 => self.now += Duration::from_secs(input.u32().into()),
            3 => self.client.restart(),
            4 => self.client.receive(&arp_reply(input)),
            5 => self.now += self.client.deadline(self.now),
            kind => self.client.receive(&self.message(input, kind == 6)),
        }
    }

    fn poll(&mut self) {
        match self.client.poll(self.now) {
            // A lease that ends as it begins is lost without having been granted.
            None | Some(LeaseChange::Lost) => {}
            Some(LeaseChange::Granted(lease)) => check_lease(&lease),
        }
        while let Some(frame) = self.client.take_frame() {
            self.check_sent(&frame);
        }
        let recent = self.sent.iter().rev().take_while(|at| **at + WINDOW > self.now).count();
        assert!(recent <= FRAMES_PER_WINDOW, "{recent} frames in {WINDOW:?}");
    }

    /// The client speaks DHCP, and asks by ARP who its server is; it answers nobody.
    fn check_sent(&mut self, frame: &[u8]) {
        self.sent.push(self.now);
        assert!((ETHERNET_BYTES..=FRAME_BYTES).contains(&frame.len()));
        assert_eq!(frame[6..12], MAC, "it speaks for itself");
        let payload = &frame[ETHERNET_BYTES..];
        match frame[12..14] {
            [0x08, 0x06] => assert_eq!(payload[6..8], [0, 1], "it only asks"),
            [0x08, 0x00] => {
                let header_bytes = usize::from(payload[0] & 15) * 4;
                assert_eq!(payload[9], 17, "UDP and nothing else: {frame:x?}");
                let datagram = &payload[header_bytes..];
                assert_eq!(datagram[..4], [0, 68, 0, 67]);
                let message = &datagram[UDP_BYTES..];
                assert_eq!(message[0], 1, "a request");
                // Its kind is the first option (RFC 2132, 9.6).
                assert_eq!(message[240], 53);
                self.asked = ([message[4], message[5], message[6], message[7]], message[242]);
            }
            _ => panic!("neither IPv4 nor ARP: {frame:x?}"),
        }
    }

    /// Without any frame, time goes on: whoever sleeps until the deadline does not spin.
    fn check_it_does_not_spin(&mut self) {
        let begin = self.now;
        for _ in 0..300 {
            let wait = self.client.deadline(self.now);
            self.now += wait;
            self.poll();
        }
        assert!(self.now > begin + Duration::from_secs(1), "spins: {:?}", self.now - begin);
    }

    /// A server's message: right but for what the input changes, or with options of its own.
    fn message(&self, input: &mut Input<'_>, is_plain: bool) -> Vec<u8> {
        let flags = input.u8();
        let (transaction, asked) = self.asked;
        let fitting = if asked == 1 { 2 } else { 5 };
        let kind = if flags & 1 == 0 { fitting } else { input.u8() % 9 };
        let address = if flags & 2 == 0 { [10, 0, 2, 15] } else { input.array() };
        let mut message = vec![2, 1, 6, 0];
        message.extend(if flags & 4 == 0 { transaction } else { input.array() });
        message.extend([0; 8]);
        message.extend(address);
        message.extend(SERVER);
        message.extend([0; 4]);
        message.extend(if flags & 8 == 0 { MAC } else { input.array() });
        message.resize(236, 0);
        message.extend(COOKIE);
        message.extend([53, 1, kind]);
        if is_plain {
            let lease_s = if flags & 16 == 0 { [0, 0, 14, 16] } else { input.array() };
            message.extend([54, 4].into_iter().chain(SERVER));
            message.extend([51, 4].into_iter().chain(lease_s));
            message.extend([1, 4, 255, 255, 255, 0]);
            let router = if flags & 32 == 0 { SERVER } else { input.array() };
            message.extend([3, 4].into_iter().chain(router));
        }
        message.extend(input.piece());
        if flags & 64 == 0 {
            message.push(255);
        }
        message.truncate(FRAME_BYTES - ETHERNET_BYTES - IP_BYTES - UDP_BYTES);
        datagram(&message, address, flags & 128 == 0)
    }
}

/// A lease that can be used: an address of a host, a router that is one.
fn check_lease(lease: &Lease) {
    let host = |address: std::net::Ipv4Addr| {
        !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
    };
    assert!(host(lease.address.address()), "{lease:?}");
    assert!(lease.address.prefix_bits() <= 32);
    assert!(lease.gateway.is_none_or(host), "{lease:?}");
    assert!(lease.dns.len() <= 3 && lease.dns.iter().copied().all(host), "{lease:?}");
}

fn ethernet(ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&MAC[..], &SERVER_MAC, &ethertype, payload].concat()
}

fn datagram(message: &[u8], to: [u8; 4], is_broadcast: bool) -> Vec<u8> {
    let udp_bytes = (UDP_BYTES + message.len()) as u16;
    let total = IP_BYTES as u16 + udp_bytes;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(SERVER);
    packet.extend(if is_broadcast { [255; 4] } else { to });
    let words =
        packet.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([0, 67, 0, 68]);
    packet.extend(udp_bytes.to_be_bytes());
    // No checksum: UDP over IPv4 may go without.
    packet.extend([0, 0]);
    packet.extend(message);
    ethernet([0x08, 0x00], &packet)
}

fn arp_reply(input: &mut Input<'_>) -> Vec<u8> {
    let from = if input.u8() & 1 == 0 { SERVER } else { input.array() };
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 2];
    payload.extend(if input.u8() & 1 == 0 { SERVER_MAC } else { input.array() });
    payload.extend(from);
    payload.extend(MAC);
    payload.extend([10, 0, 2, 15]);
    ethernet([0x08, 0x06], &payload)
}

/// What the socket's filter lets through (`agent/src/network/frame_filter.rs`).
fn passes(frame: &[u8]) -> bool {
    let half = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    match half(12) {
        Some(0x0806) => half(20) == Some(2),
        Some(0x0800) => {
            let header_bytes = 4 * usize::from(frame.get(14).copied().unwrap_or(0) & 15);
            let is_whole = half(20).is_some_and(|fragment| fragment & 0x1fff == 0);
            frame.get(23) == Some(&17) && is_whole && half(16 + header_bytes) == Some(68)
        }
        _ => false,
    }
}
