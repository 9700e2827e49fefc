//! The file system on a window of an image: its superblock, and of XFS also the log, which says
//! whether it was unmounted.

use std::io;

use repave_image::{FileSystemKind, SUPERBLOCK_HEAD_BYTES, Superblock};

use crate::source::Window;
use crate::xfs_log;

/// Looks for a file system that we know.
pub(crate) fn detect(partition: &Window) -> io::Result<Option<Superblock>> {
    let length = partition.size_bytes().min(SUPERBLOCK_HEAD_BYTES as u64);
    let mut head = vec![0; length as usize];
    partition.read_exact_at(&mut head, 0)?;
    let Some(mut found) = Superblock::find(&head) else {
        return Ok(None);
    };
    if found.file_system.kind == FileSystemKind::Xfs {
        found.needs_recovery = !xfs_log::is_clean(partition, &head)?;
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::window_of;

    #[test]
    fn an_xfs_whose_log_is_elsewhere_may_need_recovery() {
        let mut bytes = vec![0; SUPERBLOCK_HEAD_BYTES];
        bytes[..8].copy_from_slice(b"XFSB\0\0\x10\0");
        let found = detect(&window_of(bytes)).unwrap().unwrap();
        assert!(found.needs_recovery);
    }
}
