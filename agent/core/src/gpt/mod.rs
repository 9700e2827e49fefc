//! The partition table, as a value: read from a disk, changed in memory by the gpt crate, and
//! written one copy after the other, the worse one first, so that one good copy exists at every
//! instant (UEFI 2.10, 5.3). What the crate would trip over is sorted out before it sees a byte.

mod window;

use std::collections::BTreeMap;
use std::fmt;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};
use repave_protocol::Guid;
use thiserror::Error;
use uuid::Uuid;

use crate::durable;
use crate::edges::{DeviceError, Disk};
use window::{Found, Window};

/// One used entry of a partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of its slot in the array, from 1: what the firmware calls the partition's number.
    pub number: u32,
    /// Partition type.
    pub type_guid: Guid,
    /// This partition.
    pub guid: Guid,
    /// First block.
    pub first_lba: u64,
    /// Last block, inclusive.
    pub last_lba: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Name, at most 36 UTF-16 units.
    pub name: String,
}

/// Which copies of the table are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The primary header and its array agree with their checksums and with the disk's size.
    pub primary: bool,
    /// So does the backup, it lies on the disk's last block, and says what a good primary says.
    pub backup: bool,
}

/// A disk without a partition table that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GptError {
    /// Could not be read.
    #[error("partition table could not be read; mend the disk or pull it")]
    Device(#[from] DeviceError),
    /// Neither copy is there, or neither agrees with its checksums.
    #[error("{disk}: no partition table: neither GPT header is valid")]
    None {
        /// Which disk.
        disk: String,
    },
    /// The disk cannot have one.
    #[error("{disk}: {size_bytes} bytes have no room for a partition table")]
    TooSmall {
        /// Which disk.
        disk: String,
        /// Its size.
        size_bytes: u64,
    },
    /// There is one, for others: of another shape or for a disk of another size.
    #[error(
        "{disk}: its GPT header is valid but does not fit: it counts other entries than 128 of 128 bytes, or blocks that the disk does not have"
    )]
    Foreign {
        /// Which disk.
        disk: String,
    },
    /// The crate refused it, or our own check of its work did.
    #[error("{disk}: partition table: {reason}")]
    Unusable {
        /// Which disk.
        disk: String,
        /// What is wrong.
        reason: String,
    },
}

/// A partition table as found on a disk.
#[derive(Clone, Debug)]
pub struct Table {
    disk: String,
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// Used entries in the order of the array.
    pub entries: Vec<Entry>,
    /// Which copies are good.
    pub health: Health,
    /// Block size that all LBAs count in.
    pub block_bytes: u64,
    /// Blocks of the disk.
    pub blocks: u64,
    window: Window,
}

/// Bytes that make a disk's partition table another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Offset and bytes of each copy, in the order in which they are written.
    copies: [(u64, Vec<u8>); 2],
}

impl Rewrite {
    /// Writes one copy, then the other, each on stable storage before the next begins. The system
    /// has to be told to read them again.
    pub fn write(&self, disk: &mut dyn Disk) -> Result<(), DeviceError> {
        for (offset_bytes, bytes) in &self.copies {
            durable::write(disk, *offset_bytes, bytes)?;
        }
        Ok(())
    }
}

impl Table {
    /// Reads both copies and takes the primary if it is whole, else the backup.
    pub fn read(disk: &mut dyn Disk) -> Result<Self, GptError> {
        let mut window = Window::read(disk)?;
        let found = window.blank_what_is_not_whole();
        let [primary, backup] = found.map(|found| found == Found::Whole);
        let health = Health { primary, backup };
        let facts = disk.facts();
        let (name, block_bytes) = (facts.name.clone(), u64::from(facts.logical_block_bytes));
        if !health.primary && !health.backup {
            return Err(if found.contains(&Found::Foreign) {
                GptError::Foreign { disk: name }
            } else {
                GptError::None { disk: name }
            });
        }
        let opened = config(block_bytes)
            .open_from_device(window.clone())
            .map_err(|error| unusable(&name, error))?;
        // An entry without a type is unused, whatever else is in it (UEFI 2.10, table 5.6).
        let used = opened.partitions().iter().filter(|(_, p)| p.is_used());
        let table = Self {
            disk: name,
            disk_guid: Guid::from_disk_bytes(opened.guid().to_bytes_le()),
            entries: used.map(Entry::from_crate).collect(),
            health,
            block_bytes,
            blocks: facts.size_bytes / block_bytes,
            window,
        };
        table.check_ranges(&table.entries)?;
        Ok(table)
    }

    /// The table of a disk that has none yet.
    pub fn create(disk: &mut dyn Disk, disk_guid: Guid) -> Result<Self, GptError> {
        let mut window = Window::read(disk)?;
        window.blank_all();
        let facts = disk.facts();
        let block_bytes = u64::from(facts.logical_block_bytes);
        Ok(Self {
            disk: facts.name.clone(),
            disk_guid,
            entries: Vec::new(),
            health: Health { primary: false, backup: false },
            block_bytes,
            blocks: facts.size_bytes / block_bytes,
            window,
        })
    }

