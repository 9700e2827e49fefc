//! What must hold after every step, one function for each invariant. They look at stable storage,
//! never at what the core believes, and parse it as a stranger would find it. The first violation
//! is kept with the events that led to it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use repave_core::edges::Volume;
use repave_core::efi::numbers_from_bytes;
use repave_core::journal::{Journal, Place, Record, Seal};
use repave_protocol::{BootMethod, Guid, Sha256, Side, Stage, Standing, Status};

use crate::disk::Medium;
use crate::machine::Machine;
use crate::stable::{Extent, equals_image, mountable};
use crate::wiped::{i3_wiped_is_zero, i11_wipe_is_where_it_says, is_ordered_wipe};

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
    /// Variables of others, which stay as they are.
    pub foreign: BTreeMap<String, Vec<u8>>,
    /// The first violation.
    pub violation: Option<(&'static str, String)>,
    /// The number at the head of BootOrder since default was put there.
    first_entry: Option<u16>,
    /// The image sealed last.
    last_sealed: Option<Sha256>,
    /// The image of a purposing that was cut and gave way to the present one.
    given_up: Option<Sha256>,
    /// Whether the default side wrote to the target since then.
    is_dirty: bool,
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

    /// The target changed BootOrder; the next default boot may put it right.
    pub const fn forget_order(&mut self) {
        self.first_entry = None;
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
                ("I2", i2_ordered_before_written(machine, disk, &range)),
            ]
        }
        Step::Flushed { disk: 0 } | Step::Crashed => {
            let sealed = refresh(machine);
            let mut verdicts = vec![("I4", i4_no_mountable_ruin(machine))];
            verdicts.push(("I3", i3_wiped_is_zero(machine)));
            if let Some(seal) = sealed {
                verdicts.push(("I3", i3_sealed_is_whole(machine, &seal)));
            }
            verdicts
        }
        Step::Flushed { .. } => vec![("I4", i4_no_mountable_ruin(machine))],
        Step::Variable { name } => vec![
            ("I4", i4_armed_is_sealed(machine, machine.nvram.next_partition())),
            ("I5", i5_order_and_others(machine, name)),
        ],
        Step::Loaded => {
            let partition = machine.loaded.as_ref().map(|image| image.volume.guid);
            vec![("I4", i4_armed_is_sealed(machine, partition))]
        }
        Step::Told { status } => vec![("I11", i11_stage_was_reached(machine, status))],
        Step::Boots { partition } => vec![("I8", i8_boots_whole(machine, partition))],
    };
    for (invariant, verdict) in verdicts {
        if let Err(found) = verdict {
            machine.watch.violated(invariant, &found);
        }
    }
}

/// Reads the journal from stable storage; returns a seal that was not there before.
fn refresh(machine: &mut Machine) -> Option<Seal> {
    let watch = &mut machine.watch;
    let place = Place { disk: 0, offset_bytes: watch.state.start };
    let before = watch.seal().map(|seal| seal.generation);
    let under_way = watch.purposing();
    let journal = Journal::open(place, &mut machine.media[0].durable()).ok().flatten();
    watch.record = journal.map(|journal| journal.record().clone());
    if under_way.is_some() && watch.purposing().is_some() && under_way != watch.purposing() {
        watch.given_up = under_way;
    }
    let seal = watch.seal().filter(|seal| before != Some(seal.generation)).cloned()?;
    watch.last_sealed = Some(seal.manifest);
    watch.is_dirty = false;
    watch.own_writes.clear();
    Some(seal)
}

/// I1: nothing ever writes to the default partition.
fn i1_default_unchanged(machine: &Machine, disk: usize, range: &Range<u64>) -> Result<(), String> {
    let default = &machine.watch.default;
    if disk == 0 && range.start < default.end && range.end > default.start {
        return Err(format!("bytes {range:?} of the default disk were written"));
    }
    Ok(())
}

/// Whether bytes belong to the target: neither default side nor the default disk's table.
fn is_target(machine: &Machine, disk: usize, range: &Range<u64>) -> bool {
    let facts = machine.media[disk].facts();
    let table_bytes = 64 * 1024;
    let start = if disk == 0 { machine.watch.state.end } else { 0 };
    range.end > start && range.start < facts.size_bytes - table_bytes
}

