//! What must hold after every step, one function for each invariant. They look at stable storage,
//! never at what the core believes, and parse it as a stranger would find it. The first violation
//! is kept with the events that led to it.

mod orders;
mod target;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use repave_core::edges::Volume;
use repave_core::journal::{Journal, Place, Record, Seal};
use repave_protocol::{Generation, Guid, Nonce, Sha256, Standing, Status};

use crate::counts::Counts;
use crate::machine::Machine;
use crate::wiped::i3_wiped_is_zero;
use orders::Orders;
pub(crate) use target::is_open;
pub use words::i9_controller_knows;

/// Events told with a violation.
const TAIL: usize = 40;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the architecture.
    pub invariant: &'static str,
    /// What was found.
    pub found: String,
    /// The last events before it.
    pub events: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} violated: {}", self.invariant, self.found)?;
        self.events.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What came out of a world in which everything holds.
///
/// # Panics
/// Something did not hold; the message is the violation.
pub fn sound<T>(outcome: Result<T, Violation>) -> T {
    outcome.unwrap_or_else(|violation| panic!("{violation}"))
}

/// What just happened.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Bytes were written into a disk's cache.
    Wrote {
        /// Number of the disk.
        disk: usize,
        /// Where.
        offset_bytes: u64,
        /// How many.
        length_bytes: u64,
    },
    /// A disk was flushed.
    Flushed {
        /// Number of the disk.
        disk: usize,
    },
    /// A firmware variable was written or removed, or should have been.
    Variable {
        /// Its name.
        name: &'a str,
    },
    /// A kernel was loaded for kexec.
    Loaded,
    /// A status arrived.
    Told {
        /// The status.
        status: &'a Status,
    },
    /// Power was lost.
    Crashed,
    /// The firmware or kexec starts a target.
    Boots {
        /// Its boot partition.
        partition: Guid,
    },
}

/// What the checks remember.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The default partition's bytes on disk 0.
    pub default: Range<u64>,
    /// The state partition's.
    pub state: Range<u64>,
    /// The journal's record as it is on stable storage.
    pub record: Option<Record>,
    /// The settings written last: where, and the bytes of their region.
    pub configured: Option<(Volume, Vec<u8>)>,
    /// What the running target wrote itself since it was sealed: disk, offset, bytes.
    pub own_writes: Vec<(usize, u64, Vec<u8>)>,
    /// Writes to a target by the default side.
    pub target_writes: u64,
    /// How often the default side left for a target.
    pub departures: u64,
    /// What happened.
    pub counts: Counts,
    /// How often each invariant was looked at.
    pub checks: BTreeMap<&'static str, u64>,
    /// Variables of others, which stay as they are.
    pub foreign: BTreeMap<String, Vec<u8>>,
    /// The first violation.
    pub violation: Option<(&'static str, String)>,
    /// The default partition's GUID as burned, which a boot entry may still name.
    pub burned: Option<Guid>,
    orders: Orders,
    /// Whether a disk was away, or copied, so that a known old target may be bootable.
    may_be_left: bool,
    /// Whether BootOrder has begun with default since it was last meddled with.
    is_ordered: bool,
    /// Generations whose seal was told of or booted: no write to the target is theirs any more.
    finished: BTreeSet<Generation>,
    /// Boot and sequence of the last status that left.
    sent: Option<(Nonce, u64)>,
    /// At which change of the state partition the journal was read.
    read_at: Option<u64>,
    /// The image sealed last.
    last_sealed: Option<Sha256>,
    /// And under which generation.
    last_sealed_as: Option<Generation>,
    /// Images of purposings that were given up since the last seal. The latest of them may be whole.
    given_up: BTreeSet<Sha256>,
    /// Whether the default side wrote to the target since then.
    is_dirty: bool,
    /// Whether a ruin that can be mounted is the disk's doing, and not read back yet.
    is_excused: bool,
}

impl Watch {
    /// Over a disk with these two partitions and a firmware with these foreign variables.
    pub fn new(default: Range<u64>, state: Range<u64>, foreign: BTreeMap<String, Vec<u8>>) -> Self {
        Self { default, state, foreign, ..Self::default() }
    }

    /// Keeps the first violation.
    pub fn violated(&mut self, invariant: &'static str, found: &str) {
        self.violation.get_or_insert_with(|| (invariant, found.into()));
    }

    /// Somebody else changed BootOrder; the next default boot may put it right.
    pub const fn forget_order(&mut self) {
        self.is_ordered = false;
    }

    /// A disk is away or was copied: what was on it is known, and bootable.
    pub const fn leave_old_targets(&mut self) {
        self.may_be_left = true;
    }

    /// An agent's life begins.
    pub const fn begin_life(&mut self) {
        self.orders.begin_life();
    }

    /// The agent asks for an order.
    pub fn ask(&mut self, uptime_ms: u64) {
        self.orders.ask(uptime_ms);
    }

    /// A chunk went astray while nothing could be booted: that is for the read-back to find, which
    /// for a head comes after its first block.
    pub const fn excuse(&mut self) {
        self.is_excused = true;
    }

    fn seal(&self) -> Option<&Seal> {
        self.record.as_ref()?.seal.as_ref()
    }

