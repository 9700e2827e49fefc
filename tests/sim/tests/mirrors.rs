//! A source that fails or lies is passed over after a while and named, and the purposing goes on with
//! another.

use repave_protocol::{SourceReport, Standing};
use repave_sim::controller::SOURCES;
use repave_sim::{ImageSpec, SourceFault, Spec, World, sound};

/// A purposing whose first source does this to everything that it serves, or to packs only.
fn purposed(fault: SourceFault, is_in_packs_only: bool) -> World {
    let mut world = World::new(Spec::new(71));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    {
        let controller = &mut world.machine.borrow_mut().controller;
        controller.source_fault = Some(fault);
        controller.is_fault_in_packs_only = is_in_packs_only;
    }
    if let Err(violation) = world.run_until_up(generation) {
        panic!("{fault:?}: {violation}");
    }
    world
}

/// How often the first source was asked for anything.
fn asked(world: &World) -> usize {
    world.machine.borrow().controller.first_source_asked
}

/// What the last status says of sources before the target ran.
fn named(world: &World) -> Vec<SourceReport> {
    let machine = world.machine.borrow();
    let mut statuses = machine.controller.statuses.iter();
    let leaving = statuses.rfind(|status| matches!(status.standing, Standing::Leaving { .. }));
    leaving.expect("it left").bad_sources.clone()
}

/// The one source that was named lied so, or failed.
fn check_named(world: &World, fault: SourceFault, lied: bool, words: &str) {
    let named = named(world);
    let [SourceReport { source, lied: is_lie, reason }] = named.as_slice() else {
        panic!("{fault:?}: {named:?}");
    };
    assert_eq!((source.as_str(), *is_lie), (SOURCES[0], lied), "{fault:?}: {reason}");
    assert!(reason.contains(words), "{fault:?}: {reason}");
}

#[test]
fn a_source_that_lies_is_dropped_for_the_whole_purposing() {
    for (fault, words) in [(SourceFault::Corrupt, "SHA-256"), (SourceFault::Long, "longer than")] {
        // At the first part of the image, and never again, for chunks neither.
        let world = purposed(fault, false);
        check_named(&world, fault, true, words);
        assert_eq!(asked(&world), 1, "{fault:?}");
    }
}

#[test]
fn a_source_that_lies_about_chunks_alone_is_dropped_as_well() {
    for fault in [SourceFault::Corrupt, SourceFault::Elsewhere, SourceFault::Long] {
        let world = purposed(fault, true);
        check_named(&world, fault, true, "");
        // What the crew's ten buffers had asked of it already when the first lie was seen, at most,
        // after the five parts of an index; nothing after it, and nothing for the heads.
        let asked = asked(&world);
        assert!((6..=15).contains(&asked), "{fault:?}: asked {asked} times");
    }
}

#[test]
fn a_source_that_fails_is_passed_over_and_named() {
    for (fault, words) in [(SourceFault::Missing, "404"), (SourceFault::Short, "ended after")] {
        for is_in_packs_only in [false, true] {
            check_named(&purposed(fault, is_in_packs_only), fault, false, words);
        }
    }
}

#[test]
fn with_another_order_sources_begin_anew() {
    let mut world = purposed(SourceFault::Long, false);
    world.machine.borrow_mut().controller.source_fault = None;
    let before = asked(&world);
    let other = world.publish(&ImageSpec::new("web", 2));
    let generation = world.order_image(&other);
    sound(world.run_until_up(generation));
    assert!(asked(&world) > before, "it was asked again");
    assert_eq!(named(&world), []);
}
