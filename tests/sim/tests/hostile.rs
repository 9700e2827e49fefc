//! Answers, sources and devices that lie or fail: each is refused or reported by its name, and
//! what must not change does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_protocol::{BootMethod, Order};
use repave_sim::check::i9_controller_knows;
use repave_sim::{ImageSpec, Lie, Quirks, SourceFault, Spec, TargetConduct, Violation, World};

fn sound<T>(outcome: Result<T, Violation>) -> T {
    outcome.unwrap_or_else(|violation| panic!("{violation}"))
}

/// A server in default that has accepted an order and answered it.
fn staying(seed: u64) -> World {
    let mut world = World::new(Spec::new(seed));
    world.order(Order::Stay {
        reason: "maintenance".into(),
    });
    sound(world.run_until("staying", |world| {
        world.machine.borrow().controller.statuses.len() > 2
    }));
    world
}

#[test]
fn every_hostile_answer_is_refused_by_name_and_changes_nothing() {
    let mut world = staying(1);
    for lie in Lie::ALL {
        let before = world.fingerprint();
        world.machine.borrow_mut().controller.lies.push_back(lie);
        sound(world.step());
        assert!(world.fingerprint() == before, "{lie:?} changed something");
        sound(world.step());
        assert!(
            world.fingerprint() == before,
            "{lie:?} changed something later"
        );
        if let Some(code) = lie.code() {
            assert_eq!(
                world.machine.borrow().controller.last_fault(),
                Some(code),
                "{lie:?}"
            );
        }
        sound(world.step());
        assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()));
        let machine = world.machine.borrow();
        let standing = machine.controller.last_standing();
        assert_eq!(
            standing,
            Some(&repave_protocol::Standing::Staying),
            "after {lie:?}"
        );
    }
}

#[test]
fn a_hostile_answer_does_not_take_a_target_down() {
    let mut world = World::new(Spec::new(2));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    for lie in Lie::ALL {
        let before = world.fingerprint();
        world.machine.borrow_mut().controller.lies.push_back(lie);
        sound(world.step());
        sound(world.step());
        assert!(world.is_up(generation), "{lie:?}");
        assert!(world.fingerprint() == before, "{lie:?} changed something");
    }
}

#[test]
fn a_source_that_lies_is_passed_over() {
    use SourceFault::{Corrupt, Elsewhere, Missing, Short};
    for fault in [Missing, Corrupt, Short, Elsewhere] {
        let mut world = World::new(Spec::new(3));
        world.machine.borrow_mut().controller.source_fault = Some(fault);
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
    }
}

#[test]
fn without_sources_the_failure_is_told_until_they_are_back() {
    let mut world = World::new(Spec::new(4));
    world.machine.borrow_mut().controller.sources_are_down = true;
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "image-unavailable");
    assert_eq!(world.target_writes(), 0);
    world.machine.borrow_mut().controller.sources_are_down = false;
    sound(world.run_until_up(generation));
}

#[test]
fn a_target_that_never_comes_up_is_reported_and_left_alone_after_its_attempts() {
    let spec = Spec {
        conduct: TargetConduct::Panics,
        ..Spec::new(5)
    };
    let mut world = World::new(spec);
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    for _ in 0..60 {
        sound(world.step());
    }
    let machine = world.machine.borrow();
    assert_eq!(
        machine.watch.departures,
        u64::from(repave_core::agent::ATTEMPTS)
    );
    assert_eq!(machine.controller.last_fault(), Some("target-not-up"));
    assert_eq!(i9_controller_knows(&machine), Ok(()));
}

#[test]
fn a_kexec_that_fails_falls_to_the_firmware() {
    for broken in ["kexec load", "kexec"] {
        let mut world = World::new(Spec::new(6));
        world.machine.borrow_mut().broken_power = vec![broken];
        let web = world.publish(&ImageSpec::new("web", 1));
        let mut purpose = World::purpose(&web);
        purpose.boot = BootMethod::Kexec;
        let generation = world.order(Order::Purpose(Box::new(purpose)));
        sound(world.run_until_up(generation));
        assert_eq!(world.count_events("reboot"), 1, "{broken}");
    }
}

