//! Power cut at every effect of a server's first boot and first purposing, of a change of purpose,
//! and of the recovery itself. One seed of fates here; the checks run after every step of it all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use repave_protocol::Generation;
use repave_sim::check::i9_controller_knows;
use repave_sim::{ImageSpec, Spec, World};

/// Runs `road` without a cut, then with one at each of its effects.
fn check(road: impl Fn(&mut World) -> Generation) {
    let started = Instant::now();
    let run = |cut_at: Option<u64>| {
        let mut world = World::new(Spec::new(21));
        let default = world.default_partition();
        if let Some(number) = cut_at {
            world.machine.borrow_mut().events.cut_at(number);
        }
        let generation = road(&mut world);
        if let Err(violation) = world.run_until_up(generation) {
            panic!("power cut at effect {cut_at:?}: {violation}");
        }
        assert!(world.default_partition() == default, "cut at {cut_at:?}");
        let machine = world.machine.borrow();
        assert_eq!(i9_controller_knows(&machine), Ok(()), "cut at {cut_at:?}");
        machine.events.effects()
    };
    let effects = run(None);
    for number in 0..effects {
        run(Some(number));
    }
    println!("{effects} cuts in {} ms", started.elapsed().as_millis());
}

#[test]
fn first_boot_and_first_purposing() {
    check(|world| {
        let web = world.publish(&ImageSpec::new("web", 1));
        world.order_image(&web)
    });
}

#[test]
fn a_change_of_purpose() {
    check(|world| {
        let web = world.publish(&ImageSpec::new("web", 1));
        let db = world.publish(&ImageSpec {
            sizes_bytes: [256 << 10, 1 << 20, 1 << 20],
            ..ImageSpec::new("db", 1)
        });
        let first = world.order_image(&web);
        if let Err(violation) = world.run_until_up(first) {
            panic!("{violation}");
        }
        world.order_image(&db)
    });
}

#[test]
fn a_newer_version_in_the_same_place() {
    check(|world| {
        let old = world.publish(&ImageSpec::new("web", 1));
        let new = world.publish(&ImageSpec::new("web", 2));
        let first = world.order_image(&old);
        if let Err(violation) = world.run_until_up(first) {
            panic!("{violation}");
        }
        world.order_image(&new)
    });
}
