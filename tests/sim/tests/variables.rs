//! The firmware's variables over the years: as many and as long after hundreds of cycles, and made
//! anew when all of them are gone.

use std::collections::BTreeMap;

use repave_core::efi::numbers_from_bytes;
use repave_protocol::{BootMethod, Order};
use repave_sim::{ImageSpec, Spec, World, sound};

/// As many as a server sees in years.
const CYCLES: usize = 200;
/// Departures by kexec, with no firmware in between.
const KEXECS: usize = 20;

/// The names of all variables, and how long their values are.
fn lengths(world: &World) -> BTreeMap<String, usize> {
    let machine = world.machine.borrow();
    machine.nvram.variables.iter().map(|(name, value)| (name.clone(), value.len())).collect()
}

#[test]
fn two_hundred_cycles_leave_as_many_variables_of_the_same_length() {
    let mut world = World::new(Spec::new(81));
    let images = ["web", "app"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let generation = world.order_image(&images[0]);
    sound(world.run_until_up(generation));
    let at_first = lengths(&world);
    for cycle in 0..CYCLES {
        // Of each five one is a new purpose, and in another the target's system has put itself first.
        if cycle % 5 == 4 {
            let generation = world.order_image(&images[cycle % 2]);
            sound(world.run_until_up(generation));
        } else {
            if cycle % 5 == 2 {
                let order = world.machine.borrow().nvram.variables["BootOrder"].clone();
                let mut order = numbers_from_bytes(&order);
                order.reverse();
                world.order_boot(&order);
            }
            world.pull_plug();
            sound(world.step());
            sound(world.run_until("in the target", World::is_running_target));
            // It is heard, and has put the order right before.
            for _ in 0..3 {
                sound(world.step());
            }
        }
        assert_eq!(lengths(&world), at_first, "cycle {cycle}");
    }
}

#[test]
fn what_months_of_kexec_have_hidden_is_no_loss_when_the_firmware_forgets_everything() {
    let mut world = World::new(Spec::new(82));
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = World::purpose(&web);
    purpose.boot = BootMethod::Kexec;
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
    let at_first = lengths(&world);
    for _ in 0..KEXECS {
        world.pull_plug();
        sound(world.step());
        sound(world.run_until("in the target", World::is_running_target));
    }
    let fetched = world.fetches();
    {
        let machine = &mut *world.machine.borrow_mut();
        machine.nvram.variables.retain(|name, _| name == "Boot0000");
        machine.watch.forget_order();
    }
    world.pull_plug();
    sound(world.step());
    assert!(!world.is_running_target(), "the removable-media path leads home");
    sound(world.run_until("in the target", World::is_running_target));
    sound(world.run_until_up(generation));
    assert_eq!(lengths(&world), at_first);
    assert_eq!(world.fetches(), fetched);
}
