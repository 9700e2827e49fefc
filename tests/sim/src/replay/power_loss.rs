//! What a power cut of the field left on the disks. A dump does not tell which of the last writes
//! were kept, but the next boot does: it shows the partition tables and the journal as they were
//! found. Of the fates that writes can have, those fit that would be found so.

use std::rc::Rc;

use repave_chance::Chance;
use repave_core::event::Event;
use repave_core::gpt::Table;
use repave_core::journal::{Journal, Place};

use super::same;
use crate::disk::{Medium, Unflushed};
use crate::machine::Machine;

/// Most fates to choose from.
const FATES: usize = 4;
/// How often writes are torn, to find out how they were.
const TEARS: u64 = 32;

/// Loses what the next boot says is lost; `ahead` are its events, if there is one. Of several fates
/// that fit, `choose` takes one.
pub(super) fn strike(machine: &mut Machine, ahead: &[&Event], choose: &dyn Fn(usize) -> usize) {
    let tears = (0..TEARS).map(|seed| (Unflushed::Torn, seed));
    let fates = [(Unflushed::Lost, 0), (Unflushed::Kept, 0)].into_iter().chain(tears);
    let crashed = fates.map(|(fate, seed)| {
        let mut media = machine.media.clone();
        let mut chance = Chance::new(seed);
        media.iter_mut().for_each(|medium| medium.crash(fate, &mut chance));
        media
    });
    let fits = |media: &Vec<Medium>| is_found(media, machine.watch.state.start, ahead);
    let mut found: Vec<Vec<Medium>> = crashed.filter(fits).take(FATES).collect();
    match found.len() {
        // Where none fits the next boot tells of something else, and that is told.
        0 => {
            let mut chance = Chance::new(0);
            machine.media.iter_mut().for_each(|m| m.crash(Unflushed::Lost, &mut chance));
        }
        count => machine.media = found.swap_remove(choose(count)),
    }
}

/// Whether tables and journal are as these events say.
fn is_found(media: &[Medium], state_bytes: u64, ahead: &[&Event]) -> bool {
    let tables: Vec<Option<Rc<Table>>> = media.iter().map(Medium::durable_table).collect();
    ahead.iter().all(|event| match event {
        Event::Table(disk, guid, health) => {
            let table = tables.get(*disk).and_then(Option::as_ref);
            table.is_some_and(|table| (table.disk_guid, table.health) == (*guid, *health))
        }
        Event::Entry(disk, entry) => {
            let table = tables.get(*disk).and_then(Option::as_ref);
            table.is_some_and(|table| table.entries.contains(entry))
        }
        Event::Journal(_) => {
            let place = Place { disk: 0, offset_bytes: state_bytes };
            let journal = Journal::open(place, &mut media[0].durable()).ok().flatten();
            let kept = journal.as_ref().map(|kept| (kept.sequence(), kept.record()));
            same::event(event, &Event::journal(kept), &(0..0))
        }
        _ => true,
    })
}
