//! Which frames reach the DHCP client: ARP replies, and unfragmented UDP to port 68 that carries
//! no VLAN tag. Everything else belongs to the kernel's own stack, which stays the only one to
//! answer for this machine.
//!
//! The filter is a classic BPF program that the kernel runs (filter.rst, linux/filter.h).

use repave_sys::FilterInstruction;

const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_HALF_INDEXED: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
const LOAD_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH: X = 4 * (byte & 15)
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT: the tag itself is stripped before a packet socket on the
/// parent interface sees the frame of one of its VLANs.
const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;

const ETHERTYPE_OFFSET: u32 = 12;
const ARP_OPERATION_OFFSET: u32 = 20;
const IP_OFFSET: u32 = 14;
const IP_FRAGMENT_OFFSET: u32 = 20;
const IP_PROTOCOL_OFFSET: u32 = 23;
/// From the start of the frame less the IP header's length, which is in X.
const UDP_DESTINATION_OFFSET: u32 = 16;

const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ARP_REPLY: u32 = 2;
const IP_PROTOCOL_UDP: u32 = 17;
const FRAGMENT_OFFSET_MASK: u32 = 0x1fff;
const DHCP_CLIENT_PORT: u32 = 68;

const WHOLE_FRAME: u32 = 0xffff;
const NOTHING: u32 = 0;

/// The program. Jumps count from the next instruction on.
#[rustfmt::skip]
pub(super) const DHCP_AND_ARP_REPLIES: [FilterInstruction; 16] = [
    /*  0 */ load(LOAD_BYTE, VLAN_TAG_PRESENT),
    /*  1 */ jump(JUMP_EQUAL, 0, 0, 13),
    /*  2 */ load(LOAD_HALF, ETHERTYPE_OFFSET),
    /*  3 */ jump(JUMP_EQUAL, ETHERTYPE_IPV4, 3, 0),
    /*  4 */ jump(JUMP_EQUAL, ETHERTYPE_ARP, 0, 10),
    /*  5 */ load(LOAD_HALF, ARP_OPERATION_OFFSET),
    /*  6 */ jump(JUMP_EQUAL, ARP_REPLY, 7, 8),
    /*  7 */ load(LOAD_BYTE, IP_PROTOCOL_OFFSET),
    /*  8 */ jump(JUMP_EQUAL, IP_PROTOCOL_UDP, 0, 6),
    /*  9 */ load(LOAD_HALF, IP_FRAGMENT_OFFSET),
    /* 10 */ jump(JUMP_ANY_BIT, FRAGMENT_OFFSET_MASK, 4, 0),
    /* 11 */ load(LOAD_HEADER_LENGTH, IP_OFFSET),
    /* 12 */ load(LOAD_HALF_INDEXED, UDP_DESTINATION_OFFSET),
    /* 13 */ jump(JUMP_EQUAL, DHCP_CLIENT_PORT, 0, 1),
    /* 14 */ load(RETURN, WHOLE_FRAME),
    /* 15 */ load(RETURN, NOTHING),
];

const fn load(code: u16, operand: u32) -> FilterInstruction {
    FilterInstruction { code, jump_true: 0, jump_false: 0, operand }
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> FilterInstruction {
    FilterInstruction { code, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests {
    use super::{
        DHCP_AND_ARP_REPLIES, JUMP_ANY_BIT, JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_INDEXED,
        LOAD_HEADER_LENGTH, RETURN, VLAN_TAG_PRESENT,
    };

    /// Runs the program as the kernel does: a load past the frame's end drops it.
    fn passes(frame: &[u8], vlan_tag: bool) -> bool {
        let (mut at, mut accumulator, mut index) = (0, 0_u32, 0_u32);
        let byte = |offset: u32| frame.get(offset as usize).copied().map(u32::from);
        let half = |offset: u32| Some(byte(offset)? << 8 | byte(offset + 1)?);
        loop {
            let step = DHCP_AND_ARP_REPLIES[at];
            at += 1;
            let loaded = match step.code {
                LOAD_BYTE if step.operand == VLAN_TAG_PRESENT => Some(u32::from(vlan_tag)),
                LOAD_BYTE => byte(step.operand),
                LOAD_HALF => half(step.operand),
                LOAD_HALF_INDEXED => half(step.operand + index),
                LOAD_HEADER_LENGTH => byte(step.operand).map(|byte| 4 * (byte & 15)),
                RETURN => return step.operand != 0,
                JUMP_EQUAL | JUMP_ANY_BIT => {
                    let holds = match step.code {
                        JUMP_EQUAL => accumulator == step.operand,
                        _ => accumulator & step.operand != 0,
                    };
                    at += usize::from(if holds { step.jump_true } else { step.jump_false });
                    continue;
                }
                code => panic!("operation {code:#x} is not in the program"),
            };
            match loaded {
                None => return false,
                Some(value) if step.code == LOAD_HEADER_LENGTH => index = value,
                Some(value) => accumulator = value,
            }
        }
    }

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn arp(operation: u8) -> Vec<u8> {
        ethernet(0x0806, &[0, 1, 8, 0, 6, 4, 0, operation])
    }

    /// An IPv4 frame whose header has `options` extra words.
    fn ipv4(protocol: u8, fragment: u16, options: u8, destination_port: u16) -> Vec<u8> {
        let mut packet = vec![0; 20 + 4 * usize::from(options)];
        packet[0] = 0x45 + options;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend(67_u16.to_be_bytes());
        packet.extend(destination_port.to_be_bytes());
        ethernet(0x0800, &packet)
    }

    #[test]
    fn passes_answers_to_the_dhcp_client_and_nothing_else() {
        let check =
            |frame: &[u8], expected| assert_eq!(passes(frame, false), expected, "{frame:x?}");
        check(&ipv4(17, 0, 0, 68), true);
        check(&ipv4(17, 0, 5, 68), true);
        check(&ipv4(17, 0x4000, 0, 68), true);
        check(&arp(2), true);

        check(&arp(1), false);
        check(&ipv4(17, 0, 0, 67), false);
        check(&ipv4(17, 0, 1, 53), false);
        check(&ipv4(6, 0, 0, 68), false);
        check(&ipv4(1, 0, 0, 68), false);
        check(&ipv4(17, 0x2001, 0, 68), false);
        check(&ethernet(0x86dd, &ipv4(17, 0, 0, 68)[14..]), false);
        check(&ipv4(17, 0, 0, 68)[..36], false);
        check(&[], false);
    }

    #[test]
    fn drops_the_frames_of_a_vlan_on_the_same_wire() {
        assert!(!passes(&ipv4(17, 0, 0, 68), true));
    }
}
