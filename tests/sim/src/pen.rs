//! Who sees the events at the core's edges, and writes them into the world's log. What happens after
//! power is gone, nobody sees.

use std::rc::Rc;

use repave_core::event::Event;
use repave_core::witness::Witness;

use crate::machine::Shared;

/// The pen of a machine.
#[derive(Debug)]
pub(crate) struct Pen(Shared);

impl Pen {
    /// Of this machine.
    pub(crate) fn new(machine: &Shared) -> Self {
        Self(Rc::clone(machine))
    }
}

impl Witness for Pen {
    fn saw(&self, event: Event) {
        let events = &mut self.0.borrow_mut().events;
        if !events.is_cut() {
            events.event(event);
        }
    }
}
