//! The instants at which a recorded road can be cut: how much of the disk's log and of the
//! variables' log there was at the same time, and what the server was at. Pure.
//!
//! Two looks at the logs lie a millisecond apart or more. Where only one log grew between them,
//! each of its entries is an instant; where both did, their order is not known, and only the two
//! looks themselves are.

use repave_qemu::write_log::Entry;
use serde::{Deserialize, Serialize};

use super::watch::Sample;

/// What a server is at, by the last thing that its console said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Firmware, and the default side's kernel.
    PowerOn,
    /// Keys, GUIDs and boot entries of a first boot; the network; a status.
    Start,
    /// A directive was accepted; the image's manifest and index are fetched, the plan made.
    Accepted,
    /// Journal, heads of the partitions, partition table.
    Unseal,
    /// Chunks.
    Transfer,
    /// Reading back, and the heads of all partitions but the boot partition.
    ReadBack,
    /// Settings.
    Settings,
    /// The boot partition's head, the seal.
    Seal,
    /// Departure counted, boot entries, BootNext.
    Arm,
    /// Reset, firmware, the target's boot.
    Leave,
    /// The target runs.
    Target,
}

impl Phase {
    /// All of them, in the order of a road.
    pub const ALL: [Self; 11] = [
        Self::PowerOn,
        Self::Start,
        Self::Accepted,
        Self::Unseal,
        Self::Transfer,
        Self::ReadBack,
        Self::Settings,
        Self::Seal,
        Self::Arm,
        Self::Leave,
        Self::Target,
    ];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power on",
            Self::Start => "start, first status",
            Self::Accepted => "directive, plan",
            Self::Unseal => "unseal, partition table",
            Self::Transfer => "transfer",
            Self::ReadBack => "read-back",
            Self::Settings => "settings",
            Self::Seal => "seal",
            Self::Arm => "boot variables",
            Self::Leave => "departure, target's boot",
            Self::Target => "target runs",
        }
    }

    /// What begins with a line of the console.
    fn begun_by(line: &str) -> Option<Self> {
        const LINES: [(&str, Phase); 12] = [
            ("=== power on", Phase::PowerOn),
            ("is PID 1", Phase::Start),
            (": become ", Phase::Accepted),
            ("plan made", Phase::Unseal),
            ("target unsealed", Phase::Transfer),
            ("target written", Phase::ReadBack),
            ("target read back", Phase::Settings),
            ("settings in place", Phase::Seal),
            ("target sealed", Phase::Arm),
            (": boot the target", Phase::Arm),
            ("target armed", Phase::Leave),
            ("resident of server", Phase::Target),
        ];
        LINES.iter().find(|(words, _)| line.contains(words)).map(|(_, phase)| *phase)
    }
}

/// How far the purposing is that is recorded, as far as the disk knows for sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The target may still be the one before.
    #[default]
    Nothing,
    /// The journal says that this image is being written.
    Unsealed,
    /// The journal says that it is whole.
    Sealed,
}

/// One instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// When, since the machine was powered on.
    pub at_ms: u64,
    /// What the server was at.
    pub phase: Phase,
    /// What was certain.
    pub reached: Reached,
    /// How many entries of the disk's log there were.
    pub disk: usize,
    /// How many entries of the variables' log there were.
    pub variables: usize,
}

/// A recorded road, read.
pub struct Road<'a> {
    /// What was reached before the machine was powered on.
    pub before: Reached,
    /// The console's bytes.
    pub console: &'a [u8],
    /// The disk's log.
    pub disk: &'a [Entry],
    /// The variables' log.
    pub variables: &'a [Entry],
    /// The lengths of all three.
    pub samples: &'a [Sample],
}

