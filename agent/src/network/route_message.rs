//! The bytes of the few rtnetlink requests that the network needs (rtnetlink(7),
//! linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h). Pure: sending them is `route_socket`'s.
//!
//! Integers are in the machine's order, as the kernel reads them; addresses are in the network's.

use std::net::{IpAddr, Ipv4Addr};

use super::config::{Address, Prefix};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes before a request's own header: length, type, flags, sequence, port.
const HEADER_BYTES: usize = 16;
/// Where the sequence number lies in it.
const SEQUENCE_OFFSET: usize = 8;

/// A request that asks to be acknowledged. It lacks only its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteMessage {
    bytes: Vec<u8>,
}

impl RouteMessage {
    /// Switches an interface on, with this MTU if one is given.
    pub(super) fn link_up(interface_index: u32, mtu: Option<u32>) -> Self {
        let message = Self::link(0, interface_index, IFF_UP);
        match mtu {
            Some(mtu) => message.attribute(IFLA_MTU, &mtu.to_ne_bytes()),
            None => message,
        }
    }

    /// Makes the interface `name` for the frames of VLAN `id` on the parent. EEXIST if it is there.
    pub(super) fn new_vlan(parent_index: u32, name: &str, id: u16) -> Self {
        let data = attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
        let mut info = attribute(IFLA_INFO_KIND, b"vlan");
        info.extend(attribute(IFLA_INFO_DATA | NLA_F_NESTED, &data));
        let mut zero_terminated = name.as_bytes().to_vec();
        zero_terminated.push(0);
        Self::link(NLM_F_CREATE | NLM_F_EXCL, 0, 0)
            .attribute(IFLA_LINK, &parent_index.to_ne_bytes())
            .attribute(IFLA_IFNAME, &zero_terminated)
            .attribute(IFLA_LINKINFO | NLA_F_NESTED, &info)
    }

