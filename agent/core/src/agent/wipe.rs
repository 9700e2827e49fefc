//! The order to wipe, as the agent takes it. What is wiped, and how, is in [`crate::wipe`].

use repave_protocol::{Directive, Verified, Wipe};

use super::{Agent, Round, STAY_MS};
use crate::boot;
use crate::edges::Edges;
use crate::failure::Failure;
use crate::mirrors::Mirrors;
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
        let (journal, voice) = (&mut self.home.journal, &mut self.voice);
        let (reached, none) = (&mut self.reached, Mirrors::default());
        let mut on = Traveller::new(edges, journal, journal_disk, voice, reached, none);
        erasure.carry_out(&mut on)?;
        self.fault = None;
        // Told at once.
        Ok(Round::Again(0))
    }
}
