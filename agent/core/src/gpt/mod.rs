//! The partition table, as a value: read from a disk, changed in memory by the gpt crate, and
//! written as backup, flush, primary, flush, so that one good copy exists at every instant
//! (UEFI 2.10, 5.3). What the crate would trip over is sorted out before it sees a byte.

mod window;

use std::collections::BTreeMap;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};
use repave_protocol::Guid;
use thiserror::Error;
use uuid::Uuid;

use crate::edges::{DeviceError, Disk};
use window::Window;

/// One used entry of a partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
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
    /// The primary header and its array agree with their checksums.
    pub primary: bool,
    /// So does the backup, and it lies on the disk's last block.
    pub backup: bool,
}

/// A disk without a partition table that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GptError {
    /// Could not be read.
    #[error("partition table could not be read")]
    Device(#[from] DeviceError),
    /// Neither copy is there, or neither is whole.
    #[error("{disk}: no partition table: neither GPT header is valid")]
    None {
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
    backup_offset_bytes: u64,
    backup: Vec<u8>,
    primary: Vec<u8>,
}

impl Rewrite {
    /// Writes backup, then primary, each on stable storage before the next begins.
    pub fn write(&self, disk: &mut dyn Disk) -> Result<(), DeviceError> {
        disk.write(self.backup_offset_bytes, &self.backup)?;
        disk.flush()?;
        disk.write(0, &self.primary)?;
        disk.flush()?;
        disk.reread_partitions()
    }
}

impl Table {
    /// Reads both copies and takes the primary if it is whole, else the backup.
    pub fn read(disk: &mut dyn Disk) -> Result<Self, GptError> {
        let mut window = Window::read(disk)?;
        let health = window.blank_what_is_not_whole();
        let facts = disk.facts();
        let (name, block_bytes) = (facts.name.clone(), u64::from(facts.logical_block_bytes));
        if !health.primary && !health.backup {
            return Err(GptError::None { disk: name });
        }
        let found = config(block_bytes)
            .open_from_device(window.clone())
            .map_err(|error| unusable(&name, error))?;
        let entries = found.partitions().values().map(Entry::from_crate).collect();
        let table = Self {
            disk: name,
            disk_guid: Guid::from_disk_bytes(found.guid().to_bytes_le()),
            entries,
            health,
            block_bytes,
            blocks: facts.size_bytes / block_bytes,
            window,
        };
        table.check_entries(&table.entries)?;
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
            health: Health {
                primary: false,
                backup: false,
            },
            block_bytes,
            blocks: facts.size_bytes / block_bytes,
            window,
        })
    }

    /// The entry of partition `guid`.
    pub fn find(&self, guid: Guid) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.guid == guid)
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
    /// places. The first `kept` entries must come out bit for bit as they are on the disk.
    pub fn rewrite(
        &self,
        disk_guid: Guid,
        entries: &[Entry],
        kept: usize,
    ) -> Result<Rewrite, GptError> {
        self.check_entries(entries)?;
        let mut window = self.window.clone();
        window.ensure_protective_mbr();
        let fail = |error| unusable(&self.disk, error);
        let opened = if self.health.primary || self.health.backup {
            config(self.block_bytes).open_from_device(window)
        } else {
            config(self.block_bytes).create_from_device(window, None)
        };
        let mut made = opened.map_err(fail)?;
        let numbered = (1..)
            .zip(entries.iter().map(Entry::to_crate))
            .collect::<BTreeMap<_, _>>();
        made.update_guid(Some(Uuid::from_bytes_le(*disk_guid.as_disk_bytes())));
        made.update_partitions(numbered).map_err(fail)?;
        let window = made.write().map_err(fail)?;
        if !self.window.same_entries(&window, kept) {
            let reason = format!("the first {kept} entries would not stay as they are");
            return Err(GptError::Unusable {
                disk: self.disk.clone(),
                reason,
            });
        }
        let (backup_offset_bytes, backup, primary) = window.into_copies();
        Ok(Rewrite {
            backup_offset_bytes,
            backup,
            primary,
        })
    }

    /// Refuses entries that overlap, run backwards or lie outside the disk.
    fn check_entries(&self, entries: &[Entry]) -> Result<(), GptError> {
        let bad = |reason| {
            Err(GptError::Unusable {
                disk: self.disk.clone(),
                reason,
            })
        };
        let mut spans: Vec<&Entry> = entries.iter().collect();
        spans.sort_by_key(|entry| entry.first_lba);
        let mut free_lba = self.first_usable_lba();
        for entry in spans {
            if entry.first_lba < free_lba || entry.last_lba < entry.first_lba {
                return bad(format!(
                    "partition {:?} at blocks {}-{} overlaps what lies before block {free_lba}",
                    entry.name, entry.first_lba, entry.last_lba
                ));
            }
            if entry.last_lba >= self.blocks {
                return bad(format!(
                    "partition {:?} ends at block {}, the disk has {}",
                    entry.name, entry.last_lba, self.blocks
                ));
            }
            free_lba = entry.last_lba + 1;
        }
        Ok(())
    }
}

impl Entry {
    /// Size in blocks.
    pub fn blocks(&self) -> u64 {
        self.last_lba - self.first_lba + 1
    }

    fn from_crate(partition: &Partition) -> Self {
        Self {
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
            part_type_guid: Type {
                guid: type_guid,
                os: OperatingSystem::None,
            },
            part_guid: Uuid::from_bytes_le(*self.guid.as_disk_bytes()),
            first_lba: self.first_lba,
            last_lba: self.last_lba,
            flags: self.attributes,
            name: self.name.clone(),
        }
    }
}

fn config(block_bytes: u64) -> GptConfig {
    let block = if block_bytes == 4096 {
        LogicalBlockSize::Lb4096
    } else {
        LogicalBlockSize::Lb512
    };
    GptConfig::new()
        .writable(true)
        .logical_block_size(block)
        .change_partition_count(true)
}

fn unusable(disk: &str, error: gpt::GptError) -> GptError {
    GptError::Unusable {
        disk: disk.into(),
        reason: error.to_string(),
    }
}
