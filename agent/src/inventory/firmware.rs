//! What the firmware lets us see of itself through efivarfs. Changing it is not here.

use std::path::Path;

use repave_protocol::Firmware;

use super::text::bytes;

/// EFI_GLOBAL_VARIABLE (UEFI 2.10 §3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// efivarfs puts the variable's attributes before its value (efivarfs.rst).
const ATTRIBUTE_BYTES: usize = 4;

pub(super) fn firmware(sys_root: &Path) -> Firmware {
    let folder = sys_root.join("firmware/efi/efivars");
    let variable = |name: &str| {
        let mut bytes = bytes(&folder.join(format!("{name}-{GLOBAL}")))?;
        (bytes.len() > ATTRIBUTE_BYTES).then(|| bytes.split_off(ATTRIBUTE_BYTES))
    };
    let boot_current = variable("BootCurrent").and_then(|value| value.try_into().ok());
    Firmware {
        // The folder is there and empty as long as efivarfs is not mounted.
        efi_variables: folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()),
        secure_boot: variable("SecureBoot").map(|value| value == [1]),
        boot_current: boot_current.map(u16::from_le_bytes),
        // The core adds the boot variables, which it reads through its own edge.
        ..Firmware::default()
    }
}

#[cfg(test)]
mod tests {
    use repave_protocol::Firmware;

    use super::super::tree::{Entry, Entry::File, Tree};
    use super::firmware;

    const SECURE_BOOT: &str =
        "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    const BOOT_CURRENT: &str =
        "firmware/efi/efivars/BootCurrent-8be4df61-93ca-11d2-aa0d-00e098032b8c";

    fn check(entries: &[(&str, Entry<'_>)], expected: (bool, Option<bool>, Option<u16>)) {
        let (efi_variables, secure_boot, boot_current) = expected;
        let expected = Firmware { efi_variables, secure_boot, boot_current, ..Firmware::default() };
        assert_eq!(firmware(Tree::new(entries).root()), expected);
    }

    #[test]
    fn variables_are_read_past_their_attributes() {
        let on = (SECURE_BOOT, File(&[6, 0, 0, 0, 1]));
        let off = (SECURE_BOOT, File(&[6, 0, 0, 0, 0]));
        let current = (BOOT_CURRENT, File(&[6, 0, 0, 0, 0x03, 0x01]));
        check(&[on, current], (true, Some(true), Some(0x103)));
        check(&[off], (true, Some(false), None));
        check(
            &[(SECURE_BOOT, File(&[6, 0, 0, 0])), (BOOT_CURRENT, File(&[6]))],
            (true, None, None),
        );
        check(&[(BOOT_CURRENT, File(&[6, 0, 0, 0, 1]))], (true, None, None));
        check(&[], (false, None, None));
    }
}
