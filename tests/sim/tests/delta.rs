//! What a target holds already is neither fetched nor written again: not under a new generation,
//! not for an upgrade in place, and not after a power cut. Chunks are counted, not bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::rc::Rc;

use repave_image::Reports;
use repave_sim::image::{CHUNK_BYTES, is_zero};
use repave_sim::stable::find;
use repave_sim::{Image, ImageSpec, Spec, TargetConduct, World, sound};

/// Bytes that the unsealing zeroes at each head: two of the image's chunks.
const HEAD_CHUNKS: usize = 2;

/// Chunks fetched so far.
fn fetched(world: &World) -> usize {
    let machine = world.machine.borrow();
    machine.events.lines().iter().filter(|line| line.contains(" fetch ")).count()
}

/// Every chunk of an image: partition, number in it, bytes.
fn chunks(image: &Image) -> impl Iterator<Item = (usize, usize, &[u8])> {
    image.plain.iter().enumerate().flat_map(|(partition, bytes)| {
        let chunks = bytes.chunks(CHUNK_BYTES as usize).enumerate();
        chunks.map(move |(number, chunk)| (partition, number, chunk))
    })
}

fn stored(image: &Image) -> usize {
    chunks(image).filter(|(_, _, bytes)| !is_zero(bytes)).count()
}

/// Stored chunks that stable storage holds right, but for those in heads.
fn held(world: &World, image: &Image) -> usize {
    let machine = world.machine.borrow();
    let is_held = |&(partition, number, bytes): &(usize, usize, &[u8])| {
        let Some((disk, at, _)) = find(&machine, image.manifest.partitions[partition].guid) else {
            return false;
        };
        let at = at + number as u64 * u64::from(CHUNK_BYTES);
        let found = machine.media[disk].durable_bytes(at..at + bytes.len() as u64);
        number >= HEAD_CHUNKS && !is_zero(bytes) && found == bytes
    };
    chunks(image).filter(is_held).count()
}

/// A server that runs `spec`'s image.
fn running(seed: u64, spec: &ImageSpec) -> (World, Rc<Image>) {
    let mut world = World::new(Spec::new(seed));
    let image = world.publish(spec);
    let generation = world.order_image(&image);
    sound(world.run_until_up(generation));
    assert_eq!(fetched(&world), stored(&image), "a blank disk holds nothing");
    (world, image)
}

#[test]
fn a_new_generation_of_what_is_there_fetches_the_heads_and_what_the_target_changed() {
    let (mut world, web) = running(61, &ImageSpec::new("web", 1));
    let (before, writes) = (fetched(&world), world.target_writes());
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    // Two chunks under each of three heads; the row is in one of them, and the settings in a chunk
    // of zeroes.
    assert_eq!(fetched(&world) - before, 3 * HEAD_CHUNKS);
    assert_eq!(world.row(&web).unwrap(), b"\x01row", "the target is the image again");
    assert!(world.target_writes() - writes < 40, "{}", world.target_writes() - writes);
}

#[test]
fn zeroes_that_lie_behind_each_other_are_written_at_once() {
    let (mut world, web) = running(65, &ImageSpec::new("web", 1));
    let root = &web.manifest.partitions[1];
    let (disk, at, _) = find(&world.machine.borrow(), root.guid).unwrap();
    // Chunks 4 and 5 are zero in the image, 10 and 11 as well, and one of these is zero on the disk.
    let dirty: [u64; 3] = [4, 5, 10];
    for chunk in dirty {
        let medium = &mut world.machine.borrow_mut().media[disk];
        medium.write(at + chunk * u64::from(CHUNK_BYTES), &[9; 512]);
        medium.flush();
    }
    let before = world.machine.borrow().events.lines().len();
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let machine = world.machine.borrow();
    let zeroed = |first: u64, chunks: u64| {
        let bytes = u64::from(CHUNK_BYTES);
        let extent = format!("{}+{}", at + first * bytes, chunks * bytes);
        machine.events.lines()[before..].iter().filter(|line| line.contains(&extent)).count()
    };
    assert_eq!(zeroed(4, 2), 1, "two chunks, one write");
    assert_eq!(zeroed(10, 1), 1, "its neighbour was right already");
    assert_eq!(zeroed(10, 2), 0);
}

#[test]
fn an_upgrade_in_place_fetches_what_it_changes_besides() {
    let (mut world, _) = running(62, &ImageSpec::new("web", 1));
    let upgrade = ImageSpec { upgrades: Some(1), ..ImageSpec::new("web", 2) };
    let upgrade = world.publish(&upgrade);
    let before = fetched(&world);
    let generation = world.order_image(&upgrade);
    sound(world.run_until_up(generation));
    assert_eq!(fetched(&world) - before, 3 * (HEAD_CHUNKS + 1));
}