#[test]
fn a_server_that_cannot_leave_says_so_and_leaves_once_it_can() {
    let mut world = World::new(Spec::new(7));
    world.machine.borrow_mut().broken_power = vec!["reboot"];
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "power");
    world.machine.borrow_mut().broken_power.clear();
    sound(world.run_until_up(generation));
}

#[test]
fn a_disk_that_kept_other_bytes_is_found_out_and_written_again() {
    let mut world = World::new(Spec::new(8));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    world.machine.borrow_mut().media[0].lie_at((4 << 20) + (200 << 10));
    assert_eq!(sound(world.run_until_failed()), "read-back");
    sound(world.run_until_up(generation));
}

#[test]
fn firmware_that_fails_or_forgets_is_reported_and_nothing_is_left_for() {
    let forgets = |name: &str| Quirks {
        forgets: vec![name.into()],
        ..Quirks::default()
    };
    let cases = [
        Quirks {
            is_full: true,
            ..Quirks::default()
        },
        Quirks {
            is_read_only: true,
            ..Quirks::default()
        },
        forgets("BootNext"),
        forgets("Boot0002"),
        forgets("BootOrder"),
    ];
    for quirks in cases {
        let mut world = World::new(Spec {
            quirks: quirks.clone(),
            ..Spec::new(9)
        });
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        assert_eq!(sound(world.run_until_failed()), "firmware", "{quirks:?}");
        assert_eq!(world.machine.borrow().watch.departures, 0, "{quirks:?}");
        world.machine.borrow_mut().nvram.quirks = Quirks::default();
        sound(world.run_until_up(generation));
    }
}

#[test]
fn firmware_that_drops_what_is_not_in_boot_order_does_not_harm() {
    let quirks = Quirks {
        drops_unordered_entries: true,
        ..Quirks::default()
    };
    let mut world = World::new(Spec {
        quirks,
        ..Spec::new(10)
    });
    world.order_boot(&[0]);
    for name in ["web", "db"] {
        let image = world.publish(&ImageSpec::new(name, 1));
        let generation = world.order_image(&image);
        sound(world.run_until_up(generation));
    }
}

#[test]
fn firmware_that_forgets_to_forget_boot_next_stops_the_unsealing() {
    let mut world = World::new(Spec::new(11));
    world.machine.borrow_mut().broken_power = vec!["reboot"];
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "power");
    // BootNext leads into the sealed target now, and cannot be removed.
    world.machine.borrow_mut().nvram.quirks.forgets = vec!["BootNext".into()];
    let db = world.publish(&ImageSpec::new("db", 1));
    let generation = world.order_image(&db);
    sound(world.run_until("the order is taken", |world| {
        let machine = world.machine.borrow();
        machine
            .controller
            .statuses
            .last()
            .is_some_and(|s| s.generation == Some(generation))
    }));
    assert_eq!(sound(world.run_until_failed()), "firmware");
    let machine = &world.machine;
    machine.borrow_mut().nvram.quirks.forgets.clear();
    machine.borrow_mut().broken_power.clear();
    sound(world.run_until_up(generation));
}

#[test]
fn a_device_error_at_every_effect_is_told_and_got_over() {
    let effects = {
        let mut world = World::new(Spec::new(14));
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
        world.machine.borrow().events.effects()
    };
    for number in 0..effects {
        let mut world = World::new(Spec::new(14));
        let web = world.publish(&ImageSpec::new("web", 1));
        world.machine.borrow_mut().events.fail_at(number);
        let generation = world.order_image(&web);
        if let Err(violation) = world.run_until_up(generation) {
            panic!("effect {number} failed: {violation}");
        }
    }
}
