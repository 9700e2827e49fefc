//! Whether an XFS was unmounted: then the newest record of its log is an unmount record, and
//! nothing has to be replayed. The log is only looked at, never replayed here.

use std::io;

use crate::source::Window;

/// The kernel's fs/xfs/libxfs/xfs_log_format.h: a record header begins with this, and no other
/// block of the log can, since the first word of each is replaced by its cycle number.
const RECORD_MAGIC: u32 = 0xfeed_babe;
const UNMOUNT_TRANSACTION: u8 = 0x20;
const LOG_BLOCK_BYTES: usize = 512;
/// The log is read in parts of this size.
const PART_BYTES: usize = 1024 * 1024;

/// Whether the internal log of the XFS with this superblock ends in an unmount record. A log on
/// another device cannot be seen, so it counts as not clean.
pub(crate) fn is_clean(partition: &Window, superblock: &[u8]) -> io::Result<bool> {
    let Some((start_bytes, len_bytes)) = span(superblock) else {
        return Ok(false);
    };
    let Some(newest) = newest_record(partition, start_bytes, len_bytes)? else {
        return Ok(true);
    };
    let mut header = [0; LOG_BLOCK_BYTES];
    partition.read_exact_at(&mut header, newest)?;
    // struct xlog_rec_header: operations at 40, size of the log buffer at 320. Headers of records
    // longer than 32 KiB continue in further blocks, one for each 32 KiB.
    let operations = be32(&header, 40);
    let header_blocks = u64::from(be32(&header, 320)).div_ceil(32 * 1024).max(1);
    let body = (newest - start_bytes + header_blocks * LOG_BLOCK_BYTES as u64) % len_bytes;
    let mut operation = [0; LOG_BLOCK_BYTES];
    partition.read_exact_at(&mut operation, start_bytes + body)?;
    // struct xlog_op_header: flags at 9.
    Ok(operations == 1 && operation[9] & UNMOUNT_TRANSACTION != 0)
}

/// Where the internal log lies in the partition: struct xfs_dsb, with block numbers that hold the
/// allocation group in their upper bits.
fn span(superblock: &[u8]) -> Option<(u64, u64)> {
    let block_bytes = u64::from(be32(superblock, 4));
    let log_start = be64(superblock, 48);
    let group_blocks = u64::from(be32(superblock, 84));
    let log_blocks = u64::from(be32(superblock, 96));
    let group_bits = superblock[124];
    if log_start == 0 || log_blocks == 0 || group_bits >= 32 {
        return None;
    }
    let group = log_start >> group_bits;
    let in_group = log_start & ((1 << group_bits) - 1);
    let start = group.checked_mul(group_blocks)?.checked_add(in_group)?;
    Some((start.checked_mul(block_bytes)?, log_blocks.checked_mul(block_bytes)?))
}

/// Place in the partition of the record with the highest log sequence number (cycle and block).
fn newest_record(partition: &Window, start_bytes: u64, len_bytes: u64) -> io::Result<Option<u64>> {
    let mut part = vec![0; PART_BYTES];
    let mut newest = None;
    let mut offset = 0;
    while offset < len_bytes {
        let len = (len_bytes - offset).min(PART_BYTES as u64) as usize;
        partition.read_exact_at(&mut part[..len], start_bytes + offset)?;
        let blocks = part[..len].chunks_exact(LOG_BLOCK_BYTES);
        for (number, block) in blocks.enumerate() {
            if be32(block, 0) == RECORD_MAGIC {
                let at = start_bytes + offset + (number * LOG_BLOCK_BYTES) as u64;
                newest = newest.max(Some((be64(block, 16), at)));
            }
        }
        offset += len as u64;
    }
    Ok(newest.map(|(_, at)| at))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(array)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::window_of;

    const BLOCK: usize = 4096;
    const GROUP_BLOCKS: usize = 10;
    const LOG_BLOCKS: usize = 4;
    /// Block 2 of the second allocation group.
    const LOG_AT: usize = (GROUP_BLOCKS + 2) * BLOCK;

    /// A superblock and an internal log with these records: log block, cycle, operations, flags of
    /// the first.
    fn check(records: &[(usize, u32, u32, u8)], expected: bool) {
        let mut bytes = vec![0; 2 * GROUP_BLOCKS * BLOCK];
        bytes[4..8].copy_from_slice(&(BLOCK as u32).to_be_bytes());
        bytes[48..56].copy_from_slice(&(1_u64 << 4 | 2).to_be_bytes());
        bytes[84..88].copy_from_slice(&(GROUP_BLOCKS as u32).to_be_bytes());
        bytes[96..100].copy_from_slice(&(LOG_BLOCKS as u32).to_be_bytes());
        bytes[124] = 4;
        for &(block, cycle, operations, flags) in records {
            let header = &mut bytes[LOG_AT + block * LOG_BLOCK_BYTES..][..LOG_BLOCK_BYTES];
            header[..4].copy_from_slice(&RECORD_MAGIC.to_be_bytes());
            header[16..20].copy_from_slice(&cycle.to_be_bytes());
            header[20..24].copy_from_slice(&(block as u32).to_be_bytes());
            header[40..44].copy_from_slice(&operations.to_be_bytes());
            header[320..324].copy_from_slice(&(32_u32 * 1024).to_be_bytes());
            let body = (block + 1) % (LOG_BLOCKS * BLOCK / LOG_BLOCK_BYTES);
            bytes[LOG_AT + body * LOG_BLOCK_BYTES + 9] = flags;
        }
        let superblock = bytes[..BLOCK].to_vec();
        let found = is_clean(&window_of(bytes), &superblock).unwrap();
        assert_eq!(found, expected, "{records:?}");
    }

    #[test]
    fn the_newest_record_decides() {
        let unmount = UNMOUNT_TRANSACTION;
        check(&[], true);
        check(&[(0, 1, 1, unmount)], true);
        check(&[(0, 1, 1, unmount), (2, 1, 3, 1)], false);
        check(&[(0, 1, 3, 1), (8, 1, 1, unmount)], true);
        // The log went round: a lower place with a higher cycle is newer.
        check(&[(0, 2, 1, unmount), (8, 1, 3, 1)], true);
        check(&[(0, 2, 3, 1), (8, 1, 1, unmount)], false);
        // The record's body begins anew at the log's start.
        check(&[(31, 1, 1, unmount)], true);
        // An unmount among other operations is none.
        check(&[(0, 1, 2, unmount)], false);
    }
}
