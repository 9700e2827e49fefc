//! What the swarm found in the agent, each as small as it can be told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_core::efi::{numbers_from_bytes, numbers_to_bytes};
use repave_protocol::Order;
use repave_sim::{ImageSpec, Spec, Violation, World};

fn sound<T>(outcome: Result<T, Violation>) -> T {
    outcome.unwrap_or_else(|violation| panic!("{violation}"))
}

/// A server in default that has accepted an order and answered it.
fn staying(seed: u64) -> World {
    let mut world = World::new(Spec::new(seed));
    world.order(Order::Stay { reason: "maintenance".into() });
    sound(world.run_until("staying", |world| world.machine.borrow().controller.statuses.len() > 2));
    world
}

/// Orders an image while the disk keeps something else than it is told at this byte, once.
fn lied_to(world: &mut World, at: u64) -> String {
    world.machine.borrow_mut().media[0].lie_at(at);
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    let told = sound(world.run_until_failed());
    sound(world.run_until_up(generation));
    told
}

/// Seed 85: the target was written although the journal on the disk did not say so.
#[test]
fn a_journal_that_the_disk_kept_otherwise_is_found_out() {
    let slots = [0, 64 * 1024].map(|slot| (2 << 20) + slot + 100);
    for slot in slots {
        assert_eq!(lied_to(&mut staying(61), slot), "journal");
    }
}

/// Seed 23: a head that was to be blanked, and a table that was to be changed, were believed to be.
#[test]
fn heads_and_tables_that_the_disk_kept_otherwise_are_found_out() {
    for at in [512 + 60, (8 << 20) - 512 + 60] {
        assert_eq!(lied_to(&mut staying(62), at), "disk", "byte {at}");
    }
    // A head that is zero already is not written.
    let mut world = World::new(Spec::new(62));
    let db = world.publish(&ImageSpec::new("db", 1));
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
    assert_eq!(lied_to(&mut world, 3 << 20), "disk");
}

/// Seed 497: a head was blanked once more, that write went into a chunk that had been compared, and
/// nothing that was read back told.
#[test]
fn what_is_zero_is_not_written_over_again() {
    let mut world = World::new(Spec::new(65));
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    let is_head = |line: &&String| line.contains("sim0 write 3145728+");
    let writes =
        |world: &World| world.machine.borrow().events.lines().iter().filter(is_head).count();
    sound(world.run_until("sealed", |world| {
        let machine = world.machine.borrow();
        machine.watch.record.as_ref().is_some_and(|record| record.seal.is_some())
    }));
    // The first block of the head alone, last of all.
    assert_eq!(writes(&world), 1);
}

/// Seed 124: the table was read once more after a clone was given its GUIDs, and that failed. The
/// resident was then told the GUID of old, and looked for its journal for ever.
#[test]
fn a_call_that_fails_at_a_first_boot_costs_no_target_its_journal() {
    let calls = {
        let mut world = World::new(Spec::new(63));
        let heard = |world: &World| !world.machine.borrow().controller.statuses.is_empty();
        sound(world.run_until("heard", heard));
        world.machine.borrow().events.calls()
    };
    for number in 0..calls {
        let mut world = World::new(Spec::new(63));
        let web = world.publish(&ImageSpec::new("web", 1));
        world.machine.borrow_mut().events.fail_call_at(number);
        let generation = world.order_image(&web);
        if let Err(violation) = world.run_until_up(generation) {
            panic!("call {number} failed: {violation}");
        }
    }
}

/// Seed 12: the target's own system put itself first, and no reset led home any more.
#[test]
fn a_target_that_puts_itself_first_comes_home_all_the_same() {
    let mut world = World::new(Spec::new(64));
    let [web, db] = ["web", "db"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let order = world.machine.borrow().nvram.variables["BootOrder"].clone();
    let mut order = numbers_from_bytes(&order);
    order.reverse();
    world.order_boot(&order);
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
}

/// Seed 503: a boot entry that could not be read once was made a second time, and stayed.
#[test]
fn boot_entries_that_are_there_twice_go_again() {
    let mut world = World::new(Spec::new(65));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    {
        let variables = &mut world.machine.borrow_mut().nvram.variables;
        for (copy, of) in [("Boot0007", "Boot0001"), ("Boot0008", "Boot0002")] {
            let value = variables[of].clone();
            variables.insert(copy.into(), value);
        }
        variables.insert("BootOrder".into(), numbers_to_bytes(&[1, 7, 0, 8, 2]));
    }
    world.pull_plug();
    sound(world.step());
    sound(world.run_until("in the target", World::is_running_target));
    sound(world.run_until_up(generation));
    let machine = world.machine.borrow();
    let names: Vec<_> = machine.nvram.variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["Boot0000", "Boot0001", "Boot0002", "BootOrder"]);
    assert_eq!(machine.nvram.variables["BootOrder"], numbers_to_bytes(&[1, 0, 2]));
}
