//! What the swarm found in the agent, each as small as it can be told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_core::efi::{numbers_from_bytes, numbers_to_bytes};
use repave_protocol::{DiskSelector, Generation, Order, Purpose, Standing, Wipe};
use repave_sim::controller::Mishap;
use repave_sim::image::Image;
use repave_sim::stable::find;
use repave_sim::world::PATIENCE_MS;
use repave_sim::{DiskSpec, ImageSpec, Spec, World, sound};

/// A server in default that has accepted an order and answered it.
fn staying(seed: u64) -> World {
    let mut world = World::new(Spec::new(seed));
    world.order(Order::Stay { reason: "maintenance".into() });
    sound(world.run_until("staying", |world| world.machine.borrow().controller.statuses.len() > 2));
    world
}

/// Power comes back, and the agent enters.
fn enter(world: &mut World) {
    for _ in 0..2 {
        sound(world.step());
    }
}

/// Orders an image while the disk keeps something else than it is told at this byte, once.
fn lied_to(world: &mut World, at: u64) -> String {
    world.machine.borrow_mut().media[0].lie_at(at);
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    let told = sound(world.run_until_failed());
    sound(world.run_until_up(generation));
    told
}

/// Seed 85: the target was written although the journal on the disk did not say so.
#[test]
fn a_journal_that_the_disk_kept_otherwise_is_found_out() {
    let slots = [0, 64 * 1024].map(|slot| (2 << 20) + slot + 100);
    for slot in slots {
        assert_eq!(lied_to(&mut staying(61), slot), "journal");
    }
}

/// Seed 23: a head that was to be blanked, and a table that was to be changed, were believed to be.
#[test]
fn heads_and_tables_that_the_disk_kept_otherwise_are_found_out() {
    for at in [512 + 60, (8 << 20) - 512 + 60] {
        assert_eq!(lied_to(&mut staying(62), at), "disk", "byte {at}");
    }
    // A head that is zero already is not written.
    let mut world = World::new(Spec::new(62));
    let db = world.publish(&ImageSpec::new("db", 1));
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
    assert_eq!(lied_to(&mut world, 3 << 20), "disk");
}

/// Seed 497: a head was blanked once more, that write went into a chunk that had been compared, and
/// nothing that was read back told.
#[test]
fn what_is_zero_is_not_written_over_again() {
    let mut world = World::new(Spec::new(65));
    let web = world.publish(&ImageSpec::new("web", 1));
    world.order_image(&web);
    let is_head = |line: &&String| line.contains("sim0 write 3145728+");
    let writes =
        |world: &World| world.machine.borrow().events.lines().iter().filter(is_head).count();
    sound(world.run_until("sealed", |world| {
        let machine = world.machine.borrow();
        machine.watch.record.as_ref().is_some_and(|record| record.seal.is_some())
    }));
    // The first block of the head alone, last of all.
    assert_eq!(writes(&world), 1);
}

/// Seed 124: the table was read once more after a clone was given its GUIDs, and that failed. The
/// resident was then told the GUID of old, and looked for its journal for ever.
#[test]
fn a_call_that_fails_at_a_first_boot_costs_no_target_its_journal() {
    let calls = {
        let mut world = World::new(Spec::new(63));
        let heard = |world: &World| !world.machine.borrow().controller.statuses.is_empty();
        sound(world.run_until("heard", heard));
        world.machine.borrow().events.calls()
    };
    for number in 0..calls {
        let mut world = World::new(Spec::new(63));
        let web = world.publish(&ImageSpec::new("web", 1));
        world.machine.borrow_mut().events.fail_call_at(number);
        let generation = world.order_image(&web);
        if let Err(violation) = world.run_until_up(generation) {
            panic!("call {number} failed: {violation}");
        }
    }
}

