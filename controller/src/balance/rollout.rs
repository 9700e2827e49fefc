//! A new version of an image on its way through a type: a few servers first, then a share at a
//! time, each wave settled before the next begins, and a stop when it fails too often. Servers that
//! come new to the type get the old version until the canaries have settled.

use super::census::Row;
use super::decision::{Note, RolloutHold};
use super::fleet::{Failure, TypeId};
use super::memory::{RolloutMemory, Stage, TypeMemory};
use super::round::Round;
use crate::policy::Data;

/// Brings the memory of the type's rollout up to date, and says which version new servers get.
pub(super) fn observe(
    row: &Row<'_>,
    id: TypeId,
    failures: &[Failure],
    memory: &mut TypeMemory,
    now_ms: u64,
) -> Option<u64> {
    let image = row.image?;
    let declared = row.declared?;
    let outdated = outdated_up(row) + row.becoming - row.current_becoming;
    let mut rollout = match memory.rollout {
        Some(rollout) if rollout.version == image.version => rollout,
        _ => {
            let stage = if outdated + row.outdated_away > 0 { Stage::Canary } else { Stage::Done };
            RolloutMemory { version: image.version, stage, failures: 0, counted_to_ms: now_ms }
        }
    };
    let new = |failure: &&Failure| {
        failure.server_type == id
            && failure.version == image.version
            && failure.first_at_ms > rollout.counted_to_ms
            && failure.first_at_ms <= now_ms
    };
    if matches!(rollout.stage, Stage::Canary | Stage::Waves) {
        rollout.failures += failures.iter().filter(new).count() as u32;
    }
    rollout.counted_to_ms = now_ms;
    let in_flight = row.current_becoming + row.current_up - row.current_settled;
    let all_have_it = outdated == 0 && in_flight == 0 && row.current_up > 0;
    rollout.stage = match rollout.stage {
        // Its servers are never renewed, so none of them could be a canary.
        _ if declared.data == Data::Guarded => Stage::Done,
        Stage::Canary | Stage::Waves if rollout.failures > declared.rollout.most_failures => {
            Stage::Stopped
        }
        Stage::Canary | Stage::Waves if all_have_it && row.outdated_away == 0 => Stage::Done,
        Stage::Canary if row.current_settled >= declared.rollout.canary || all_have_it => {
            Stage::Waves
        }
        stage => stage,
    };
    memory.rollout = Some(rollout);
    match rollout.stage {
        Stage::Waves | Stage::Done => Some(image.version),
        // Without an older one it is this version or none at all.
        Stage::Canary | Stage::Stopped => image.previous.or(Some(image.version)),
    }
}

/// How many of its servers are up with another version than the channel's.
pub(super) const fn outdated_up(row: &Row<'_>) -> u32 {
    row.up.saturating_sub(row.current_up)
}

/// Whether a new version is on servers that have not settled: the old ones are kept until then.
pub(super) fn is_settling(row: &Row<'_>, memory: &TypeMemory) -> bool {
    let stage = memory.rollout.map(|rollout| rollout.stage);
    matches!(stage, Some(Stage::Canary | Stage::Waves))
        && row.current_becoming + row.current_up > row.current_settled
}

/// Moves servers of each type on to its image's version.
pub(super) fn advance(round: &mut Round<'_>) {
    for id in round.declared_ids() {
        let row = &round.rows[id.index()];
        let outdated = outdated_up(row);
        let Some(rollout) = round.memory_of(id).rollout.filter(|_| outdated > 0) else { continue };
        if rollout.stage == Stage::Stopped {
            round.notes.push(Note::RolloutStopped {
                server_type: row.name.into(),
                version: rollout.version,
                failures: rollout.failures,
                outdated,
                channel: row.declared.map(|one| one.image.to_string()).unwrap_or_default(),
                previous: row.image.and_then(|image| image.previous),
            });
        } else {
            advance_type(round, id, rollout);
        }
    }
}

fn advance_type(round: &mut Round<'_>, id: TypeId, rollout: RolloutMemory) {
    let row = &round.rows[id.index()];
    let Some(declared) = row.declared else { return };
    let outdated = outdated_up(row);
    let begun = row.current_becoming + row.current_up;
    let room = if rollout.stage == Stage::Canary {
        declared.rollout.canary.saturating_sub(begun)
    } else {
        let wave = declared.rollout.wave_share.of_up(row.have()).max(1);
        wave.saturating_sub(begun - row.current_settled.min(begun))
    };
    if room == 0 {
        return;
    }
    let candidates = round.outdated(id, rollout.version);
    // Those that are too many are released and need no new version, unless a pin holds them.
    let surplus = row.have().saturating_sub(row.wanted) as usize;
    let unpinned = candidates.iter().filter(|&&index| round.server(index).pinned.is_none());
    let spared = unpinned.count().min(surplus);
    if spared > 0 && spared == candidates.len() {
        return;
    }
    let mut left = room.min((candidates.len() - spared) as u32);
    let mut hold = candidates.is_empty().then_some(RolloutHold::Untouchable);
    for index in candidates {
        if left == 0 || round.left == 0 {
            return;
        }
        if round.rows[id.index()].up <= declared.min {
            hold = Some(RolloutHold::Min);
            break;
        }
        let why = format!("{} is renewed: {}", round.rows[id.index()].name, progress(round, id));
        round.purpose(index, id, rollout.version, why);
        left -= 1;
    }
    match hold {
        Some(RolloutHold::Min) if surge(round, id, rollout.version) => {}
        // A server that is on its way will give the room that is missing.
        Some(reason)
            if reason == RolloutHold::Untouchable || round.rows[id.index()].becoming == 0 =>
        {
            let server_type = declared.name.clone();
            let version = rollout.version;
            round.notes.push(Note::RolloutHeld { server_type, version, outdated, reason });
        }
        _ => {}
    }
}

/// With no more up than must be, one spare server comes first, if max allows one more.
fn surge(round: &mut Round<'_>, id: TypeId, version: u64) -> bool {
    let row = &round.rows[id.index()];
    if row.becoming > 0 || row.have() >= row.max() || round.left == 0 {
        return false;
    }
    let Some(index) = round.free_for(id, version) else { return false };
    let (name, up, min) = (row.name, row.up, row.min());
    let why = format!(
        "{name} needs one more for its rollout, {up} are up of a min of {min}: {}",
        progress(round, id)
    );
    round.purpose(index, id, version, why);
    true
}

fn progress(round: &Round<'_>, id: TypeId) -> String {
    let row = &round.rows[id.index()];
    let stage = match round.memory_of(id).rollout.map(|rollout| rollout.stage) {
        Some(Stage::Canary) => "as canary",
        _ => "in waves",
    };
    let version = row.image.map_or(0, |image| image.version);
    let (good, begun) = (row.current_settled, row.current_up + row.current_becoming);
    format!(
        "version {version} {stage}, {good} settled of {begun} begun, {} outdated",
        outdated_up(row)
    )
}
