//! Sealing: the head of the boot partition, read back, and then the journal's word that this
//! target is whole. After it the target's contents belong to the target.

use repave_protocol::Stage;

use super::audit::{heads, held_back};
use super::{Configured, Traveller};
use crate::failure::Failure;
use crate::journal::{Journal, Seal};

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

/// Puts the last head in place and records the seal.
pub(super) fn seal(configured: Configured, on: &mut Traveller<'_, '_>) -> Result<(), Failure> {
    let (plan, mut workers) = configured.into_parts();
    if held_back(&plan, plan.boot_partition) {
        let boot = vec![plan.boot_partition];
        heads(boot, &plan, workers.as_mut(), on, Stage::Configured)?;
    }
    drop(workers);
    let reference = plan.image.reference();
    let seal = Seal {
        generation: plan.generation,
        server_type: plan.server_type.clone(),
        image: reference.name.clone(),
        version: reference.version,
        manifest: reference.manifest,
        boot: plan.boot.clone(),
        reports: plan.reports,
        departures: 0,
        attempts: 0,
    };
    on.journal
        .update(on.edges.disks[on.journal_disk].as_mut(), |record| {
            record.purposing = None;
            record.failure = None;
            record.seal = Some(seal);
        })?;
    on.reached(Stage::Sealed, &plan);
    Ok(())
}
