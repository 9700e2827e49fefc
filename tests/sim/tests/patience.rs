//! A server whose controller is away: after the stated patience it boots its last good target by
//! itself, and nothing that was withdrawn or did not come up.

use repave_protocol::{Order, Standing, Wipe};
use repave_sim::world::PATIENCE_MS;
use repave_sim::{ImageSpec, Spec, TargetConduct, World, sound};

/// Steps that take longer than patience lasts: a failed round and its pause are a second.
const LONG: usize = 3 * PATIENCE_MS as usize / 1_000;

/// Loses power and controller; whether a target runs in the end.
fn boots_alone(world: &mut World) -> bool {
    world.cut_off();
    world.pull_plug();
    for _ in 0..LONG {
        sound(world.step());
        if world.is_running_target() {
            return true;
        }
    }
    false
}

#[test]
fn the_last_good_target_is_booted_once_patience_is_at_its_end() {
    let (mut world, generation) = World::running_web(61);
    world.cut_off();
    world.pull_plug();
    for _ in 0..PATIENCE_MS / 1_000 - 1 {
        sound(world.step());
        assert!(!world.is_running_target(), "too early");
    }
    sound(world.run_until("the target runs", World::is_running_target));
    world.reconnect();
    let heard = world.machine.borrow().controller.statuses.len();
    sound(
        world.run_until("a report", |world| {
            world.machine.borrow().controller.statuses.len() > heard
        }),
    );
    assert!(world.is_up(generation));
    let machine = world.machine.borrow();
    let seal = machine.controller.statuses.last().and_then(|status| status.seal.as_ref());
    assert!(seal.is_some_and(|seal| seal.alone), "the resident says whose doing it was");
}

#[test]
fn power_cuts_at_every_effect_of_it_lead_there_as_well() {
    let (world, generation) = World::running_web(62);
    world.cut_off();
    let before = world.machine.borrow().events.effects();
    let run = |cut_at: Option<u64>| {
        let mut world = world.fork();
        if let Some(number) = cut_at {
            world.machine.borrow_mut().events.cut_at(number);
        }
        sound(world.run_until("the target runs", World::is_running_target));
        world.reconnect();
        sound(world.run_until_up(generation));
        world.machine.borrow().events.effects()
    };
    for number in before..run(None) {
        run(Some(number));
    }
}

#[test]
fn what_was_withdrawn_is_never_booted() {
    let stay = Order::Stay { reason: "retired".into() };
    let wipe = Order::Wipe(Wipe { reason: "the lease ends".into(), disk: None });
    for order in [stay, wipe] {
        let (mut world, _) = World::running_web(63);
        world.order(order);
        sound(world.run_until("staying", |world| {
            world.machine.borrow().controller.last_standing() == Some(&Standing::Staying)
        }));
        assert!(!boots_alone(&mut world));
    }
    // An order for something else that could not be carried out has taken the old target away, too.
    let (mut world, generation) = World::running_web(64);
    let db = world.publish(&ImageSpec::new("db", 1));
    world.machine.borrow_mut().controller.sources_are_down = true;
    world.order_image(&db);
    assert_eq!(sound(world.run_until_failed()), "image-unavailable");
    assert!(!boots_alone(&mut world));
    // Until an order brings it back.
    world.reconnect();
    world.order(Order::Boot { sealed: generation });
    sound(world.run_until_up(generation));
    assert!(boots_alone(&mut world));
}

#[test]
fn what_never_came_up_is_not_booted_and_what_stops_coming_up_not_for_ever() {
    let mut world = World::new(Spec { conduct: TargetConduct::Panics, ..Spec::new(65) });
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    sound(world.run_until("a departure", |world| world.count_events("reboot") > 0));
    let starts = |world: &World| world.machine.borrow().watch.departures;
    let before = starts(&world);
    assert!(!boots_alone(&mut world));
    // The departure under way may still happen; none is added.
    assert!(starts(&world) <= before + 1);
    // One that was good and panics since: as often as attempts allow, and then it stays in default.
    let (mut world, _) = World::running_web(66);
    world.conduct(TargetConduct::Panics);
    let before = starts(&world);
    for _ in 0..5 {
        boots_alone(&mut world);
    }
    assert_eq!(starts(&world) - before, 3);
    world.reconnect();
    assert_eq!(sound(world.run_until_failed()), "target-not-up");
}
