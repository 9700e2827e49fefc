//! The field log: what the core asked of its edges, as the simulator reads it back
//! (docs/simulator.md). It goes where all that the agent says goes, line by line, if `agent.json`
//! wants it: on a serial console at 115,200 baud a line takes milliseconds, and a chunk has three.
//! What is in a line is the core's; nothing here adds to it.

use std::cell::RefCell;

use repave_core::event::Event;
use repave_core::witness::Witness;

/// What the console calls these lines, in place of a level.
pub(crate) const TARGET: &str = "EVENT";
/// Most events that wait until the configuration was read: disks, their tables, and no end of
/// reads that fail.
const WAITING: usize = 1024;

/// The field log of one life.
pub(crate) struct FieldLog(RefCell<State>);

enum State {
    /// Nobody has read yet whether it is wanted.
    Undecided(Vec<Event>),
    Wanted,
    Unwanted,
}

impl FieldLog {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(State::Undecided(Vec::new())))
    }

    /// Says whether it is wanted; what was seen before is told, or forgotten.
    pub(crate) fn decide(&self, is_wanted: bool) {
        let decided = if is_wanted { State::Wanted } else { State::Unwanted };
        if let (State::Undecided(waiting), true) = (self.0.replace(decided), is_wanted) {
            waiting.iter().for_each(tell);
        }
    }
}

impl Witness for FieldLog {
    fn saw(&self, event: Event) {
        match &mut *self.0.borrow_mut() {
            State::Undecided(waiting) if waiting.len() < WAITING => waiting.push(event),
            State::Wanted => tell(&event),
            State::Undecided(_) | State::Unwanted => {}
        }
    }
}

fn tell(event: &Event) {
    log::info!(target: TARGET, "{event}");
}
