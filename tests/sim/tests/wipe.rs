//! Wipes: all of the target's area is zero and was read back, the default side is as it was, and the
//! server stays in default, whenever power is cut and whatever fails on the way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says how many cuts it made")]

use repave_protocol::{Coverage, DiskSelector, Generation, Order, Standing, Wipe, WipePass};
use repave_sim::check::i9_controller_knows;
use repave_sim::wiped::is_zero;
use repave_sim::{DiskSpec, Image, ImageSpec, Spec, Violation, World, sound};

/// A server with two disks, that runs `web` from the one with that serial.
fn running_on(seed: u64, serial: &str) -> (World, std::rc::Rc<Image>) {
    let disks = vec![DiskSpec::new("first", 8), DiskSpec::new("second", 8)];
    let mut world = World::new(Spec { disks, ..Spec::new(seed) });
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = World::purpose(&web);
    purpose.disk = Some(selector(serial));
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
    (world, web)
}

fn selector(serial: &str) -> DiskSelector {
    DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() }
}

fn order_wipe(world: &World, disk: Option<DiskSelector>) -> Generation {
    world.order(Order::Wipe(Wipe { reason: "the lease ends".into(), disk }))
}

fn coverage(world: &World) -> Option<Coverage> {
    world.machine.borrow().controller.statuses.last()?.wiped.clone()
}

fn is_wiped(world: &World, generation: Generation) -> bool {
    coverage(world).is_some_and(|coverage| coverage.generation == generation)
}

fn run_until_wiped(world: &mut World, generation: Generation) -> Result<(), Violation> {
    world.run_until("wiped", |world| is_wiped(world, generation))
}

#[test]
fn a_wiped_server_is_zero_and_stays_in_default_across_boots() {
    let (mut world, web) = running_on(41, "first");
    let default = world.default_partition();
    let generation = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, generation));
    let told = coverage(&world).unwrap();
    let range = &told.ranges[0];
    assert_eq!((told.ranges.len(), told.missing.len()), (1, 0));
    assert_eq!((range.disk.as_str(), range.serial.as_deref()), ("sim0", Some("first")));
    assert_eq!((range.offset_bytes, range.length_bytes), (3 << 20, (5 << 20) - 33 * 512));
    assert_eq!(range.read_back_bytes, range.length_bytes);
    assert!(range.written_bytes > 0 && range.written_bytes <= range.length_bytes);
    is_zero(&world.machine.borrow(), 0).unwrap();
    assert!(world.default_partition() == default);
    let writes = world.target_writes();
    for _ in 0..3 {
        world.pull_plug();
        let heard = world.machine.borrow().controller.statuses.len();
        let heard_again =
            |world: &World| world.machine.borrow().controller.statuses.len() > heard + 2;
        sound(world.run_until("two reports", heard_again));
        assert_eq!(coverage(&world).as_ref(), Some(&told), "the answer to the same order again");
        assert_eq!(world.machine.borrow().controller.last_standing(), Some(&Standing::Staying));
    }
    assert!(!world.is_running_target());
    assert_eq!(world.target_writes(), writes, "the same order again writes nothing");
    // Another wipe is another one: it reads all, and finds nothing to write.
    let again = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, again));
    assert_eq!(coverage(&world).unwrap().ranges[0].written_bytes, 0);
    // And there is a life after it.
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    assert_eq!(coverage(&world), None);
}

#[test]
fn both_passes_are_told_with_bytes_of_how_many() {
    let (mut world, _) = running_on(42, "first");
    let generation = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, generation));
    let machine = world.machine.borrow();
    let told = machine.controller.statuses.iter().filter_map(|status| match status.standing {
        Standing::Wiping { pass, done_bytes, total_bytes, .. } => {
            Some((pass, done_bytes, total_bytes))
        }
        _ => None,
    });
    let total_bytes = (5 << 20) - 33 * 512;
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(WipePass::Zeroing, 0, total_bytes), (WipePass::ReadingBack, 0, total_bytes)]
    );
}

/// Takes a world to the wipe's end without an accident, then with one at each effect on the way.
fn check_at_every_effect(world: &World, generation: Generation, disks: &[usize]) {
    let before = world.machine.borrow().events.effects();
    let default = world.default_partition();
    let run = |accident: &dyn Fn(&World)| {
        let mut world = world.fork();
        accident(&world);
        let begin = world.target_writes();
        sound(run_until_wiped(&mut world, generation));
        assert!(world.default_partition() == default);
        for disk in disks {
            is_zero(&world.machine.borrow(), *disk).unwrap();
        }
        let machine = world.machine.borrow();
        assert_eq!(i9_controller_knows(&machine), Ok(()));
        (machine.events.effects(), world.target_writes() - begin)
    };
    let (after, writes) = run(&|_| {});
    for number in before..after {
        let (_, with_cut) = run(&|world| world.machine.borrow_mut().events.cut_at(number));
        // Heads and tables are written again, and what was in the cache; not all the pieces.
        assert!(with_cut <= 2 * writes, "cut at {number}: {with_cut} writes, {writes} without");
        run(&|world| world.machine.borrow_mut().events.fail_at(number));
        run(&|world| world.machine.borrow_mut().events.panic_at(number));
    }
    println!("{} effects, {writes} writes", after - before);
}