/// Seed 12: the target's own system put itself first, and no reset led home any more.
#[test]
fn a_target_that_puts_itself_first_comes_home_all_the_same() {
    let mut world = World::new(Spec::new(64));
    let [web, db] = ["web", "db"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let order = world.machine.borrow().nvram.variables["BootOrder"].clone();
    let mut order = numbers_from_bytes(&order);
    order.reverse();
    world.order_boot(&order);
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
}

/// Seed 503: a boot entry that could not be read once was made a second time, and stayed.
#[test]
fn boot_entries_that_are_there_twice_go_again() {
    let mut world = World::new(Spec::new(65));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    {
        let variables = &mut world.machine.borrow_mut().nvram.variables;
        for (copy, of) in [("Boot0007", "Boot0001"), ("Boot0008", "Boot0002")] {
            let value = variables[of].clone();
            variables.insert(copy.into(), value);
        }
        variables.insert("BootOrder".into(), numbers_to_bytes(&[1, 7, 0, 8, 2]));
    }
    world.pull_plug();
    sound(world.step());
    sound(world.run_until("in the target", World::is_running_target));
    sound(world.run_until_up(generation));
    let machine = world.machine.borrow();
    let names: Vec<_> = machine.nvram.variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["Boot0000", "Boot0001", "Boot0002", "BootOrder"]);
    assert_eq!(machine.nvram.variables["BootOrder"], numbers_to_bytes(&[1, 0, 2]));
}

fn with_two_disks(seed: u64) -> World {
    let disks = vec![DiskSpec::new("first", 8), DiskSpec::new("second", 8)];
    World::new(Spec { disks, ..Spec::new(seed) })
}

fn for_the_second_disk(image: &Image) -> Purpose {
    let second = DiskSelector { serial: Some("second".into()), ..DiskSelector::default() };
    Purpose { disk: Some(second), ..World::purpose(image) }
}