/// I2, and I4 and I7 with it: default writes to the target only while the journal says, on stable
/// storage, that the target is unsealed for the purpose that was truly ordered last.
fn i2_ordered_before_written(
    machine: &mut Machine,
    disk: usize,
    range: &Range<u64>,
) -> Result<(), String> {
    if machine.side == Side::Target || !is_target(machine, disk, range) {
        return Ok(());
    }
    machine.watch.target_writes += 1;
    machine.watch.is_dirty = true;
    let Some(record) = &machine.watch.record else {
        return Err("the target is written without a journal".into());
    };
    if is_ordered_wipe(machine, record) {
        return Ok(());
    }
    let generation = record.purposing.as_ref().map(|purposing| purposing.generation);
    let accepted = record.accepted.map(|accepted| accepted.generation);
    let is_issued = generation.is_some_and(|g| machine.controller.issued.contains_key(&g));
    if !is_issued || accepted != generation || record.seal.is_some() {
        return Err(format!(
            "the target is written for {generation:?}, accepted is {accepted:?}, sealed is {:?}",
            record.seal.as_ref().map(|seal| seal.generation)
        ));
    }
    match machine.nvram.next_partition() {
        Some(next) if is_target_partition(machine, next) => {
            Err("the target is written while BootNext leads into it".into())
        }
        _ => Ok(()),
    }
}

fn is_target_partition(machine: &Machine, guid: Guid) -> bool {
    let mut partitions = machine.controller.images.values().flat_map(|i| &i.manifest.partitions);
    partitions.any(|partition| partition.guid == guid)
}

/// I3: what is sealed equals its image and its settings, on stable storage.
fn i3_sealed_is_whole(machine: &Machine, seal: &Seal) -> Result<(), String> {
    equals_image(machine, seal.manifest, Extent::All)
}

/// I4: BootNext and kexec lead only into what is sealed.
fn i4_armed_is_sealed(machine: &Machine, partition: Option<Guid>) -> Result<(), String> {
    let Some(partition) = partition.filter(|&guid| is_target_partition(machine, guid)) else {
        return Ok(());
    };
    match machine.watch.seal() {
        Some(seal) if seal.boot.partition == partition => Ok(()),
        seal => Err(format!("{partition} is armed, sealed is {:?}", seal.map(|s| &s.image))),
    }
}

/// I4: an ESP that the firmware could mount is sealed, or belongs to a target that is whole: the
/// old one before the first write, or a new one between its last head and its seal, which another
/// order may keep from coming.
fn i4_no_mountable_ruin(machine: &Machine) -> Result<(), String> {
    let watch = &machine.watch;
    if let Some(seal) = watch.seal() {
        return i4_only_what_is_sealed(machine, seal.boot.partition);
    }
    if !watch.is_dirty {
        return Ok(());
    }
    for image in mountable(machine) {
        let new = watch.purposing().map(|manifest| (manifest, Extent::All));
        let given_up = watch.given_up.map(|manifest| (manifest, Extent::All));
        let old = watch.last_sealed.map(|manifest| (manifest, Extent::AllAndItsOwn));
        let mut verdicts = [new, given_up, old]
            .into_iter()
            .flatten()
            .map(|(manifest, extent)| equals_image(machine, manifest, extent));
        if !verdicts.any(|verdict| verdict.is_ok()) {
            return Err(format!(
                "the ESP of {} can be mounted, its target is a ruin",
                image.reference.name
            ));
        }
    }
    Ok(())
}

/// I4: no other ESP can be mounted than the sealed one. One whose disk was away is a known evil.
fn i4_only_what_is_sealed(machine: &Machine, sealed: Guid) -> Result<(), String> {
    let known = machine.watch.record.as_ref().map_or(&[][..], |record| &record.unsealed);
    let partitions = mountable(machine).map(|image| image.manifest.partitions[0].guid);
    let is_left = |guid: &Guid| *guid != sealed && !known.iter().any(|p| p.partition == *guid);
    match { partitions }.find(is_left) {
        Some(guid) => Err(format!("the ESP {guid} can be mounted, sealed is {sealed}")),
        None => Ok(()),
    }
}