impl Road<'_> {
    /// Every instant at which the road can be cut.
    pub fn instants(&self) -> Vec<Instant> {
        let marks = self.marks();
        let mut instants = vec![];
        for pair in self.samples.windows(2) {
            let [before, after] = pair else { continue };
            let said = marks.partition_point(|mark| mark.0 <= before.console);
            let (phase, reached) = said
                .checked_sub(1)
                .map_or((Phase::PowerOn, self.before), |at| (marks[at].1, marks[at].2));
            let at_ms = after.at_ms;
            let mut push = |disk, variables| {
                instants.push(Instant { at_ms, phase, reached, disk, variables });
            };
            let disk = [before, after].map(|sample| entries(self.disk, sample.disk));
            let variables = [before, after].map(|sample| entries(self.variables, sample.variables));
            match (disk[0] < disk[1], variables[0] < variables[1]) {
                (true, true) => push(disk[1], variables[1]),
                (true, false) => (disk[0] + 1..=disk[1]).for_each(|disk| push(disk, variables[1])),
                (false, true) => {
                    (variables[0] + 1..=variables[1])
                        .for_each(|variables| push(disk[1], variables));
                }
                (false, false) => {}
            }
        }
        instants
    }

    /// The console's lines that begin something: where they end, and what is then so.
    fn marks(&self) -> Vec<(u64, Phase, Reached)> {
        let (mut end, mut reached) = (0, self.before);
        let mut marks = vec![];
        for line in self.console.split_inclusive(|byte| *byte == b'\n') {
            end += line.len() as u64;
            let Some(phase) = Phase::begun_by(&String::from_utf8_lossy(line)) else { continue };
            reached = match phase {
                Phase::Transfer => reached.max(Reached::Unsealed),
                Phase::Arm => Reached::Sealed,
                _ => reached,
            };
            marks.push((end, phase, reached));
        }
        marks
    }
}

/// How many entries a log of that length holds.
fn entries(log: &[Entry], length_bytes: u64) -> usize {
    log.partition_point(|entry| entry.end_bytes <= length_bytes)
}

#[cfg(test)]
mod tests {
    use repave_qemu::write_log::Action;

    use super::*;

    fn log(entries: u64) -> Vec<Entry> {
        let entry = |number| Entry {
            action: Action::Flush,
            offset_bytes: 0,
            length_bytes: 0,
            end_bytes: (number + 2) * 512,
        };
        (0..entries).map(entry).collect()
    }

    /// Lines of a console, and what the logs held when the console was that long.
    fn check(lines: &[(&str, u64, u64)], expected: &[(Phase, Reached, usize, usize)]) {
        let (disk, variables) = (log(20), log(20));
        let mut console = String::new();
        let mut samples = vec![];
        for (line, disk, variables) in lines {
            console += line;
            samples.push(Sample {
                at_ms: samples.len() as u64,
                console: console.len() as u64,
                // Half an entry more than there are.
                disk: (disk + 1) * 512 + 256,
                variables: (variables + 1) * 512 + 256,
            });
        }
        let road = Road {
            before: Reached::Nothing,
            console: console.as_bytes(),
            disk: &disk,
            variables: &variables,
            samples: &samples,
        };
        let found: Vec<_> = road
            .instants()
            .into_iter()
            .map(|instant| (instant.phase, instant.reached, instant.disk, instant.variables))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_entry_is_an_instant_where_the_order_is_known() {
        let (start, none) = (Phase::Start, Reached::Nothing);
        check(
            &[("repave-agent is PID 1\n", 0, 0), ("", 2, 0), ("", 2, 2), ("", 5, 4), ("", 5, 4)],
            &[
                (start, none, 1, 0),
                (start, none, 2, 0),
                (start, none, 2, 1),
                (start, none, 2, 2),
                (start, none, 5, 4),
            ],
        );
    }

    #[test]
    fn a_phase_begins_with_its_line_and_not_with_half_of_it() {
        check(
            &[("plan made\n", 1, 0), ("target unse", 2, 0), ("aled\n", 3, 0), ("", 4, 0)],
            &[
                (Phase::Unseal, Reached::Nothing, 2, 0),
                (Phase::Unseal, Reached::Nothing, 3, 0),
                (Phase::Transfer, Reached::Unsealed, 4, 0),
            ],
        );
        check(
            &[("target sealed\n", 1, 0), ("=== power on\n", 2, 0), ("", 3, 0)],
            &[(Phase::Arm, Reached::Sealed, 2, 0), (Phase::PowerOn, Reached::Sealed, 3, 0)],
        );
    }
}
