//! The audit: what was written is read back past the cache and compared. What was compared before the
//! writing, by its digest and past the cache too, counts as read, and so does what was read back behind the
//! writing; of that, some is read once more. Then the heads that were held back are written and read back
//! too, all but the boot partition's, which would make the target bootable before its settings are in place.

use repave_protocol::Stage;

use super::{Traveller, Written};
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::transfer::{Held, Pass, Sampling, Scope, reads_behind};

/// A target that equals its image, but for the head of the boot partition.
pub struct Audited {
    plan: Plan,
    workers: Box<dyn Workers>,
}

impl Audited {
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn into_parts(self) -> (Plan, Box<dyn Workers>) {
        (self.plan, self.workers)
    }
}

/// Reads the target back.
pub(super) fn audit(written: Written, on: &mut Traveller<'_, '_>) -> Result<Audited, Failure> {
    let Written { plan, mut workers, held, stayed } = written;
    let bodies = (Scope::Bodies, Pass::Audit, held);
    on.transfer(&plan, Stage::Written, workers.as_mut(), bodies)?;
    if reads_behind(on.edges.disks[plan.disk].facts()) {
        let samples = on.samples(Sampling::Again(&plan.extents), &plan)?;
        let samples = (Scope::Some(samples), Pass::Audit, Held::default());
        on.transfer(&plan, Stage::Written, workers.as_mut(), samples)?;
    }
    let is_early = |part: &usize| !held_back(&plan, *part) && !stayed.contains(part);
    let early = (0..plan.extents.len()).filter(is_early).collect();
    heads(early, &plan, workers.as_mut(), on, Stage::Written)?;
    on.reached(Stage::Audited, &plan);
    Ok(Audited { plan, workers })
}

/// Whether a partition's head waits for the seal: the boot partition's does, unless the settings
/// go into that very partition. Then no firmware can boot it (an ESP takes no settings), and a
/// kexec happens only with a seal.
pub(super) fn held_back(plan: &Plan, partition: usize) -> bool {
    let settings_here = plan.settings.as_ref().is_some_and(|(volume, _)| {
        plan.extents.get(partition).map(|extent| extent.offset_bytes) == Some(volume.offset_bytes)
    });
    partition == plan.boot_partition && !settings_here
}

/// Writes the heads of some partitions, flushes, and reads them back.
pub(super) fn heads(
    partitions: Vec<usize>,
    plan: &Plan,
    workers: &mut dyn Workers,
    on: &mut Traveller<'_, '_>,
    stage: Stage,
) -> Result<(), Failure> {
    let pass = Pass::Fill { look_first: false, read_behind: false };
    let fill = (Scope::Heads(partitions.clone()), pass, Held::default());
    on.transfer(plan, stage, workers, fill)?;
    on.edges.disks[plan.disk].flush()?;
    let audit = (Scope::Heads(partitions), Pass::Audit, Held::default());
    on.transfer(plan, stage, workers, audit)?;
    Ok(())
}
