//! What the power of one pool has been through: a value that is changed by what happens, written
//! down with the rest of the pool's state, and read again after a restart. A budget that a restart
//! forgets is none.
//!
//! To decide and to book is one step here, so that two servers cannot both take the last order of
//! a budget, nor one server two orders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{History, Policy, Record, Step, decide};

/// The power of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pool: PoolHistory,
    servers: BTreeMap<String, ServerHistory>,
}

/// What a pool's power has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolHistory {
    /// Whether no order may be given by rule.
    pub frozen: bool,
    /// When orders began, oldest first, as far as a budget asks.
    pub began_ms: Vec<u64>,
}

/// What a server's power has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerHistory {
    /// Whether it should speak: a target without a resident is silent by nature.
    pub expected: bool,
    /// When it was last heard, or when it was first expected to be.
    pub heard_ms: u64,
    /// Tries since then.
    pub tries: u32,
    /// When the last of them began.
    pub tried_ms: u64,
    /// When the order began that is under way.
    pub in_flight_ms: Option<u64>,
    /// Whether it was said that there are no more tries.
    pub gave_up: bool,
    /// Spreads its pauses.
    pub seed: u64,
}

/// An order for this server is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a power order that began at {since_ms} ms is under way; wait for its end")]
pub struct Busy {
    /// Since when.
    pub since_ms: u64,
}

impl PoolHistory {
    /// When the budget has an order again; `None` if it has one now.
    pub(super) fn budget_free_ms(&self, policy: &Policy, now_ms: u64) -> Option<u64> {
        let window_ms = policy.budget_window_ms;
        let spent = |&&began_ms: &&u64| now_ms < began_ms.saturating_add(window_ms);
        let spent: Vec<u64> = self.began_ms.iter().filter(spent).copied().collect();
        let most = policy.budget_orders as usize;
        // That many must leave the window until there are fewer than `most`; never, if it is 0.
        let over = (spent.len() + 1).checked_sub(most).filter(|&over| over > 0)?;
        Some(spent.get(over - 1).map_or(u64::MAX, |began_ms| began_ms.saturating_add(window_ms)))
    }
}

impl ServerHistory {
    pub(super) fn in_flight_until_ms(&self, policy: &Policy) -> Option<u64> {
        self.in_flight_ms.map(|began_ms| began_ms.saturating_add(policy.order_limit_ms))
    }
}

impl Ledger {
    /// From now on this server should speak. A server that should already keeps its history.
    pub fn expect(&mut self, server: &str, now_ms: u64) {
        let history = self.history(server);
        if !history.expected {
            history.expected = true;
            history.heard_ms = history.heard_ms.max(now_ms);
        }
    }

    /// This server need not speak.
    pub fn excuse(&mut self, server: &str) {
        self.history(server).expected = false;
    }

    /// This server has left the pool. What was spent on it stays spent.
    pub fn forget(&mut self, server: &str) {
        self.servers.remove(server);
    }

    /// This server spoke at that time, if that is news: it has all its tries again.
    pub fn heard(&mut self, server: &str, at_ms: u64) {
        let history = self.history(server);
        if at_ms <= history.heard_ms {
            return;
        }
        history.heard_ms = at_ms;
        history.tries = 0;
        history.gave_up = false;
    }

    /// Stops orders by rule, or lets them go on. One that is under way is not called back.
    pub fn freeze(&mut self, frozen: bool) {
        self.pool.frozen = frozen;
    }

    /// Decides about a server, and books what it decides: after [`Step::BringHome`] the order is
    /// under way, and [`Ledger::settle`] must follow.
    pub fn claim(&mut self, policy: &Policy, server: &str, now_ms: u64) -> Step {
        self.history(server);
        let history = &self.servers[server];
        let step = decide(&History { policy, pool: &self.pool, server: history }, now_ms);
        match &step {
            Step::Wait { .. } => {}
            Step::GiveUp { .. } => self.history(server).gave_up = true,
            Step::BringHome { attempt, .. } => {
                let attempt = *attempt;
                self.begin(policy, server, now_ms);
                let history = self.history(server);
                history.tries = attempt;
                history.tried_ms = now_ms;
            }
        }
        step
    }

    /// Books an order of a person, which no budget and no freeze holds back but which counts.
    ///
    /// # Errors
    /// [`Busy`]: two orders at once are no order.
    pub fn book(&mut self, policy: &Policy, server: &str, now_ms: u64) -> Result<(), Busy> {
        let history = self.history(server);
        let under_way = history.in_flight_until_ms(policy).is_some_and(|until| now_ms < until);
        match history.in_flight_ms {
            Some(since_ms) if under_way => Err(Busy { since_ms }),
            _ => {
                self.begin(policy, server, now_ms);
                Ok(())
            }
        }
    }

    /// An order has ended, as its record says. The end of one that was taken for lost changes
    /// nothing.
    pub fn settle(&mut self, record: &Record) {
        let history = self.history(&record.server);
        if history.in_flight_ms == Some(record.began_ms) {
            history.in_flight_ms = None;
        }
    }

    fn begin(&mut self, policy: &Policy, server: &str, now_ms: u64) {
        self.pool.began_ms.retain(|&ms| now_ms < ms.saturating_add(policy.budget_window_ms));
        self.pool.began_ms.push(now_ms);
        self.pool.began_ms.sort_unstable();
        self.history(server).in_flight_ms = Some(now_ms);
    }

    fn history(&mut self, server: &str) -> &mut ServerHistory {
        if !self.servers.contains_key(server) {
            let history = ServerHistory { seed: seed_of(server), ..ServerHistory::default() };
            self.servers.insert(server.to_owned(), history);
        }
        self.servers.entry(server.to_owned()).or_default()
    }
}

/// A number from a name, the same for ever (FNV-1a).
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
