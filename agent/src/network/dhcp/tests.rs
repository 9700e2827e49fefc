//! The client against a small server on its queues, in simulated time: hours pass in microseconds.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use super::super::config::MacAddress;
use super::{DhcpClient, Lease, LeaseChange, MAX_QUEUED_FRAMES, WINDOW};

const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const LEASE_S: u32 = 3600;

/// A DHCP server with switches for what it does wrong; it writes down what it was asked.
struct Server {
    answers: bool,
    refuses_requests: bool,
    address: Ipv4Addr,
    router: Ipv4Addr,
    lease_s: u32,
    t1_t2_s: (Option<u32>, Option<u32>),
    /// Time, message, and whether it came by unicast.
    heard: Vec<(u64, DhcpMessageType, bool)>,
}

impl Server {
    fn new() -> Self {
        Self {
            answers: true,
            refuses_requests: false,
            address: ADDRESS,
            router: SERVER,
            lease_s: LEASE_S,
            t1_t2_s: (None, None),
            heard: Vec::new(),
        }
    }

    fn answer(&mut self, frame: &[u8], now: Duration) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        match ethernet.ethertype() {
            EthernetProtocol::Arp => self.answer_arp(ethernet.payload()),
            EthernetProtocol::Ipv4 => self.answer_dhcp(ethernet.payload(), now),
            other => panic!("the client sent {other}"),
        }
    }

    fn answer_arp(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let asked = ArpRepr::parse(&ArpPacket::new_checked(payload).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = asked
        else {
            panic!("the client answered an ARP request, which is the kernel's to answer");
        };
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: SERVER_MAC,
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let answers = self.answers && target_protocol_addr == SERVER;
        answers.then(|| {
            ethernet_frame(EthernetProtocol::Arp, reply.buffer_len(), |bytes| {
                reply.emit(&mut ArpPacket::new_unchecked(bytes));
            })
        })
    }

    fn answer_dhcp(&mut self, payload: &[u8], now: Duration) -> Option<Vec<u8>> {
        let packet = Ipv4Packet::new_checked(payload).unwrap();
        let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
        assert_eq!((datagram.src_port(), datagram.dst_port()), (68, 67));
        let message = DhcpPacket::new_checked(datagram.payload()).unwrap();
        let asked = DhcpRepr::parse(&message).unwrap();
        let unicast = !packet.dst_addr().is_broadcast();
        self.heard.push((now.as_secs(), asked.message_type, unicast));
        let message_type = match asked.message_type {
            _ if !self.answers => return None,
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request if self.refuses_requests => DhcpMessageType::Nak,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            other => panic!("the client sent {other:?}"),
        };
        let dns_servers = Some([NAME_SERVER].into_iter().collect());
        Some(dhcp_frame(&DhcpRepr {
            message_type,
            your_ip: self.address,
            server_ip: SERVER,
            server_identifier: Some(SERVER),
            router: Some(self.router),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            lease_duration: Some(self.lease_s),
            renew_duration: self.t1_t2_s.0,
            rebind_duration: self.t1_t2_s.1,
            dns_servers,
            client_ip: Ipv4Addr::UNSPECIFIED,
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        }))
    }
}

fn ethernet_frame(
    ethertype: EthernetProtocol,
    payload_bytes: usize,
    write: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(payload_bytes)];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    let dst_addr = EthernetAddress(CLIENT_MAC.0);
    EthernetRepr { src_addr: SERVER_MAC, dst_addr, ethertype }.emit(&mut frame);
    write(frame.payload_mut());
    bytes
}

fn dhcp_frame(message: &DhcpRepr<'_>) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: message.your_ip,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + message.buffer_len(),
        hop_limit: 64,
    };
    ethernet_frame(EthernetProtocol::Ipv4, ip.buffer_len() + ip.payload_len, |bytes| {
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        ip.emit(&mut packet, &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &SERVER.into(),
            &message.your_ip.into(),
            message.buffer_len(),
            |payload| message.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
            &checksums,
        );
    })
}

/// Client, server, and the time between them.
struct World {
    client: DhcpClient,
    server: Server,
    now: Duration,
    frames: usize,
}

impl World {
    fn new(server: Server) -> Self {
        let client = DhcpClient::new(CLIENT_MAC, 42, Duration::ZERO).unwrap();
        Self { client, server, now: Duration::ZERO, frames: 0 }
    }

    /// Lets `seconds` pass, and gives what happened to the lease and when.
    fn run(&mut self, seconds: u64) -> Vec<(u64, LeaseChange)> {
        let end = self.now + Duration::from_secs(seconds);
        let mut changes = Vec::new();
        loop {
            loop {
                let change = self.client.poll(self.now);
                changes.extend(change.map(|change| (self.now.as_secs(), change)));
                let Some(frame) = self.client.take_frame() else {
                    break;
                };
                self.frames += 1;
                assert!(self.frames < 10_000, "the client talks without end");
                if let Some(answer) = self.server.answer(&frame, self.now) {
                    self.client.receive(&answer);
                }
            }
            // A millisecond is what the world's poll(2) would round up to.
            self.now += self.client.deadline(self.now).max(Duration::from_millis(1));
            if self.now > end {
                self.now = end;
                return changes;
            }
        }
    }

    fn heard(&mut self) -> Vec<(u64, DhcpMessageType, bool)> {
        std::mem::take(&mut self.server.heard)
    }
}

fn lease(address: Ipv4Addr) -> LeaseChange {
    LeaseChange::Granted(Lease {
        address: super::Prefix::new(address, 24).unwrap(),
        gateway: Some(SERVER),
        dns: vec![NAME_SERVER],
        server: SERVER,
    })
}

