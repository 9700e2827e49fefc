//! The image library: the blobs of an OCI image layout, read-only, whole or in ranges (RFC 9110,
//! 14). Blobs are named by their digest; no other file can be asked for.

use std::fs::File;
use std::path::{Path, PathBuf};

use repave_protocol::Sha256;

/// Which bytes of a blob an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: nothing else was asked for, or not in a form that we know.
    Whole,
    /// These.
    Range {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// None: the range lies outside of the blob.
    Unsatisfiable,
}

/// What a `Range` header asks for of a blob of `length` bytes. One range only; a list of ranges
/// may be, and here is, answered with the whole.
pub(crate) fn part(header: Option<&str>, length: u64) -> Part {
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| match text {
        "" => Some(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
        _ => None,
    };
    let (first, last) = match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => (first, last.unwrap_or(u64::MAX)),
        // The last so many bytes.
        (Some(None), Some(Some(0))) => return Part::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => (length.saturating_sub(suffix), u64::MAX),
        _ => return Part::Whole,
    };
    if last < first {
        return Part::Whole;
    }
    if first >= length {
        return Part::Unsatisfiable;
    }
    Part::Range { first, last: last.min(length - 1) }
}

/// An OCI image layout on disk.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    folder: PathBuf,
}

impl Library {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// A blob and its length in bytes, if it is there.
    pub(crate) fn open(&self, digest: &Sha256) -> Option<(File, u64)> {
        let path = self.folder.join("blobs/sha256").join(digest.to_string());
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        Some((file, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Part) {
        assert_eq!(part(Some(header), 100), expected, "{header}");
    }

    #[test]
    fn ranges() {
        let range = |first, last| Part::Range { first, last };
        assert_eq!(part(None, 100), Part::Whole);
        check("bytes=0-0", range(0, 0));
        check("bytes=10-19", range(10, 19));
        check("bytes=90-", range(90, 99));
        check("bytes=90-200", range(90, 99));
        check("bytes=-10", range(90, 99));
        check("bytes=-200", range(0, 99));
        check("bytes=100-", Part::Unsatisfiable);
        check("bytes=-0", Part::Unsatisfiable);
        check("bytes=20-10", Part::Whole);
        check("bytes=0-1,5-6", Part::Whole);
        check("bytes=-", Part::Whole);
        check("bytes=+1-2", Part::Whole);
        check("lines=1-2", Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
    }
}