    /// The entry of partition `guid`.
    pub fn find(&self, guid: Guid) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.guid == guid)
    }

    /// This table once a rewrite to `disk_guid` and `entries` is on the disk.
    pub(crate) fn renamed(&self, disk_guid: Guid, entries: Vec<Entry>) -> Self {
        Self { disk_guid, entries, health: Health { primary: true, backup: true }, ..self.clone() }
    }

    /// First block after the primary array.
    pub fn first_usable_lba(&self) -> u64 {
        2 + self.array_blocks()
    }

    /// Last block before the backup array.
    pub fn last_usable_lba(&self) -> u64 {
        self.blocks.saturating_sub(2 + self.array_blocks())
    }

    fn array_blocks(&self) -> u64 {
        window::ARRAY_BYTES.div_ceil(self.block_bytes)
    }

    /// The bytes that make this table hold `entries` under `disk_guid`, both copies in their
    /// places. They take the slots from the first on, without a gap; the first `kept` must come out
    /// bit for bit as they are on the disk.
    pub fn rewrite(
        &self,
        disk_guid: Guid,
        entries: &[Entry],
        kept: usize,
    ) -> Result<Rewrite, GptError> {
        self.check_ranges(entries)?;
        self.check_apart(entries)?;
        let mut window = self.window.clone();
        window.ensure_protective_mbr();
        let fail = |error| unusable(&self.disk, error);
        let opened = if self.health.primary || self.health.backup {
            config(self.block_bytes).open_from_device(window)
        } else {
            config(self.block_bytes).create_from_device(window, None)
        };
        let mut made = opened.map_err(fail)?;
        let numbered = (1..).zip(entries.iter().map(Entry::to_crate)).collect::<BTreeMap<_, _>>();
        made.update_guid(Some(Uuid::from_bytes_le(*disk_guid.as_disk_bytes())));
        made.update_partitions(numbered).map_err(fail)?;
        let window = made.write().map_err(fail)?;
        if !self.window.same_entries(&window, kept) {
            let reason = format!("the first {kept} entries would not stay as they are");
            return Err(self.unusable(reason));
        }
        let [primary, backup] = window.into_copies();
        // Never over the only good copy.
        let copies = if self.health.backup && !self.health.primary {
            [primary, backup]
        } else {
            [backup, primary]
        };
        Ok(Rewrite { copies })
    }

    /// Refuses entries that run backwards or lie outside the disk.
    fn check_ranges(&self, entries: &[Entry]) -> Result<(), GptError> {
        let fits =
            |entry: &Entry| entry.first_lba <= entry.last_lba && entry.last_lba < self.blocks;
        match entries.iter().find(|entry| !fits(entry)) {
            None => Ok(()),
            Some(entry) => Err(self
                .unusable(format!("{entry} is not a range of the disk's {} blocks", self.blocks))),
        }
    }

    /// Refuses entries that overlap each other or the table.
    fn check_apart(&self, entries: &[Entry]) -> Result<(), GptError> {
        let mut spans: Vec<&Entry> = entries.iter().collect();
        spans.sort_by_key(|entry| entry.first_lba);
        let mut free_lba = self.first_usable_lba();
        for entry in spans {
            if entry.first_lba < free_lba {
                return Err(
                    self.unusable(format!("{entry} overlaps what lies before block {free_lba}"))
                );
            }
            free_lba = entry.last_lba + 1;
        }
        Ok(())
    }

    fn unusable(&self, reason: String) -> GptError {
        GptError::Unusable { disk: self.disk.clone(), reason }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, first_lba, last_lba, .. } = self;
        write!(f, "partition {number} {name:?} at blocks {first_lba}-{last_lba}")
    }
}

impl Entry {
    /// Size in blocks.
    pub fn blocks(&self) -> u64 {
        self.last_lba - self.first_lba + 1
    }

    /// Whether some block is in both.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first_lba <= other.last_lba && other.first_lba <= self.last_lba
    }

    fn from_crate((&number, partition): (&u32, &Partition)) -> Self {
        Self {
            number,
            type_guid: Guid::from_disk_bytes(partition.part_type_guid.guid.to_bytes_le()),
            guid: Guid::from_disk_bytes(partition.part_guid.to_bytes_le()),
            first_lba: partition.first_lba,
            last_lba: partition.last_lba,
            attributes: partition.flags,
            name: partition.name.clone(),
        }
    }

    fn to_crate(&self) -> Partition {
        let type_guid = Uuid::from_bytes_le(*self.type_guid.as_disk_bytes());
        Partition {
            part_type_guid: Type { guid: type_guid, os: OperatingSystem::None },
            part_guid: Uuid::from_bytes_le(*self.guid.as_disk_bytes()),
            first_lba: self.first_lba,
            last_lba: self.last_lba,
            flags: self.attributes,
            name: self.name.clone(),
        }
    }
}

fn config(block_bytes: u64) -> GptConfig {
    let block =
        if block_bytes == 4096 { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 };
    GptConfig::new().writable(true).logical_block_size(block).change_partition_count(true)
}

fn unusable(disk: &str, error: gpt::GptError) -> GptError {
    GptError::Unusable { disk: disk.into(), reason: error.to_string() }
}
