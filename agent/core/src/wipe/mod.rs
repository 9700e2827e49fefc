//! What a wipe covers, decided before a byte changes: on the default side's disk everything behind
//! the default and the state partition, on other disks everything. Carrying it out is in `run`;
//! what a disk keeps out of reach (spare and remapped blocks) is in neither (decision 0014).

mod run;
mod sweep;

use std::collections::BTreeSet;

use repave_protocol::{Directive, Disk as Facts, Generation, Guid, Verified, Wipe};
use thiserror::Error;

use crate::default_side::DefaultSide;
use crate::edges::{DeviceError, Disk};
use crate::gpt::{GptError, Rewrite};
use crate::journal::{BootPlace, Record};
use crate::plan::{Head, PlanError, Tables, elsewhere, here, select};

/// Why a wipe did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WipeError {
    /// The disk that the order names is not the one here.
    #[error("disk to wipe not found")]
    Disk(#[from] PlanError),
    /// A partition table could not be used or changed.
    #[error("partition table failed")]
    Gpt(#[from] GptError),
    /// The device did not take zeroes, or did not give them back.
    #[error("{disk}: {pieces} pieces of {piece_bytes} bytes could not be wiped; destroy the disk")]
    Device {
        /// Which disk.
        disk: String,
        /// How many, until it was given up.
        pieces: u32,
        /// How large.
        piece_bytes: u32,
        /// What the first of them met.
        source: DeviceError,
    },
    /// It took zeroes, flushed, and read otherwise.
    #[error(
        "{disk}: {length_bytes} bytes at byte {offset_bytes} were wiped and do not read as zero"
    )]
    NotZero {
        /// Which disk.
        disk: String,
        /// Where.
        offset_bytes: u64,
        /// How many.
        length_bytes: u32,
    },
}

/// One range of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Area {
    disk: usize,
    offset_bytes: u64,
    length_bytes: u64,
    /// The disk's GUID, where it has a table; the table stays, without the target's entries.
    guid: Option<Guid>,
    rewrite: Option<Rewrite>,
}

/// A wipe, decided. Only [`Erasure::make`] makes one, and it needs the proof that the order was
/// verified.
#[derive(Clone, Debug)]
pub struct Erasure {
    generation: Generation,
    areas: Vec<Area>,
    /// What could boot, on whichever disk, blanked before anything else.
    heads: Vec<Head>,
    /// Boot partitions that stay, since their disk is away.
    away: Vec<BootPlace>,
    /// Disks that held a target and are not covered.
    missing: Vec<Guid>,
}

impl Erasure {
    /// Decides what is wiped.
    pub fn make(
        directive: &Verified<Directive>,
        wipe: &Wipe,
        default: &DefaultSide,
        record: &Record,
        disks: &mut [Box<dyn Disk + '_>],
    ) -> Result<Self, WipeError> {
        let places = record.boot_places();
        let known = record.target_disks();
        let tables = Tables::read(disks);
        let mut numbers = BTreeSet::new();
        match &wipe.disk {
            Some(selector) => _ = numbers.insert(select(selector, disks)?),
            None => {
                numbers.insert(default.disk);
                for guid in &known {
                    // Of two disks, one is a copy, and nobody here can tell which.
                    if let [(only, _)] = tables.with_guid(*guid)?.as_slice() {
                        numbers.insert(*only);
                    }
                }
            }
        }
        // No disk has this number: heads on every disk are wanted, the default's included.
        let (mut heads, away) = elsewhere(&places, usize::MAX, default, &tables)?;
        let mut areas = Vec::new();
        for number in numbers {
            let (area, here) = Area::of(number, default, &tables, disks[number].facts())?;
            heads.extend(here);
            areas.push(area);
        }
        let covered: Vec<Guid> = areas.iter().filter_map(|area| area.guid).collect();
        let missing = known.into_iter().filter(|guid| !covered.contains(guid)).collect();
        Ok(Self { generation: directive.message().generation, areas, heads, away, missing })
    }

    fn total_bytes(&self) -> u64 {
        self.areas.iter().map(|area| area.length_bytes).sum()
    }
}

impl Area {
    /// All of a disk that is not the default side's, and the heads of the partitions in it.
    fn of(
        number: usize,
        default: &DefaultSide,
        tables: &Tables,
        facts: &Facts,
    ) -> Result<(Self, Vec<Head>), WipeError> {
        let on_default = number == default.disk;
        let kept = if on_default { 2 } else { 0 };
        let table = match tables.of(number) {
            Ok(table) => table,
            // Nothing on it is anybody's that has to stay.
            Err(GptError::None { .. } | GptError::Foreign { .. } | GptError::TooSmall { .. })
                if !on_default =>
            {
                let block_bytes = u64::from(facts.logical_block_bytes);
                let length_bytes = facts.size_bytes / block_bytes * block_bytes;
                let area =
                    Self { disk: number, offset_bytes: 0, length_bytes, guid: None, rewrite: None };
                return Ok((area, Vec::new()));
            }
            Err(error) => return Err(error.into()),
        };
        let entries = table.entries.get(..kept).unwrap_or_default();
        let behind = entries.iter().map(|entry| entry.last_lba + 1).max().unwrap_or(0);
        let first_lba = behind.max(table.first_usable_lba());
        let end_lba = (table.last_usable_lba() + 1).max(first_lba);
        let range = first_lba * table.block_bytes..end_lba * table.block_bytes;
        let changed = table.entries != entries || !table.health.primary || !table.health.backup;
        let rewrite = changed.then(|| table.rewrite(table.disk_guid, entries, kept)).transpose()?;
        // An entry that points elsewhere goes with the table; what it points to is not ours.
        let heads = here(table, kept, number).into_iter().filter(|head| {
            let end = head.offset_bytes.checked_add(head.size_bytes);
            range.contains(&head.offset_bytes) && end.is_some_and(|end| end <= range.end)
        });
        let area = Self {
            disk: number,
            offset_bytes: range.start,
            length_bytes: range.end - range.start,
            guid: Some(table.disk_guid),
            rewrite,
        };
        Ok((area, heads.collect()))
    }
}
