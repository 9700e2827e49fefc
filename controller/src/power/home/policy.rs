//! The rules of bringing home, each a setting with a default that says why.

use serde::{Deserialize, Serialize};

use crate::power::BootSource;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;

/// When power is used on a silent server, and how often at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Silence that counts. Ten minutes: a large server takes seven from power on to network, and
    /// a switch that restarts takes two.
    pub silent_ms: u64,
    /// Where a server that is brought home boots from, once.
    pub boot: BootSource,
    /// Tries until a person must look.
    pub max_tries: u32,
    /// From the first try to the second; each later pause is twice the one before. Long enough for
    /// a start from cold, or each try would cut off the one before.
    pub first_pause_ms: u64,
    /// The longest pause.
    pub most_pause_ms: u64,
    /// An order without an end after this time is taken for lost, as when we were restarted in the
    /// midst of it. Longer than any method takes for its two, a boot source and a cycle, at its
    /// longest time-out.
    pub order_limit_ms: u64,
    /// Power orders for a pool within the window: enough for single faults, and no more than one
    /// can repair by hand.
    pub budget_orders: u32,
    /// The window, which slides.
    pub budget_window_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            silent_ms: 10 * MINUTE_MS,
            boot: BootSource::Disk,
            max_tries: 4,
            first_pause_ms: 15 * MINUTE_MS,
            most_pause_ms: 120 * MINUTE_MS,
            order_limit_ms: 15 * MINUTE_MS,
            budget_orders: 4,
            budget_window_ms: 30 * MINUTE_MS,
        }
    }
}

impl Policy {
    /// The pause after so many tries, longer by up to an eighth: servers that fell silent together
    /// do not come back together.
    pub(super) fn pause_ms(&self, tries: u32, seed: u64) -> u64 {
        let doublings = tries.saturating_sub(1).min(u64::BITS - 1);
        let pause_ms = self.first_pause_ms.saturating_mul(1 << doublings).min(self.most_pause_ms);
        let spread = seed.wrapping_add(u64::from(tries)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        pause_ms.saturating_add(spread % (pause_ms / 8).max(1))
    }
}
