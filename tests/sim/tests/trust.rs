//! Trust documents that change while a server runs: the CA that they name is believed from the
//! next exchange on, in default and in the target, and one that is of no use changes nothing.

use repave_protocol::{Order, Standing, TrustDocument};
use repave_sim::controller::BURNED_CA;
use repave_sim::{ImageSpec, Spec, World, sound};

const NEXT_CA: &str = "CA 2";

fn document(world: &World, version: u64, ca: &str) -> TrustDocument {
    world.machine.borrow().controller.trust(version, ca)
}

/// The controller brings a document, and once it was taken has a certificate of the next CA only.
fn change_ca(world: &mut World) {
    let next = document(world, 2, NEXT_CA);
    world.machine.borrow_mut().controller.brings = Some(next);
    let taken = |world: &World| world.machine.borrow().trusted_ca == NEXT_CA;
    sound(world.run_until("the next CA is believed", taken));
    world.machine.borrow_mut().controller.ca = NEXT_CA.into();
}

fn statuses(world: &World) -> usize {
    world.machine.borrow().controller.statuses.len()
}

/// What was told last.
fn standing(world: &World) -> Standing {
    world.machine.borrow().controller.last_standing().cloned().unwrap_or(Standing::Idle)
}

#[test]
fn default_goes_on_talking_under_another_ca() {
    let mut world = World::new(Spec::new(41));
    world.order(Order::Stay { reason: "maintenance".into() });
    sound(world.run_until("staying", |world| standing(world) == Standing::Staying));
    change_ca(&mut world);
    let heard = statuses(&world);
    sound(world.step());
    assert_eq!(statuses(&world), heard + 1, "without a boot between");
    world.pull_plug();
    sound(world.run_until("heard again", |world| statuses(world) > heard + 2));
    // An older document does not bring the old CA back.
    let old = document(&world, 1, BURNED_CA);
    world.machine.borrow_mut().controller.brings = Some(old);
    for _ in 0..3 {
        let heard = statuses(&world);
        sound(world.step());
        assert_eq!(statuses(&world), heard + 1);
    }
}

#[test]
fn a_target_goes_on_talking_under_another_ca_and_comes_home_with_it() {
    let mut world = World::new(Spec::new(42));
    let web = world.publish(&ImageSpec::new("web", 1));
    let db = world.publish(&ImageSpec::new("db", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    change_ca(&mut world);
    let heard = statuses(&world);
    sound(world.step());
    assert_eq!(statuses(&world), heard + 1, "without a boot between");
    assert!(world.is_up(generation));
    // The default side, which has not been told, is talked to under the old CA first.
    let generation = world.order_image(&db);
    sound(world.run_until("on its way home", |world| !world.is_running_target()));
    world.machine.borrow_mut().controller.ca = BURNED_CA.into();
    let taken = |world: &World| world.count_events("link believes CA 2") == 2;
    sound(world.run_until("the next CA is believed at home", taken));
    world.machine.borrow_mut().controller.ca = NEXT_CA.into();
    sound(world.run_until_up(generation));
}

#[test]
fn a_ca_that_is_of_no_use_is_told_and_the_old_one_kept() {
    let mut world = World::new(Spec::new(43));
    let web = world.publish(&ImageSpec::new("web", 1));
    let useless = document(&world, 2, "not a CA");
    world.machine.borrow_mut().controller.brings = Some(useless.clone());
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "bad-ca");
    world.pull_plug();
    assert_eq!(sound(world.run_until_failed()), "bad-ca", "it was not kept");
    world.machine.borrow_mut().controller.brings = None;
    sound(world.run_until_up(generation));
    world.machine.borrow_mut().controller.brings = Some(useless);
    assert_eq!(sound(world.run_until_failed()), "bad-ca", "nor does the target take it");
    world.machine.borrow_mut().controller.brings = None;
    sound(world.run_until("up again", |world| world.is_up(generation)));
}
