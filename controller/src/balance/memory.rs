//! What one round of balancing hands to the next: a value, stored by whoever calls. A controller
//! that lost it loses patience and caution for one window, and no rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Slots that a history's window is cut into; it bounds the memory of a type.
const SLOTS: u64 = 64;

/// All that is remembered, by type name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The types.
    pub types: BTreeMap<String, TypeMemory>,
}

/// What is remembered of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TypeMemory {
    /// How many its load last asked for, once that was settled.
    pub wanted: Option<u32>,
    /// When that last changed.
    pub scaled_at_ms: Option<u64>,
    /// What was recommended lately, oldest first.
    pub history: Vec<Recommended>,
    /// How far the newest version has come.
    pub rollout: Option<RolloutMemory>,
}

/// What was recommended within one slot of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommended {
    /// Begin of the slot.
    pub at_ms: u64,
    /// The fewest.
    pub low: u32,
    /// The most.
    pub high: u32,
}

/// How far a version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMemory {
    /// The version.
    pub version: u64,
    /// How far.
    pub stage: Stage,
    /// Servers that failed at it since it was first seen.
    pub failures: u32,
    /// Failures up to here are counted.
    pub counted_to_ms: u64,
}

/// The stages of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A few servers go first.
    Canary,
    /// A share at a time follows.
    Waves,
    /// Every server has it.
    Done,
    /// It failed too often; a newer version, or people, end this stage.
    Stopped,
}

impl Memory {
    /// Lets a stopped rollout of `server_type` begin anew with its canaries, on orders of people;
    /// says whether there was one.
    pub fn restart_rollout(&mut self, server_type: &str) -> bool {
        let rollout = self.types.get_mut(server_type).and_then(|memory| memory.rollout.as_mut());
        let stopped = rollout.filter(|rollout| rollout.stage == Stage::Stopped);
        stopped.map(|rollout| (rollout.stage, rollout.failures) = (Stage::Canary, 0)).is_some()
    }
}

impl TypeMemory {
    /// Notes that `count` is recommended, and forgets what is older than `window_ms`.
    pub(super) fn recommend(&mut self, now_ms: u64, count: u32, window_ms: u64) {
        let slot_ms = (window_ms / SLOTS).max(1);
        let at_ms = now_ms / slot_ms * slot_ms;
        // A slot is kept until its end is out of the window: patience errs to the longer side.
        self.history.retain(|slot| slot.at_ms + slot_ms + window_ms > now_ms);
        match self.history.last_mut() {
            Some(slot) if slot.at_ms == at_ms => {
                slot.low = slot.low.min(count);
                slot.high = slot.high.max(count);
            }
            _ => self.history.push(Recommended { at_ms, low: count, high: count }),
        }
    }

    /// The fewest recommended within `up_ms`, and the most within `down_ms`.
    pub(super) fn stabilised(&self, now_ms: u64, up_ms: u64, down_ms: u64) -> (u32, u32) {
        let slot_ms = (up_ms.max(down_ms) / SLOTS).max(1);
        let within =
            |slot: &&Recommended, window_ms: u64| slot.at_ms + slot_ms + window_ms > now_ms;
        let recent_up = self.history.iter().filter(|slot| within(slot, up_ms));
        let recent_down = self.history.iter().filter(|slot| within(slot, down_ms));
        let low = recent_up.map(|slot| slot.low).min().unwrap_or(0);
        let high = recent_down.map(|slot| slot.high).max().unwrap_or(u32::MAX);
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_take_the_least_up_and_the_most_down_and_stay_small() {
        let mut memory = TypeMemory::default();
        for round in 0..10_000 {
            memory.recommend(round * 1000, if round == 9_000 { 9 } else { 5 }, 2_000_000);
        }
        assert!(memory.history.len() <= SLOTS as usize + 2);
        let check = |now_ms, expected| {
            assert_eq!(memory.stabilised(now_ms, 60_000, 2_000_000), expected);
        };
        check(9_999_000, (5, 9));
        check(11_100_000, (0, 5));
    }
}
