//! The heads that unsealing blanks before those of the new target: what could still make an old
//! one boot. On the target's own disk that is every partition that goes; on any other disk it is
//! the boot partition that the journal says this server once wrote, and nothing else there.

use repave_image::{ESP_TYPE, ValidManifest};

use crate::default_side::DefaultSide;
use crate::gpt::{Entry, GptError, Table};
use crate::journal::BootPlace;
use crate::plan::{Extent, Tables};

/// Bytes zeroed at the head of a partition: boot sectors, FAT's backup boot sector, and the first
/// superblock of every file system that a target may have (Btrfs has its at 64 KiB).
const HEAD_BYTES: u64 = 128 * 1024;

/// Where a partition begins, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the disk.
    pub(crate) disk: usize,
    /// First byte.
    pub(crate) offset_bytes: u64,
    /// Size of the partition.
    pub(crate) size_bytes: u64,
}

impl Head {
    /// How much of it is blanked.
    pub(crate) fn blanked_bytes(&self) -> u64 {
        self.size_bytes.min(HEAD_BYTES)
    }

    /// The chunks of an image at `extents` of the same disk whose bytes are lost by the blanking.
    pub(crate) fn chunks_under(&self, extents: &[Extent], image: &ValidManifest) -> Vec<u64> {
        let blanked = self.offset_bytes..self.offset_bytes + self.blanked_bytes();
        let under = |(number, extent): (usize, &Extent)| {
            let size_bytes = image.manifest().partitions.get(number)?.size_bytes;
            let start = blanked.start.max(extent.offset_bytes);
            let end = blanked.end.min(extent.offset_bytes + size_bytes);
            if start >= end {
                return None;
            }
            let first = image.chunk_at(number, start - extent.offset_bytes)?;
            Some(first..=image.chunk_at(number, end - 1 - extent.offset_bytes)?)
        };
        extents.iter().enumerate().filter_map(under).flatten().collect()
    }

    fn of(entry: &Entry, table: &Table, disk: usize) -> Self {
        Self {
            disk,
            offset_bytes: entry.first_lba * table.block_bytes,
            size_bytes: entry.blocks() * table.block_bytes,
        }
    }
}

/// The partitions of the target's disk, but for the first `kept`.
pub(crate) fn here(table: &Table, kept: usize, disk: usize) -> Vec<Head> {
    // What the firmware could mount goes first; the sort keeps the order of the others.
    let mut old: Vec<&Entry> = table.entries.iter().skip(kept).collect();
    old.sort_by_key(|entry| entry.type_guid != ESP_TYPE);
    old.into_iter().map(|entry| Head::of(entry, table, disk)).collect()
}

/// Boot partitions of earlier targets on other disks than `target`, and those that were not found
/// because their disk is away. One that may be on a disk whose table cannot be read is neither: the
/// firmware may find that readable again.
pub(crate) fn elsewhere(
    unsealed: &[BootPlace],
    target: usize,
    default: &DefaultSide,
    tables: &Tables,
) -> Result<(Vec<Head>, Vec<BootPlace>), GptError> {
    let (mut heads, mut away) = (Vec::new(), Vec::new());
    for place in unsealed {
        let on = tables.with_guid(place.disk)?;
        match on.as_slice() {
            [] => {
                log::warn!("{place} is away with its disk; its target would still boot");
                away.push(*place);
            }
            // All that is on the target's own disk goes in any case.
            [(number, _)] if *number == target => {}
            [(number, table)] => {
                let found = table.find(place.partition).filter(|entry| !is_own(default, entry));
                heads.extend(found.map(|entry| Head::of(entry, table, *number)));
            }
            // One of them may be somebody's copy, which is not ours to change.
            _ => {
                log::warn!("{place} is not blanked: {} disks have that GUID", on.len());
                away.push(*place);
            }
        }
    }
    Ok((heads, away))
}

/// Whether it is a partition of the default side, whatever a target's root wrote into the journal.
fn is_own(default: &DefaultSide, entry: &Entry) -> bool {
    [default.default.guid, default.state.guid].contains(&entry.guid)
}
