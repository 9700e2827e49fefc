//! A target that moves to another disk: what is left behind must not boot, whenever power is cut
//! and even if its disk was away meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_core::journal::BootPlace;
use repave_protocol::{DiskSelector, Generation, Order};
use repave_sim::image::is_mountable_esp;
use repave_sim::stable::find;
use repave_sim::{DiskSpec, Image, ImageSpec, Spec, World, sound};

/// A server with two disks.
fn world(seed: u64) -> World {
    let disks = vec![DiskSpec::new("first", 8), DiskSpec::new("second", 8)];
    World::new(Spec { disks, ..Spec::new(seed) })
}

/// Orders an image onto the disk with that serial.
fn order_on(world: &World, image: &Image, serial: &str) -> Generation {
    let mut purpose = World::purpose(image);
    purpose.disk = Some(DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() });
    world.order(Order::Purpose(Box::new(purpose)))
}

/// Whether the firmware could boot this image from one of the server's disks.
fn is_bootable(world: &World, image: &Image) -> bool {
    let machine = world.machine.borrow();
    let found = find(&machine, image.manifest.partitions[0].guid);
    found.is_some_and(|(disk, at, _)| {
        is_mountable_esp(&machine.media[disk].durable_bytes(at..at + 4096))
    })
}

#[test]
fn what_is_left_behind_on_the_other_disk_does_not_boot() {
    for [from, to] in [["first", "second"], ["second", "first"]] {
        let mut world = world(31);
        let web = world.publish(&ImageSpec::new("web", 1));
        let db = world.publish(&ImageSpec::new("db", 1));
        let default = world.default_partition();
        let generation = order_on(&world, &web, from);
        sound(world.run_until_up(generation));
        assert!(is_bootable(&world, &web));
        let generation = order_on(&world, &db, to);
        sound(world.run_until_up(generation));
        assert!(is_bootable(&world, &db));
        assert!(!is_bootable(&world, &web), "from {from} to {to}");
        assert!(world.default_partition() == default);
        let machine = world.machine.borrow();
        assert_eq!(machine.watch.record.as_ref().unwrap().unsealed, []);
    }
}

#[test]
fn nor_does_it_after_a_power_cut_at_any_effect() {
    for [from, to] in [["first", "second"], ["second", "first"]] {
        let mut world = world(32);
        let web = world.publish(&ImageSpec::new("web", 1));
        let db = world.publish(&ImageSpec::new("db", 1));
        let generation = order_on(&world, &web, from);
        sound(world.run_until_up(generation));
        let generation = order_on(&world, &db, to);
        let before = world.machine.borrow().events.effects();
        let mut whole = world.fork();
        sound(whole.run_until_up(generation));
        let after = whole.machine.borrow().events.effects();
        for number in before..after {
            let mut world = world.fork();
            world.machine.borrow_mut().events.cut_at(number);
            if let Err(violation) = world.run_until_up(generation) {
                panic!("from {from} to {to}, power cut at effect {number}: {violation}");
            }
            assert!(!is_bootable(&world, &web), "from {from} to {to}, cut at {number}");
        }
    }
}

#[test]
fn a_purposing_that_was_cut_and_is_not_resumed_leaves_nothing_bootable_either() {
    let mut world = world(33);
    let [web, db, mail] = ["web", "db", "mail"].map(|n| world.publish(&ImageSpec::new(n, 1)));
    let generation = order_on(&world, &web, "first");
    sound(world.run_until_up(generation));
    let generation = order_on(&world, &db, "first");
    let before = world.machine.borrow().events.effects();
    let mut whole = world.fork();
    sound(whole.run_until_up(generation));
    let after = whole.machine.borrow().events.effects();
    for number in before..after {
        let mut world = world.fork();
        world.machine.borrow_mut().events.cut_at(number);
        // Power is lost once already, by the fork.
        sound(world.run_until("the cut", |world| {
            world.count_events("power is lost") > 1 || world.is_up(generation)
        }));
        let generation = order_on(&world, &mail, "second");
        if let Err(violation) = world.run_until_up(generation) {
            panic!("power cut at effect {number}: {violation}");
        }
        assert!(!is_bootable(&world, &web) && !is_bootable(&world, &db), "cut at {number}");
    }
}

#[test]
fn a_disk_that_was_away_is_blanked_by_the_next_purposing_that_finds_it() {
    let mut world = world(34);
    let [web, db, mail] = ["web", "db", "mail"].map(|n| world.publish(&ImageSpec::new(n, 1)));
    let generation = order_on(&world, &web, "second");
    sound(world.run_until_up(generation));
    let pulled = world.machine.borrow_mut().media.pop().unwrap();
    world.pull_plug();
    let generation = order_on(&world, &db, "first");
    sound(world.run_until_up(generation));
    world.machine.borrow_mut().media.push(pulled);
    world.pull_plug();
    sound(world.run_until_up(generation));
    assert!(is_bootable(&world, &web), "nobody has looked yet");
    let generation = order_on(&world, &mail, "first");
    sound(world.run_until_up(generation));
    assert!(!is_bootable(&world, &web));
}

#[test]
fn a_journal_that_a_target_wrote_to_cannot_have_the_default_side_blanked() {
    let mut world = world(35);
    let [web, db] = ["web", "db"].map(|n| world.publish(&ImageSpec::new(n, 1)));
    let generation = order_on(&world, &web, "second");
    sound(world.run_until_up(generation));
    let default = world.default_partition();
    world.rewrite_journal(|record| {
        for partition in [record.identity[1], record.identity[2]] {
            record.unsealed.push(BootPlace { disk: record.identity[0], partition });
        }
    });
    let generation = order_on(&world, &db, "second");
    sound(world.run_until_up(generation));
    assert!(world.default_partition() == default);
}