    /// Gives the interface an address; it is no error if it has it already.
    pub(super) fn add_address<A: Address>(interface_index: u32, prefix: &Prefix<A>) -> Self {
        Self::address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, interface_index, prefix)
    }

    /// Takes the address away. EADDRNOTAVAIL if it was not there.
    pub(super) fn delete_address<A: Address>(interface_index: u32, prefix: &Prefix<A>) -> Self {
        Self::address(RTM_DELADDR, 0, interface_index, prefix)
    }

    /// Sends what is for no other network to `gateway`; of several such routes the one with the
    /// lowest metric is used. With `on_link` the gateway is taken to be a neighbour although no
    /// prefix says so.
    pub(super) fn add_default_route(
        interface_index: u32,
        gateway: IpAddr,
        metric: u32,
        on_link: bool,
    ) -> Self {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        Self::route(RTM_NEWROUTE, flags, interface_index, gateway, metric, on_link)
    }

    /// Takes the route away. ESRCH if it was not there.
    pub(super) fn delete_default_route(
        interface_index: u32,
        gateway: Ipv4Addr,
        metric: u32,
    ) -> Self {
        Self::route(RTM_DELROUTE, 0, interface_index, gateway.into(), metric, false)
    }

    /// The bytes to send.
    pub(super) fn with_sequence(mut self, sequence: u32) -> Vec<u8> {
        self.bytes[SEQUENCE_OFFSET..SEQUENCE_OFFSET + 4].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    /// `struct ifinfomsg`: family, padding, type, index, flags, which flags change.
    fn link(flags: u16, interface_index: u32, interface_flags: u32) -> Self {
        let mut header = vec![AF_UNSPEC, 0, 0, 0];
        header.extend(interface_index.to_ne_bytes());
        header.extend(interface_flags.to_ne_bytes());
        header.extend(interface_flags.to_ne_bytes());
        Self::new(RTM_NEWLINK, flags, &header)
    }

    /// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
    fn address<A: Address>(kind: u16, flags: u16, index: u32, prefix: &Prefix<A>) -> Self {
        let (family, octets) = octets(prefix.address().into());
        let mut header = vec![family, prefix.prefix_bits(), 0, RT_SCOPE_UNIVERSE];
        header.extend(index.to_ne_bytes());
        Self::new(kind, flags, &header)
            .attribute(IFA_LOCAL, &octets)
            .attribute(IFA_ADDRESS, &octets)
    }

    /// `struct rtmsg`: family, lengths of destination and source (0: any), TOS, table, protocol,
    /// scope, type, flags.
    fn route(
        kind: u16,
        flags: u16,
        interface_index: u32,
        gateway: IpAddr,
        metric: u32,
        on_link: bool,
    ) -> Self {
        let (family, octets) = octets(gateway);
        let mut header = vec![family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC];
        header.extend([RT_SCOPE_UNIVERSE, RTN_UNICAST]);
        header.extend(if on_link { RTNH_F_ONLINK } else { 0 }.to_ne_bytes());
        Self::new(kind, flags, &header)
            .attribute(RTA_GATEWAY, &octets)
            .attribute(RTA_OIF, &interface_index.to_ne_bytes())
            .attribute(RTA_PRIORITY, &metric.to_ne_bytes())
    }

    fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend(header);
        Self { bytes }.with_length()
    }

    fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        self.bytes.extend(attribute(kind, payload));
        self.with_length()
    }

    fn with_length(mut self) -> Self {
        // All our requests are shorter than 200 bytes.
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// Length, type, payload, padding to four bytes (which the length does not count).
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from((4 + payload.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

/// What an answer says: `None` if it is not the answer to the request with this sequence, else 0 or
/// the error number. The kernel acknowledges with NLMSG_ERROR (2) and a negated error.
pub(super) fn acknowledgement(answer: &[u8], sequence: u32) -> Option<i32> {
    const NLMSG_ERROR: u16 = 2;
    let word = |offset: usize| answer.get(offset..offset + 4)?.try_into().ok();
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != NLMSG_ERROR || u32::from_ne_bytes(word(SEQUENCE_OFFSET)?) != sequence {
        return None;
    }
    Some(i32::from_ne_bytes(word(HEADER_BYTES)?).wrapping_neg())
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use std::net::Ipv4Addr;

    use super::{RouteMessage, acknowledgement};
    use crate::network::config::Prefix;

    fn check(message: RouteMessage, expected: &str) {
        let bytes = message.with_sequence(7);
        let text: Vec<_> = bytes
            .chunks(4)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            .collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn links() {
        check(
            RouteMessage::link_up(2, Some(1400)),
            "28000000 10000500 07000000 00000000 \
             00000000 02000000 01000000 01000000 08000400 78050000",
        );
        check(
            RouteMessage::new_vlan(2, "eth0.100", 100),
            "50000000 10000506 07000000 00000000 00000000 00000000 00000000 00000000 \
             08000500 02000000 0d000300 65746830 2e313030 00000000 \
             18001280 08000100 766c616e 0c000280 06000100 64000000",
        );
    }

    #[test]
    fn addresses() {
        let prefix = Prefix::new(Ipv4Addr::new(10, 0, 2, 15), 24).unwrap();
        check(
            RouteMessage::add_address(2, &prefix),
            "28000000 14000505 07000000 00000000 02180000 02000000 \
             08000200 0a00020f 08000100 0a00020f",
        );
        let prefix = Prefix::new("fd00::2".parse::<std::net::Ipv6Addr>().unwrap(), 64).unwrap();
        check(
            RouteMessage::delete_address(3, &prefix),
            "40000000 15000500 07000000 00000000 0a400000 03000000 \
             14000200 fd000000 00000000 00000000 00000002 \
             14000100 fd000000 00000000 00000000 00000002",
        );
    }

    #[test]
    fn default_routes() {
        let gateway = Ipv4Addr::new(10, 0, 2, 2);
        check(
            RouteMessage::add_default_route(2, gateway.into(), 100, true),
            "34000000 18000505 07000000 00000000 02000000 fe040001 04000000 \
             08000500 0a000202 08000400 02000000 08000600 64000000",
        );
        check(
            RouteMessage::delete_default_route(2, gateway, 100),
            "34000000 19000500 07000000 00000000 02000000 fe040001 00000000 \
             08000500 0a000202 08000400 02000000 08000600 64000000",
        );
    }

    #[test]
    fn acknowledgements_are_told_from_other_answers() {
        let mut answer = vec![0; 36];
        answer[4] = 2;
        answer[8] = 7;
        assert_eq!(acknowledgement(&answer, 7), Some(0));
        assert_eq!(acknowledgement(&answer, 8), None);
        answer[16..20].copy_from_slice(&(-17_i32).to_le_bytes());
        assert_eq!(acknowledgement(&answer, 7), Some(17));
        assert_eq!(acknowledgement(&answer[..19], 7), None);
        answer[4] = 16;
        assert_eq!(acknowledgement(&answer, 7), None);
    }
}
