//! Purposes that do not fit the server: each is refused by its code, before a byte of a target
//! changes, and the controller learns why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_protocol::{DiskSelector, Order, Purpose, SettingsFile};
use repave_sim::check::i9_controller_knows;
use repave_sim::disk::DiskSpec;
use repave_sim::{ImageSpec, Spec, World};

/// Orders what `change` makes of the plain purpose, and sees it refused.
fn check(spec: Spec, image: &ImageSpec, change: impl FnOnce(&mut Purpose), code: &str) {
    let mut world = World::new(spec);
    let image = world.publish(image);
    let mut purpose = World::purpose(&image);
    change(&mut purpose);
    world.order(Order::Purpose(Box::new(purpose)));
    let told = world.run_until_failed().unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(told, code);
    assert_eq!(world.target_writes(), 0, "{code}");
    assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()), "{code}");
}

fn plain() -> ImageSpec {
    ImageSpec::new("web", 1)
}

fn two_disks(second: DiskSpec) -> Spec {
    Spec { disks: vec![DiskSpec::new("first", 8), second], ..Spec::new(1) }
}

#[test]
fn a_target_that_is_too_small() {
    let image = ImageSpec { sizes_bytes: [1 << 20, 3 << 20, 1 << 20], ..plain() };
    check(Spec::new(1), &image, |_| {}, "target-too-small");
}

#[test]
fn blocks_of_another_size() {
    let mut disk = DiskSpec::new("native", 8);
    disk.block_bytes = 4096;
    check(Spec { disks: vec![disk], ..Spec::new(1) }, &plain(), |_| {}, "other-block-size");
}

#[test]
fn another_architecture() {
    let spec = Spec { architecture: "arm64".into(), ..Spec::new(1) };
    check(spec, &plain(), |_| {}, "other-architecture");
}

#[test]
fn disks_that_are_not_there_or_more_than_one() {
    let serial =
        |serial: &str| DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() };
    let spec = two_disks(DiskSpec::new("second", 8));
    check(spec.clone(), &plain(), |p| p.disk = Some(serial("third")), "no-such-disk");
    let by_size = DiskSelector { size_bytes: Some(8 << 20), ..DiskSelector::default() };
    check(spec, &plain(), |p| p.disk = Some(by_size), "ambiguous-disk");
    let twins = two_disks(DiskSpec::new("first", 9));
    check(twins, &plain(), |p| p.disk = Some(serial("first")), "ambiguous-disk");
}

#[test]
fn settings_that_the_image_does_not_take() {
    let file = |path: &str| SettingsFile::new(path, 0o644, b"x");
    for path in ["/boot/x", "/etc/../x", "etc/x"] {
        check(Spec::new(1), &plain(), |p| p.settings.files.push(file(path)), "settings-refused");
    }
}

#[test]
fn an_image_by_another_name_or_version() {
    check(Spec::new(1), &plain(), |p| p.image.name = "db".into(), "other-content");
    check(Spec::new(1), &plain(), |p| p.image.version = 2, "other-content");
    check(Spec::new(1), &plain(), |p| p.sources.clear(), "no-source");
}

#[test]
fn guids_that_are_on_a_second_disk() {
    let mut world = World::new(two_disks(DiskSpec::new("second", 8)));
    let web = world.publish(&plain());
    let purpose_on = |serial: &str| {
        let mut purpose = World::purpose(&web);
        purpose.disk =
            Some(DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() });
        Order::Purpose(Box::new(purpose))
    };
    let generation = world.order(purpose_on("second"));
    world.run_until_up(generation).unwrap_or_else(|violation| panic!("{violation}"));
    let writes = world.target_writes();
    world.order(purpose_on("first"));
    let told = world.run_until_failed().unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(told, "duplicate-guid");
    assert_eq!(world.target_writes(), writes);
}

#[test]
fn a_default_side_that_is_there_twice_is_not_guessed() {
    let spec = two_disks(DiskSpec::new("clone", 8));
    let mut world = World::new(spec);
    world.clone_default_disk();
    for _ in 0..5 {
        world.step().unwrap_or_else(|violation| panic!("{violation}"));
    }
    let machine = world.machine.borrow();
    assert!(machine.controller.statuses.is_empty(), "who it is, is not known");
    let line = machine.events.lines().last().unwrap().clone();
    assert!(line.contains("is on both sim0 and sim1"), "{line}");
}
