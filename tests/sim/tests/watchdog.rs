//! A watchdog is left armed for a target only if the target feeds it. The world itself objects to a
//! target that starts with one it does not feed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_protocol::{BootMethod, Guard, Order, Standing, Status};
use repave_sim::{ImageSpec, Spec, TargetConduct, World, sound};

/// A world whose server was ordered to become `web`.
fn ordered(conduct: TargetConduct, boot: BootMethod, watchdog_s: Option<u32>) -> World {
    let world = World::new(Spec { conduct, ..Spec::new(41) });
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = World::purpose(&web);
    (purpose.boot, purpose.settings.watchdog_s) = (boot, watchdog_s);
    world.order(Order::Purpose(Box::new(purpose)));
    world
}

fn statuses(world: &World) -> Vec<Status> {
    world.machine.borrow().controller.statuses.clone()
}

/// What guards the server, by the status that says it leaves.
fn guard_left_with(world: &World) -> Option<Guard> {
    let said = statuses(world);
    let left = said.iter().rfind(|s| matches!(s.standing, Standing::Leaving { .. }))?;
    left.watchdog.as_ref().map(|watchdog| watchdog.guard.clone())
}

#[test]
fn it_stays_armed_only_across_kexec_into_a_target_that_feeds_it() {
    let armed = |timeout_s| Guard::Armed { device: "i6300ESB timer".into(), timeout_s };
    let stopped = || Guard::NotArmed { reason: "stopped".into() };
    for (boot, watchdog_s, expected) in [
        (BootMethod::Firmware, None, stopped()),
        (BootMethod::Firmware, Some(60), stopped()),
        (BootMethod::Kexec, None, stopped()),
        (BootMethod::Kexec, Some(60), armed(60)),
    ] {
        let mut world = ordered(TargetConduct::ComesUp, boot, watchdog_s);
        sound(world.run_until("left", |world| guard_left_with(world).is_some()));
        assert_eq!(guard_left_with(&world), Some(expected), "{boot:?} {watchdog_s:?}");
        let first = statuses(&world)[0].watchdog.clone().unwrap();
        assert_eq!(first.guard, armed(120), "the default side is guarded");
        sound(world.run_until("the target runs", World::is_running_target));
    }
}

#[test]
fn a_target_that_hangs_leads_home_where_it_was_to_feed_and_is_counted() {
    let mut world = ordered(TargetConduct::Hangs, BootMethod::Kexec, Some(60));
    assert_eq!(sound(world.run_until_failed()), "target-not-up");
    let said = statuses(&world);
    let home = said.iter().find(|s| matches!(s.standing, Standing::Failed { .. })).unwrap();
    assert_eq!(home.seal.as_ref().map(|seal| seal.attempts), Some(1));

    let mut world = ordered(TargetConduct::Hangs, BootMethod::Kexec, None);
    sound(world.run_until("it hangs", World::is_running_target));
    for _ in 0..10 {
        sound(world.step());
    }
    assert!(world.is_running_target(), "only somebody at its power button helps");
}

#[test]
fn one_that_cannot_be_stopped_keeps_the_server_at_home_and_says_why() {
    let mut world = ordered(TargetConduct::ComesUp, BootMethod::Kexec, None);
    world.machine.borrow_mut().is_watchdog_stuck = true;
    assert_eq!(sound(world.run_until_failed()), "watchdog");
    let last = statuses(&world).pop().unwrap();
    assert_eq!(last.seal.unwrap().attempts, 0, "it is no fault of the target's");
    world.machine.borrow_mut().is_watchdog_stuck = false;
    sound(world.run_until("the target runs", World::is_running_target));
}

#[test]
fn a_failed_kexec_into_the_firmware_stops_what_was_left_armed() {
    let mut world = ordered(TargetConduct::ComesUp, BootMethod::Kexec, Some(60));
    world.machine.borrow_mut().broken_power = vec!["kexec"];
    sound(world.run_until("the target runs", World::is_running_target));
    assert_eq!(guard_left_with(&world), Some(Guard::NotArmed { reason: "stopped".into() }));
}
