//! The two ends of a disk, held in memory as if they were the whole of it. The gpt crate reads and
//! writes through this; a seek to anywhere else is an error, so a hostile header cannot send it
//! wandering. Headers and arrays that are not whole are blanked first: the crate asserts on entry
//! sizes it does not know and does not check the array's checksum.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};

use super::Health;
use crate::edges::{DeviceError, Disk};

/// Bytes of one partition entry; the only size that anyone makes.
pub(super) const ENTRY_BYTES: usize = 128;
/// Entries of the array; the least that UEFI allows and the most that we accept.
const ENTRIES: u32 = 128;
/// Bytes of the partition array.
pub(super) const ARRAY_BYTES: u64 = ENTRY_BYTES as u64 * ENTRIES as u64;
/// Bytes of a header that its checksum covers.
const HEADER_BYTES: usize = 92;
/// Where the boot signature of the protective MBR lies.
const MBR_SIGNATURE: usize = 510;

/// Head and tail of a disk.
#[derive(Clone, Debug)]
pub(super) struct Window {
    block_bytes: usize,
    size_bytes: u64,
    position: u64,
    /// Protective MBR, header, array.
    head: Vec<u8>,
    /// Array, header.
    tail: Vec<u8>,
}

impl Window {
    pub(super) fn read(disk: &mut dyn Disk) -> std::result::Result<Self, DeviceError> {
        let facts = disk.facts();
        let block_bytes = facts.logical_block_bytes as usize;
        let size_bytes = facts.size_bytes / block_bytes as u64 * block_bytes as u64;
        let array = (ARRAY_BYTES as usize).next_multiple_of(block_bytes);
        let mut head = vec![0; 2 * block_bytes + array];
        let mut tail = vec![0; array + block_bytes];
        if size_bytes < (head.len() + tail.len()) as u64 {
            return Err(DeviceError {
                device: facts.name.clone(),
                operation: "read",
                offset_bytes: 0,
                length_bytes: size_bytes,
                reason: "the disk is too small for a partition table".into(),
            });
        }
        disk.read(0, &mut head)?;
        disk.read(size_bytes - tail.len() as u64, &mut tail)?;
        Ok(Self {
            block_bytes,
            size_bytes,
            position: 0,
            head,
            tail,
        })
    }

    /// Blanks each header that is damaged, or whose array is damaged or elsewhere.
    pub(super) fn blank_what_is_not_whole(&mut self) -> Health {
        let block = self.block_bytes;
        let last_lba = self.size_bytes / block as u64 - 1;
        let array_blocks = (self.tail.len() / block - 1) as u64;
        let array = ARRAY_BYTES as usize;
        let primary = whole(&self.head[block..], 1, 2, &self.head[2 * block..][..array]);
        let header = self.tail.len() - block;
        let tail_array = &self.tail[..array];
        let backup = whole(
            &self.tail[header..],
            last_lba,
            last_lba - array_blocks,
            tail_array,
        );
        if !primary {
            self.head[block..2 * block].fill(0);
        }
        if !backup {
            self.tail[header..].fill(0);
        }
        Health { primary, backup }
    }

    pub(super) fn blank_all(&mut self) {
        self.head.fill(0);
        self.tail.fill(0);
    }

    /// A GPT without its protective MBR is no GPT to many firmwares (UEFI 2.10, 5.2.3).
    pub(super) fn ensure_protective_mbr(&mut self) {
        if self.head[MBR_SIGNATURE..][..2] == [0x55, 0xaa] {
            return;
        }
        let blocks = u32::try_from(self.size_bytes / self.block_bytes as u64).unwrap_or(u32::MAX);
        let mbr = gpt::mbr::ProtectiveMBR::with_lb_size(blocks.saturating_sub(1));
        self.head[..512].copy_from_slice(&mbr.to_bytes());
    }

    /// Whether the first `count` entries are the same bytes in the primary arrays of both.
    pub(super) fn same_entries(&self, other: &Self, count: usize) -> bool {
        let from = 2 * self.block_bytes;
        let to = from + count * ENTRY_BYTES;
        self.own_array(count)
            .is_some_and(|own| own == &other.head[from..to])
    }

    /// The first `count` entries of whichever array is whole.
    fn own_array(&self, count: usize) -> Option<&[u8]> {
        let blank = self.head[self.block_bytes..][..8] == [0; 8];
        let array = if blank {
            &self.tail[..]
        } else {
            &self.head[2 * self.block_bytes..]
        };
        array.get(..count * ENTRY_BYTES)
    }

    /// Offset and bytes of the backup, then the bytes of the head.
    pub(super) fn into_copies(self) -> (u64, Vec<u8>, Vec<u8>) {
        (
            self.size_bytes - self.tail.len() as u64,
            self.tail,
            self.head,
        )
    }

    /// The part of the window from `position` on, if the position is in it.
    fn span(&mut self) -> Result<&mut [u8]> {
        let tail_start = self.size_bytes - self.tail.len() as u64;
        if self.position < self.head.len() as u64 {
            Ok(&mut self.head[self.position as usize..])
        } else if self.position >= tail_start && self.position < self.size_bytes {
            Ok(&mut self.tail[(self.position - tail_start) as usize..])
        } else {
            let reason = format!(
                "partition table points to byte {}, outside it",
                self.position
            );
            Err(Error::new(ErrorKind::InvalidData, reason))
        }
    }
}

/// Whether a header is whole, belongs at `lba`, and describes exactly this array.
fn whole(header: &[u8], lba: u64, array_lba: u64, array: &[u8]) -> bool {
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let mut covered = header[..HEADER_BYTES].to_vec();
    covered[16..20].fill(0);
    header.starts_with(b"EFI PART")
        && u32_at(12) as usize == HEADER_BYTES
        && u32_at(16) == crc32fast::hash(&covered)
        && u64_at(24) == lba
        && u64_at(72) == array_lba
        && u32_at(80) == ENTRIES
        && u32_at(84) as usize == ENTRY_BYTES
        && u32_at(88) == crc32fast::hash(array)
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let span = self.span()?;
        let count = span.len().min(into.len());
        into[..count].copy_from_slice(&span[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Window {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let span = self.span()?;
        let count = span.len().min(bytes.len());
        span[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
