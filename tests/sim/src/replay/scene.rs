//! The world that a dump begins in: disks with their tables and the journal, as the first boot found
//! them, and images of the shape that the dump tells. Their bytes are made up.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use repave_core::event::Event;
use repave_core::gpt::{Entry, Health, Table};
use repave_core::journal::{Journal, Place, Record, Secret};
use repave_image::{DEFAULT_PARTITION, STATE_PARTITION};
use repave_protocol::{Directive, Disk as Facts, Guid, Nonce, Order, ServerId, Sha256, SigningKey};

use super::Trouble;
use super::dump::Told;
use super::script::{PATIENCE_MS, Script, order_here};
use crate::bench::Bench;
use crate::check::Watch;
use crate::controller::Controller;
use crate::disk::Medium;
use crate::image::{Image, esp_bytes};
use crate::image_like::Pages;
use crate::world::{Spec, TargetConduct, World};
use repave_chance::Chance;

/// The key of a replayed server; its own is in no dump.
const DEVICE_SEED: [u8; 32] = [11; 32];

/// What a dump begins with, from which any number of worlds can be made.
pub(super) struct Scene {
    pub(super) told: Rc<Vec<Told>>,
    /// Images by the digest that the dump calls them by.
    pub(super) images: BTreeMap<Sha256, Rc<Image>>,
    /// The state partition's bytes on disk 0.
    pub(super) state: Range<u64>,
    first: First,
    media: Vec<Medium>,
}

impl Scene {
    /// Of this dump.
    pub(super) fn of(told: Vec<Told>) -> Result<Self, Trouble> {
        let first = First::of(&told)?;
        let (images, media) = (images(&told)?, first.media()?);
        Ok(Self { told: Rc::new(told), images, state: first.state.clone(), first, media })
    }

    /// A world like it, and the script to follow in it with these choices.
    pub(super) fn set(&self, plan: Vec<usize>) -> (World, Rc<Script>) {
        let mut world = World::new(Spec { conduct: TargetConduct::Panics, ..Spec::new(0) });
        {
            let machine = &mut *world.machine.borrow_mut();
            machine.media.clone_from(&self.media);
            let (default, state) = (self.first.default.clone(), self.state.clone());
            machine.watch = Watch::new(default, state, BTreeMap::new());
            machine.watch.burned = self.first.tables.get(&0).map(|table| table.entries[0].guid);
            machine.nvram.variables.clear();
            self.images.values().for_each(|image| machine.controller.add(image));
        }
        if let Some((sequence, record)) = &self.first.journal {
            let record = self.record(record, &world);
            keep_journal(&world, (*sequence, record));
        }
        let script = Rc::new(Script::new(self, plan));
        world.follow(Rc::clone(&script), PATIENCE_MS);
        (world, script)
    }

    /// The record that the journal held, with a key and a trust document of this simulator's.
    fn record(&self, record: &Record, world: &World) -> Record {
        let machine = &mut *world.machine.borrow_mut();
        let burned = machine.controller.burned_trust();
        let mut record = Record {
            device_seed: Secret::new(DEVICE_SEED),
            trust: Some(String::from_utf8_lossy(&burned).into_owned()),
            ..record.clone()
        };
        let ours = |manifest: &mut Sha256| {
            if let Some(image) = self.images.get(manifest) {
                *manifest = image.reference.manifest;
            }
        };
        record.purposing.iter_mut().for_each(|purposing| ours(&mut purposing.manifest));
        record.seal.iter_mut().for_each(|seal| ours(&mut seal.manifest));
        if let Some(accepted) = &mut record.accepted {
            // The order that was accepted may come again; then it must be the same one.
            let order = self.told.iter().find_map(|told| match &*told.event {
                Event::Answered(generation, order) if *generation == accepted.generation => {
                    Some(order_here(&self.images, order))
                }
                _ => None,
            });
            let order = order.unwrap_or(Order::Wait { after_ms: 0 });
            let directive = Directive {
                crit: Vec::new(),
                pool: machine.controller.pool.clone(),
                server: ServerId::of(&SigningKey::from_seed(&DEVICE_SEED).public()),
                nonce: Nonce::from_random([0; 32]),
                generation: accepted.generation,
                order: order.clone(),
                trust: None,
            };
            accepted.digest = directive.order_digest();
            machine.controller.knows(accepted, order);
        }
        record
    }
}

/// Puts a journal onto the first disk.
fn keep_journal(world: &World, (sequence, record): (u64, Record)) {
    let machine = &mut *world.machine.borrow_mut();
    let place = Place { disk: 0, offset_bytes: machine.watch.state.start };
    let mut bench = Bench(machine.media[0].clone());
    let mut other = record.clone();
    other.withdrawn ^= true;
    // One that says something else is changed to it, since what is the same is not written.
    let mut journal = Journal::create(place, sequence.saturating_sub(1), other);
    let kept = record.clone();
    let written = journal.update(&mut bench, |before| *before = record);
    assert!(written.is_ok(), "the bench does not fail");
    bench.0.flush();
    machine.media[0] = bench.0;
    // What was sealed before the dump begins is not for this world to prove.
    machine.watch.record = Some(kept);
}

