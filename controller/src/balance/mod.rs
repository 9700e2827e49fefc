//! The balancer: from what the fleet is and what the policy wants to what is moved now. It is one
//! pure function. Its memory is a value that goes in and comes out, time is an argument, and the
//! same arguments give the same decision. What carries the moves out, and tells the next round of
//! them by the phase [`Phase::Moving`], is not here. Decision 0008 says why.

mod census;
mod decision;
mod fill;
mod fits;
mod fleet;
mod memory;
mod rollout;
mod round;
mod wanted;

use census::Census;
pub use decision::{Action, Decision, Excluded, Move, Note, RolloutHold, Wanted};
pub use fleet::{
    AvailableImage, Failure, Fleet, Hardware, HardwareId, ImageFailures, KnownType, LoadMilli,
    Phase, Server, TypeId,
};
pub use memory::{Memory, Recommended, RolloutMemory, Stage, TypeMemory};
use round::Round;

use crate::policy::Policy;

/// Decides one round. `policy` must be in order ([`Policy::check`]); `fleet` should know its types
/// in its order ([`Fleet::new`]). Carry out every move, or tell the next round what became of it.
pub fn balance(fleet: &Fleet, policy: &Policy, now_ms: u64) -> Decision {
    let mut census = Census::take(fleet, policy, now_ms);
    let frozen = is_frozen(&census, policy);
    let mut memory = fleet.memory.clone();
    memory.types.retain(|name, _| policy.types.iter().any(|declared| declared.name == *name));
    for (id, row) in (0..).map(TypeId).zip(&mut census.rows) {
        if row.declared.is_none() {
            continue;
        }
        let memory = memory.types.entry(row.name.into()).or_default();
        row.version = rollout::observe(row, id, &fleet.failures, memory, now_ms);
        // What few servers are left to say is no measure of what the type needs.
        row.wanted = match frozen {
            true => wanted::held(row, memory),
            false => wanted::wanted(row, memory, now_ms),
        };
    }
    let wanted = figures(&census, policy);
    let mut notes = undeclared(&census);
    if let Some(stop) = stop(&census, fleet, policy, now_ms) {
        notes.push(stop);
        return Decision { moves: Vec::new(), memory, notes, wanted };
    }
    let moving = census.moving;
    let left = policy.pool.concurrency.saturating_sub(moving);
    let mut round = Round::new(fleet, policy, census, memory, left);
    fill::obey_pins(&mut round);
    fill::fill(&mut round);
    rollout::advance(&mut round);
    release(&mut round);
    notes.append(&mut round.notes);
    if round.left == 0 && is_wanting(&round) {
        let moving = moving + round.moves.len() as u32;
        notes.push(Note::ConcurrencyReached { moving, limit: policy.pool.concurrency });
    }
    Decision { moves: round.moves, memory: round.memory, notes, wanted }
}

fn is_frozen(census: &Census<'_>, policy: &Policy) -> bool {
    let share = u64::from(policy.pool.freeze_share.0);
    u64::from(census.lost) * 1000 > u64::from(census.known) * share
}

/// Why nothing at all may be moved.
fn stop(census: &Census<'_>, fleet: &Fleet, policy: &Policy, now_ms: u64) -> Option<Note> {
    if fleet.paused {
        return Some(Note::Paused);
    }
    if is_frozen(census, policy) {
        let limit = policy.pool.freeze_share;
        return Some(Note::Frozen { silent: census.lost, known: census.known, limit });
    }
    let budget = policy.pool.failure_budget;
    let ends_ms = |failure: &Failure| failure.at_ms.saturating_add(budget.window_s * 1000);
    let mut ends: Vec<u64> =
        fleet.failures.iter().map(ends_ms).filter(|&end| end > now_ms).collect();
    let over = ends.len().checked_sub(budget.failures as usize)?;
    ends.sort_unstable();
    let until_ms = ends[over];
    let left_s = (until_ms - now_ms).div_ceil(1000);
    let failures = ends.len() as u32;
    Some(Note::BudgetUsed { failures, budget: budget.failures, until_ms, left_s })
}

fn undeclared(census: &Census<'_>) -> Vec<Note> {
    let has = |row: &&census::Row<'_>| row.declared.is_none() && row.have() > 0;
    let note = |row: &census::Row<'_>| Note::Undeclared {
        server_type: row.name.into(),
        servers: row.have(),
    };
    census.rows.iter().filter(has).map(note).collect()
}

fn figures(census: &Census<'_>, policy: &Policy) -> Vec<Wanted> {
    let rows = policy
        .types
        .iter()
        .filter_map(|declared| census.rows.iter().find(|row| row.name == declared.name));
    let figure = |row: &census::Row<'_>| Wanted {
        server_type: row.name.into(),
        wanted: row.wanted,
        have: row.have(),
        up: row.up,
        load: row.mean_load(),
    };
    rows.map(figure).collect()
}

/// Makes spare what types have too many of and no other type took.
fn release(round: &mut Round<'_>) {
    for id in round.declared_ids() {
        if rollout::is_settling(&round.rows[id.index()], &round.memory_of(id)) {
            continue;
        }
        loop {
            let row = &round.rows[id.index()];
            if round.left == 0 || row.surplus() == 0 || !row.can_give() {
                break;
            }
            let why = format!("{} and has {}", fill::wish(row), row.have());
            let Some(index) = round.next_given(id, None) else { break };
            let name = round.server(index).id.short();
            round.release(index, format!("{why}; {name} becomes spare"));
        }
    }
}

/// Whether more would be moved if more might.
fn is_wanting(round: &Round<'_>) -> bool {
    round.rows.iter().any(|row| {
        row.declared.is_some() && (row.have() < row.wanted || (row.surplus() > 0 && row.can_give()))
    })
}
