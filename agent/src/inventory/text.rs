//! Reading the small files of sysfs and procfs, whose contents firmware and devices may have made.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use repave_protocol::limits;

/// What is read of a file at most. A sysfs attribute has a page, `/proc/cpuinfo` one entry for each
/// CPU, of which the first is enough.
const MAX_FILE_BYTES: u64 = 4096;

/// The file's beginning; `None` if it cannot be read.
pub(super) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The file as text for people, cut at the inventory's limit; `None` if nothing is in it.
pub(super) fn text(path: &Path) -> Option<String> {
    Some(cut(clean(&bytes(path)?)?))
}

/// The text's beginning, as much as the inventory may hold of it.
pub(super) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::INVENTORY_TEXT_BYTES));
    text
}

/// The file as a name to recognise something by: `None` also if it is too long, since half a name
/// may be another's.
pub(super) fn identity(path: &Path) -> Option<String> {
    identity_of(&bytes(path)?)
}

/// The same for bytes that were read already.
pub(super) fn identity_of(bytes: &[u8]) -> Option<String> {
    clean(bytes).filter(|text| text.len() <= limits::INVENTORY_TEXT_BYTES)
}

/// The file as a number.
pub(super) fn number<N: std::str::FromStr>(path: &Path) -> Option<N> {
    std::str::from_utf8(&bytes(path)?).ok()?.trim().parse().ok()
}

/// The last component of what a symbolic link points at, e.g. a driver's name.
pub(super) fn link_name(path: &Path) -> Option<String> {
    identity_of(path.read_link().ok()?.file_name()?.as_encoded_bytes())
}

/// Printable text without surrounding spaces; devices pad with spaces and with zeroes.
fn clean(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let trimmed = printable.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use repave_protocol::limits::INVENTORY_TEXT_BYTES;

    use super::super::tree::{Entry::File, Entry::Link, Tree};
    use super::{bytes, identity, link_name, number, text};

    #[test]
    fn texts_are_cut_and_identities_are_not() {
        let long = "ä".repeat(INVENTORY_TEXT_BYTES);
        let tree = Tree::new(&[
            ("long", File(long.as_bytes())),
            ("padded", File(b"  QM00001  \0\0\n")),
            ("hostile", File(b"a\x1b[2Jb\r\n\xffc")),
            ("empty", File(b"\0 \n")),
            ("huge", File(&[b'x'; 10_000])),
        ]);
        let at = |name| tree.root().join(name);
        assert_eq!(text(&at("long")), Some("ä".repeat(INVENTORY_TEXT_BYTES / 2)));
        assert_eq!(identity(&at("long")), None);
        assert_eq!(identity(&at("padded")).as_deref(), Some("QM00001"));
        assert_eq!(text(&at("hostile")).as_deref(), Some("a [2Jb  \u{fffd}c"));
        assert_eq!(text(&at("empty")), None);
        assert_eq!(text(&at("absent")), None);
        assert_eq!(bytes(&at("huge")).map(|bytes| bytes.len()), Some(4096));
    }

    #[test]
    fn numbers_and_links() {
        let tree = Tree::new(&[
            ("speed", File(b"-1\n")),
            ("word", File(b"auto\n")),
            ("driver", Link("../../bus/pci/drivers/e1000e")),
        ]);
        let at = |name| tree.root().join(name);
        assert_eq!(number(&at("speed")), Some(-1));
        assert_eq!(number::<u32>(&at("speed")), None);
        assert_eq!(number::<u32>(&at("word")), None);
        assert_eq!(link_name(&at("driver")).as_deref(), Some("e1000e"));
        assert_eq!(link_name(&at("speed")), None);
    }
}
