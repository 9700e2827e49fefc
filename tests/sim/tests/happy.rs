//! The road as it should be, and the ways in which it is travelled again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use repave_sim::check::i9_controller_knows;
use repave_sim::{ImageSpec, Spec, World};

#[test]
fn a_server_is_purposed_in_milliseconds() {
    let started = Instant::now();
    let mut world = World::new(Spec::new(1));
    let web = world.publish(&ImageSpec::new("web", 1));
    let before = world.default_partition();
    let generation = world.order_image(&web);
    world
        .run_until_up(generation)
        .unwrap_or_else(|violation| panic!("{violation}"));
    println!("purposed in {} ms", started.elapsed().as_millis());
    assert_eq!(
        world.target_file(&web, "/etc/hostname").unwrap(),
        b"web-1\n"
    );
    assert_eq!(world.target_file(&web, "/etc/motd").unwrap(), b"hello\n");
    assert_eq!(world.default_partition(), before);
    assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()));
}
