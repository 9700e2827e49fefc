//! What is said and remembered: I1, I5, I6, I9, I10, I11.

use repave_core::efi::numbers_from_bytes;
use repave_protocol::{BootMethod, Stage, Standing, Status};

use super::target::is_target_partition;
use crate::disk::Medium;
use crate::machine::Machine;
use crate::stable::{Extent, equals_image, mountable, starts_at};
use crate::wiped::i11_wipe_is_where_it_says;

/// Most boot partitions that a journal keeps track of, besides the one that is being written.
const BOOT_PLACES: usize = 9;

/// I5: nothing of others changes, and once BootOrder begins with default it goes on to, whatever
/// is written.
pub(super) fn i5_order_and_others(machine: &mut Machine, name: &str) -> Result<(), String> {
    let variables = &machine.nvram.variables;
    for (other, value) in &machine.watch.foreign {
        if variables.get(other) != Some(value) {
            return Err(format!("{other} is not as it was, after {name}"));
        }
    }
    let order = variables.get("BootOrder").map(|value| numbers_from_bytes(value));
    let first = order.and_then(|order| order.first().copied());
    let leads_to = first.and_then(|number| machine.nvram.partition_of(number));
    // The entry may name the GUID that the partition is about to be given, or the one it had: then
    // the firmware finds default without an entry, until it was written again.
    let identity = machine.watch.record.as_ref().map(|record| record.identity[1]);
    let at = starts_at(machine, 0, machine.watch.default.start);
    let names = [identity, at, machine.watch.burned];
    let is_default = leads_to.is_some() && names.contains(&leads_to);
    if name == "BootOrder" && is_default {
        machine.watch.is_ordered = true;
    }
    if machine.watch.is_ordered && !is_default {
        return Err(format!("BootOrder begins with {first:?}, which is not default, after {name}"));
    }
    Ok(())
}

/// I6: what the journal says was accepted is an order that the controller gave for this server.
pub(super) fn i6_accepted_is_genuine(machine: &Machine) -> Result<(), String> {
    let accepted = machine.watch.record.as_ref().and_then(|record| record.accepted);
    match accepted.filter(|accepted| !machine.controller.genuine.contains_key(&accepted.digest)) {
        Some(accepted) => Err(format!("{accepted:?} was accepted, and nobody ordered it")),
        None => Ok(()),
    }
}

/// I10: what is remembered does not grow without end.
pub(super) fn i10_journal_is_bounded(machine: &Machine) -> Result<(), String> {
    let places = machine.watch.record.as_ref().map_or(0, |record| record.unsealed.len());
    if places > BOOT_PLACES {
        return Err(format!("the journal keeps track of {places} boot partitions"));
    }
    Ok(())
}

/// I1: who leaves for a target has said what the default partition is, however soon that was: a
/// target's root may have changed it.
pub(super) fn i1_default_was_told(status: &Status) -> Result<(), String> {
    let leaves = matches!(status.standing, Standing::Leaving { .. });
    if leaves && status.default_partition.is_none() {
        return Err("left without a word on the default partition".into());
    }
    Ok(())
}

/// I9: a failure is told with the last lines of the agent's log and of the kernel's. That they are
/// within the limits is for [`repave_protocol::verify`] to say.
pub(super) fn i9_failure_has_its_log(status: &Status) -> Result<(), String> {
    let is_failed = matches!(status.standing, Standing::Failed { .. });
    let has_lines = status.log.as_ref().map(|log| !log.agent.is_empty() && !log.kernel.is_empty());
    if has_lines == is_failed.then_some(true) {
        return Ok(());
    }
    Err(format!("{:?} was told with the log {:?}", status.standing, status.log))
}

/// I11: a stage that is claimed was reached, by the evidence of stable storage.
pub(super) fn i11_stage_was_reached(machine: &mut Machine, status: &Status) -> Result<(), String> {
    let sent = (status.boot, status.sequence);
    match machine.watch.sent.replace(sent) {
        Some((boot, sequence)) if boot == status.boot && sequence >= status.sequence => {
            return Err(format!("sequence {} after {sequence} of one boot", status.sequence));
        }
        _ => {}
    }
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
        Stage::Sealed => {
            let seal = record.seal.as_ref().ok_or("nothing is sealed")?;
            machine.watch.finished.insert(seal.generation);
            Ok(())
        }
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
            // A target may have heard of another order since.
            Standing::Up { .. } => {
                let sealed = status.seal.as_ref().map(|seal| seal.generation);
                return [status.generation, sealed].contains(&accepted);
            }
            Standing::Failed { .. } | Standing::Staying => true,
            Standing::Leaving { .. } => status.seal.is_some(),
            _ => false,
        };
        is_end && status.generation == accepted
    });
    if ended { Ok(()) } else { Err(format!("nobody was told how {accepted:?} ended")) }
}
