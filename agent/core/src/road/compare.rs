//! Comparing: what of the image the target holds already is found by reading it past the cache,
//! before anything changes. Only what differs is fetched and written afterwards. A target that
//! shares nothing with the image, by some samples, is not read through.

use repave_image::ESP_TYPE;
use repave_protocol::Stage;

use super::Traveller;
use crate::edges::Workers;
use crate::failure::Failure;
use crate::plan::{Head, Plan};
use crate::transfer::{Held, Pass, Sampling, Scope};

/// A plan, and what the target holds of it already. Nothing was changed.
pub struct Compared {
    plan: Plan,
    workers: Box<dyn Workers>,
    held: Held,
    /// Whether all of the target was read.
    is_complete: bool,
}

/// Reads the target, if it shares anything with the image.
pub(super) fn compare(plan: Plan, on: &mut Traveller<'_, '_>) -> Result<Compared, Failure> {
    let chunk_bytes = plan.image.manifest().manifest().chunk_bytes;
    let mut workers = on.edges.crew.start(plan.disk, chunk_bytes)?;
    // A run that was interrupted has left right chunks, but maybe too few for samples to find.
    let before = on.journal.record().purposing.as_ref().map(|purposing| purposing.manifest);
    let mut scan = before == Some(plan.image.reference().manifest);
    let mut held = Held::default();
    if !scan {
        let samples = on.samples(Sampling::Shared, &plan)?;
        let are_none = samples.is_empty();
        let pass = (Scope::Some(samples), Pass::Compare, held);
        (held, _) = on.transfer(&plan, Stage::Planned, workers.as_mut(), pass)?;
        scan = are_none || held.count() > 0;
    }
    let mut is_complete = false;
    if scan {
        let pass = (Scope::All, Pass::Compare, held);
        (held, is_complete) = on.transfer(&plan, Stage::Planned, workers.as_mut(), pass)?;
    }
    let chunks = plan.image.manifest().manifest().index.chunks;
    log::info!("target compared: it holds {} of {chunks} chunks", held.count());
    Ok(Compared { plan, workers, held, is_complete })
}

impl Compared {
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the target is the image already, to the last byte, with nothing to configure and
    /// nothing of earlier targets left to blank.
    pub(super) fn differs_in_nothing(&self) -> bool {
        let plan = &self.plan;
        let takes_files = plan.settings.as_ref().is_some_and(|(_, files)| !files.is_empty());
        let mut old = plan.old_heads.iter();
        self.held.count() == plan.image.manifest().manifest().index.chunks
            && plan.rewrite.is_none()
            && !takes_files
            && old.all(|head| (0..plan.extents.len()).any(|part| plan.head_of(part) == Some(*head)))
    }

    /// Whether a partition's head may stay through the unsealing: all of the partition is held, and
    /// no firmware could start from it.
    pub(super) fn stays(&self, partition: usize) -> bool {
        let manifest = self.plan.image.manifest();
        let is_esp = manifest.manifest().partitions.get(partition).map(|part| part.type_guid);
        let mut chunks = manifest.chunks_of(partition).unwrap_or_default();
        partition != self.plan.boot_partition
            && is_esp != Some(ESP_TYPE)
            && self.plan.rewrite.is_none()
            && chunks.all(|chunk| self.held.contains(chunk))
    }

    /// Takes note that these heads are blank now. Returns what is still held, and whether the rest
    /// is known not to be.
    pub(super) fn blanked(mut self, heads: &[Head]) -> (Plan, Box<dyn Workers>, Held, bool) {
        for head in heads {
            for chunk in self.plan.chunks_under(head) {
                self.held.remove(chunk);
            }
        }
        (self.plan, self.workers, self.held, self.is_complete)
    }
}
