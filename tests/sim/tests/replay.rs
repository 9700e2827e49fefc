//! The field log's form, and living it again: the log of a seed comes to the same events, and one
//! that was tampered with is told at its line.

use std::collections::BTreeSet;

use repave_core::event::{Line, MARK};
use repave_sim::replay::{Trouble, replay};
use repave_sim::{ImageSpec, Spec, Unflushed, World, sound, swarm};

/// What strikes without a word at the core's edges: no log can tell of it, and no replay can know.
const SILENT: [&str; 2] = ["fault:DiskReadRots", "fault:DiskWriteMisdirected"];
/// What must be among the faults that are lived again.
const LOUD: [&str; 4] =
    ["fault:PowerCut", "fault:DiskWriteFails", "fault:DiskFlushFails", "fault:AgentPanics"];

fn events(log: &[String]) -> Vec<&str> {
    log.iter().map(String::as_str).filter(|line| line.contains(MARK)).collect()
}

fn dump(world: &World) -> String {
    world.machine.borrow().events.lines().join("\n")
}

/// Lives a dump again, which must come to all of its events.
fn lives_again(dump: &str) {
    let replayed = replay(dump).unwrap_or_else(|trouble| panic!("{trouble}"));
    let told = dump.lines().filter(|line| line.contains(MARK)).count();
    assert_eq!((replayed.events, events(&replayed.log).len()), (told, told));
}

#[test]
fn the_logs_of_seeds_are_read_as_they_were_printed_and_lived_again() {
    repave_sim::campaign::hush_simulated_panics();
    let (mut lived, mut faults) = (0, BTreeSet::new());
    for seed in 0..60 {
        let run = swarm::run(seed);
        for line in events(&run.events) {
            let read: Line = line.parse().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(read.to_string(), line, "seed {seed}");
        }
        if run.violation.is_none() && !SILENT.iter().any(|fault| run.counts.of(fault) > 0) {
            if let Err(trouble) = replay(&run.events.join("\n")) {
                panic!("seed {seed}: {trouble}");
            }
            lived += 1;
            let struck = LOUD.into_iter().filter(|fault| run.counts.of(fault) > 0);
            faults.extend(struck);
        }
    }
    assert!(lived >= 40, "only {lived} seeds had a log that tells all");
    assert_eq!(faults.len(), LOUD.len(), "{faults:?}");
}

/// A purposing that is cut at one of its effects, and then comes to its end.
fn cut_at(effect: u64, unflushed: Unflushed) -> World {
    let mut world = World::new(Spec::new(7));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    {
        let machine = &mut *world.machine.borrow_mut();
        machine.unflushed = unflushed;
        machine.events.cut_at(effect);
    }
    sound(world.run_until_up(generation));
    world
}

#[test]
fn a_purposing_is_lived_again_wherever_power_was_cut() {
    let whole = cut_at(u64::MAX, Unflushed::Lost);
    lives_again(&dump(&whole));
    let effects = whole.machine.borrow().events.effects();
    for effect in (0..effects).step_by(3) {
        for unflushed in [Unflushed::Kept, Unflushed::Lost, Unflushed::Torn] {
            lives_again(&dump(&cut_at(effect, unflushed)));
        }
    }
}

#[test]
fn a_dump_may_begin_with_any_boot() {
    let mut world = World::new(Spec::new(8));
    let web = world.publish(&ImageSpec::new("web", 1));
    let generation = world.order_image(&web);
    sound(world.run_until_up(generation));
    let begin = world.machine.borrow().events.lines().len();
    let newer = world.publish(&ImageSpec { upgrades: Some(1), ..ImageSpec::new("web", 2) });
    let generation = world.order_image(&newer);
    sound(world.run_until_up(generation));
    let later = world.machine.borrow().events.lines()[begin..].join("\n");
    assert!(later.contains(" same") && later.contains("journal "), "{later}");
    lives_again(&later);
}

/// Tampers with the first event that has these words in it, after the image was trusted; gives its
/// line and what is told then.
fn tampered(words: &str, change: impl FnOnce(&str) -> String) -> (usize, Trouble) {
    let dump = dump(&cut_at(u64::MAX, Unflushed::Lost));
    let mut lines: Vec<String> = dump.lines().map(String::from).collect();
    let image = lines.iter().position(|line| line.contains("EVENT image ")).expect("an image");
    let place = lines[image..].iter().position(|line| line.contains(MARK) && line.contains(words));
    let place = image + place.unwrap_or_else(|| panic!("no event has {words:?} in it"));
    lines[place] = change(&lines[place]);
    (place + 1, replay(&lines.join("\n")).expect_err("it was tampered with"))
}

#[test]
fn a_dump_that_was_tampered_with_is_told_at_its_line() {
    let (line, trouble) = tampered("told 3 ", |line| line.replace("told 3", "told 4"));
    let words = trouble.to_string();
    assert!(matches!(trouble, Trouble::Differs { line: at, .. } if at == line), "{line}: {words}");
    assert!(words.contains("the field says\n  told 4 ") && words.contains("told 3 "), "{words}");
    // What is said to have failed has failed: the core goes on otherwise, in a line behind it.
    for (words, failure) in [
        ("disk 0 write", " failed: Input/output error"),
        ("disk 0 reread", " failed: Device or resource busy"),
        ("settings write", " failed: image: mount: /: no superblock"),
        ("firmware set BootNext", " failed: EIO"),
    ] {
        let (line, trouble) = tampered(words, |line| line.to_owned() + failure);
        assert!(matches!(trouble, Trouble::Differs { .. }), "{words}: {trouble}");
        assert!((line + 1..line + 60).contains(&trouble.line()), "{words}: {line}: {trouble}");
    }
    let (line, trouble) = tampered("slot 0 fetched", |line| line.replace("fetched", "lied"));
    assert!((line + 1..line + 60).contains(&trouble.line()), "{line}: {trouble}");
}

#[test]
fn what_is_no_dump_is_refused_with_the_way_out() {
    let check = |dump: &str, expected: &str| {
        let words = replay(dump).expect_err("it is none").to_string();
        assert!(words.contains(expected), "{words}");
    };
    check("[    0.001] repave INFO  hello", "\"events\": true");
    check("[    0.001] repave EVENT disk 0 flush", "cut it before a line \"home 1\"");
    check("[    0.001] repave EVENT home 1\n[    0.002] repave EVENT huh", "line 2: ");
    check("[    0.001] repave EVENT home 1", "came to a journal");
}
