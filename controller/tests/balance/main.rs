//! What the balancer never does, for fleets and policies that chance makes (I14 of the design),
//! and that it comes to rest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scenes;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use repave_controller::balance::{Action, Decision, Fleet, Phase, Server, TypeId, balance};
use repave_controller::policy::{Data, Policy};
use world::{NOW_MS, begin, finish, policy_and_fleet, settle, spare};

/// Counts the servers of `id` for which `suits` holds.
fn count(fleet: &Fleet, id: TypeId, suits: impl Fn(&Server) -> bool) -> u32 {
    let of = |server: &&Server| server.server_type == Some(id) && suits(server);
    fleet.servers.iter().filter(of).count() as u32
}

fn present(server: &Server, policy: &Policy) -> bool {
    let quiet = NOW_MS - server.since_ms < policy.pool.silent_after_s * 1000;
    match server.phase {
        Phase::Up | Phase::Moving => true,
        Phase::Silent => quiet,
        _ => false,
    }
}

fn is_up(server: &Server) -> bool {
    server.phase == Phase::Up
}

/// Every rule on one decision; the oracle looks at servers one by one and shares no code with the
/// balancer.
fn rules(policy: &Policy, before: &Fleet, decision: &Decision) -> Result<(), String> {
    let mut after = before.clone();
    begin(&mut after, decision, NOW_MS);
    let fail = |rule: bool, text: String| if rule { Ok(()) } else { Err(text) };
    for (id, declared) in (0..).map(TypeId).zip(&policy.types) {
        let name = &declared.name;
        let had = count(before, id, |s| present(s, policy));
        let has = count(&after, id, |s| present(s, policy));
        let given = decision.moves.iter().any(|step| step.from == Some(id));
        fail(!given || has >= declared.min, format!("{name} is under its min: {has}"))?;
        let up = count(&after, id, is_up);
        fail(!given || up >= declared.min, format!("{name} has {up} up, fewer than its min"))?;
        fail(has <= declared.max.max(had), format!("{name} is over its max: {has}"))?;
    }
    let moving = after.servers.iter().filter(|s| s.phase == Phase::Moving).count();
    let n = decision.moves.len();
    fail(n == 0 || moving <= policy.pool.concurrency as usize, format!("{moving} are moving"))?;
    let window_ms = policy.pool.failure_budget.window_s * 1000;
    let failed = before.failures.iter().filter(|f| NOW_MS - f.at_ms < window_ms).count();
    fail(n == 0 || failed < policy.pool.failure_budget.failures as usize, "budget".into())?;
    fail(n == 0 || !before.paused, "moved while paused".into())?;
    let mut moved = BTreeSet::new();
    for step in &decision.moves {
        let server = &before.servers[step.index as usize];
        fail(moved.insert(step.index), format!("{step:?} is a second move"))?;
        fail(server.id == step.server && !step.why.is_empty(), format!("{step:?} is confused"))?;
        one(policy, before, server, step.action).map_err(|rule| format!("{step:?}: {rule}"))?;
        if let Action::Purpose { to, version } = step.action {
            let failures = before.image_failures.iter().find(|pair| {
                (pair.server, pair.server_type, pair.version) == (step.index, to, version)
                    && pair.failures >= policy.pool.retries
            });
            fail(failures.is_none(), format!("{step:?} is quarantined"))?;
        }
    }
    Ok(())
}

