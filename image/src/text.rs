//! The forms that an image's names and paths must have. They end up in GPT entries, EFI load
//! options, kernel command lines and paths below a mounted root, so nothing odd passes.

use crate::limits;

/// 1 to 64 of `a-z0-9` with single `-` between them, beginning with a letter. The form is also
/// good as a part of an OCI reference.
pub fn is_name(text: &str) -> bool {
    text.len() <= repave_protocol::limits::NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && !text.contains("--")
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A GPT partition name.
pub(crate) fn is_partition_name(text: &str) -> bool {
    !text.is_empty()
        && text.encode_utf16().count() <= limits::PARTITION_NAME_UNITS
        && !text.contains(char::is_control)
}

/// An absolute path on an EFI system partition: `\vmlinuz.efi`.
pub(crate) fn is_efi_path(text: &str) -> bool {
    is_path(text, '\\') && text.is_ascii() && !text.contains('/')
}

/// An absolute path of a file in a Linux file system.
pub(crate) fn is_file_path(text: &str) -> bool {
    is_path(text, '/')
}

/// An absolute path of a folder, with its slash at the end, as a prefix must have it: `/etc/`
/// is not a prefix of `/etcetera`.
pub(crate) fn is_prefix(text: &str) -> bool {
    text.strip_suffix('/').is_some_and(is_file_path)
}

/// A kernel command line or EFI load options.
pub(crate) fn is_options(text: &str) -> bool {
    text.len() <= limits::OPTIONS_BYTES && !text.contains(char::is_control)
}

/// A file-system UUID as Linux prints it, or a FAT volume id.
pub(crate) fn is_file_system_uuid(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::UUID_BYTES
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn is_path(text: &str, separator: char) -> bool {
    text.len() <= limits::PATH_BYTES
        && !text.contains(char::is_control)
        && text.strip_prefix(separator).is_some_and(|rest| rest.split(separator).all(is_component))
}

fn is_component(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is(text), "{text:?} was refused");
        }
        for text in bad {
            assert!(!is(text), "{text:?} was accepted");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(65);
        check(
            is_name,
            &["web", "db-15", "a"],
            &["", "Web", "1a", "-a", "a-", "a--b", "a.b", "a:b", &long],
        );
        let long = "é".repeat(37);
        check(
            is_partition_name,
            &["web-esp", "EFI system partition", "Wurzel ä"],
            &["", "a\nb", "a\0", &long],
        );
    }

    #[test]
    fn paths() {
        let long = "/a".repeat(128);
        check(
            is_file_path,
            &["/vmlinuz", "/boot/a b"],
            &["", "/", "a", "/a/../b", "/a//b", "/./a", "/a\n", "/a/", &long],
        );
        check(
            is_efi_path,
            &["\\vmlinuz.efi", "\\EFI\\BOOT\\BOOTX64.EFI"],
            &["", "\\", "a", "\\..\\a", "\\a\\\\b", "\\a/b", "/a", "\\ä"],
        );
        check(is_prefix, &["/etc/", "/var/www/"], &["/", "/etc", "/../"]);
    }

    #[test]
    fn options_and_uuids() {
        let long = "a".repeat(limits::OPTIONS_BYTES + 1);
        check(is_options, &["", "ro quiet"], &["a\nb", "a\0", &long]);
        check(
            is_file_system_uuid,
            &["1A2B-3C4D", "0fc63daf-8483-4772-8e79-3d69d8477de4"],
            &["", "xyz", "a b"],
        );
    }
}