/// I5: default stays first once it was, and nothing of others changes.
fn i5_order_and_others(machine: &mut Machine, name: &str) -> Result<(), String> {
    let watch = &mut machine.watch;
    let variables = &machine.nvram.variables;
    for (other, value) in &watch.foreign {
        if variables.get(other) != Some(value) {
            return Err(format!("{other} is not as it was, after {name}"));
        }
    }
    let order = variables.get("BootOrder").map(|value| numbers_from_bytes(value));
    let first = order.and_then(|order| order.first().copied());
    if name == "BootOrder" && watch.first_entry.is_none() {
        watch.first_entry = first;
    }
    match watch.first_entry {
        Some(entry) if first != Some(entry) => {
            Err(format!("BootOrder begins with {first:?} instead of {entry}"))
        }
        _ => Ok(()),
    }
}

/// I8: what is started is sealed and was not written to since.
fn i8_boots_whole(machine: &mut Machine, partition: Guid) -> Result<(), String> {
    machine.watch.departures += 1;
    i4_armed_is_sealed(machine, Some(partition))?;
    if machine.watch.is_dirty {
        return Err(format!("{partition} is started after the default side wrote to it"));
    }
    Ok(())
}

/// I11: a stage that is claimed was reached, by the evidence of stable storage.
fn i11_stage_was_reached(machine: &Machine, status: &Status) -> Result<(), String> {
    let stage = match &status.standing {
        Standing::Purposing { stage, .. } => *stage,
        Standing::Leaving { method } => return armed_by(machine, *method),
        Standing::Wiping { pass, .. } => return i11_wipe_is_where_it_says(machine, status, *pass),
        _ => return Ok(()),
    };
    let record = machine.watch.record.as_ref().ok_or("a stage without a journal")?;
    let accepted = record.accepted.map(|accepted| accepted.generation);
    if accepted.is_none() || status.generation != accepted {
        return Err(format!("{stage:?} claimed, accepted is {accepted:?}"));
    }
    match stage {
        Stage::Accepted | Stage::Planned => Ok(()),
        Stage::Unsealed | Stage::Written | Stage::Audited | Stage::Configured => {
            let under_way = record.purposing.as_ref().filter(|_| record.seal.is_none());
            let under_way = under_way.ok_or("the journal knows of no purposing")?;
            let extent = match stage {
                Stage::Unsealed => {
                    return match mountable(machine).next() {
                        Some(image) => Err(format!("{} can be booted", image.reference.name)),
                        None => Ok(()),
                    };
                }
                // Nobody has read it back yet, so a disk that lies makes no liar of the agent.
                Stage::Written if machine.media.iter().any(Medium::has_lied) => return Ok(()),
                Stage::Written => Extent::Bodies,
                Stage::Audited => Extent::AllButBootHead,
                _ => Extent::Configured,
            };
            equals_image(machine, under_way.manifest, extent)
                .map_err(|found| format!("{stage:?} claimed: {found}"))
        }
        Stage::Sealed => record.seal.as_ref().map(|_| ()).ok_or("nothing is sealed".into()),
        Stage::Armed if machine.loaded.is_some() => Ok(()),
        Stage::Armed => armed_by(machine, BootMethod::Firmware),
    }
}

fn armed_by(machine: &Machine, method: BootMethod) -> Result<(), String> {
    let is_armed = match method {
        BootMethod::Kexec => machine.loaded.is_some(),
        _ => machine.nvram.next_partition().is_some_and(|guid| is_target_partition(machine, guid)),
    };
    if is_armed { Ok(()) } else { Err(format!("leaving by {method:?}, which is not armed")) }
}

/// I9: every order that was accepted ended, and the controller knows how: the target is up, or a
/// failure was told, or the server stays as it was told to.
pub fn i9_controller_knows(machine: &Machine) -> Result<(), String> {
    let accepted = machine.watch.record.as_ref().and_then(|record| record.accepted);
    let accepted = accepted.map(|accepted| accepted.generation);
    let mut told = machine.controller.statuses.iter().rev();
    let ended = told.any(|status| {
        let is_end = match &status.standing {
            Standing::Up { .. } | Standing::Failed { .. } | Standing::Staying => true,
            Standing::Leaving { .. } => status.seal.is_some(),
            _ => false,
        };
        is_end && status.generation == accepted
    });
    if ended { Ok(()) } else { Err(format!("nobody was told how {accepted:?} ended")) }
}