#[test]
fn a_partition_that_differs_in_nothing_keeps_its_head() {
    // Its target never runs, and nothing is configured: only the upgraded ESP differs.
    let spec = Spec { conduct: TargetConduct::Panics, ..Spec::new(63) };
    let mut world = World::new(spec);
    let tool = ImageSpec { reports: Reports::None, ..ImageSpec::new("memtest", 1) };
    let tool = world.publish(&tool);
    world.order_image(&tool);
    sound(world.run_until("it was left for", |world| world.count_events("reboot") == 1));
    let esp = &tool.manifest.partitions[0];
    {
        let machine = &mut *world.machine.borrow_mut();
        let (disk, at, _) = find(machine, esp.guid).unwrap();
        machine.media[disk].write(at + 3 * u64::from(CHUNK_BYTES), &[9; 512]);
        machine.media[disk].flush();
    }
    let before = fetched(&world);
    world.order_image(&tool);
    sound(world.run_until("it was left for again", |world| world.count_events("reboot") >= 3));
    assert_eq!(fetched(&world) - before, HEAD_CHUNKS + 1);
}

#[test]
fn a_plan_with_no_differences_unseals_nothing() {
    let spec = Spec { conduct: TargetConduct::Panics, ..Spec::new(64) };
    let mut world = World::new(spec);
    let tool = ImageSpec { reports: Reports::None, ..ImageSpec::new("memtest", 1) };
    let tool = world.publish(&tool);
    world.order_image(&tool);
    sound(world.run_until("it was left for", |world| world.count_events("reboot") == 1));
    let (before, writes) = (fetched(&world), world.target_writes());
    let generation = world.order_image(&tool);
    let sealed = |world: &World| {
        let machine = world.machine.borrow();
        let seal = machine.watch.record.as_ref().and_then(|record| record.seal.as_ref());
        seal.is_some_and(|seal| seal.generation == generation && seal.departures > 0)
    };
    sound(world.run_until("sealed under the new generation", sealed));
    assert_eq!((fetched(&world), world.target_writes()), (before, writes));
    let machine = world.machine.borrow();
    let unsealed = machine.events.lines().iter().filter(|line| line.contains("stage: Unsealed"));
    assert_eq!(unsealed.count(), 1, "the first purposing's");
}

/// Cuts power at each effect up to `after`; nothing that stable storage held is fetched again.
fn check_cuts(world: &World, image: &Image) {
    let generation = world.order_image(image);
    let before = world.machine.borrow().events.effects();
    let mut whole = world.fork();
    sound(whole.run_until_up(generation));
    let after = whole.machine.borrow().events.effects();
    let mut spared = 0;
    for number in before..after {
        let mut world = world.fork();
        world.machine.borrow_mut().events.cut_at(number);
        let losses = world.count_events("power is lost");
        let cut = |world: &World| world.count_events("power is lost") > losses;
        sound(world.run_until("power is cut", cut));
        if world.machine.borrow().watch.record.as_ref().is_some_and(|record| record.seal.is_some())
        {
            continue;
        }
        let (held, before) = (held(&world, image), fetched(&world));
        sound(world.run_until_up(generation));
        let again = fetched(&world) - before;
        assert!(again + held <= stored(image), "cut at {number}: {again} fetched, {held} held");
        spared += held;
    }
    assert!(spared > 0, "no cut left anything to spare");
}

#[test]
fn after_a_cut_of_a_first_purposing_nothing_that_is_held_is_fetched_again() {
    let world = World::new(Spec::new(65));
    let web = world.publish(&ImageSpec::new("web", 1));
    check_cuts(&world, &web);
}

#[test]
fn after_a_cut_of_an_upgrade_nothing_that_is_held_is_fetched_again() {
    let (world, _) = running(66, &ImageSpec::new("web", 1));
    let upgrade = ImageSpec { upgrades: Some(1), ..ImageSpec::new("web", 2) };
    let upgrade = world.publish(&upgrade);
    check_cuts(&world, &upgrade);
}

#[test]
fn a_place_that_cannot_be_read_is_written() {
    let (mut world, web) = running(67, &ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    {
        let machine = &mut *world.machine.borrow_mut();
        let (disk, at, _) = find(machine, web.manifest.partitions[1].guid).unwrap();
        let at = at + 3 * u64::from(CHUNK_BYTES);
        machine.unreadable = Some((disk, at..at + 512));
    }
    let before = fetched(&world);
    sound(world.run_until_up(generation));
    assert_eq!(fetched(&world) - before, 3 * HEAD_CHUNKS + 1);
}
