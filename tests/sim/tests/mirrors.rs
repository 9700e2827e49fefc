//! A source that fails or lies is passed over after a while, and the purposing goes on with another.

use repave_sim::controller::SOURCES;
use repave_sim::{ImageSpec, SourceFault, Spec, World};

/// How many chunks came from the first source while it had this fault.
fn check(fault: SourceFault) -> usize {
    let mut world = World::new(Spec::new(71));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    world.machine.borrow_mut().controller.source_fault = Some(fault);
    if let Err(violation) = world.run_until_up(generation) {
        panic!("{fault:?}: {violation}");
    }
    let words = format!("from {}", SOURCES[0]);
    world.count_events(&words)
}

#[test]
fn a_source_that_serves_wrong_bytes_is_dropped_for_the_whole_purposing() {
    // What the crew's ten buffers had asked of it already when the first lie was seen, at most;
    // nothing after it, and nothing for the heads.
    let asked = check(SourceFault::Corrupt);
    assert!((1..=10).contains(&asked), "{asked} chunks");
}

#[test]
fn a_source_that_fails_is_passed_over() {
    for fault in [SourceFault::Missing, SourceFault::Short, SourceFault::Elsewhere] {
        check(fault);
    }
}