#[test]
fn power_cuts_failures_and_panics_at_every_effect_end_in_a_wiped_server() {
    let (world, _) = running_on(43, "first");
    let generation = order_wipe(&world, None);
    check_at_every_effect(&world, generation, &[0]);
}

#[test]
fn so_they_do_with_the_target_on_another_disk() {
    let (world, _) = running_on(44, "second");
    let generation = order_wipe(&world, None);
    check_at_every_effect(&world, generation, &[0, 1]);
}

#[test]
fn a_target_that_moved_is_wiped_where_it_was_as_well() {
    let (mut world, web) = running_on(45, "second");
    let db = world.publish(&ImageSpec::new("db", 1));
    let generation = world.order_image(&db);
    sound(world.run_until_up(generation));
    let generation = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, generation));
    for disk in [0, 1] {
        is_zero(&world.machine.borrow(), disk).unwrap();
    }
    drop(web);
}

#[test]
fn a_disk_that_is_away_is_named_and_covered_once_it_is_back() {
    let (mut world, _) = running_on(46, "second");
    let pulled = world.machine.borrow_mut().media.pop().unwrap();
    world.pull_plug();
    let generation = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, generation));
    let told = coverage(&world).unwrap();
    assert_eq!((told.ranges.len(), told.missing.len()), (1, 1));
    world.machine.borrow_mut().media.push(pulled);
    world.pull_plug();
    let generation = order_wipe(&world, None);
    sound(run_until_wiped(&mut world, generation));
    let told = coverage(&world).unwrap();
    assert_eq!((told.ranges.len(), told.missing.len()), (2, 0));
    is_zero(&world.machine.borrow(), 1).unwrap();
}

#[test]
fn the_disk_that_the_order_names_is_the_only_one_and_nothing_boots_all_the_same() {
    let (mut world, web) = running_on(47, "first");
    {
        // A disk without a table: all of it goes.
        let media = &mut world.machine.borrow_mut().media;
        media[1].write(0, &vec![7; 8 << 20]);
        media[1].flush();
    }
    let data = |world: &World| {
        let machine = world.machine.borrow();
        machine.media[0].durable_bytes((5 << 20)..(6 << 20))
    };
    let before = data(&world);
    let generation = order_wipe(&world, Some(selector("second")));
    sound(run_until_wiped(&mut world, generation));
    let told = coverage(&world).unwrap();
    assert_eq!((told.ranges[0].offset_bytes, told.ranges[0].length_bytes), (0, 8 << 20));
    assert_eq!(told.missing.len(), 1, "the target's own disk");
    is_zero(&world.machine.borrow(), 1).unwrap();
    assert!(data(&world) == before, "another disk than the one named was wiped");
    world.pull_plug();
    let heard = world.machine.borrow().controller.statuses.len();
    sound(world.run_until("a report", |world| {
        world.machine.borrow().controller.statuses.len() > heard + 1
    }));
    assert!(!world.is_running_target());
    let unknown = order_wipe(&world, Some(selector("third")));
    assert_eq!(sound(world.run_until_failed()), "no-such-disk");
    assert!(!is_wiped(&world, unknown));
    drop(web);
}

#[test]
fn a_disk_that_takes_zeroes_and_keeps_something_else_is_found_out() {
    let (mut world, _) = running_on(48, "first");
    world.machine.borrow_mut().media[0].lie_at((4 << 20) + (512 << 10));
    let generation = order_wipe(&world, None);
    assert_eq!(sound(world.run_until_failed()), "not-zero");
    sound(run_until_wiped(&mut world, generation));
}

#[test]
fn what_cannot_be_wiped_is_not_called_wiped_and_the_rest_is_wiped_all_the_same() {
    let (mut world, _) = running_on(49, "first");
    world.machine.borrow_mut().bad_bytes = Some((0, (4 << 20)..(4 << 20) + 512));
    let generation = order_wipe(&world, None);
    assert_eq!(sound(world.run_until_failed()), "disk");
    assert!(!is_wiped(&world, generation));
    let machine = world.machine.borrow();
    let last = machine.media[0].durable_bytes((7 << 20)..(8 << 20) - 33 * 512);
    assert!(last.iter().all(|byte| *byte == 0), "the pieces behind the bad one");
    drop(machine);
    world.machine.borrow_mut().bad_bytes = None;
    sound(run_until_wiped(&mut world, generation));
}

#[test]
fn a_journal_that_says_wiped_before_the_order_came_is_not_believed() {
    let (mut world, _) = running_on(50, "first");
    let next = Generation(2);
    world.rewrite_journal(|record| {
        record.wiped = Some(Coverage { generation: next, ranges: Vec::new(), missing: Vec::new() });
    });
    assert_eq!(order_wipe(&world, None), next);
    sound(world.run_until("zero", |world| {
        is_wiped(world, next) && is_zero(&world.machine.borrow(), 0).is_ok()
    }));
}
