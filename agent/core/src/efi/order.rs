//! BootOrder: little-endian 16-bit numbers of `Boot####` variables (UEFI 2.10, 3.1.2).

/// `Boot####` for a number; the digits are upper-case hexadecimal.
pub fn entry_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// The number of a `Boot####`; none if it is another name. The firmware knows an entry by upper-case
/// digits only; `Boot00ab` is none, nor `Boot+0AB`.
pub fn entry_number(name: &str) -> Option<u16> {
    let number = u16::from_str_radix(name.strip_prefix("Boot")?, 16).ok()?;
    (entry_name(number) == name).then_some(number)
}

/// The numbers in a BootOrder or BootNext value; an odd last byte is dropped. There are as many as
/// the value has room for: a limit here would take entries away from whoever made them.
pub fn numbers_from_bytes(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The value of a BootOrder or BootNext with these numbers.
pub fn numbers_to_bytes(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The order with `default` at the head and `target`, if any, at the tail; all others stay as and
/// where they are. Firmware that drops entries not in BootOrder thus leaves the target's alone.
pub fn with_default_first(order: &[u16], default: u16, target: Option<u16>) -> Vec<u16> {
    let foreign = order.iter().copied().filter(|&n| n != default && Some(n) != target);
    std::iter::once(default).chain(foreign).chain(target.filter(|&n| n != default)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_leads_target_trails_others_keep_their_order() {
        let check = |order: &[u16], target, expected: &[u16]| {
            assert_eq!(with_default_first(order, 1, target), expected, "{order:?}");
        };
        check(&[], None, &[1]);
        check(&[0, 5, 4], Some(7), &[1, 0, 5, 4, 7]);
        check(&[7, 0, 1, 5], Some(7), &[1, 0, 5, 7]);
        check(&[1, 0, 7], Some(7), &[1, 0, 7]);
        check(&[1, 1, 0, 0], None, &[1, 0, 0]);
    }

    #[test]
    fn bytes_and_names() {
        assert_eq!(numbers_from_bytes(&[1, 0, 0xff, 0xab, 9]), [1, 0xabff]);
        assert_eq!(numbers_to_bytes(&[1, 0xabff]), [1, 0, 0xff, 0xab]);
        assert_eq!(entry_name(0xab), "Boot00AB");
    }

    #[test]
    fn a_long_boot_order_loses_no_entry() {
        let order: Vec<u16> = (0..1025).collect();
        let read = numbers_from_bytes(&numbers_to_bytes(&order));
        assert_eq!(with_default_first(&read, 0, None), order);
    }
}
