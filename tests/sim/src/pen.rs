//! Who sees the events at the core's edges, and writes them into the world's log. What happens after
//! power is gone, nobody sees; in a replay, each must be the next one of the field log.

use std::rc::Rc;

use repave_core::event::Event;
use repave_core::witness::Witness;

use crate::machine::Shared;
use crate::replay::Script;

/// The pen of a machine.
#[derive(Debug)]
pub(crate) struct Pen {
    machine: Shared,
    script: Option<Rc<Script>>,
}

impl Pen {
    /// Of this machine, which may follow a field log.
    pub(crate) fn new(machine: &Shared, script: Option<&Rc<Script>>) -> Self {
        Self { machine: Rc::clone(machine), script: script.cloned() }
    }
}

impl Witness for Pen {
    fn saw(&self, event: Event) {
        let machine = &mut *self.machine.borrow_mut();
        let is_seen = match &self.script {
            None => !machine.events.is_cut(),
            Some(script) => script.saw(&event, machine),
        };
        if is_seen {
            machine.events.event(event);
        }
    }
}
