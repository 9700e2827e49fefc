//! A server's disk as it lies in its file, read from outside: GUIDs, digests of ranges, and marks
//! that show whether anything was written. The table is read by its offsets (UEFI 2.10, 5.3) and
//! not by the agent's own code, so that a fault in that cannot hide itself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repave_protocol::{Digester, Guid, Sha256};

const ENTRY_BYTES: u64 = 128;
const MIB: u64 = 1 << 20;
/// The backup table's share at the end of a disk, generously.
const TAIL_BYTES: u64 = MIB;
/// What an untouched target is filled with: zeroes would not show a head that was blanked.
const MARK: u8 = 0xa5;

/// What a header is overwritten with.
const SPOILED: u8 = 0x5a;

/// One of the two copies of a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableCopy {
    /// Behind the disk's first block.
    Primary,
    /// On the disk's last block.
    Backup,
}

/// The raw file of a disk.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    size_bytes: u64,
    block_bytes: u64,
}

impl RawDisk {
    /// Opens the file of a disk with 512-byte blocks.
    ///
    /// # Errors
    /// The file cannot be opened for reading and writing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_blocks(path, 512)
    }

    /// The same, with blocks of this many bytes.
    ///
    /// # Errors
    /// As [`RawDisk::open`].
    pub(crate) fn with_blocks(path: &Path, block_bytes: u64) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::options().read(true).write(true).open(path)?;
            let size_bytes = file.metadata()?.len();
            Ok(Self { file, size_bytes, block_bytes })
        };
        open().with_context(|| format!("cannot open {}", path.display()))
    }

    /// The GUIDs of the disk and of its partitions, in their order.
    ///
    /// # Errors
    /// There is no partition table.
    pub fn guids(&self) -> Result<Vec<Guid>> {
        let mut guids = vec![self.guid(self.block_bytes + 56)?];
        for entry in 0.. {
            let at = self.entry(entry);
            if self.guid(at)?.is_nil() {
                break;
            }
            guids.push(self.guid(at + 16)?);
        }
        Ok(guids)
    }

    /// The bytes of the partition with this GUID; none if there is no such partition.
    ///
    /// # Errors
    /// There is no partition table.
    pub fn place_of(&self, guid: Guid) -> Result<Option<Range<u64>>> {
        let place = self.guids()?.iter().skip(1).position(|found| *found == guid);
        place.map(|number| self.partition(number as u64)).transpose()
    }

    /// SHA-256 of p1, the default partition.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn default_partition(&self) -> Result<Sha256> {
        let range = self.partition(0)?;
        self.digest(range)
    }

    /// SHA-256 of all that is neither the default side's nor a partition table's.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn target(&self) -> Result<Sha256> {
        let range = self.target_range()?;
        self.digest(range)
    }

    /// Fills the target's first `length_mib`, so that no write goes unseen.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn mark_target(&self, length_mib: u64) -> Result<()> {
        let start = self.target_range()?.start;
        let piece = vec![MARK; MIB as usize];
        for number in 0..length_mib {
            self.file.write_all_at(&piece, start + number * MIB)?;
        }
        Ok(())
    }

    /// The block that holds a copy's header.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn header(&self, copy: TableCopy) -> Result<Vec<u8>> {
        let at = self.header_at(copy);
        self.bytes(at..at + self.block_bytes)
    }

    /// Puts such a block where it belongs.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn put_header(&self, copy: TableCopy, block: &[u8]) -> Result<()> {
        Ok(self.file.write_all_at(block, self.header_at(copy))?)
    }

    /// Makes a copy of the table one that nobody can take for a table.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn spoil(&self, copy: TableCopy) -> Result<()> {
        self.put_header(copy, &vec![SPOILED; self.block_bytes as usize])
    }

    const fn header_at(&self, copy: TableCopy) -> u64 {
        match copy {
            TableCopy::Primary => self.block_bytes,
            TableCopy::Backup => self.size_bytes - self.block_bytes,
        }
    }

    /// First byte behind the default side, where a target on its disk begins.
    ///
    /// # Errors
    /// There is no partition table.
    pub fn target_start(&self) -> Result<u64> {
        Ok(self.target_range()?.start)
    }

    fn target_range(&self) -> Result<Range<u64>> {
        Ok(self.partition(1)?.end..self.size_bytes - TAIL_BYTES)
    }

    /// The bytes of a partition, counted from 0.
    fn partition(&self, number: u64) -> Result<Range<u64>> {
        let at = self.entry(number);
        let (first_lba, last_lba) = (self.number(at + 32)?, self.number(at + 40)?);
        ensure!(first_lba > 0, "there is no partition {}", number + 1);
        Ok(first_lba * self.block_bytes..(last_lba + 1) * self.block_bytes)
    }

    const fn entry(&self, number: u64) -> u64 {
        2 * self.block_bytes + number * ENTRY_BYTES
    }

    /// SHA-256 of a range of bytes.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn digest(&self, range: Range<u64>) -> Result<Sha256> {
        let mut digester = Digester::new();
        let mut piece = vec![0; MIB as usize];
        for at in range.clone().step_by(piece.len()) {
            let length = (range.end - at).min(MIB) as usize;
            self.file.read_exact_at(&mut piece[..length], at)?;
            digester.update(&piece[..length]);
        }
        Ok(digester.finish())
    }

    /// A range of bytes that fits into memory.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn guid(&self, offset_bytes: u64) -> Result<Guid> {
        let mut bytes = [0; 16];
        self.file.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(Guid::from_disk_bytes(bytes))
    }

    fn number(&self, offset_bytes: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