#[test]
fn the_first_lease_takes_no_time_of_ours() {
    let mut world = World::new(Server::new());
    assert_eq!(world.run(0), [(0, lease(ADDRESS))]);
    let (discover, request) = (DhcpMessageType::Discover, DhcpMessageType::Request);
    assert_eq!(world.heard(), [(0, discover, false), (0, request, false)]);
    assert_eq!(world.client.tries(), 0);
}

#[test]
fn a_router_that_is_no_host_is_none() {
    for router in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1], [127, 0, 0, 1]] {
        let router = router.into();
        let mut world = World::new(Server { router, ..Server::new() });
        let changes = world.run(0);
        let [(0, LeaseChange::Granted(lease))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((lease.gateway, lease.address.address()), (None, ADDRESS), "{router}");
    }
}

#[test]
fn renews_by_unicast_at_half_the_lease_for_ever() {
    let mut world = World::new(Server::new());
    assert_eq!(world.run(0).len(), 1);
    world.heard();
    assert_eq!(world.run(24 * 3600), [], "a renewal that changes nothing is no news");
    let heard = world.heard();
    assert_eq!(heard.len(), 24 * 2 - 1 + 1);
    for (number, message) in heard.iter().enumerate() {
        assert_eq!(*message, (1800 * (number as u64 + 1), DhcpMessageType::Request, true));
    }
}

#[test]
fn rebinds_by_broadcast_when_the_server_stays_silent_then_gives_the_address_up() {
    let mut world = World::new(Server::new());
    world.run(0);
    world.heard();
    world.server.answers = false;
    assert_eq!(world.run(u64::from(LEASE_S)), [(3600, LeaseChange::Lost)]);
    let heard = world.heard();
    // A renewal by unicast first asks for the server's hardware address, and gets no answer to
    // that either; only the broadcasts after T2 are sure to be heard.
    let rebinding: Vec<_> = heard.iter().filter(|(at, ..)| (3150..3600).contains(at)).collect();
    assert!(!rebinding.is_empty(), "{heard:?}");
    assert!(rebinding.iter().all(|(_, _, unicast)| !unicast), "{heard:?}");

    world.server.answers = true;
    assert_eq!(world.run(20), [(3600, lease(ADDRESS))], "it asks again at once");
}

#[test]
fn a_server_that_comes_back_late_is_found_within_the_longest_wait() {
    let mut world = World::new(Server::new());
    world.server.answers = false;
    assert_eq!(world.run(90), []);
    let discovers = world.heard().len();
    assert!((6..=12).contains(&discovers), "{discovers} DISCOVERs in 90 s");
    assert_eq!(world.client.tries() as usize, discovers);
    world.server.answers = true;
    let changes = world.run(20);
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[test]
fn a_renewal_may_change_the_address() {
    let mut world = World::new(Server::new());
    world.run(0);
    let other = Ipv4Addr::new(10, 0, 2, 99);
    world.server.address = other;
    assert_eq!(world.run(1800), [(1800, lease(other))]);
}

#[test]
fn a_refused_renewal_takes_the_address_away() {
    let mut world = World::new(Server::new());
    world.run(0);
    world.server.refuses_requests = true;
    let changes = world.run(1800);
    assert_eq!(changes, [(1800, LeaseChange::Lost)]);
}

#[test]
fn a_link_that_was_away_starts_over_at_once() {
    let mut world = World::new(Server::new());
    world.run(100);
    world.heard();
    world.client.restart();
    assert_eq!(world.run(0), [(100, LeaseChange::Lost), (100, lease(ADDRESS))]);
    assert_eq!(world.heard()[0].1, DhcpMessageType::Discover);
}

#[test]
fn a_server_that_offers_and_refuses_does_not_make_the_client_a_flood() {
    let mut world = World::new(Server::new());
    world.server.refuses_requests = true;
    assert_eq!(world.run(160), []);
    let most = (160 / WINDOW.as_secs() as usize + 1) * 16;
    assert!(world.frames < most, "{} frames", world.frames);
    world.server.refuses_requests = false;
    assert_eq!(world.run(2 * WINDOW.as_secs()).len(), 1);
}

#[test]
fn a_server_with_senseless_times_neither_stops_nor_floods_the_client() {
    for lease_s in [0, 1, 7, u32::MAX] {
        for t1_t2_s in [(None, None), (Some(u32::MAX), None), (Some(9), Some(3)), (None, Some(0))] {
            let mut world = World::new(Server { lease_s, t1_t2_s, ..Server::new() });
            world.run(160);
            assert!(world.frames < 200, "{lease_s} {t1_t2_s:?}: {} frames", world.frames);
        }
    }
}

#[test]
fn noise_on_the_wire_is_dropped_and_bounded() {
    let mut world = World::new(Server::new());
    let mut noise: Vec<Vec<u8>> = (0..100).map(|len| vec![0x45; len]).collect();
    let good = dhcp_frame(&DhcpRepr {
        message_type: DhcpMessageType::Ack,
        transaction_id: 0xdead_beef,
        secs: 0,
        client_hardware_address: EthernetAddress(CLIENT_MAC.0),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: ADDRESS,
        server_ip: SERVER,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(SERVER),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    });
    noise.extend((0..good.len()).map(|len| good[..len].to_vec()));
    noise.push(good);
    for frame in &noise {
        world.client.receive(frame);
    }
    assert_eq!(world.client.queues.received.len(), MAX_QUEUED_FRAMES);
    for frame in &noise {
        assert_eq!(world.client.poll(Duration::ZERO), None);
        world.client.receive(frame);
    }
    assert!(DhcpClient::new(MacAddress([0xff; 6]), 1, Duration::ZERO).is_none());
}
