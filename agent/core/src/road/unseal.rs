//! Unsealing: from here on no target can be booted. BootNext is forgotten, the journal says so,
//! the heads of the old target, wherever it was, and of the new one are zeroed and flushed, and only
//! then the partition table changes.

use repave_protocol::Stage;

use super::{Compared, Traveller};
use crate::boot::forget_target;
use crate::durable;
use crate::edges::{DeviceError, Disk, Workers};
use crate::failure::Failure;
use crate::journal::Purposing;
use crate::plan::{Head, Plan};
use crate::transfer::Held;

/// A target that nothing can boot. It may be written.
pub struct Unsealed {
    pub(super) plan: Plan,
    pub(super) workers: Box<dyn Workers>,
    /// What the disk holds right, now that the heads are blank.
    pub(super) held: Held,
    /// Whether all else is known to be wrong.
    pub(super) is_complete: bool,
    /// Partitions whose heads stayed, by their place in the manifest.
    pub(super) stayed: Vec<usize>,
}

/// Takes the seal off the target.
pub(super) fn unseal(compared: Compared, on: &mut Traveller<'_, '_>) -> Result<Unsealed, Failure> {
    forget_target(on.edges.firmware)?;
    let plan = compared.plan();
    let under_way =
        Purposing { generation: plan.generation, manifest: plan.image.reference().manifest };
    on.journal.update(on.edges.disks[on.journal_disk].as_mut(), |record| {
        record.seal = None;
        record.unsealed = plan.unsealed.clone();
        record.staying = None;
        record.wiping = None;
        record.wiped = None;
        record.writes_to(plan.boot.disk);
        record.purposing = Some(under_way);
    })?;
    let partitions = 0..plan.extents.len();
    let stayed: Vec<usize> = partitions.clone().filter(|&part| compared.stays(part)).collect();
    let stay: Vec<Head> = stayed.iter().filter_map(|&part| plan.head_of(part)).collect();
    let new_heads = partitions.filter_map(|partition| plan.head_of(partition));
    let heads = plan.old_heads.iter().copied().chain(new_heads);
    let heads: Vec<Head> = heads.filter(|head| !stay.contains(head)).collect();
    for head in &heads {
        blank(head, on.edges.disks[head.disk].as_mut())?;
    }
    let disk = on.edges.disks[plan.disk].as_mut();
    if let Some(rewrite) = &plan.rewrite {
        rewrite.write(disk)?;
    }
    // Also when the table stays: the run that changed it may have failed right here.
    disk.reread_partitions()?;
    on.reached(Stage::Unsealed, plan);
    let (plan, workers, held, is_complete) = compared.blanked(&heads);
    Ok(Unsealed { plan, workers, held, is_complete, stayed })
}

/// Zeroes a head, and comes back when it is gone for good.
pub(crate) fn blank(head: &Head, disk: &mut dyn Disk) -> Result<(), DeviceError> {
    let block_bytes = disk.facts().logical_block_bytes as usize;
    let zeroes = vec![0; head.blanked_bytes() as usize];
    // The one block that no disk tears first: a power cut may keep later writes and lose earlier
    // ones, or keep a boot sector and lose what follows it. An ESP that can be mounted would then
    // stand before a target without its root.
    for length in [block_bytes, zeroes.len()] {
        durable::write(disk, head.offset_bytes, &zeroes[..length])?;
    }
    Ok(())
}
