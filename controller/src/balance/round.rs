//! One round's ledger: who may be taken, who was, and what each type has after that. Every move of
//! a round is written here and nowhere else, so the rules on a move are kept in one place.

use std::cell::OnceCell;

use super::census::{Census, Row};
use super::decision::{Action, Move, Note};
use super::fits::Fits;
use super::fleet::{Fleet, Phase, Server, TypeId};
use super::memory::{Memory, TypeMemory};
use crate::policy::{Data, Measure, Policy, ServerType};

/// The ledger.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) rows: Vec<Row<'a>>,
    pub(super) memory: Memory,
    /// Moves that may still be made.
    pub(super) left: u32,
    pub(super) moves: Vec<Move>,
    pub(super) notes: Vec<Note>,
    pub(super) misplaced: Vec<(TypeId, u32)>,
    /// Free servers, in the order in which they are taken.
    pub(super) free: Vec<u32>,
    pub(super) fits: Fits<'a>,
    taken: Vec<bool>,
    /// Pairs of server and image that failed too often, sorted.
    quarantine: Vec<(u32, TypeId, u64)>,
    /// For each type, how many of `free` were looked at and not suitable.
    free_seen: Vec<usize>,
    /// For each type, its servers in the order in which they are given away.
    givers: Vec<OnceCell<Vec<u32>>>,
    /// For each receiver and giver, how many of the giver's servers were looked at.
    given_seen: Vec<usize>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        fleet: &'a Fleet,
        policy: &'a Policy,
        census: Census<'a>,
        memory: Memory,
        left: u32,
    ) -> Self {
        let requires: Vec<_> =
            census.rows.iter().map(|row| row.declared.map(|declared| &declared.requires)).collect();
        let fits = Fits::new(&fleet.hardware, requires);
        let types = census.rows.len();
        let mut quarantine: Vec<_> = fleet
            .image_failures
            .iter()
            .filter(|pair| pair.failures >= policy.pool.retries)
            .map(|pair| (pair.server, pair.server_type, pair.version))
            .collect();
        quarantine.sort_unstable();
        let mut free = census.free;
        // Well ones first, then those that fit the fewest types, so that rare hardware is not
        // spent where any would do.
        free.sort_by_cached_key(|&index| {
            let server = &fleet.servers[index as usize];
            (server.phase == Phase::Failed, fits.breadth(server.hardware), index)
        });
        Self {
            fleet,
            rows: census.rows,
            memory,
            left,
            moves: Vec::new(),
            notes: Vec::new(),
            misplaced: census.misplaced,
            free,
            fits,
            taken: vec![false; fleet.servers.len()],
            quarantine,
            free_seen: vec![0; types],
            givers: vec![OnceCell::new(); types],
            given_seen: vec![0; types * (types + 1)],
        }
    }

    pub(super) fn server(&self, index: u32) -> &'a Server {
        &self.fleet.servers[index as usize]
    }

    /// The declared types, in the fleet's order.
    pub(super) fn declared_ids(&self) -> Vec<TypeId> {
        let declared = (0..).map(TypeId).zip(&self.rows);
        declared.filter(|(_, row)| row.declared.is_some()).map(|(id, _)| id).collect()
    }

    pub(super) fn memory_of(&self, id: TypeId) -> TypeMemory {
        self.memory.types.get(self.rows[id.index()].name).cloned().unwrap_or_default()
    }

    pub(super) fn is_quarantined(&self, index: u32, id: TypeId, version: u64) -> bool {
        self.quarantine.binary_search(&(index, id, version)).is_ok()
    }

    /// Whether it must not be overwritten: by its own flag, or since its type's data is guarded or
    /// its type is not declared, so that nothing says that it is not.
    pub(super) fn holds_data(&self, server: &Server) -> bool {
        let row = |id: TypeId| self.rows.get(id.index()).and_then(|row| row.declared);
        let guarded = |declared: &ServerType| declared.data == Data::Guarded;
        server.guarded || server.server_type.is_some_and(|id| row(id).is_none_or(guarded))
    }

    /// Whether it may be touched at all.
    fn is_takeable(&self, index: u32) -> bool {
        let server = self.server(index);
        !self.taken[index as usize] && !server.cordoned && !self.holds_data(server)
    }

    /// Whether it may become one of `id` with `version`.
    pub(super) fn may_become(&self, index: u32, id: TypeId, version: u64) -> bool {
        let server = self.server(index);
        self.is_takeable(index)
            && server.pinned.is_none_or(|pinned| pinned == id)
            && self.fits.fits(server.hardware, id)
            && !self.is_quarantined(index, id, version)
    }

    /// The next free server for `id`.
    pub(super) fn next_free(&mut self, id: TypeId, version: u64) -> Option<u32> {
        let mut seen = self.free_seen[id.index()];
        let rest = &self.free[seen..];
        let found = rest.iter().position(|&index| self.may_become(index, id, version));
        seen += found.unwrap_or(rest.len());
        self.free_seen[id.index()] = seen;
        self.free.get(seen).copied()
    }

    /// A free server for `id` with a version that is not the one it usually gets.
    pub(super) fn free_for(&self, id: TypeId, version: u64) -> Option<u32> {
        self.free.iter().copied().find(|&index| self.may_become(index, id, version))
    }

    /// The next server that `giver` would give to `receiver`, or, without one, would release.
    pub(super) fn next_given(
        &mut self,
        giver: TypeId,
        receiver: Option<(TypeId, u64)>,
    ) -> Option<u32> {
        let place = receiver.map_or(self.rows.len(), |(id, _)| id.index());
        let place = place * self.rows.len() + giver.index();
        let mut seen = self.given_seen[place];
        let order = self.givers[giver.index()].get_or_init(|| self.giving_order(giver));
        let suits = |&index: &u32| match receiver {
            Some((id, version)) => self.may_become(index, id, version),
            None => self.is_takeable(index),
        };
        let rest = &order[seen..];
        seen += rest.iter().position(suits).unwrap_or(rest.len());
        let found = order.get(seen).copied();
        self.given_seen[place] = seen;
        found
    }

    /// Outdated before current, then the least loaded first; those pinned to the type never.
    fn giving_order(&self, giver: TypeId) -> Vec<u32> {
        let row = &self.rows[giver.index()];
        let gives = |index: &u32| self.server(*index).pinned != Some(giver);
        let mut order: Vec<u32> = row.up_indices.iter().copied().filter(gives).collect();
        order.sort_by_cached_key(|&index| {
            (row.is_current(self.server(index)), self.load_of(row, index), index)
        });
        order
    }

    /// Servers of `id` that may be renewed with `version`, least loaded first.
    pub(super) fn outdated(&self, id: TypeId, version: u64) -> Vec<u32> {
        let row = &self.rows[id.index()];
        let old = |index: &u32| {
            !row.is_current(self.server(*index)) && self.may_become(*index, id, version)
        };
        let mut order: Vec<u32> = row.up_indices.iter().copied().filter(old).collect();
        order.sort_by_cached_key(|&index| (self.load_of(row, index), index));
        order
    }

    /// What does not report its load may be busy.
    fn load_of(&self, row: &Row<'_>, index: u32) -> u32 {
        let target = row.declared.and_then(|declared| declared.load);
        let measure = target.map_or(Measure::Cpu, |load| load.measure);
        self.server(index).load.map_or(u32::MAX, |load| load.get(measure))
    }

    /// Writes down that a server becomes one of `to`.
    pub(super) fn purpose(&mut self, index: u32, to: TypeId, version: u64, why: String) {
        self.write(index, Action::Purpose { to, version }, why);
        let row = &mut self.rows[to.index()];
        row.becoming += 1;
        row.current_becoming += u32::from(row.image.is_some_and(|image| image.version == version));
    }

    /// Writes down that a server becomes spare.
    pub(super) fn release(&mut self, index: u32, why: String) {
        self.write(index, Action::Release, why);
    }

    fn write(&mut self, index: u32, action: Action, why: String) {
        let server = self.server(index);
        assert!(self.left > 0 && self.is_takeable(index), "a move that the ledger does not allow");
        let up_as = server.server_type.filter(|_| server.phase == Phase::Up);
        let mut drain_s = 0;
        if let Some(from) = up_as {
            let row = &mut self.rows[from.index()];
            assert!(row.up > row.min(), "{} would fall under its min", row.name);
            row.up -= 1;
            if row.is_current(server) {
                row.current_up -= 1;
            }
            drain_s = row.declared.map_or(0, |declared| declared.drain_s);
        }
        self.taken[index as usize] = true;
        self.left -= 1;
        self.moves.push(Move { index, server: server.id, from: up_as, action, drain_s, why });
    }
}
