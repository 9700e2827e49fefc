//! Which type is given a server next, and which one. Types under their min come first, then those
//! of higher priority, then those that lack the larger share. Spare servers go first, then what
//! other types have too many of, then what lower priorities can do without.

use std::cmp::Reverse;

use super::census::Row;
use super::decision::{Excluded, Note};
use super::fits::unmet;
use super::fleet::{Phase, TypeId};
use super::round::Round;

/// Brings servers to the types that people pinned them to, as far as max and min allow.
pub(super) fn obey_pins(round: &mut Round<'_>) {
    for (id, index) in std::mem::take(&mut round.misplaced) {
        let Some(row) = round.rows.get(id.index()) else { continue };
        let Some(version) = row.version.filter(|_| row.have() < row.max()) else { continue };
        let server = round.server(index);
        let free = match (server.phase, server.server_type) {
            (Phase::Spare | Phase::Failed, _) => true,
            (Phase::Up, Some(from)) => round.rows[from.index()].can_give(),
            _ => false,
        };
        if free && round.left > 0 && round.may_become(index, id, version) {
            let why = format!("{} is pinned to {}", server.id.short(), row.name);
            round.purpose(index, id, version, why);
        }
    }
}

/// Fills what is wanted.
pub(super) fn fill(round: &mut Round<'_>) {
    let mut given_up = vec![false; round.rows.len()];
    while round.left > 0 {
        let Some(id) = neediest(round, &given_up) else { return };
        let row = &round.rows[id.index()];
        let Some(version) = row.version else {
            round.notes.push(Note::NoImage { server_type: row.name.into() });
            given_up[id.index()] = true;
            continue;
        };
        match find(round, id, version) {
            Some(index) => {
                let why = reason(round, id, index);
                round.purpose(index, id, version, why);
            }
            None => {
                given_up[id.index()] = true;
                let note = shortage(round, id, version);
                round.notes.push(note);
            }
        }
    }
}

fn neediest(round: &Round<'_>, given_up: &[bool]) -> Option<TypeId> {
    let rows = (0..).map(TypeId).zip(&round.rows);
    let needs = rows.filter(|(id, row)| row.have() < row.wanted && !given_up[id.index()]);
    let most = needs.min_by_key(|(id, row)| {
        let lack = u64::from(row.wanted - row.have()) * 1000 / u64::from(row.wanted);
        let priority = row.declared.map_or(0, |declared| declared.priority);
        (row.have() >= row.min(), Reverse(priority), Reverse(lack), *id)
    });
    most.map(|(id, _)| id)
}

fn find(round: &mut Round<'_>, id: TypeId, version: u64) -> Option<u32> {
    if let Some(index) = round.next_free(id, version) {
        return Some(index);
    }
    givers(round, id).into_iter().find_map(|giver| round.next_given(giver, Some((id, version))))
}

/// Types that may give to `id`, best first.
fn givers(round: &Round<'_>, id: TypeId) -> Vec<TypeId> {
    let receiver = &round.rows[id.index()];
    let priority = |row: &Row<'_>| row.declared.map_or(0, |declared| declared.priority);
    // A min is a promise to every type, whatever its priority.
    let in_need = receiver.have() < receiver.min();
    let may = |row: &Row<'_>| row.surplus() > 0 || in_need || priority(row) < priority(receiver);
    let rows = (0..).map(TypeId).zip(&round.rows);
    let mut givers: Vec<_> = rows
        .filter(|(giver, row)| *giver != id && row.can_give() && may(row))
        .map(|(giver, row)| {
            let share = u64::from(row.surplus()) * 1000 / u64::from(row.wanted.max(1));
            ((Reverse(share), priority(row), giver), giver)
        })
        .collect();
    givers.sort_unstable();
    givers.into_iter().map(|(_, giver)| giver).collect()
}

/// `web wants 3 (2 servers at 92 % of a target of 70 %) and has 2; takes spare 0a1b2c3d4e5f`.
fn reason(round: &Round<'_>, id: TypeId, index: u32) -> String {
    let row = &round.rows[id.index()];
    let server = round.server(index);
    let name = server.id.short();
    let taken = match (server.phase, server.server_type) {
        (Phase::Up, Some(from)) => {
            let from = &round.rows[from.index()];
            format!(
                "{name} from {}, which has {} and wants {}",
                from.name,
                from.have(),
                from.wanted
            )
        }
        (Phase::Failed, _) => format!("{name}, which failed before"),
        _ => format!("spare {name}"),
    };
    format!("{} and has {}; takes {taken}", wish(row), row.have())
}

/// `web wants 3`, with the load that says so if one does.
pub(super) fn wish(row: &Row<'_>) -> String {
    let target = row.declared.and_then(|declared| declared.load).map(|load| load.target);
    match (row.mean_load(), target) {
        (Some(mean), Some(target)) => format!(
            "{} wants {} ({} servers at {mean} of a target of {target})",
            row.name, row.wanted, row.settled
        ),
        _ => format!("{} wants {}", row.name, row.wanted),
    }
}

fn shortage(round: &Round<'_>, id: TypeId, version: u64) -> Note {
    let row = &round.rows[id.index()];
    let requires = row.declared.map(|declared| &declared.requires);
    let mut by_hardware = vec![0_u32; round.fleet.hardware.len()];
    let (mut held, mut pinned, mut quarantined, mut cordoned) = (0, 0, 0, 0);
    for &index in &round.free {
        let server = round.server(index);
        let place = server.hardware.0 as usize;
        match () {
            () if server.cordoned => cordoned += 1,
            () if round.holds_data(server) => held += 1,
            () if server.pinned.is_some_and(|pinned| pinned != id) => pinned += 1,
            () if !round.fits.fits(server.hardware, id) => {
                by_hardware.get_mut(place).into_iter().for_each(|count| *count += 1);
            }
            () if round.is_quarantined(index, id, version) => quarantined += 1,
            () => {}
        }
    }
    let mut unmet_by = std::collections::BTreeMap::new();
    let counted = round.fleet.hardware.iter().zip(by_hardware).filter(|(_, count)| *count > 0);
    for (hardware, count) in counted {
        if let Some(unmet) = requires.and_then(|requires| unmet(hardware, requires)) {
            *unmet_by.entry(unmet).or_insert(0) += count;
        }
    }
    let others = [
        ("cordon", cordoned),
        ("data on them", held),
        ("a pin", pinned),
        ("quarantine of the image", quarantined),
    ];
    let others = others.map(|(constraint, servers)| (constraint.to_string(), servers));
    let unmet_by = unmet_by.into_iter().map(|(unmet, servers)| (unmet.words(), servers));
    let excluded = unmet_by
        .chain(others)
        .filter(|(_, servers)| *servers > 0)
        .map(|(constraint, servers)| Excluded { constraint, servers })
        .collect();
    Note::Short { server_type: row.name.into(), wanted: row.wanted, have: row.have(), excluded }
}
