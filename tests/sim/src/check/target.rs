//! What a target is: I2, I3, I4, I7, I8.

use std::ops::Range;

use repave_core::journal::Seal;
use repave_protocol::{Guid, Side};

use super::orders::i8_is_not_withdrawn;
use crate::machine::Machine;
use crate::stable::{Extent, equals_image, mountable};
use crate::wiped::is_ordered_wipe;

/// Whether bytes belong to the target: neither default side nor the default disk's table.
fn is_target(machine: &Machine, disk: usize, range: &Range<u64>) -> bool {
    let facts = machine.media[disk].facts();
    let table_bytes = 64 * 1024;
    let start = if disk == 0 { machine.watch.state.end } else { 0 };
    range.end > start && range.start < facts.size_bytes - table_bytes
}

/// I2, and I4 and I7 with it: default writes to the target only while the journal says, on stable
/// storage, that the target is unsealed for the purpose that was truly ordered last.
pub(super) fn i2_ordered_before_written(
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

pub(super) fn is_target_partition(machine: &Machine, guid: Guid) -> bool {
    let mut partitions = machine.controller.images.values().flat_map(|i| &i.manifest.partitions);
    partitions.any(|partition| partition.guid == guid)
}

/// I3: what is sealed equals its image and its settings, on stable storage.
pub(super) fn i3_sealed_is_whole(machine: &Machine, seal: &Seal) -> Result<(), String> {
    equals_image(machine, seal.manifest, Extent::All)
}

/// I4: BootNext and kexec lead only into what is sealed.
pub(super) fn i4_armed_is_sealed(machine: &Machine, partition: Option<Guid>) -> Result<(), String> {
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
pub(super) fn i4_no_mountable_ruin(machine: &mut Machine) -> Result<(), String> {
    let verdict = i4_judge(machine);
    // While nothing can be mounted the chunk that went astray is still to be found.
    if verdict.is_ok() && !is_open(machine) {
        machine.watch.is_excused = false;
    }
    if machine.watch.is_excused { Ok(()) } else { verdict }
}

fn i4_judge(machine: &Machine) -> Result<(), String> {
    let watch = &machine.watch;
    if let Some(seal) = watch.seal() {
        return i4_only_what_is_sealed(machine, seal.boot.partition);
    }
    if !watch.is_dirty {
        return Ok(());
    }
    for image in mountable(machine) {
        let new = watch.purposing().map(|manifest| (manifest, Extent::All));
        let given_up = watch.given_up.iter().map(|manifest| (*manifest, Extent::All));
        let old = watch.last_sealed.map(|manifest| (manifest, Extent::AllAndItsOwn));
        let mut verdicts = new
            .into_iter()
            .chain(given_up)
            .chain(old)
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
    let record = machine.watch.record.as_ref().filter(|_| machine.watch.may_be_left);
    let known = record.map_or(&[][..], |record| &record.unsealed);
    let partitions = mountable(machine).map(|image| image.manifest.partitions[0].guid);
    let is_left = |guid: &Guid| *guid != sealed && !known.iter().any(|p| p.partition == *guid);
    match { partitions }.find(is_left) {
        Some(guid) => Err(format!("the ESP {guid} can be mounted, sealed is {sealed}")),
        None => Ok(()),
    }
}

/// I7: once a target was told of as sealed, or was started, its order is carried out: it is not
/// written again under the same generation.
pub(super) fn i7_finished_is_not_written(
    machine: &Machine,
    disk: usize,
    range: &Range<u64>,
) -> Result<(), String> {
    if machine.side == Side::Target || !is_target(machine, disk, range) {
        return Ok(());
    }
    let record = machine.watch.record.as_ref();
    let under_way = record.and_then(|r| r.purposing.as_ref()).map(|p| p.generation);
    match under_way.filter(|generation| machine.watch.finished.contains(generation)) {
        Some(generation) => Err(format!("generation {generation} is written a second time")),
        None => Ok(()),
    }
}

/// Whether the target is being written, and nothing of it can be booted.
pub(crate) fn is_open(machine: &Machine) -> bool {
    let record = machine.watch.record.as_ref();
    let is_unsealed = record.is_some_and(|r| r.purposing.is_some() && r.seal.is_none());
    is_unsealed && mountable(machine).next().is_none()
}

/// I8: what is started is sealed and was not written to since.
pub(super) fn i8_boots_whole(machine: &mut Machine, partition: Guid) -> Result<(), String> {
    machine.watch.departures += 1;
    i4_armed_is_sealed(machine, Some(partition))?;
    let record = machine.watch.record.as_ref();
    let finished = record.and_then(|r| r.seal.as_ref()).map(|seal| seal.generation);
    machine.watch.finished.extend(finished);
    i8_is_not_withdrawn(machine)?;
    if machine.watch.is_dirty {
        return Err(format!("{partition} is started after the default side wrote to it"));
    }
    Ok(())
}
