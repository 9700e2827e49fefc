//! Time that moves only by sleeping and by effects, chance from the seed, and an inventory.

use repave_core::edges::Host;
use repave_protocol::{Inventory, Sha256};

use crate::faults::Fault;
use crate::machine::Shared;

/// Longest jump of the clock: ten days.
const JUMP_MS: u64 = 864_000_000;

/// The core's way to time and chance.
#[derive(Debug)]
pub struct Clock(pub Shared);

impl Host for Clock {
    fn uptime_ms(&self) -> u64 {
        self.0.borrow().events.uptime_ms()
    }

    fn sleep(&mut self, duration_ms: u64) {
        let machine = &mut *self.0.borrow_mut();
        if machine.dice.strikes(Fault::ClockJumps) {
            let jump_ms = machine.dice.shape().below(JUMP_MS);
            machine.events.note(&format!("the clock jumps by {jump_ms} ms"));
            machine.events.sleep(jump_ms);
        }
        machine.events.sleep(duration_ms);
    }

    fn entropy(&mut self) -> [u8; 32] {
        self.0.borrow_mut().chance.bytes()
    }

    fn inventory(&mut self) -> Inventory {
        let machine = self.0.borrow();
        Inventory {
            architecture: "amd64".into(),
            cpus: 1,
            disks: machine.media.iter().map(|medium| medium.facts().clone()).collect(),
            ..Inventory::default()
        }
    }

    fn has_other_disks(&mut self) -> bool {
        // Every round is given the disks that there are.
        false
    }

    fn default_partition(&mut self) -> Option<Sha256> {
        None
    }
}
