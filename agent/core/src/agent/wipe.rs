//! The order to wipe, as the agent takes it. What is wiped, and how, is in [`crate::wipe`].

use repave_protocol::{Directive, Verified, Wipe};

use super::{Agent, Round, STAY_MS};
use crate::boot;
use crate::edges::Edges;
use crate::failure::Failure;
use crate::road::Traveller;
use crate::wipe::Erasure;

impl Agent {
    /// Wipes, and stays in default afterwards. The same order again finds that it was carried out.
    pub(super) fn wipe(
        &mut self,
        directive: &Verified<Directive>,
        wipe: &Wipe,
        edges: &mut Edges<'_>,
    ) -> Result<Round, Failure> {
        let wiped = self.home.journal.record().wiped.as_ref();
        if wiped.map(|wiped| wiped.generation) == Some(directive.message().generation) {
            self.fault = None;
            return Ok(Round::Again(STAY_MS));
        }
        boot::forget_target(edges.firmware)?;
        let journal_disk = self.home.default.disk;
        // Withdrawn first: what comes of the wipe, the target is not booted again.
        self.home.journal.update(edges.disks[journal_disk].as_mut(), |record| {
            record.staying = Some(wipe.reason.clone());
        })?;
        let (default, record) = (&self.home.default, self.home.journal.record());
        let erasure = Erasure::make(directive, wipe, default, record, &mut edges.disks)?;
        erasure.carry_out(&mut Traveller {
            edges,
            journal: &mut self.home.journal,
            journal_disk,
            voice: &mut self.voice,
            reached: &mut self.reached,
        })?;
        self.fault = None;
        // Told at once.
        Ok(Round::Again(0))
    }
}