/// A server whose target was written to its second disk, and what it is ordered to leave that for: to
/// become another one on its first disk, or to be wiped.
fn leaving_the_second_disk(wipes: bool) -> (World, Generation) {
    let mut world = with_two_disks(66);
    let [web, db] = ["web", "db"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let purpose = for_the_second_disk(&web);
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
    let wipe = Wipe { reason: "the lease ends".into(), disk: None };
    let generation = if wipes { world.order(Order::Wipe(wipe)) } else { world.order_image(&db) };
    (world, generation)
}

/// The server has left, and the journal knows of nothing that would still boot.
fn run_until_left(world: &mut World, generation: Generation) {
    sound(world.run_until("left", |world| {
        let machine = world.machine.borrow();
        let told = machine.controller.statuses.last().and_then(|status| status.wiped.as_ref());
        world.is_up(generation) || told.is_some_and(|told| told.generation == generation)
    }));
    let machine = world.machine.borrow();
    let record = machine.watch.record.as_ref().unwrap();
    assert_eq!(record.unsealed, []);
    let missing = record.wiped.as_ref().map_or(0, |wiped| wiped.missing.len());
    assert_eq!(missing, 0, "the second disk is there");
}

/// Seed 656: a table that could not be read at the moment when heads were blanked made its disk count
/// as one that is away, and the old target on it could still be booted.
#[test]
fn a_table_that_cannot_be_read_once_hides_no_target() {
    for wipes in [false, true] {
        let (world, generation) = leaving_the_second_disk(wipes);
        let calls = |world: &World| world.machine.borrow().events.calls();
        let before = calls(&world);
        let mut whole = world.fork();
        run_until_left(&mut whole, generation);
        for number in before..calls(&whole) {
            let mut world = world.fork();
            world.machine.borrow_mut().events.fail_call_at(number);
            run_until_left(&mut world, generation);
        }
    }
}

/// The same for a table that stays so: it is told, and nothing changes until the disk is mended.
#[test]
fn a_disk_whose_table_cannot_be_read_is_not_away() {
    for wipes in [false, true] {
        let (mut world, generation) = leaving_the_second_disk(wipes);
        world.machine.borrow_mut().bad_bytes = Some((1, 0..512));
        world.pull_plug();
        let writes = world.target_writes();
        assert_eq!(sound(world.run_until_failed()), "partition-table");
        assert_eq!(world.target_writes(), writes);
        world.machine.borrow_mut().bad_bytes = None;
        run_until_left(&mut world, generation);
    }
}

/// Seed 519, since wipes and absent controllers are in the swarm: a resident kept to itself which order
/// it had heard last. A controller that lost its records counted on from less, and was refused for ever.
#[test]
fn a_resident_says_what_it_has_heard_to_a_controller_that_forgot() {
    let mut world = World::new(Spec::new(67));
    let [web, db] = ["web", "db"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let wait = Order::Wait { after_ms: 1_000 };
    let heard = (0..3).map(|_| world.order(wait.clone())).last();
    sound(world.run_until("heard", |world| {
        let machine = world.machine.borrow();
        machine.controller.statuses.last().is_some_and(|status| status.generation == heard)
    }));
    world.machine.borrow_mut().controller.befall(Mishap::Forget);
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
}

/// Seed 31786 of the second swarm: a departure had failed and left BootNext, and the entry that it named
/// could not be read when the next target was to be written. It was taken for somebody else's, and stayed.
#[test]
fn a_boot_next_that_was_left_and_cannot_be_followed_is_not_written_under() {
    let left = || {
        let mut world = World::new(Spec::new(68));
        let [web, db] = ["web", "db"].map(|name| world.publish(&ImageSpec::new(name, 1)));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
        world.order(Order::Stay { reason: "maintenance".into() });
        sound(world.run_until("staying", |world| {
            world.machine.borrow().controller.last_standing() == Some(&Standing::Staying)
        }));
        let next = numbers_to_bytes(&[2]);
        world.machine.borrow_mut().nvram.variables.insert("BootNext".into(), next);
        let generation = world.order_image(&db);
        (world, generation)
    };
    let (mut whole, generation) = left();
    let before = whole.machine.borrow().events.calls();
    sound(whole.run_until_up(generation));
    for number in before..whole.machine.borrow().events.calls() {
        let (mut world, generation) = left();
        world.machine.borrow_mut().events.fail_call_at(number);
        sound(world.run_until_up(generation));
    }
}

/// A world in which something is ordered, and in the round that hears of it the `number`th call fails; if
/// that leaves a line of this kind. To fork it is to cut the life that has heard of it.
fn failing_at(
    number: u64,
    world: &World,
    order: impl Fn(&mut World) -> Generation,
    is_line: impl Fn(&str) -> bool,
) -> Option<(World, Generation)> {
    let mut world = world.fork();
    let generation = order(&mut world);
    enter(&mut world);
    let number = world.machine.borrow().events.calls() + number;
    world.machine.borrow_mut().events.fail_call_at(number);
    sound(world.step());
    let is_it = world.machine.borrow().events.lines().iter().any(|line| is_line(line));
    is_it.then_some((world, generation))
}

/// Worlds in which what is ordered is believed, and then the journal cannot be written.
fn with_failed_journals(
    world: &World,
    order: impl Fn(&mut World) -> Generation,
) -> Vec<(World, Generation)> {
    let failed = |line: &str| line.contains("round failed: journal");
    let failing = |number| failing_at(number, world, &order, failed);
    let worlds: Vec<_> = (0..20).filter_map(failing).collect();
    assert_eq!(worlds.len(), 3, "a write, a flush and a read-back");
    worlds
}

/// Seed 89624 of the second swarm: an order for another target was on the disk although writing the
/// journal had failed; then the controller was gone, and the old target was booted once more. And seed
/// 130826, where other orders came in between, and what they wrote forgot that one.
#[test]
fn an_order_that_was_believed_counts_though_its_write_failed() {
    let (world, _) = World::running_web(69);
    let db = world.publish(&ImageSpec::new("db", 1));
    for is_followed in [false, true] {
        let order = |world: &mut World| world.order_image(&db);
        for (mut world, generation) in with_failed_journals(&world, order) {
            if is_followed {
                world.order(Order::Wait { after_ms: 1_000 });
                sound(world.step());
            }
            world.cut_off();
            for _ in 0..2 * PATIENCE_MS / 1_000 {
                sound(world.step());
            }
            world.reconnect();
            let generation = if is_followed { world.order_image(&db) } else { generation };
            sound(world.run_until_up(generation));
        }
    }
}

/// Seed 107433 of the second swarm: no fault of the agent's. A firmware that keeps BootNext when it is
/// made to forget it keeps a server from staying; the order is told to have failed until it does.
#[test]
fn a_firmware_that_keeps_boot_next_does_not_let_a_server_stay() {
    let (world, _) = World::running_web(70);
    let mut world = world.fork();
    world.order(Order::Stay { reason: "maintenance".into() });
    enter(&mut world);
    {
        let nvram = &mut world.machine.borrow_mut().nvram;
        nvram.variables.insert("BootNext".into(), numbers_to_bytes(&[2]));
        nvram.quirks.forgets.push("BootNext".into());
    }
    assert_eq!(sound(world.run_until_failed()), "firmware");
    world.pull_plug();
    sound(world.run_until("in the target", World::is_running_target));
    world.machine.borrow_mut().nvram.quirks.forgets.clear();
    sound(world.run_until("staying", |world| {
        world.machine.borrow().controller.last_standing() == Some(&Standing::Staying)
    }));
}

/// Seed 266824 of the second swarm: a wipe was cut between the two copies of the table, which could not
/// be mended on entering; the wipe was carried out, and the next order mended the table as it had been
/// on entering: with the target's entries.
#[test]
fn a_table_that_is_mended_late_does_not_bring_wiped_entries_back() {
    let (world, _) = World::running_web(71);
    let web = world.publish(&ImageSpec::new("web", 1));
    let wipe = Wipe { reason: "the lease ends".into(), disk: None };
    let order = |world: &mut World| world.order(Order::Wipe(wipe.clone()));
    let failed = |line: &str| line.contains("sim0 write 0+") && line.ends_with("fails");
    let cut = (0..200).find_map(|number| failing_at(number, &world, order, failed));
    let (world, _) = cut.expect("a wipe writes the first copy of the table");
    for number in 0..20 {
        let mut world = world.fork();
        sound(world.step());
        let number = world.machine.borrow().events.calls() + number;
        world.machine.borrow_mut().events.fail_call_at(number);
        sound(world.run_until("wiped", |world| {
            let machine = world.machine.borrow();
            machine.watch.record.as_ref().is_some_and(|record| record.wiped.is_some())
        }));
        let generation = world.order_image(&web);
        sound(world.run_until_up(generation));
    }
}

/// Seed 56447 of the second swarm: no fault of the agent's. A flush failed behind the backup copy of
/// the second disk's first table: the entries are there from then on, and keep the image from the first.
#[test]
fn an_image_whose_table_is_half_written_is_on_that_disk() {
    let mut world = with_two_disks(74);
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = for_the_second_disk(&web);
    let mut whole = world.fork();
    let generation = whole.order(Order::Purpose(Box::new(purpose.clone())));
    sound(whole.run_until_up(generation));
    let backup = (8 << 20) - 33 * 512;
    let mut copy = vec![0; 33 * 512];
    whole.machine.borrow().media[1].read(backup, &mut copy);

    world.machine.borrow_mut().media[1].write(backup, &copy);
    assert_eq!(find(&world.machine.borrow(), web.manifest.partitions[0].guid), None);
    assert_eq!(world.disk_of(&web), Some(1));
    let second = purpose.disk.take();
    world.order(Order::Purpose(Box::new(purpose.clone())));
    assert_eq!(sound(world.run_until_failed()), "duplicate-guid");
    purpose.disk = second;
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
}

/// Seeds 87410 and 104913 of the second swarm: an order was on the disk although writing the journal had
/// failed. One that was older was accepted then; or power was cut, and the next order of a controller
/// that had lost its records was taken for the same generation used twice.
#[test]
fn an_order_whose_write_failed_is_settled_before_another_is_accepted() {
    let (world, _) = World::running_web(75);
    let [db, mail] = ["db", "mail"].map(|name| world.publish(&ImageSpec::new(name, 1)));
    let order = |world: &mut World| {
        world.order_image(&mail);
        world.order_image(&db)
    };
    for forgets in [false, true] {
        for (mut world, _) in with_failed_journals(&world, order) {
            if forgets {
                world.machine.borrow_mut().controller.befall(Mishap::Forget);
                sound(world.step());
                world.pull_plug();
            } else {
                world.machine.borrow_mut().controller.orders_once_more();
                sound(world.step());
            }
            let generation = world.order_image(&db);
            sound(world.run_until_up(generation));
        }
    }
}
