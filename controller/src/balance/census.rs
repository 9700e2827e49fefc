//! One look at every server: how many each type has and in which state, how busy they are, and how
//! much of the pool is silent. Everything later in the round reckons with these figures.

use super::fleet::{AvailableImage, Fleet, KnownType, Phase, Server, TypeId};
use crate::policy::{Data, Milli, Policy, ServerType};

/// A type and what it has; by its place in [`Fleet::types`].
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) declared: Option<&'a ServerType>,
    pub(super) image: Option<AvailableImage>,
    /// Which servers are up, by their place in the fleet.
    pub(super) up_indices: Vec<u32>,
    /// Up, less those that this round takes.
    pub(super) up: u32,
    /// Moving towards it, this round's moves included.
    pub(super) becoming: u32,
    /// Silent for so short a time that they count.
    pub(super) quiet: u32,
    /// Silent, for however long, with another version than the image's.
    pub(super) outdated_away: u32,
    /// Up for long enough that their load counts, and reporting it.
    pub(super) settled: u32,
    /// The sum of their load.
    pub(super) load_sum: u64,
    /// Up with the image's version.
    pub(super) current_up: u32,
    /// Of these, up for as long as the rollout asks.
    pub(super) current_settled: u32,
    /// Becoming, with the image's version.
    pub(super) current_becoming: u32,
    /// How many it wants.
    pub(super) wanted: u32,
    /// The version that a new server of it gets.
    pub(super) version: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(known: &'a KnownType, policy: &'a Policy) -> Self {
        Self {
            name: &known.name,
            declared: policy.types.iter().find(|declared| declared.name == known.name),
            image: known.image,
            up_indices: Vec::new(),
            up: 0,
            becoming: 0,
            quiet: 0,
            outdated_away: 0,
            settled: 0,
            load_sum: 0,
            current_up: 0,
            current_settled: 0,
            current_becoming: 0,
            wanted: 0,
            version: None,
        }
    }

    /// How many servers count as the type's.
    pub(super) const fn have(&self) -> u32 {
        self.up + self.becoming + self.quiet
    }

    /// How many it has too many of. Only those that are up count: one that is becoming or quiet may
    /// yet fail, and is no reason to give a good one away.
    pub(super) const fn surplus(&self) -> u32 {
        self.up.saturating_sub(self.wanted)
    }

    pub(super) fn min(&self) -> u32 {
        self.declared.map_or(0, |declared| declared.min)
    }

    pub(super) fn max(&self) -> u32 {
        self.declared.map_or(0, |declared| declared.max)
    }

    /// The mean load of its settled servers.
    pub(super) fn mean_load(&self) -> Option<Milli> {
        self.declared?.load?;
        let mean = self.load_sum.checked_div(self.settled.into())?;
        Some(Milli(u32::try_from(mean).unwrap_or(u32::MAX)))
    }

    /// Whether one of its servers may be taken: declared, disposable, and more up than must be.
    pub(super) fn can_give(&self) -> bool {
        let disposable = |declared: &ServerType| declared.data == Data::Disposable;
        self.declared.is_some_and(disposable) && self.up > self.min()
    }

    fn count_up(&mut self, index: u32, server: &Server, now_ms: u64) {
        self.up += 1;
        self.up_indices.push(index);
        let Some(declared) = self.declared else { return };
        let age_ms = now_ms.saturating_sub(server.since_ms);
        if let (Some(target), Some(load)) = (declared.load, server.load)
            && age_ms >= declared.health.settle_s * 1000
        {
            self.settled += 1;
            self.load_sum += u64::from(load.get(target.measure));
        }
        if self.is_current(server) {
            self.current_up += 1;
            self.current_settled += u32::from(age_ms >= declared.rollout.settle_s * 1000);
        }
    }

    /// Whether `server` has the version that the channel points at.
    pub(super) fn is_current(&self, server: &Server) -> bool {
        self.image.is_some_and(|image| server.version == Some(image.version))
    }
}

/// The whole look.
#[derive(Debug)]
pub(super) struct Census<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// Moving, wherever to.
    pub(super) moving: u32,
    /// Approved.
    pub(super) known: u32,
    /// Silent for too long.
    pub(super) lost: u32,
    /// Spare and failed servers, by their place in the fleet.
    pub(super) free: Vec<u32>,
    /// Servers pinned to a type that they are not.
    pub(super) misplaced: Vec<(TypeId, u32)>,
}

impl<'a> Census<'a> {
    pub(super) fn take(fleet: &'a Fleet, policy: &'a Policy, now_ms: u64) -> Self {
        let rows = fleet.types.iter().map(|known| Row::new(known, policy)).collect();
        let mut census =
            Self { rows, moving: 0, known: 0, lost: 0, free: Vec::new(), misplaced: Vec::new() };
        let silent_after_ms = policy.pool.silent_after_s * 1000;
        for (index, server) in (0..).zip(&fleet.servers) {
            census.known += u32::from(server.phase != Phase::Pending);
            let row = server.server_type.and_then(|id| census.rows.get_mut(id.index()));
            match (server.phase, row) {
                (Phase::Pending | Phase::Unusable, _) => continue,
                (Phase::Spare | Phase::Failed, _) => census.free.push(index),
                (Phase::Moving, row) => {
                    census.moving += 1;
                    if let Some(row) = row {
                        row.becoming += 1;
                        row.current_becoming += u32::from(row.is_current(server));
                    }
                }
                (Phase::Up, Some(row)) => row.count_up(index, server, now_ms),
                (Phase::Up, None) => {}
                (Phase::Silent, row) => {
                    let lost = now_ms.saturating_sub(server.since_ms) >= silent_after_ms;
                    census.lost += u32::from(lost);
                    if let Some(row) = row {
                        row.quiet += u32::from(!lost);
                        row.outdated_away += u32::from(!row.is_current(server));
                    }
                }
            }
            if let Some(pinned) = server.pinned {
                let there = server.phase == Phase::Up && server.server_type == Some(pinned);
                if !there {
                    census.misplaced.push((pinned, index));
                }
            }
        }
        census
    }
}
