//! When a silent server is brought home. Pure: what was heard and done goes in with the time, and
//! the next step comes out; the orders themselves are carried out by `record`.
//!
//! Silence has two causes that look alike from here: a server that hangs, and a network that is
//! gone. Against the second, power orders are the wrong answer a hundred times over, so a pool has
//! a budget of them (decision 0010).

mod ledger;
mod policy;
mod record;

use serde::{Deserialize, Serialize};

pub use self::ledger::{Busy, Ledger, PoolHistory, ServerHistory};
pub use self::policy::Policy;
pub use self::record::{Action, Outcome, Record, Who, carry_out};

use super::BootSource;

/// All that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The rules.
    pub policy: &'a Policy,
    /// What the pool's power has been through.
    pub pool: &'a PoolHistory,
    /// What the server has been through.
    pub server: &'a ServerHistory,
}

/// What to do about one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Nothing for now.
    Wait {
        /// Why not.
        why: Wait,
        /// When to ask again, if nothing happens before; `None` if only something that happens
        /// changes the answer.
        until_ms: Option<u64>,
    },
    /// Cycle its power, with the next boot from `boot`.
    BringHome {
        /// The how manieth try since it was last heard, from 1.
        attempt: u32,
        /// Where to boot from.
        boot: BootSource,
    },
    /// No more tries: a person must look. Comes once.
    GiveUp {
        /// How many there were.
        attempts: u32,
        /// For how long nothing was heard.
        silent_ms: u64,
    },
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// It was heard lately.
    Heard,
    /// It is not expected to speak.
    Excused,
    /// A power order for it is under way.
    InFlight,
    /// It was cycled and may still be starting.
    Pause,
    /// The pool has had its power orders for now.
    Budget,
    /// The pool is frozen.
    Frozen,
    /// Its tries are used up, and it was said so.
    GivenUp,
}

/// Decides about one server.
pub fn decide(history: &History<'_>, now_ms: u64) -> Step {
    let History { policy, pool, server } = *history;
    let wait = |why, until_ms| Step::Wait { why, until_ms };
    if let Some(until_ms) = server.in_flight_until_ms(policy).filter(|&until| now_ms < until) {
        return wait(Wait::InFlight, Some(until_ms));
    }
    if !server.expected {
        return wait(Wait::Excused, None);
    }
    let due_ms = server.heard_ms.saturating_add(policy.silent_ms);
    if now_ms < due_ms {
        return wait(Wait::Heard, Some(due_ms));
    }
    if server.gave_up {
        return wait(Wait::GivenUp, None);
    }
    // The last try, too, gets the time to have an effect.
    let again_ms = server.tried_ms.saturating_add(policy.pause_ms(server.tries, server.seed));
    if server.tries > 0 && now_ms < again_ms {
        return wait(Wait::Pause, Some(again_ms));
    }
    if server.tries >= policy.max_tries {
        let silent_ms = now_ms.saturating_sub(server.heard_ms);
        return Step::GiveUp { attempts: server.tries, silent_ms };
    }
    if pool.frozen {
        return wait(Wait::Frozen, None);
    }
    if let Some(free_ms) = pool.budget_free_ms(policy, now_ms) {
        return wait(Wait::Budget, Some(free_ms));
    }
    Step::BringHome { attempt: server.tries + 1, boot: policy.boot.clone() }
}

#[cfg(test)]
mod tests;
