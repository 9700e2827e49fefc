//! Sealing: the head of the boot partition, read back, and then the journal's word that this
//! target is whole. After it the target's contents belong to the target.

use repave_protocol::Stage;

use super::audit::{heads, held_back};
use super::{Compared, Configured, Traveller};
use crate::durable;
use crate::edges::Workers;
use crate::failure::Failure;
use crate::journal::{Journal, Seal};
use crate::plan::Plan;

/// A target that the journal says is whole. There is no other evidence of it.
#[derive(Debug)]
pub struct Sealed {
    seal: Seal,
}

impl Sealed {
    /// The seal that the journal holds, if it holds one.
    pub fn of(journal: &Journal) -> Option<Self> {
        journal.record().seal.clone().map(|seal| Self { seal })
    }

    /// What was sealed.
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }
}

/// Puts the last head in place and records the seal. If that fails, the head is taken away again,
/// so that no firmware finds a target that is not sealed; the first error is the one returned.
pub(super) fn seal(configured: Configured, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
    let (plan, mut workers) = configured.into_parts();
    let placed = place_head(&plan, workers.as_mut(), on);
    drop(workers);
    if placed.is_err() {
        take_head_away(&plan, on);
        return placed;
    }
    if let Err(failure) = record(&plan, on) {
        // The seal may be on the disk although writing it failed. The target stays as it is, which
        // is whole, unless the journal can be made to say again that it is not sealed.
        let disk = on.edges.disks[on.journal_disk].as_mut();
        match on.journal.update(disk, |_| {}) {
            Ok(()) => take_head_away(&plan, on),
            Err(error) => log::error!("the seal is in doubt: {}", Failure::from(error).chain()),
        }
        return Err(failure);
    }
    on.reached(Stage::Sealed, &plan);
    Ok(())
}

/// Records the seal over a target that was found to be its image already. The disk is told to keep
/// what it has: an earlier life of this boot may have written it and not lived to say so.
pub(super) fn seal_as_it_is(compared: Compared, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
    let plan = compared.plan();
    on.edges.disks[plan.disk].flush()?;
    on.edges.disks[plan.disk].reread_partitions()?;
    record(plan, on)?;
    on.reached(Stage::Sealed, plan);
    Ok(())
}

fn place_head(
    plan: &Plan,
    workers: &mut dyn Workers,
    on: &mut Traveller<'_, '_>,
) -> Result<(), Failure> {
    if !held_back(plan, plan.boot_partition) {
        return Ok(());
    }
    let boot = vec![plan.boot_partition];
    heads(boot, plan, workers, on, Stage::Configured)
}

fn record(plan: &Plan, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
    let reference = plan.image.reference();
    let seal = Seal {
        generation: plan.generation,
        server_type: plan.server_type.clone(),
        image: reference.name.clone(),
        version: reference.version,
        manifest: reference.manifest,
        boot: plan.boot.clone(),
        reports: plan.reports,
        watchdog_s: plan.watchdog_s,
        departures: 0,
        attempts: 0,
        came_up: false,
        alone: false,
    };
    on.journal.update(on.edges.disks[on.journal_disk].as_mut(), |record| {
        record.purposing = None;
        record.unsealed = plan.away.clone();
        record.failure = None;
        record.withdrawn = false;
        record.seal = Some(seal);
    })?;
    Ok(())
}

/// Blanks the block without which no firmware mounts the partition. Best effort; the next
/// unsealing blanks the rest.
fn take_head_away(plan: &Plan, on: &mut Traveller<'_, '_>) {
    if !held_back(plan, plan.boot_partition) {
        return;
    }
    let Some(extent) = plan.extents.get(plan.boot_partition) else {
        return;
    };
    let disk = on.edges.disks[plan.disk].as_mut();
    let zeroes = vec![0; disk.facts().logical_block_bytes as usize];
    if let Err(error) = durable::write(disk, extent.offset_bytes, &zeroes) {
        log::error!("the head of an unsealed target stays: {error}");
    }
}