/// What the first boot of a dump found.
struct First {
    disks: Vec<Facts>,
    tables: BTreeMap<usize, FoundTable>,
    journal: Option<(u64, Box<Record>)>,
    default: Range<u64>,
    state: Range<u64>,
}

struct FoundTable {
    guid: Guid,
    health: Health,
    entries: Vec<Entry>,
}

impl First {
    fn of(told: &[Told]) -> Result<Self, Trouble> {
        let (mut disks, mut tables) = (Vec::new(), BTreeMap::new());
        let mut journal = None;
        // A life that came to no journal has changed nothing.
        for Told { event, .. } in told {
            match &**event {
                Event::Home { .. } => {
                    disks.clear();
                    tables.clear();
                }
                Event::Disk(_, facts) => disks.push((**facts).clone()),
                Event::Table(disk, guid, health) => {
                    let (guid, health) = (*guid, *health);
                    tables.insert(*disk, FoundTable { guid, health, entries: Vec::new() });
                }
                Event::Entry(disk, entry) => {
                    if let Some(table) = tables.get_mut(disk) {
                        table.entries.push(entry.clone());
                    }
                }
                Event::Journal(found) => {
                    journal = Some(found.clone());
                    break;
                }
                _ => {}
            }
        }
        let unfit = |why: &str| Trouble::Unfit { line: told[0].line, why: why.into() };
        let journal = journal.ok_or_else(|| unfit("none of its boots came to a journal"))?;
        let home = tables.get(&0).map(|table| table.entries.as_slice());
        let (default, state) = match home {
            Some([default, state, ..])
                if default.name == DEFAULT_PARTITION && state.name == STATE_PARTITION =>
            {
                (default.clone(), state.clone())
            }
            _ => return Err(unfit("the default side of the simulator is on disk 0")),
        };
        let block_bytes = disks.first().map_or(512, |facts| u64::from(facts.logical_block_bytes));
        let range =
            |entry: &Entry| entry.first_lba * block_bytes..(entry.last_lba + 1) * block_bytes;
        Ok(Self { disks, tables, journal, default: range(&default), state: range(&state) })
    }

    fn media(&self) -> Result<Vec<Medium>, Trouble> {
        let medium = |(number, facts): (usize, &Facts)| {
            let mut bench = Bench(Medium::of(facts.clone()));
            if let Some(table) = self.tables.get(&number) {
                table.write(&mut bench).map_err(|why| Trouble::Unfit { line: 0, why })?;
            }
            if number == 0 {
                let esp = esp_bytes(64 * 1024, &mut Chance::new(0));
                bench.0.hold(self.default.start, &esp);
                bench.0.watch(self.state.clone());
            }
            Ok(bench.0)
        };
        self.disks.iter().enumerate().map(medium).collect()
    }
}

impl FoundTable {
    fn write(&self, bench: &mut Bench) -> Result<(), String> {
        let made = Table::create(bench, self.guid);
        let made = made.and_then(|table| table.rewrite(self.guid, &self.entries, 0));
        let rewrite = made.map_err(|error| error.to_string())?;
        rewrite.write(bench).map_err(|error| error.to_string())?;
        let block = vec![0; bench.0.facts().logical_block_bytes as usize];
        let block_bytes = block.len() as u64;
        if !self.health.primary {
            bench.0.hold(block_bytes, &block);
        }
        if !self.health.backup {
            bench.0.hold(bench.0.facts().size_bytes - block_bytes, &block);
        }
        Ok(())
    }
}

/// Every image that the dump tells, by the digest that it calls it by.
fn images(told: &[Told]) -> Result<BTreeMap<Sha256, Rc<Image>>, Trouble> {
    let mut images: BTreeMap<Sha256, (usize, &str, Pages)> = BTreeMap::new();
    let mut present = None;
    for Told { line, event } in told {
        match &**event {
            Event::Image(manifest, pages, config) => {
                present = Some(*manifest);
                images.entry(*manifest).or_insert_with(|| (*line, config, Pages::new(pages)));
            }
            Event::Page(number, stored) => {
                if let Some((.., pages)) = present.and_then(|manifest| images.get_mut(&manifest)) {
                    pages.tell(*number, stored);
                }
            }
            _ => {}
        }
    }
    let controller = Controller::new();
    let made = images.into_iter().map(|(manifest, (line, config, pages))| {
        let image = controller.like(config, &pages);
        Ok((manifest, image.map_err(|why| Trouble::Unfit { line, why })?))
    });
    made.collect()
}
