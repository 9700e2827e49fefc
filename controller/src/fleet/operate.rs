//! What the balancer and operators do to a server's record.

use std::collections::BTreeMap;

use super::enrolment::Enrolment;
use super::event::{Event, EventKind};
use super::orders::{Assignment, Wish};
use super::server::Server;
use super::standing::Standing;

impl Server {
    /// Decides what the server is to be. `drain_ms` is how long a running target is left alone.
    pub fn assign(
        &mut self,
        wish: Wish,
        why: &str,
        by: Option<&str>,
        now_ms: u64,
        drain_ms: u64,
    ) -> Event {
        let from = self.server_type().map(Into::into);
        let to = wish.server_type().map(Into::into);
        let image = wish.image().map(|image| format!("{}:{}", image.name, image.version));
        let drains = self.standing == Standing::Up && drain_ms > 0;
        self.assignments += 1;
        self.assignment = Some(Assignment {
            number: self.assignments,
            wish,
            why: why.into(),
            by: by.map(Into::into),
            decided_ms: now_ms,
            drained_ms: if drains { now_ms.saturating_add(drain_ms) } else { 0 },
            overdue: 0,
        });
        if let Some(issued) = &mut self.issued {
            // What was ordered for the assignment before can no longer fail this one.
            issued.is_out = false;
        }
        let event =
            Event::of(self.id, now_ms, EventKind::Decision { from, to, image, why: why.into() });
        match by {
            Some(actor) => event.by(actor),
            None => event,
        }
    }

    /// Lets it in, whatever it was before. What the machine calls itself, and what its default
    /// partition holds, is taken anew from its next status.
    pub fn approve(&mut self, by: &str, now_ms: u64) -> Option<Event> {
        self.enrolment = Enrolment::Approved { by: by.into(), at_ms: now_ms };
        (self.print, self.default_partition) = (None, None);
        match self.standing {
            Standing::Pending | Standing::Suspended { .. } => {
                self.move_to(Standing::Idle, format!("approved by {by}"), now_ms)
            }
            _ => None,
        }
    }

    /// Gives it no more orders: rejected before it was one of ours, revoked after.
    pub fn expel(&mut self, by: &str, now_ms: u64) -> Option<Event> {
        let (enrolment, reason) = match self.enrolment {
            Enrolment::Pending | Enrolment::Rejected { .. } => {
                (Enrolment::Rejected { by: by.into() }, "rejected")
            }
            _ => (Enrolment::Revoked { by: by.into() }, "revoked"),
        };
        self.enrolment = enrolment;
        let standing = Standing::Suspended { reason: reason.into() };
        self.move_to(standing, format!("{reason} by {by}"), now_ms)
    }

    /// Forgets every failure, so that quarantined images are tried again.
    pub fn clear_failures(&mut self) {
        self.failures = BTreeMap::new();
    }

    /// Takes over what was said about `old`, a server whose machine now has another key: name,
    /// labels, pin and cordon. The old key is no longer believed.
    pub fn succeed(&mut self, old: &mut Self, by: &str, now_ms: u64) -> Vec<Event> {
        self.name = old.name.take().or(self.name.take());
        self.labels = std::mem::take(&mut old.labels);
        (self.pinned, self.pin_note) = (old.pinned.take(), old.pin_note.take());
        (self.cordoned, self.cordon_note) = (old.cordoned, old.cordon_note.take());
        old.enrolment = Enrolment::Approved { by: by.into(), at_ms: now_ms };
        let events = [old.expel(by, now_ms), self.approve(by, now_ms)];
        events.into_iter().flatten().collect()
    }
}
