//! What goes wrong and is tried again must not look like something else that went wrong.

use repave_core::failure::Failure;
use repave_core::home::Home;
use repave_sim::disk::Drive;
use repave_sim::firmware::Variables;
use repave_sim::host::Clock;
use repave_sim::{ImageSpec, Spec, World, sound};

#[test]
fn a_firmware_that_cannot_be_written_to_costs_the_target_no_attempts() {
    let mut world = World::new(Spec::new(5));
    let web = world.publish(&ImageSpec::new("web", 1));
    world.machine.borrow_mut().nvram.quirks.is_read_only = true;
    let generation = world.order_image(&web);
    for _ in 0..5 {
        assert_eq!(sound(world.run_until_failed()), "firmware");
    }
    world.machine.borrow_mut().nvram.quirks.is_read_only = false;
    sound(world.run_until_up(generation));
    let attempts = |world: &World| {
        let machine = world.machine.borrow();
        let statuses = &machine.controller.statuses;
        statuses.iter().filter_map(|status| status.seal.as_ref()).map(|seal| seal.attempts).max()
    };
    assert_eq!(attempts(&world), Some(1));
}

#[test]
fn a_second_life_of_one_boot_finds_the_default_side_that_the_first_renamed() {
    let mut world = World::new(Spec::new(6));
    sound(world.step()); // power on: the firmware starts the default side, which says from where
    let mut disks = Drive::all(&world.machine);
    let mut firmware = Variables(world.machine.clone());
    let mut host = Clock(world.machine.clone());
    let mut kept = None;
    let mut enter = |latest| {
        let default = Home::find(&mut disks, &mut firmware, &mut host, latest)?;
        Home::enter(default, &mut disks, &mut firmware, &mut host, &mut kept)
    };
    let first = enter(None).expect("a burned disk is a home");
    let renamed = first.default.default.guid;
    assert!(
        matches!(enter(None), Err(Failure::NoDefaultSide(_))),
        "the loader's word is older than the new GUID"
    );
    let second = enter(Some(renamed)).expect("the same home");
    assert_eq!(second.default.identity(), first.default.identity());
    assert_eq!(second.journal.record(), first.journal.record());
}