/// The rules on one server.
fn one(
    policy: &Policy,
    fleet: &Fleet,
    server: &Server,
    action: Action,
) -> Result<(), &'static str> {
    if !matches!(server.phase, Phase::Spare | Phase::Failed | Phase::Up) {
        return Err("is not free to move");
    }
    let guarded = |id: TypeId| policy.types[id.index()].data == Data::Guarded;
    if server.guarded || server.server_type.is_some_and(guarded) {
        return Err("is guarded");
    }
    if server.cordoned {
        return Err("is cordoned");
    }
    let Action::Purpose { to, .. } = action else {
        let pinned_here = server.pinned.is_some() && server.pinned == server.server_type;
        return if pinned_here { Err("is pinned") } else { Ok(()) };
    };
    if server.pinned.is_some_and(|pinned| pinned != to) {
        return Err("is pinned elsewhere");
    }
    let ram_mib = fleet.hardware[server.hardware.0 as usize].ram_mib;
    if ram_mib < policy.types[to.index()].requires.ram_mib {
        return Err("has too little ram");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_rule_is_broken((policy, fleet) in policy_and_fleet()) {
        let decision = balance(&fleet, &policy, NOW_MS);
        let broken = rules(&policy, &fleet, &decision).err();
        prop_assert_eq!(broken, None);
    }

    #[test]
    fn the_same_fleet_gives_the_same_decision((policy, fleet) in policy_and_fleet()) {
        let (one, other) = (balance(&fleet, &policy, NOW_MS), balance(&fleet, &policy, NOW_MS));
        prop_assert_eq!(one.moves, other.moves);
        prop_assert_eq!(one.memory, other.memory);
        prop_assert_eq!(one.notes, other.notes);
    }

    #[test]
    fn a_second_round_at_once_gives_no_server_a_second_move((policy, fleet) in policy_and_fleet()) {
        let first = balance(&fleet, &policy, NOW_MS);
        let mut fleet = fleet;
        begin(&mut fleet, &first, NOW_MS);
        let second = balance(&fleet, &policy, NOW_MS + 1);
        for step in &second.moves {
            prop_assert!(first.moves.iter().all(|other| other.index != step.index));
        }
        prop_assert_eq!(rules(&policy, &fleet, &second).err(), None);
    }

    #[test]
    fn frozen_when_too_many_are_silent((policy, fleet) in policy_and_fleet()) {
        let silent_ms = policy.pool.silent_after_s * 1000;
        let lost = |s: &&Server| s.phase == Phase::Silent && NOW_MS - s.since_ms >= silent_ms;
        let known = fleet.servers.iter().filter(|s| s.phase != Phase::Pending).count();
        let lost = fleet.servers.iter().filter(lost).count();
        if lost * 1000 > known * policy.pool.freeze_share.0 as usize {
            prop_assert!(balance(&fleet, &policy, NOW_MS).moves.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn comes_to_rest((policy, fleet) in policy_and_fleet()) {
        let mut fleet = fleet;
        fleet.paused = false;
        fleet.failures.clear();
        let begin_ms = NOW_MS + 4_000_000;
        finish(&mut fleet, begin_ms);
        let (rounds, now_ms) = settle(&mut fleet, &policy, begin_ms, 400);
        prop_assert!(rounds < 400, "still moving after {rounds} rounds");
        let later = balance(&fleet, &policy, now_ms + 1_000_000_000);
        prop_assert!(later.moves.is_empty(), "{later:?}");
    }

    #[test]
    fn enough_spare_servers_fill_every_type((policy, fleet) in policy_and_fleet()) {
        let mut fleet = fleet;
        let wanted: u32 = policy.types.iter().map(|t| t.wanted.unwrap_or(t.min)).sum();
        fleet.servers = (0..wanted as usize).map(spare).collect();
        fleet.image_failures.clear();
        fleet.failures.clear();
        fleet.paused = false;
        // Loads of nothing: a type that load decides wants its min.
        let (rounds, _) = settle(&mut fleet, &policy, NOW_MS, 400);
        let bound = wanted.div_ceil(policy.pool.concurrency) as usize;
        prop_assert!(rounds <= bound, "{rounds} rounds for {wanted} servers");
        for (id, declared) in (0..).map(TypeId).zip(&policy.types) {
            let has = count(&fleet, id, is_up);
            prop_assert_eq!(has, declared.wanted.unwrap_or(declared.min), "{}", declared.name);
        }
    }
}
