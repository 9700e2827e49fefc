//! What must hold of wipes: nothing is wiped that was not ordered, nothing is called wiped that is not
//! zero on stable storage. The target's area is worked out here from the table alone, not asked of the
//! core.

use std::ops::Range;

use repave_core::journal::Record;
use repave_protocol::{Coverage, Status, WipePass};

use crate::machine::Machine;
use crate::stable::mountable;

/// Bytes of a table's array of entries.
const ARRAY_BYTES: u64 = 128 * 128;

/// Whether the journal is in a wipe that was truly ordered last, and knows of no target.
pub(crate) fn is_ordered_wipe(machine: &Machine, record: &Record) -> bool {
    let accepted = record.accepted.map(|accepted| accepted.generation);
    let is_issued =
        accepted.is_some_and(|accepted| machine.controller.wipes.contains_key(&accepted));
    is_issued
        && record.wiping == accepted
        && record.seal.is_none()
        && record.purposing.is_none()
        && record.staying.is_some()
}

/// Where a target may be on a disk.
pub(crate) fn target_area(machine: &Machine, disk: usize) -> Range<u64> {
    let medium = &machine.media[disk];
    let size_bytes = medium.facts().size_bytes;
    if disk != 0 && medium.durable_table().is_none() {
        return 0..size_bytes;
    }
    // At the head the protective MBR, the header and the array; at the tail array and header.
    let block_bytes = u64::from(medium.facts().logical_block_bytes);
    let array_bytes = ARRAY_BYTES.next_multiple_of(block_bytes);
    let head_bytes = 2 * block_bytes + array_bytes;
    let start = if disk == 0 { machine.watch.state.end } else { head_bytes };
    start..size_bytes - array_bytes - block_bytes
}

/// I3: what the journal calls wiped is the whole area of each disk that it names, and is zero.
pub(crate) fn i3_wiped_is_zero(machine: &Machine) -> Result<(), String> {
    let record = machine.watch.record.as_ref();
    match record.and_then(|record| record.wiped.as_ref()) {
        Some(coverage) => covers(machine, coverage),
        None => Ok(()),
    }
}

fn covers(machine: &Machine, coverage: &Coverage) -> Result<(), String> {
    for range in &coverage.ranges {
        let named = |disk: &usize| machine.media[*disk].facts().name == range.disk;
        let Some(disk) = (0..machine.media.len()).find(named) else { continue };
        let area = target_area(machine, disk);
        let found = range.offset_bytes..range.offset_bytes + range.length_bytes;
        if found != area || range.read_back_bytes != range.length_bytes {
            return Err(format!("{}: {found:?} is called wiped, its area is {area:?}", range.disk));
        }
        is_zero(machine, disk)?;
    }
    Ok(())
}

/// Whether all of a disk's area is zero on stable storage, and its table holds no target.
pub fn is_zero(machine: &Machine, disk: usize) -> Result<(), String> {
    let medium = &machine.media[disk];
    if let Some(at) = medium.durably_not_zero(target_area(machine, disk)) {
        return Err(format!("sim{disk}: byte {at} is not zero"));
    }
    let kept = if disk == 0 { 2 } else { 0 };
    match medium.durable_table() {
        Some(table) if table.entries.len() > kept => Err(format!("sim{disk}: entries are left")),
        _ => Ok(()),
    }
}

/// I11: a wipe that is told of is under way; what is being read back was made zero.
pub(crate) fn i11_wipe_is_where_it_says(
    machine: &Machine,
    status: &Status,
    pass: WipePass,
) -> Result<(), String> {
    let record = machine.watch.record.as_ref().ok_or("a wipe without a journal")?;
    if !is_ordered_wipe(machine, record) || status.generation != record.wiping {
        return Err(format!("{pass:?} claimed, under way is {:?}", record.wiping));
    }
    if let Some(image) = mountable(machine).next() {
        return Err(format!("{pass:?} claimed, {} can be booted", image.reference.name));
    }
    match pass {
        WipePass::Zeroing => Ok(()),
        WipePass::ReadingBack if machine.media.iter().any(|medium| medium.has_lied()) => Ok(()),
        WipePass::ReadingBack => {
            let wipe = record.wiping.and_then(|wiping| machine.controller.wipes.get(&wiping));
            let serial = wipe.and_then(|wipe| wipe.disk.as_ref()).and_then(|d| d.serial.as_ref());
            let named = |disk: &usize| machine.media[*disk].facts().serial.as_ref() == serial;
            is_zero(machine, (0..machine.media.len()).find(named).unwrap_or(0))
        }
    }
}
