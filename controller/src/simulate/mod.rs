//! A policy tried out on a pool that does not exist: days pass in seconds, servers fail and return,
//! load swells and ebbs, and [`balance`] is asked every simulated minute. Everything follows from
//! the policy, the options and their seed; nothing here reads a clock or prints.

mod demand;
mod random;
mod rules;
mod world;

use serde::Serialize;

use crate::balance::{Action, Decision, Note, balance};
use crate::policy::Policy;
use world::World;

/// Most breaches of rules that are told one by one.
const BREACHES: usize = 20;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Servers in the pool.
    pub servers: u32,
    /// Simulated hours.
    pub hours: u32,
    /// Seconds between rounds of balancing, not 0.
    pub round_s: u32,
    /// What chance follows from.
    pub seed: u64,
}

/// One simulated hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// Which, from 1.
    pub hour: u32,
    /// The types at its end, in the policy's order.
    pub types: Vec<TypeHour>,
    /// Purposings begun.
    pub purposed: u32,
    /// Servers made spare.
    pub released: u32,
    /// Purposings that failed.
    pub failed: u32,
    /// Rounds in which too much of the pool was silent.
    pub frozen_rounds: u32,
    /// Rounds in which the failure budget was used up.
    pub budget_rounds: u32,
    /// Rounds in which a rollout stood still after failures.
    pub stopped_rounds: u32,
}

/// One type at the end of an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TypeHour {
    /// How many it wants.
    pub wanted: u32,
    /// How many it has, becoming included.
    pub have: u32,
    /// How many are up.
    pub up: u32,
}

/// The whole simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rounds of balancing.
    pub rounds: u32,
    /// Purposings begun.
    pub purposed: u64,
    /// Servers made spare.
    pub released: u64,
    /// Purposings that failed.
    pub failed: u64,
    /// Rounds in which too much of the pool was silent.
    pub frozen_rounds: u32,
    /// Rounds in which the failure budget was used up.
    pub budget_rounds: u32,
    /// How many times a rule was broken; anything but 0 is a fault of the balancer.
    pub breaches: u64,
    /// The first of them, in words.
    pub first_breaches: Vec<String>,
}

/// Runs a simulation and shows each hour to `watch`, which may end it early by an error. `policy`
/// must be in order.
pub fn simulate<E>(
    policy: &Policy,
    options: &Options,
    mut watch: impl FnMut(&Hour) -> Result<(), E>,
) -> Result<Summary, E> {
    let mut world = World::new(policy, options.servers, options.hours, options.seed);
    let mut summary = Summary::default();
    let round_s = u64::from(options.round_s.max(1));
    let mut hour = Hour { hour: 1, ..Hour::default() };
    let end_s = u64::from(options.hours) * 3600;
    let mut now_s = 0;
    while now_s < end_s {
        let now_ms = now_s * 1000;
        world.pass(policy, now_ms);
        let decision = balance(&world.fleet, policy, now_ms);
        for rule in rules::broken(policy, &world.fleet, &decision, now_ms) {
            summary.breaches += 1;
            if summary.first_breaches.len() < BREACHES {
                summary.first_breaches.push(format!("after {now_s} s: {rule}"));
            }
        }
        summary.rounds += 1;
        hour.count(&decision);
        world.begin(&decision.moves, now_ms);
        world.fleet.memory = decision.memory;
        now_s += round_s;
        if now_s / 3600 >= u64::from(hour.hour) || now_s >= end_s {
            hour.failed = std::mem::take(&mut world.failed);
            watch(&hour)?;
            summary.add(&hour);
            let next = u32::try_from(now_s / 3600).unwrap_or(u32::MAX).saturating_add(1);
            hour = Hour { hour: next, ..Hour::default() };
        }
    }
    Ok(summary)
}

impl Hour {
    fn count(&mut self, decision: &Decision) {
        let released = decision.moves.iter().filter(|step| step.action == Action::Release).count();
        self.released += released as u32;
        self.purposed += (decision.moves.len() - released) as u32;
        let has = |kind: fn(&Note) -> bool| u32::from(decision.notes.iter().any(kind));
        self.frozen_rounds += has(|note| matches!(note, Note::Frozen { .. }));
        self.budget_rounds += has(|note| matches!(note, Note::BudgetUsed { .. }));
        self.stopped_rounds += has(|note| matches!(note, Note::RolloutStopped { .. }));
        let figures = decision.wanted.iter();
        self.types = figures
            .map(|figure| TypeHour { wanted: figure.wanted, have: figure.have, up: figure.up })
            .collect();
    }
}

impl Summary {
    fn add(&mut self, hour: &Hour) {
        self.purposed += u64::from(hour.purposed);
        self.released += u64::from(hour.released);
        self.failed += u64::from(hour.failed);
        self.frozen_rounds += hour.frozen_rounds;
        self.budget_rounds += hour.budget_rounds;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn run(servers: u32, hours: u32, seed: u64) -> (Vec<Hour>, Summary) {
        let policy = Policy::from_toml(include_str!("../../policy.example.toml")).unwrap();
        let options = Options { servers, hours, round_s: 60, seed };
        let mut seen = Vec::new();
        let summary = simulate(&policy, &options, |hour| {
            seen.push(hour.clone());
            Ok::<_, Infallible>(())
        });
        (seen, summary.unwrap())
    }

    #[test]
    fn no_rule_is_broken_whatever_happens() {
        for seed in 0..20 {
            let (_, summary) = run(60, 24, seed);
            assert_eq!(summary.first_breaches, [""; 0], "seed {seed}");
            assert!(summary.purposed > 0 && summary.rounds == 24 * 60);
        }
    }

    #[test]
    fn the_same_seed_is_the_same_pool() {
        assert_eq!(run(40, 6, 7), run(40, 6, 7));
        assert_ne!(run(40, 6, 7).0, run(40, 6, 8).0);
    }

    #[test]
    fn every_type_is_served_within_an_hour() {
        let (hours, _) = run(80, 1, 1);
        let up: Vec<_> = hours[0].types.iter().map(|figure| figure.up).collect();
        assert!(up[0] >= 2 && up[1] >= 3, "{up:?}");
    }
}
