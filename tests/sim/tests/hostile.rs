//! Answers, sources and devices that lie or fail: each is refused or reported by its name, and
//! what must not change does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_protocol::{BootMethod, Order, Stage, Standing};
use repave_sim::check::i9_controller_knows;
use repave_sim::image::is_mountable_esp;
use repave_sim::stable::find;
use repave_sim::{ImageSpec, Lie, Quirks, SourceFault, Spec, TargetConduct, World, sound};

/// The stage with which the last failure was told.
fn last_stage(world: &World) -> Option<Stage> {
    let machine = world.machine.borrow();
    let mut statuses = machine.controller.statuses.iter().rev();
    statuses.find_map(|status| match &status.standing {
        Standing::Failed { fault } => Some(fault.stage),
        _ => None,
    })?
}

/// A server in default that has accepted an order and answered it.
fn staying(seed: u64) -> World {
    let mut world = World::new(Spec::new(seed));
    world.order(Order::Stay { reason: "maintenance".into() });
    sound(world.run_until("staying", |world| world.machine.borrow().controller.statuses.len() > 2));
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
        assert!(world.fingerprint() == before, "{lie:?} changed something later");
        if let Some(code) = lie.code() {
            assert_eq!(world.machine.borrow().controller.last_fault(), Some(code), "{lie:?}");
        }
        sound(world.step());
        assert_eq!(i9_controller_knows(&world.machine.borrow()), Ok(()));
        let machine = world.machine.borrow();
        let standing = machine.controller.last_standing();
        assert_eq!(standing, Some(&Standing::Staying), "after {lie:?}");
    }
}

#[test]
fn a_hostile_answer_is_told_by_the_target_and_does_not_take_it_down() {
    let mut world = World::new(Spec::new(2));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    for lie in Lie::ALL {
        let before = world.fingerprint();
        world.machine.borrow_mut().controller.lies.push_back(lie);
        sound(world.step());
        sound(world.step());
        let told = matches!(
            world.machine.borrow().controller.last_standing(),
            Some(Standing::Failed { .. })
        );
        assert_eq!(told, lie.code().is_some(), "{lie:?}");
        if told {
            assert_eq!(world.machine.borrow().controller.last_fault(), lie.code(), "{lie:?}");
        }
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
    assert_eq!(last_stage(&world), Some(Stage::Accepted));
    assert_eq!(world.target_writes(), 0);
    world.machine.borrow_mut().controller.sources_are_down = false;
    sound(world.run_until_up(generation));
}

#[test]
fn a_target_that_never_comes_up_is_reported_and_left_alone_after_its_attempts() {
    let spec = Spec { conduct: TargetConduct::Panics, ..Spec::new(5) };
    let mut world = World::new(spec);
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    for _ in 0..60 {
        sound(world.step());
    }
    let machine = world.machine.borrow();
    assert_eq!(machine.watch.departures, u64::from(repave_core::agent::ATTEMPTS));
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
    for (rotational, stage) in [(false, Stage::Unsealed), (true, Stage::Written)] {
        let mut spec = Spec::new(8);
        spec.disks[0].rotational = rotational;
        let mut world = World::new(spec);
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        world.machine.borrow_mut().media[0].lie_at((4 << 20) + (200 << 10));
        assert_eq!(sound(world.run_until_failed()), "read-back");
        assert_eq!(last_stage(&world), Some(stage));
        sound(world.run_until_up(generation));
    }
}

#[test]
fn a_disk_that_is_smaller_than_it_says_is_found_out() {
    for seed in 0..16 {
        let mut spec = Spec::new(seed);
        spec.disks[0].size_bytes += 4 << 20;
        let mut world = World::new(spec);
        let sizes_bytes = [512 << 10, 4 << 20, 352 << 10];
        let web = world.publish(&ImageSpec { sizes_bytes, ..ImageSpec::new("web", 1) });
        world.order_image(&web);
        // The second half of the root partition is kept in the place of the first.
        let (root, half_bytes) = ((4 << 20) + (512 << 10), 2 << 20);
        let second = root + half_bytes..root + 2 * half_bytes;
        world.machine.borrow_mut().media[0].share(second, half_bytes);
        assert_eq!(sound(world.run_until_failed()), "read-back", "seed {seed}");
    }
}

#[test]
fn firmware_that_fails_or_forgets_is_reported_and_nothing_is_left_for() {
    let forgets = |name: &str| Quirks { forgets: vec![name.into()], ..Quirks::default() };
    let cases = [
        Quirks { is_full: true, ..Quirks::default() },
        Quirks { is_read_only: true, ..Quirks::default() },
        forgets("BootNext"),
        forgets("Boot0002"),
        forgets("BootOrder"),
    ];
    for quirks in cases {
        let mut world = World::new(Spec { quirks: quirks.clone(), ..Spec::new(9) });
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
    let quirks = Quirks { drops_unordered_entries: true, ..Quirks::default() };
    let mut world = World::new(Spec { quirks, ..Spec::new(10) });
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
        machine.controller.statuses.last().is_some_and(|s| s.generation == Some(generation))
    }));
    assert_eq!(sound(world.run_until_failed()), "firmware");
    let machine = &world.machine;
    machine.borrow_mut().nvram.quirks.forgets.clear();
    machine.borrow_mut().broken_power.clear();
    sound(world.run_until_up(generation));
}

