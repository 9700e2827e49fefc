//! The two ends of a disk, held in memory as if they were the whole of it. The gpt crate reads and
//! writes through this; a seek to anywhere else is an error, so a hostile header cannot send it
//! wandering. Headers and arrays that are not whole are blanked first: the crate asserts on entry
//! sizes it does not know and does not check the array's checksum.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;

use super::GptError;
use crate::edges::Disk;

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

/// What is found where a copy of the table belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that a firmware would take for a table.
    Nothing,
    /// A header that agrees with its checksum and describes what we do not understand.
    Foreign,
    /// Header and array, as we want them.
    Whole,
}

/// Where a copy of the table belongs, in blocks.
struct Spot {
    header: u64,
    array: u64,
    /// What a disk of this size can use besides the table.
    usable: RangeInclusive<u64>,
}

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
    pub(super) fn read(disk: &mut dyn Disk) -> std::result::Result<Self, GptError> {
        let facts = disk.facts();
        let block_bytes = facts.logical_block_bytes as usize;
        let size_bytes = facts.size_bytes / block_bytes as u64 * block_bytes as u64;
        let array = (ARRAY_BYTES as usize).next_multiple_of(block_bytes);
        let mut head = vec![0; 2 * block_bytes + array];
        let mut tail = vec![0; array + block_bytes];
        if size_bytes < (head.len() + tail.len()) as u64 {
            return Err(GptError::TooSmall { disk: facts.name.clone(), size_bytes });
        }
        disk.read(0, &mut head)?;
        disk.read(size_bytes - tail.len() as u64, &mut tail)?;
        Ok(Self { block_bytes, size_bytes, position: 0, head, tail })
    }

    /// Blanks each header that is not whole, and a backup that is not the primary's copy: of two
    /// tables the primary is the one that holds. Says what was there, the primary first.
    pub(super) fn blank_what_is_not_whole(&mut self) -> [Found; 2] {
        let block = self.block_bytes;
        let last_lba = self.size_bytes / block as u64 - 1;
        let array_blocks = (self.tail.len() / block - 1) as u64;
        let usable = 2 + array_blocks..=last_lba - array_blocks - 1;
        let spot = |header, array| Spot { header, array, usable: usable.clone() };
        let array = ARRAY_BYTES as usize;
        let (mbr_and_header, head_array) = self.head.split_at_mut(2 * block);
        let (tail_array, backup_header) = self.tail.split_at_mut(array_blocks as usize * block);
        let primary_header = &mut mbr_and_header[block..];
        let primary = judge(primary_header, &head_array[..array], &spot(1, 2));
        let backup_spot = spot(last_lba, last_lba - array_blocks);
        let mut backup = judge(backup_header, &tail_array[..array], &backup_spot);
        let both_whole = primary == Found::Whole && backup == Found::Whole;
        if both_whole && !is_copy(primary_header, backup_header) {
            backup = Found::Nothing;
        }
        for (found, header) in [(primary, primary_header), (backup, backup_header)] {
            if found != Found::Whole {
                header.fill(0);
            }
        }
        [primary, backup]
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
        self.own_array(count).is_some_and(|own| own == &other.head[from..to])
    }

    /// The first `count` entries of whichever array is whole.
    fn own_array(&self, count: usize) -> Option<&[u8]> {
        let blank = self.head[self.block_bytes..][..8] == [0; 8];
        let array = if blank { &self.tail[..] } else { &self.head[2 * self.block_bytes..] };
        array.get(..count * ENTRY_BYTES)
    }

    /// Offset and bytes of the primary, then of the backup.
    pub(super) fn into_copies(self) -> [(u64, Vec<u8>); 2] {
        let tail_start = self.size_bytes - self.tail.len() as u64;
        [(0, self.head), (tail_start, self.tail)]
    }

    /// The part of the window from `position` on, if the position is in it.
    fn span(&mut self) -> Result<&mut [u8]> {
        let tail_start = self.size_bytes - self.tail.len() as u64;
        if self.position < self.head.len() as u64 {
            Ok(&mut self.head[self.position as usize..])
        } else if self.position >= tail_start && self.position < self.size_bytes {
            Ok(&mut self.tail[(self.position - tail_start) as usize..])
        } else {
            let reason = format!("partition table points to byte {}, outside it", self.position);
            Err(Error::new(ErrorKind::InvalidData, reason))
        }
    }
}

/// What a header and its array are, if they belong to `spot` (UEFI 2.10, 5.3.2).
fn judge(header: &[u8], array: &[u8], spot: &Spot) -> Found {
    let header_bytes = u32_at(header, 12) as usize;
    let is_header = header.starts_with(b"EFI PART")
        && (HEADER_BYTES..=header.len()).contains(&header_bytes)
        && u32_at(header, 16) == header_checksum(&header[..header_bytes])
        && u64_at(header, 24) == spot.header;
    if !is_header {
        return Found::Nothing;
    }
    // The copy of a table that was made for a smaller disk lies before the end of this one.
    let (alternate_lba, is_primary) = (u64_at(header, 32), spot.header == 1);
    let (first_lba, last_lba) = (u64_at(header, 40), u64_at(header, 48));
    let is_ours = header_bytes == HEADER_BYTES
        && if is_primary { alternate_lba > 1 } else { alternate_lba == 1 }
        && first_lba <= last_lba
        && spot.usable.contains(&first_lba)
        && spot.usable.contains(&last_lba)
        && u64_at(header, 72) == spot.array
        && u32_at(header, 80) == ENTRIES
        && u32_at(header, 84) as usize == ENTRY_BYTES;
    if !is_ours {
        return Found::Foreign;
    }
    if u32_at(header, 88) == crc32fast::hash(array) { Found::Whole } else { Found::Nothing }
}

/// Whether two whole headers are of one table: the disk's GUID and the array's checksum.
fn is_copy(one: &[u8], other: &[u8]) -> bool {
    one[56..72] == other[56..72] && one[88..92] == other[88..92]
}

fn header_checksum(header: &[u8]) -> u32 {
    let mut covered = header.to_vec();
    covered[16..20].fill(0);
    crc32fast::hash(&covered)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
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
