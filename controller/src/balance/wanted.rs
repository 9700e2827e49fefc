//! How many servers a type wants: a fixed number, or as many as keep its load at the target, by the
//! rules of Kubernetes' horizontal autoscaler with one more, a cool-down (decision 0008).

use super::census::Row;
use super::memory::TypeMemory;
use crate::policy::LoadTarget;

/// How many `row` wants, within its min and max. A load that was asked is noted in `memory`.
pub(super) fn wanted(row: &Row<'_>, memory: &mut TypeMemory, now_ms: u64) -> u32 {
    let Some(declared) = row.declared else { return 0 };
    let wanted = match declared.load {
        Some(load) => by_load(row, &load, memory, now_ms),
        None => declared.wanted.unwrap_or(declared.min),
    };
    wanted.max(declared.min).min(declared.max)
}

/// How many `row` wanted in the last round; what holds while loads cannot be believed.
pub(super) fn held(row: &Row<'_>, memory: &TypeMemory) -> u32 {
    let Some(declared) = row.declared else { return 0 };
    let held = match declared.load {
        Some(_) => memory.wanted.unwrap_or_else(|| row.have()),
        None => declared.wanted.unwrap_or(declared.min),
    };
    held.max(declared.min).min(declared.max)
}

fn by_load(row: &Row<'_>, load: &LoadTarget, memory: &mut TypeMemory, now_ms: u64) -> u32 {
    let current = held(row, memory);
    let asked = recommend(row, load, current).max(row.min()).min(row.max());
    let (up_ms, down_ms) = (load.stabilise_up_s * 1000, load.stabilise_down_s * 1000);
    if memory.wanted.is_none() {
        // A controller that has just started has seen no reason to change anything yet.
        memory.recommend(now_ms, current, up_ms.max(down_ms));
    }
    memory.recommend(now_ms, asked, up_ms.max(down_ms));
    let (low, high) = memory.stabilised(now_ms, up_ms, down_ms);
    let stable = current.max(low).min(high);
    let cooling = memory.scaled_at_ms.is_some_and(|at_ms| now_ms < at_ms + load.cool_down_s * 1000);
    let next = if cooling { current } else { stable };
    if next != current {
        memory.scaled_at_ms = Some(now_ms);
    }
    memory.wanted = Some(next);
    next
}

/// The number at which the mean load would be the target. Servers that are booting, settling or
/// quiet are taken to carry their share, never to be idle: they cannot make the type shrink.
fn recommend(row: &Row<'_>, load: &LoadTarget, current: u32) -> u32 {
    let (settled, target) = (u64::from(row.settled), u64::from(load.target.0.max(1)));
    if settled == 0 {
        return current;
    }
    let at_target = settled * target;
    let off = row.load_sum.abs_diff(at_target);
    if off * 1000 <= at_target * u64::from(load.tolerance.0) {
        return current;
    }
    let needed = u32::try_from(row.load_sum.div_ceil(target)).unwrap_or(u32::MAX);
    if row.load_sum > at_target {
        needed.max(current)
    } else {
        let unsettled = row.have().saturating_sub(row.settled);
        needed.saturating_add(unsettled).min(current)
    }
}