#[test]
fn a_failure_that_was_got_over_is_not_told_again() {
    let quirks = Quirks { forgets: vec!["BootNext".into()], ..Quirks::default() };
    let mut world = World::new(Spec { quirks, ..Spec::new(15) });
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "firmware");
    world.machine.borrow_mut().nvram.quirks = Quirks::default();
    sound(world.run_until_up(generation));
    let heard = world.machine.borrow().controller.statuses.len();
    world.pull_plug();
    sound(world.run_until("in the target", World::is_running_target));
    let machine = world.machine.borrow();
    let again = &machine.controller.statuses[heard..];
    assert!(!again.is_empty());
    assert!(!again.iter().any(|s| matches!(s.standing, Standing::Failed { .. })), "{again:?}");
}

#[test]
fn a_device_error_does_not_keep_a_server_from_staying() {
    for number in 0..20 {
        let mut world = World::new(Spec::new(16));
        world.machine.borrow_mut().events.fail_at(number);
        world.order(Order::Stay { reason: "maintenance".into() });
        sound(world.run_until("staying", |world| {
            world.machine.borrow().controller.last_standing() == Some(&Standing::Staying)
        }));
    }
}

#[test]
fn a_journal_that_can_no_longer_be_read_or_written_is_told() {
    let mut world = staying(17);
    let state = world.machine.borrow().watch.state.clone();
    world.machine.borrow_mut().bad_bytes = Some((0, state));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "journal");
    assert_eq!(world.target_writes(), 0);
    world.machine.borrow_mut().bad_bytes = None;
    sound(world.run_until_up(generation));
}

/// A frame as the journal has it: magic, sequence, length, CRC-32 over both and the body.
fn frame(sequence: u64, body: &[u8]) -> Vec<u8> {
    let numbers = [sequence.to_le_bytes(), (body.len() as u64).to_le_bytes()].concat();
    let crc32 = crc32fast::hash(&[&numbers, body].concat());
    let mut bytes = [b"repavej1", numbers.as_slice(), &crc32.to_le_bytes()].concat();
    bytes.resize(32, 0);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    bytes
}

#[test]
fn a_journal_that_a_target_wrote_to_is_at_worst_ignored() {
    let mut world = staying(18);
    let server = world.server();
    let state = world.machine.borrow().watch.state.start;
    let slots = {
        let machine = world.machine.borrow();
        [0, 1].map(|n| {
            let at = state + n * 64 * 1024;
            machine.media[0].durable_bytes(at..at + 4096)
        })
    };
    let sequence = |slot: &[u8]| u64::from_le_bytes(slot[8..16].try_into().unwrap());
    let newer = usize::from(sequence(&slots[1]) > sequence(&slots[0]));
    let length = u64::from_le_bytes(slots[newer][16..24].try_into().unwrap()) as usize;
    let record = &slots[newer][32..32 + length];
    for hostile in [frame(u64::MAX, record), frame(1 << 40, b"{}"), frame(1 << 40, b"not JSON")] {
        let mut world = world.fork();
        {
            let medium = &mut world.machine.borrow_mut().media[0];
            medium.write(state + (1 - newer as u64) * 64 * 1024, &hostile);
            medium.flush();
        }
        let web = world.publish(&ImageSpec::new("web", 1));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
        assert_eq!(world.server(), server, "it is still itself");
    }
    sound(world.step());
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

#[test]
fn a_device_error_while_sealing_leaves_no_unsealed_esp() {
    let world = World::new(Spec::new(19));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    let effects = {
        let mut world = world.fork();
        sound(world.run_until_up(generation));
        world.machine.borrow().events.effects()
    };
    let mut failed_sealings = 0;
    for number in 0..effects {
        let mut world = world.fork();
        world.machine.borrow_mut().events.fail_at(number);
        let configured = |world: &World| {
            matches!(
                world.machine.borrow().controller.last_standing(),
                Some(Standing::Purposing { stage: Stage::Configured, .. })
            )
        };
        // A step ends with this stage only if the sealing failed.
        sound(
            world.run_until("sealed, or not", |world| configured(world) || world.is_up(generation)),
        );
        if !configured(&world) {
            continue;
        }
        failed_sealings += 1;
        let machine = world.machine.borrow();
        let (disk, at, _) = find(&machine, web.manifest.partitions[0].guid).unwrap();
        let head = machine.media[disk].durable_bytes(at..at + 4096);
        assert!(!is_mountable_esp(&head), "effect {number} failed");
        drop(machine);
        sound(world.run_until_failed());
        assert_eq!(last_stage(&world), Some(Stage::Configured));
    }
    // Two writes and two flushes of the head, a write and a flush of the journal.
    assert_eq!(failed_sealings, 6);
}