    /// The image of the purposing that is under way.
    fn purposing(&self) -> Option<Sha256> {
        Some(self.record.as_ref()?.purposing.as_ref()?.manifest)
    }
}

/// The violation that a machine's watch holds, with its events.
pub fn violation(machine: &Machine) -> Option<Violation> {
    let (invariant, found) = machine.watch.violation.clone()?;
    let lines = machine.events.lines();
    let events = lines[lines.len().saturating_sub(TAIL)..].to_vec();
    Some(Violation { invariant, found, events })
}

/// Runs every check that the step could have broken.
pub fn after(machine: &mut Machine, step: &Step<'_>) {
    let verdicts = match *step {
        Step::Wrote { disk, offset_bytes, length_bytes } => {
            let range = offset_bytes..offset_bytes + length_bytes;
            vec![
                ("I1", i1_default_unchanged(machine, disk, &range)),
                ("I2", target::i2_ordered_before_written(machine, disk, &range)),
                ("I7", target::i7_finished_is_not_written(machine, disk, &range)),
            ]
        }
        Step::Flushed { disk: 0 } | Step::Crashed => {
            let sealed = refresh(machine);
            let mut verdicts = vec![
                ("I4", target::i4_no_mountable_ruin(machine)),
                ("I3", i3_wiped_is_zero(machine)),
                ("I6", words::i6_accepted_is_genuine(machine)),
                ("I10", words::i10_journal_is_bounded(machine)),
            ];
            if let Some(seal) = sealed {
                verdicts.push(("I3", target::i3_sealed_is_whole(machine, &seal)));
            }
            verdicts
        }
        Step::Flushed { .. } => vec![("I4", target::i4_no_mountable_ruin(machine))],
        Step::Variable { name } => {
            let next = machine.nvram.next_partition();
            vec![
                ("I4", target::i4_armed_is_sealed(machine, next)),
                ("I5", words::i5_order_and_others(machine, name)),
            ]
        }
        Step::Loaded => {
            let partition = machine.loaded.as_ref().map(|image| image.volume.guid);
            vec![("I4", target::i4_armed_is_sealed(machine, partition))]
        }
        Step::Told { status } => {
            let mut verdicts = vec![
                ("I1", words::i1_default_was_told(status)),
                ("I9", words::i9_failure_has_its_log(status)),
                ("I11", words::i11_stage_was_reached(machine, status)),
            ];
            if matches!(status.standing, Standing::Leaving { .. }) {
                verdicts.push(("I8", orders::i8_alone_in_time(machine)));
            }
            verdicts
        }
        Step::Boots { partition } => vec![("I8", target::i8_boots_whole(machine, partition))],
    };
    for (invariant, verdict) in verdicts {
        *machine.watch.checks.entry(invariant).or_default() += 1;
        if let Err(found) = verdict {
            machine.events.note(&format!("{invariant} violated here"));
            machine.watch.violated(invariant, &found);
        }
    }
}

/// Reads the journal from stable storage, if it can be another one; returns a seal that was not
/// there before.
fn refresh(machine: &mut Machine) -> Option<Seal> {
    let watch = &mut machine.watch;
    let change = Some(machine.media[0].watched_changes());
    if std::mem::replace(&mut watch.read_at, change) == change {
        return None;
    }
    let place = Place { disk: 0, offset_bytes: watch.state.start };
    let before = watch.seal().map(|seal| seal.generation);
    let under_way = watch.purposing();
    let wiped_before = watch.record.as_ref().and_then(|r| Some(r.wiped.as_ref()?.generation));
    let journal = Journal::open(place, &mut machine.media[0].durable()).ok().flatten();
    watch.record = journal.map(|journal| journal.record().clone());
    follow_orders(machine);
    let watch = &mut machine.watch;
    if under_way.is_some() && under_way != watch.purposing() {
        watch.given_up.extend(under_way);
    }
    let wiped = watch.record.as_ref().and_then(|record| record.wiped.as_ref());
    let wiped = wiped.map(|coverage| coverage.generation);
    if wiped.is_some() && wiped != wiped_before {
        watch.counts.add("wipes", 1);
    }
    let seal = watch.seal().filter(|seal| before != Some(seal.generation)).cloned()?;
    // One that was there before an unsealing which failed, and which wrote nothing, is back.
    let is_back = !watch.is_dirty && watch.last_sealed_as == Some(seal.generation);
    watch.last_sealed_as = Some(seal.generation);
    if is_back {
        return None;
    }
    watch.counts.add("seals", 1);
    watch.given_up.clear();
    watch.last_sealed = Some(seal.manifest);
    watch.is_dirty = false;
    watch.own_writes.clear();
    Some(seal)
}

fn follow_orders(machine: &mut Machine) {
    let watch = &mut machine.watch;
    if let Some(record) = &watch.record {
        let accepted = record.accepted.map(|accepted| accepted.digest);
        let order = accepted.and_then(|digest| machine.controller.genuine.get(&digest));
        watch.orders.follow(record, order);
    }
}

/// I1: nothing ever writes to the default partition.
fn i1_default_unchanged(machine: &Machine, disk: usize, range: &Range<u64>) -> Result<(), String> {
    let default = &machine.watch.default;
    if disk == 0 && range.start < default.end && range.end > default.start {
        return Err(format!("bytes {range:?} of the default disk were written"));
    }
    Ok(())
}
