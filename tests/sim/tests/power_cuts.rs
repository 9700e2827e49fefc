//! Power cut at every effect of a server's first boot and first purposing, of a change of purpose,
//! and of the recovery itself. One seed of fates here; the checks run after every step of it all.

#![allow(clippy::print_stdout, reason = "a test says how long it took")]

use std::time::Instant;

use repave_chance::Chance;
use repave_protocol::Generation;
use repave_sim::check::i9_controller_knows;
use repave_sim::{ImageSpec, Spec, World};

/// Takes a world to the orders' end without a cut, then with one at each effect on the way.
fn check(world: &World, generation: Generation) {
    let started = Instant::now();
    let before = world.machine.borrow().events.effects();
    let default = world.default_partition();
    let run = |cut_at: Option<u64>| {
        let mut world = world.fork();
        if let Some(number) = cut_at {
            world.machine.borrow_mut().events.cut_at(number);
        }
        if let Err(violation) = world.run_until_up(generation) {
            panic!("power cut at effect {cut_at:?}: {violation}");
        }
        assert!(world.default_partition() == default, "cut at {cut_at:?}");
        let machine = world.machine.borrow();
        assert_eq!(i9_controller_knows(&machine), Ok(()), "cut at {cut_at:?}");
        machine.events.effects()
    };
    let after = run(None);
    for number in before..after {
        run(Some(number));
    }
    println!("{} cuts in {} ms", after - before, started.elapsed().as_millis());
}

/// A server that runs `first` and is ordered to run `second`.
fn check_change(first: &ImageSpec, second: &ImageSpec) {
    let mut world = World::new(Spec::new(22));
    let (first, second) = (world.publish(first), world.publish(second));
    let generation = world.order_image(&first);
    if let Err(violation) = world.run_until_up(generation) {
        panic!("{violation}");
    }
    let generation = world.order_image(&second);
    check(&world, generation);
}

#[test]
fn first_boot_and_first_purposing() {
    let world = World::new(Spec::new(21));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    check(&world, generation);
}

#[test]
fn a_change_of_purpose() {
    let db = ImageSpec { sizes_bytes: [256 << 10, 1 << 20, 1 << 20], ..ImageSpec::new("db", 1) };
    check_change(&ImageSpec::new("web", 1), &db);
}

#[test]
fn a_newer_version_in_the_same_place() {
    check_change(&ImageSpec::new("web", 1), &ImageSpec::new("web", 2));
}

#[test]
fn the_same_again_under_a_new_generation() {
    check_change(&ImageSpec::new("web", 1), &ImageSpec::new("web", 1));
}

#[test]
fn an_upgrade_of_a_few_chunks() {
    let upgrade = ImageSpec { upgrades: Some(1), ..ImageSpec::new("web", 2) };
    check_change(&ImageSpec::new("web", 1), &upgrade);
}

#[test]
fn no_torn_unsealing_leaves_an_esp_before_a_ruin() {
    let mut world = World::new(Spec::new(23));
    let (web, db) =
        (world.publish(&ImageSpec::new("web", 1)), world.publish(&ImageSpec::new("db", 1)));
    let generation = world.order_image(&web);
    if let Err(violation) = world.run_until_up(generation) {
        panic!("{violation}");
    }
    world.order_image(&db);
    let before = world.machine.borrow().events.effects();
    // After the order and the unsealing are in the journal: the heads of the old target.
    let cuts = (100..130).flat_map(|seed| (5..13).map(move |number| (seed, number)));
    for (seed, number) in cuts {
        let mut world = world.fork();
        {
            let machine = &mut *world.machine.borrow_mut();
            machine.chance = Chance::new(seed);
            machine.events.cut_at(before + number);
        }
        // Power on, come home, and the round that is cut; the checks look at what is left.
        for _ in 0..3 {
            if let Err(violation) = world.step() {
                panic!("seed {seed}, power cut at effect {number}: {violation}");
            }
        }
    }
}

#[test]
fn no_torn_sealing_leaves_an_esp_without_its_files() {
    let world = World::new(Spec::new(24));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    let before = world.machine.borrow().events.effects();
    let after = {
        let mut world = world.fork();
        if let Err(violation) = world.run_until_up(generation) {
            panic!("{violation}");
        }
        world.machine.borrow().events.effects()
    };
    let cuts = (104..110).flat_map(|seed| (before..after).map(move |number| (seed, number)));
    for (seed, number) in cuts {
        let mut world = world.fork();
        world.machine.borrow_mut().chance = Chance::new(seed);
        world.machine.borrow_mut().events.cut_at(number);
        let cut =
            |world: &World| world.count_events("power is lost") > 1 || world.is_up(generation);
        if let Err(violation) = world.run_until("power is cut", cut) {
            panic!("seed {seed}, power cut at effect {number}: {violation}");
        }
    }
}
