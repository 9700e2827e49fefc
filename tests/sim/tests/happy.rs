//! The road as it should be, and travelled again: after a power cycle, to another purpose, on two
//! servers burned from one image.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use repave_core::gpt::Table;
use repave_image::Reports;
use repave_protocol::{BootMethod, Order};
use repave_sim::check::i9_controller_knows;
use repave_sim::disk::DiskSpec;
use repave_sim::{ImageSpec, Spec, World, sound};

#[test]
fn a_server_is_purposed_in_milliseconds() {
    let started = Instant::now();
    let mut world = World::new(Spec::new(1));
    let web = world.publish(&ImageSpec::new("web", 1));
    let before = world.default_partition();
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    println!("purposed in {} ms", started.elapsed().as_millis());
    assert_eq!(world.target_file(&web, "/etc/hostname").unwrap(), b"web-1\n");
    assert_eq!(world.target_file(&web, "/etc/motd").unwrap(), b"hello\n");
    assert_eq!(world.default_partition(), before);
    assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()));
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_seed_others() {
    let events = |seed| {
        let mut world = World::new(Spec::new(seed));
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
        let machine = world.machine.borrow();
        machine.events.lines().to_vec()
    };
    assert_eq!(events(7), events(7));
    assert_ne!(events(7), events(8));
}

#[test]
fn a_server_that_is_what_it_should_be_boots_again_without_a_write_to_its_target() {
    let mut world = World::new(Spec::new(2));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let writes = world.target_writes();
    assert_eq!(world.row(&web).unwrap(), b"\x01row");
    for cycle in 2..=5 {
        world.pull_plug();
        sound(world.step());
        assert!(!world.is_running_target(), "a power cycle begins in default");
        sound(world.run_until("in the target", World::is_running_target));
        sound(world.run_until_up(generation));
        assert_eq!(world.row(&web).unwrap(), [cycle, b'r', b'o', b'w']);
    }
    assert_eq!(world.target_writes(), writes);
}

#[test]
fn a_web_server_becomes_a_database_and_a_newer_one() {
    let mut world = World::new(Spec::new(3));
    let web = world.publish(&ImageSpec::new("web", 1));
    let db = world.publish(&ImageSpec {
        sizes_bytes: [256 << 10, 1 << 20, 1 << 20],
        ..ImageSpec::new("db", 1)
    });
    let newer = world.publish(&ImageSpec { version: 2, ..ImageSpec::new("db", 1) });
    for image in [&web, &db, &newer, &web] {
        let generation = world.order_image(image);
        sound(world.run_until_up(generation));
        assert_eq!(world.row(image).unwrap(), b"\x01row", "a new target begins anew");
    }
    let machine = world.machine.borrow();
    assert_eq!(machine.nvram.variables.len(), 4, "setup, default, target, order");
}

#[test]
fn auto_leaves_by_firmware_first_and_by_kexec_once_that_worked() {
    let mut world = World::new(Spec::new(4));
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = World::purpose(&web);
    purpose.boot = BootMethod::Auto;
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
    assert_eq!(world.count_events("kexec"), 0);
    world.pull_plug();
    sound(world.step());
    sound(world.run_until("in the target", World::is_running_target));
    assert_eq!(world.count_events("kexec load"), 1);
}

#[test]
fn an_image_that_reports_nothing_is_done_when_it_was_left_for() {
    let mut world = World::new(Spec::new(5));
    let tool = world.publish(&ImageSpec { reports: Reports::None, ..ImageSpec::new("memtest", 1) });
    world.order_image(&tool);
    for _ in 0..5 {
        sound(world.run_until("in the target", World::is_running_target));
        assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()));
        world.pull_plug();
        sound(world.step());
    }
}

#[test]
fn a_disk_with_4096_byte_blocks_takes_an_image_made_for_it() {
    let mut disk = DiskSpec::new("native", 8);
    disk.block_bytes = 4096;
    let mut world = World::new(Spec { disks: vec![disk], ..Spec::new(6) });
    let web = world.publish(&ImageSpec { block_bytes: 4096, ..ImageSpec::new("web", 1) });
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
}

#[test]
fn a_disk_burned_twice_gives_two_servers() {
    let identities =
        [11, 12].map(|seed| {
            let mut world = World::new(Spec::new(seed));
            sound(world.run_until("at home", |world| {
                !world.machine.borrow().controller.statuses.is_empty()
            }));
            let server = world.server();
            let machine = world.machine.borrow();
            let table = Table::read(&mut machine.media[0].durable()).unwrap();
            assert!(table.health.primary && table.health.backup, "the backup moved to the end");
            (server, table.disk_guid, table.entries[0].guid, table.entries[1].guid)
        });
    let [one, other] = identities;
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.2, other.2);
    assert_ne!(one.3, other.3);
}

#[test]
fn a_partition_that_grows_never_shrinks_below_its_image() {
    // A disk whose end is no multiple of the alignment, and an image that needs all but the last
    // few blocks of it: what is rounded down must not be taken from the image.
    let mut disk = DiskSpec::new("odd", 6);
    disk.size_bytes += 512 << 10;
    let mut world = World::new(Spec { disks: vec![disk], ..Spec::new(13) });
    let web = world.publish(&ImageSpec {
        sizes_bytes: [512 << 10, 1 << 20, (1 << 20) + (256 << 10)],
        ..ImageSpec::new("web", 1)
    });
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
}
