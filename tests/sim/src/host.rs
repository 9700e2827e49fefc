//! Time that moves only by sleeping and by effects, chance from the seed, an inventory, and logs that
//! nobody should print as they are.

use repave_core::edges::{Host, Logs};
use repave_protocol::{Inventory, Sha256, Side};

use crate::faults::Fault;
use crate::machine::Shared;

/// Longest jump of the clock: ten days.
const JUMP_MS: u64 = 864_000_000;

/// How long the system has run when somebody has read all of the default partition.
const DIGESTED_MS: u64 = 3_000;
/// Where in the default partition the block is that stands for all of it.
pub const SAMPLE_BYTES: u64 = 256 * 1024;
/// The agent's log.
const AGENT_LOG: &[u8] = b"[    0.100] repave INFO  server\n[    0.200] repave ERROR failed\n";
/// The kernel's: what a device and a target put there, and no end of it.
const KERNEL_LOG: &[u8] = &hostile();

/// Every byte there is, in lines of a few thousand.
const fn hostile() -> [u8; 8192] {
    let mut log = [0; 8192];
    let mut at = 0;
    while at < log.len() {
        log[at] = if at % 3000 == 2999 { b'\n' } else { (at % 256) as u8 };
        at += 1;
    }
    log
}

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

    fn default_partition(&mut self, wait_ms: u64) -> Option<Sha256> {
        let machine = &mut *self.0.borrow_mut();
        if machine.side == Side::Target {
            return None;
        }
        let left_ms = DIGESTED_MS.saturating_sub(machine.events.uptime_ms());
        machine.events.sleep(left_ms.min(wait_ms));
        if left_ms > wait_ms {
            return None;
        }
        let mut block = [0; 512];
        machine.media[0].read(machine.watch.default.start + SAMPLE_BYTES, &mut block);
        Some(Sha256::of(&block))
    }

    fn logs(&mut self) -> Logs {
        Logs { agent: AGENT_LOG.to_vec(), kernel: KERNEL_LOG.to_vec() }
    }
}
