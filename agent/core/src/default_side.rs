//! Finding the default side, and giving a burned clone its own identity. Found by the GUID that
//! the boot loader says it was read from; only after a network boot by its name. Never guessed:
//! two matches refuse.

use repave_image::{DEFAULT_PARTITION, STATE_PARTITION};
use repave_protocol::Guid;
use thiserror::Error;

use crate::edges::{Disk, Host};
use crate::event::Event;
use crate::gpt::{Entry, GptError, Table};
use crate::journal::Place;

/// The default side of this server.
#[derive(Clone, Debug)]
pub struct DefaultSide {
    /// Number of its disk.
    pub disk: usize,
    /// That disk's partition table.
    pub table: Table,
    /// The default partition.
    pub default: Entry,
    /// The state partition.
    pub state: Entry,
}

/// No default side, or more than one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoDefaultSide {
    /// Nothing matches.
    #[error(
        "no disk holds the default side: {sought} is on none of [{searched}]; is its disk attached, and its partition table whole?"
    )]
    Missing {
        /// What was looked for.
        sought: String,
        /// The disks looked at, and why one could not be looked into.
        searched: String,
    },
    /// More than one match.
    #[error("{sought} is on both {first} and {second}; detach one, or burn it anew")]
    Ambiguous {
        /// What was looked for.
        sought: String,
        /// One disk.
        first: String,
        /// Another.
        second: String,
    },
    /// Something else claims blocks of it.
    #[error("{disk}: {partition} overlaps {other}")]
    Overlap {
        /// The disk.
        disk: String,
        /// The default or the state partition.
        partition: String,
        /// What it overlaps.
        other: String,
    },
    /// The default partition is alone.
    #[error("{disk}: default partition {default} is not followed by one named {STATE_PARTITION}")]
    NoState {
        /// The disk.
        disk: String,
        /// The default partition.
        default: Guid,
    },
}

impl DefaultSide {
    /// Finds it among `disks`.
    pub fn find(
        disks: &mut [Box<dyn Disk + '_>],
        loader: Option<Guid>,
        host: &mut dyn Host,
    ) -> Result<Self, NoDefaultSide> {
        let sought = match loader {
            Some(guid) => format!("partition {guid}, which this boot was read from,"),
            None => format!("a partition named {DEFAULT_PARTITION}"),
        };
        let mut found: Option<(usize, Table, usize)> = None;
        let mut searched = Vec::new();
        for (number, disk) in disks.iter_mut().enumerate() {
            // Other disks are none of our business, but a table that was destroyed may be ours.
            let table = match Table::read(disk.as_mut()) {
                Ok(table) => table,
                Err(error) => {
                    // A device that failed is named by the cause.
                    searched.push(match error {
                        GptError::Device(error) => error.to_string(),
                        error => error.to_string(),
                    });
                    continue;
                }
            };
            host.saw(Event::Table(number, table.disk_guid, table.health));
            for entry in &table.entries {
                host.saw(Event::Entry(number, entry.clone()));
            }
            let is_it = |entry: &Entry| match loader {
                Some(guid) => entry.guid == guid,
                None => entry.name == DEFAULT_PARTITION,
            };
            let Some(at) = table.entries.iter().position(is_it) else {
                searched.push(disk.facts().name.clone());
                continue;
            };
            if let Some((first, ..)) = found {
                let second = disk.facts().name.clone();
                let first = disks[first].facts().name.clone();
                return Err(NoDefaultSide::Ambiguous { sought, first, second });
            }
            found = Some((number, table, at));
        }
        let Some((disk, table, at)) = found else {
            let searched =
                if searched.is_empty() { "no disks at all".into() } else { searched.join("; ") };
            return Err(NoDefaultSide::Missing { sought, searched });
        };
        let default = table.entries[at].clone();
        match table.entries.get(at + 1) {
            Some(state) if at == 0 && state.name == STATE_PARTITION => {
                let state = state.clone();
                let name = &disks[disk].facts().name;
                check_apart(&table, [&default, &state], name)?;
                Ok(Self { disk, default, state, table })
            }
            _ => Err(NoDefaultSide::NoState {
                disk: disks[disk].facts().name.clone(),
                default: default.guid,
            }),
        }
    }

    /// Where the journal lies.
    pub fn journal(&self) -> Place {
        Place { disk: self.disk, offset_bytes: self.state.first_lba * self.table.block_bytes }
    }

    /// The GUIDs of disk, default partition and state partition.
    pub fn identity(&self) -> [Guid; 3] {
        [self.table.disk_guid, self.default.guid, self.state.guid]
    }

    /// Makes the disk carry `identity`, and both copies of its table lie where they belong. Does
    /// nothing if they do. Safe to be cut at any instant and repeated. If the disk fails, this
    /// value says what stands there now, which may be either identity.
    pub fn assume(&mut self, identity: [Guid; 3], disk: &mut dyn Disk) -> Result<bool, GptError> {
        if self.is_whole_as(identity) {
            return Ok(false);
        }
        // The table that was found on entering may be older than a wipe, which takes entries away.
        self.take(Table::read(disk)?);
        if self.is_whole_as(identity) {
            return Ok(false);
        }
        let mut entries = self.table.entries.clone();
        entries[0].guid = identity[1];
        entries[1].guid = identity[2];
        let outcome = self.table.rewrite(identity[0], &entries, 0).and_then(|rewrite| {
            rewrite.write(disk)?;
            Ok(disk.reread_partitions()?)
        });
        let table = match Table::read(disk) {
            Ok(table) => table,
            // It was written and read back; whoever goes by the old GUIDs now finds nothing.
            Err(_) if outcome.is_ok() => self.table.renamed(identity[0], entries),
            Err(error) => return Err(error),
        };
        self.take(table);
        outcome.map(|()| true)
    }

    fn is_whole_as(&self, identity: [Guid; 3]) -> bool {
        self.identity() == identity && self.table.health.primary && self.table.health.backup
    }

    /// From now on this table counts, if it still has the two partitions.
    fn take(&mut self, table: Table) {
        if let [default, state, ..] = table.entries.as_slice() {
            (self.default, self.state) = (default.clone(), state.clone());
            self.table = table;
        }
    }
}

/// Refuses a default side that shares blocks with another partition or with the table. Others may
/// overlap each other; they are replaced together.
fn check_apart(table: &Table, own: [&Entry; 2], disk: &str) -> Result<(), NoDefaultSide> {
    for partition in own {
        let other = if partition.first_lba < table.first_usable_lba() {
            Some("the partition table".into())
        } else {
            let others = table.entries.iter().filter(|e| e.number != partition.number);
            let mut twins = others.filter(|e| e.overlaps(partition));
            twins.next().map(Entry::to_string)
        };
        if let Some(other) = other {
            return Err(NoDefaultSide::Overlap {
                disk: disk.into(),
                partition: partition.to_string(),
                other,
            });
        }
    }
    Ok(())
}
