//! Unsealing: from here on no target can be booted. BootNext is forgotten, the journal says so,
//! the heads of the old target, wherever it was, and of the new one are zeroed and flushed, and only
//! then the partition table changes.

use repave_protocol::Stage;

use super::Traveller;
use crate::boot::forget_target;
use crate::durable;
use crate::edges::{DeviceError, Disk};
use crate::failure::Failure;
use crate::journal::Purposing;
use crate::plan::{Head, Plan};

/// Bytes zeroed at the head of a partition: boot sectors, FAT's backup boot sector, and the first
/// superblock of every file system that a target may have (Btrfs has its at 64 KiB).
const HEAD_BYTES: usize = 128 * 1024;

/// A target that nothing can boot. It may be written.
#[derive(Debug)]
pub struct Unsealed {
    plan: Plan,
    resume: bool,
}

impl Unsealed {
    /// The plan being carried out.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether an earlier, interrupted run wrote the same image.
    pub(super) const fn resume(&self) -> bool {
        self.resume
    }

    pub(super) fn into_plan(self) -> Plan {
        self.plan
    }
}

/// Takes the seal off the target.
pub(super) fn unseal(plan: Plan, on: &mut Traveller<'_, '_>) -> Result<Unsealed, Failure> {
    forget_target(on.edges.firmware)?;
    let under_way =
        Purposing { generation: plan.generation, manifest: plan.image.reference().manifest };
    // The same image at the same place: what is there may be right, and is compared. A changed
    // layout has nothing to compare with.
    let before = on.journal.record().purposing.as_ref().map(|purposing| purposing.manifest);
    let resume = before == Some(under_way.manifest) && plan.rewrite.is_none();
    on.journal.update(on.edges.disks[on.journal_disk].as_mut(), |record| {
        record.seal = None;
        record.unsealed = plan.unsealed.clone();
        record.staying = None;
        record.purposing = Some(under_way);
    })?;
    let new_heads = plan.extents.iter().map(|extent| Head {
        disk: plan.disk,
        offset_bytes: extent.offset_bytes,
        size_bytes: extent.size_bytes,
    });
    for head in plan.old_heads.iter().copied().chain(new_heads) {
        blank(head, on.edges.disks[head.disk].as_mut())?;
    }
    let disk = on.edges.disks[plan.disk].as_mut();
    if let Some(rewrite) = &plan.rewrite {
        rewrite.write(disk)?;
    }
    // Also when the table stays: the run that changed it may have failed right here.
    disk.reread_partitions()?;
    on.reached(Stage::Unsealed, &plan);
    Ok(Unsealed { plan, resume })
}

/// Zeroes a head, and comes back when it is gone for good.
fn blank(head: Head, disk: &mut dyn Disk) -> Result<(), DeviceError> {
    let block_bytes = disk.facts().logical_block_bytes as usize;
    let zeroes = vec![0; head.size_bytes.min(HEAD_BYTES as u64) as usize];
    // The one block that no disk tears first: a power cut may keep later writes and lose earlier
    // ones, or keep a boot sector and lose what follows it. An ESP that can be mounted would then
    // stand before a target without its root.
    for length in [block_bytes, zeroes.len()] {
        durable::write(disk, head.offset_bytes, &zeroes[..length])?;
    }
    Ok(())
}
