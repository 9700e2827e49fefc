//! Which file system is on a partition, by the bytes of its superblock: kind, UUID, own size, and
//! whether it was unmounted. Nothing is mounted and no file is looked for. Whether the log of an XFS
//! is clean takes more than its head, and is not asked here.

use crate::manifest::{FileSystem, FileSystemKind};

/// Bytes at the head of a partition that hold the first superblock of every file system we know.
pub const SUPERBLOCK_HEAD_BYTES: usize = BTRFS_AT + BTRFS_BYTES;

/// Enough for the superblocks of ext4, FAT and XFS.
const FIRST_BYTES: usize = 4096;
/// Where Btrfs keeps its first superblock (btrfs documentation, on-disk format).
const BTRFS_AT: usize = 0x1_0000;
const BTRFS_BYTES: usize = 4096;

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Kind and UUID.
    pub file_system: FileSystem,
    /// How long the file system says it is.
    pub size_bytes: u64,
    /// Whether a mount would replay a journal first; never said of XFS.
    pub needs_recovery: bool,
}

impl Superblock {
    /// Looks for a file system that we know in the first [`SUPERBLOCK_HEAD_BYTES`] of a partition,
    /// or in all of a shorter one.
    pub fn find(head: &[u8]) -> Option<Self> {
        let first = head.get(..FIRST_BYTES)?;
        let at_btrfs = || head.get(BTRFS_AT..SUPERBLOCK_HEAD_BYTES);
        ext4(&first[1024..])
            .or_else(|| xfs(first))
            .or_else(|| vfat(first))
            .or_else(|| btrfs(at_btrfs()?))
    }
}

/// The kernel's Documentation/filesystems/ext4/super.rst; also ext2 and ext3.
fn ext4(superblock: &[u8]) -> Option<Superblock> {
    const INCOMPAT_RECOVER: u32 = 0x4;
    const INCOMPAT_64BIT: u32 = 0x80;
    if superblock[0x38..0x3a] != [0x53, 0xef] {
        return None;
    }
    let incompatible = le32(superblock, 0x60);
    let block_bytes = 1024_u64.checked_shl(le32(superblock, 0x18))?;
    let mut blocks = u64::from(le32(superblock, 0x4));
    if incompatible & INCOMPAT_64BIT != 0 {
        blocks |= u64::from(le32(superblock, 0x150)) << 32;
    }
    Some(Superblock {
        file_system: FileSystem { kind: FileSystemKind::Ext4, uuid: uuid(&superblock[0x68..0x78]) },
        size_bytes: blocks.saturating_mul(block_bytes),
        needs_recovery: incompatible & INCOMPAT_RECOVER != 0,
    })
}

/// Microsoft's FAT specification 1.03, and the kernel's fs/fat/inode.c for what Linux takes.
fn vfat(sector: &[u8]) -> Option<Superblock> {
    let sector_bytes = le16(sector, 11);
    let is_fat = sector[510..512] == [0x55, 0xaa]
        && matches!(sector[0], 0xeb | 0xe9)
        && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
        && sector[13].is_power_of_two()
        && le16(sector, 14) != 0
        && matches!(sector[16], 1 | 2)
        && (sector[21] == 0xf0 || sector[21] >= 0xf8);
    if !is_fat {
        return None;
    }
    let is_fat32 = le16(sector, 22) == 0;
    let id_at = if is_fat32 { 67 } else { 39 };
    let id = le32(sector, id_at);
    let sectors = match le16(sector, 19) {
        0 => le32(sector, 32),
        few => few.into(),
    };
    Some(Superblock {
        file_system: FileSystem {
            kind: FileSystemKind::Vfat,
            uuid: format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
        },
        size_bytes: u64::from(sectors) * u64::from(sector_bytes),
        needs_recovery: false,
    })
}

/// The kernel's fs/xfs/libxfs/xfs_format.h, struct xfs_dsb.
fn xfs(superblock: &[u8]) -> Option<Superblock> {
    if !superblock.starts_with(b"XFSB") {
        return None;
    }
    let block_bytes = u64::from(be32(superblock, 4));
    Some(Superblock {
        file_system: FileSystem { kind: FileSystemKind::Xfs, uuid: uuid(&superblock[32..48]) },
        size_bytes: be64(superblock, 8).saturating_mul(block_bytes),
        needs_recovery: false,
    })
}

/// The btrfs documentation's on-disk format: a log tree is what remains of an fsync when power
/// went, and is replayed at mount.
fn btrfs(superblock: &[u8]) -> Option<Superblock> {
    if superblock[0x40..0x48] != *b"_BHRfS_M" {
        return None;
    }
    Some(Superblock {
        file_system: FileSystem {
            kind: FileSystemKind::Btrfs,
            uuid: uuid(&superblock[0x20..0x30]),
        },
        size_bytes: le64(superblock, 0x70),
        needs_recovery: le64(superblock, 0x60) != 0,
    })
}

/// A UUID as it is printed, of bytes that are in that order.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Big-endian, as XFS has it.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// Big-endian, as XFS has it.
fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
    const UUID_TEXT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    /// Writes fields into an empty partition and looks at it.
    fn found(fields: &[(usize, &[u8])]) -> Option<(FileSystemKind, String, u64, bool)> {
        let mut bytes = vec![0; 0x1_1000];
        for (at, field) in fields {
            bytes[*at..*at + field.len()].copy_from_slice(field);
        }
        let found = Superblock::find(&bytes)?;
        Some((
            found.file_system.kind,
            found.file_system.uuid,
            found.size_bytes,
            found.needs_recovery,
        ))
    }

    #[test]
    fn superblocks() {
        let uuid = UUID_TEXT.to_owned();
        assert_eq!(found(&[]), None);
        let ext4: [(usize, &[u8]); 4] = [
            (1024 + 0x38, &[0x53, 0xef]),
            (1024 + 0x4, &[100, 0, 0, 0]),
            (1024 + 0x18, &[2]),
            (1024 + 0x68, &UUID),
        ];
        let expected = (FileSystemKind::Ext4, uuid.clone(), 100 * 4096, false);
        assert_eq!(found(&ext4), Some(expected));
        let btrfs: [(usize, &[u8]); 3] =
            [(0x1_0040, b"_BHRfS_M"), (0x1_0020, &UUID), (0x1_0070, &[0, 0, 1])];
        let expected = |dirty| Some((FileSystemKind::Btrfs, uuid.clone(), 65536, dirty));
        assert_eq!(found(&btrfs), expected(false));
        let dirty = [btrfs[0], btrfs[1], btrfs[2], (0x1_0060, &[0, 1])];
        assert_eq!(found(&dirty), expected(true));
        let xfs: [(usize, &[u8]); 3] = [(0, b"XFSB\0\0\x10\0"), (15, &[50]), (32, &UUID)];
        let expected = (FileSystemKind::Xfs, uuid, 50 * 4096, false);
        assert_eq!(found(&xfs), Some(expected));
    }

    #[test]
    fn an_mbr_is_no_fat() {
        assert_eq!(found(&[(0, &[0xeb, 0x63, 0x90]), (510, &[0x55, 0xaa])]), None);
    }
    #[test]
    fn a_partition_too_short_for_a_superblock_has_none() {
        assert_eq!(Superblock::find(&[]), None);
        assert_eq!(Superblock::find(&[0; 4095]), None);
        assert_eq!(Superblock::find(&[0; SUPERBLOCK_HEAD_BYTES - 1]), None);
    }
}
