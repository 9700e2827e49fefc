//! What the agent does without a controller: it waits for the stated patience, and then boots the
//! last good target by itself, so that a dead controller does not keep a rack dark (decision 0015).
//! Never one that was withdrawn, nor one that did not come up.

use super::{Agent, Round};
use crate::edges::Edges;
use crate::event::Event;
use crate::failure::Failure;
use crate::journal::Record;

impl Agent {
    /// No answer came that could be believed: that, unless patience is at its end.
    pub(super) fn unanswered(
        &mut self,
        failure: Failure,
        came_up: bool,
        edges: &mut Edges<'_>,
    ) -> Result<Round, Failure> {
        let now_ms = edges.host.uptime_ms();
        let alone_ms = now_ms.saturating_sub(*self.heard_ms.get_or_insert(now_ms));
        let patience_ms = self.character.patience_ms;
        let is_over = patience_ms > 0 && alone_ms >= patience_ms;
        if !is_over || !is_last_good(self.home.journal.record(), came_up) {
            return Err(failure);
        }
        edges.host.saw(Event::Alone);
        log::warn!(
            "no controller for {} s ({}): booting the last good target",
            alone_ms / 1000,
            failure.chain()
        );
        self.depart(came_up, true, edges).inspect_err(|failure| {
            // Told once the controller is back.
            self.fault = Some(failure.fault(None));
        })
    }
}

/// Whether the sealed target may be booted without an order: it came up before, and no order since
/// has taken it away.
fn is_last_good(record: &Record, came_up: bool) -> bool {
    let is_free = !record.withdrawn && record.staying.is_none() && record.wiping.is_none();
    // Of an image that reports nothing, having left for it is all that is ever known.
    let is_good = |seal: &crate::journal::Seal| {
        came_up || seal.came_up || !seal.reports && seal.departures > 0
    };
    is_free && record.seal.as_ref().is_some_and(is_good)
}
