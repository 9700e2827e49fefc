//! The rules that no decision may break (I14 of the design), checked by looking at the servers, not
//! at the balancer's own books. A breach is a fault of ours, whatever the policy says.

use std::collections::BTreeSet;

use crate::balance::{Action, Decision, Fleet, Move, Phase, Server, TypeId};
use crate::policy::{Data, Policy, ServerType};

/// How many servers of one type are there, before and after a decision.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    up: u32,
    has: u32,
    had: u32,
    given: bool,
}

/// What `decision` breaks, in words.
pub(super) fn broken(
    policy: &Policy,
    fleet: &Fleet,
    decision: &Decision,
    now_ms: u64,
) -> Vec<String> {
    if decision.moves.is_empty() {
        return Vec::new();
    }
    let mut broken = Vec::new();
    let silent_ms = policy.pool.silent_after_s * 1000;
    let mut counts = vec![Count::default(); fleet.types.len()];
    let (mut moving, mut known, mut lost) = (decision.moves.len() as u64, 0, 0);
    for server in &fleet.servers {
        let is_lost = server.phase == Phase::Silent && now_ms - server.since_ms >= silent_ms;
        moving += u64::from(server.phase == Phase::Moving);
        known += u64::from(server.phase != Phase::Pending);
        lost += u64::from(is_lost);
        let here = matches!(server.phase, Phase::Up | Phase::Moving | Phase::Silent) && !is_lost;
        if let (true, Some(id)) = (here, server.server_type) {
            counts[id.index()].has += 1;
            counts[id.index()].up += u32::from(server.phase == Phase::Up);
        }
    }
    for count in &mut counts {
        count.had = count.has;
    }
    if moving > u64::from(policy.pool.concurrency) {
        broken.push(format!("{moving} servers move at once"));
    }
    if lost * 1000 > known * u64::from(policy.pool.freeze_share.0) {
        broken.push(format!("servers are moved while {lost} of {known} are silent"));
    }
    let budget = policy.pool.failure_budget;
    let recent = |at_ms: u64| now_ms - at_ms < budget.window_s * 1000;
    let failures = fleet.failures.iter().filter(|failure| recent(failure.at_ms)).count();
    if failures >= budget.failures as usize {
        broken.push(format!("servers are moved after {failures} failures"));
    }
    let mut seen = BTreeSet::new();
    for step in &decision.moves {
        if !seen.insert(step.index) {
            broken.push(format!("{} is moved twice", step.server));
        }
        broken.extend(broken_by_move(policy, fleet, step, &mut counts));
    }
    for (declared, count) in policy.types.iter().zip(counts) {
        broken.extend(broken_count(declared, count));
    }
    broken
}

fn broken_count(declared: &ServerType, count: Count) -> Option<String> {
    let ServerType { name, min, max, .. } = declared;
    if count.given && count.up < *min {
        return Some(format!("{name} is taken under its min: {} of {min} are up", count.up));
    }
    let most = (*max).max(count.had);
    (count.has > most).then(|| format!("{name} is over its max: {} of {max}", count.has))
}

fn broken_by_move(
    policy: &Policy,
    fleet: &Fleet,
    step: &Move,
    counts: &mut [Count],
) -> Option<String> {
    let server = &fleet.servers[step.index as usize];
    let who = server.id.short();
    if !matches!(server.phase, Phase::Up | Phase::Spare | Phase::Failed) {
        return Some(format!("{who} is moved while {:?}", server.phase));
    }
    if is_guarded(policy, server) || server.cordoned {
        return Some(format!("{who} is moved though guarded or cordoned"));
    }
    if let (Phase::Up, Some(from)) = (server.phase, server.server_type) {
        let count = &mut counts[from.index()];
        (count.has, count.up, count.given) = (count.has - 1, count.up - 1, true);
    }
    if let Action::Purpose { to, version } = step.action {
        counts[to.index()].has += 1;
        let failures = fleet.image_failures.iter().find(|pair| {
            (pair.server, pair.server_type, pair.version) == (step.index, to, version)
        });
        if failures.is_some_and(|pair| pair.failures >= policy.pool.retries) {
            return Some(format!("{who} is given an image that is quarantined on it"));
        }
        if server.pinned.is_some_and(|pinned| pinned != to) {
            return Some(format!("{who} is moved though pinned elsewhere"));
        }
    }
    None
}

fn is_guarded(policy: &Policy, server: &Server) -> bool {
    let guards = |id: TypeId| {
        policy.types.get(id.index()).is_none_or(|declared| declared.data == Data::Guarded)
    };
    server.guarded || server.server_type.is_some_and(guards)
}
