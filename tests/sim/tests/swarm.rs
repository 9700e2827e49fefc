//! Two thousand seeds of the swarm, that everything which can happen in one does happen, and that a
//! seed is a seed.

#![allow(clippy::print_stdout, reason = "a test says how long it took")]

use std::fs;

use repave_sim::{Counts, campaign, faults, swarm};

/// What is ordered and what comes of it, and the least that two thousand seeds have of each.
const LEAST: [(&str, u64); 14] = [
    ("order:purpose", 2_000),
    ("order:stay", 500),
    ("order:boot", 300),
    ("order:wait", 300),
    ("order:wipe", 300),
    ("order:wipe-one-disk", 200),
    ("order:wipe-no-disk", 60),
    ("seals", 2_000),
    ("targets-started", 2_000),
    ("left-alone", 60),
    ("wipes", 300),
    ("power-losses", 2_000),
    ("ended-up", 1_500),
    ("ended-wiped", 150),
];
/// The least that each fault strikes.
const LEAST_FAULTS: u64 = 20;

#[test]
fn two_thousand_seeds_hold_and_everything_happens_in_them() {
    campaign::hush_simulated_panics();
    let tally = campaign::run(0..2_000, None, &|line| println!("{line}"));
    let tally = tally.unwrap_or_else(|error| panic!("{error}"));
    println!("{tally}");
    if let Some((seed, found)) = tally.failures.first() {
        panic!("{found}replay: make sim SEEDS={seed}");
    }
    let check = |name: &str, least: u64| {
        let count = tally.counts.of(name);
        assert!(count >= least, "{name} {count} times, at least {least} are wanted");
    };
    LEAST.iter().for_each(|(name, least)| check(name, *least));
    faults::all().for_each(|fault| check(&format!("fault:{fault:?}"), LEAST_FAULTS));
    // Each invariant that a step can break.
    ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I10", "I11"]
        .iter()
        .for_each(|invariant| check(&format!("check:{invariant}"), 2_000));
}

#[test]
fn a_campaign_that_was_ended_goes_on_and_comes_to_one_sum() {
    campaign::hush_simulated_panics();
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let state = folder.path().join("seeds.done");
    let live = |range| campaign::run(range, Some(&state), &|_| {}).map_err(|e| e.to_string());
    let first = live(0..100).unwrap_or_else(|error| panic!("{error}"));
    // Ended while a block was under way, and while a line was written.
    let done = fs::read_to_string(&state).unwrap_or_default();
    let torn = done.replace("0..100", "100..150");
    assert!(fs::write(&state, done + &torn[..torn.len() / 2]).is_ok());
    let both = live(0..150).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((first.seeds, both.before, both.seeds), (100, 100, 50));
    let mut sum = Counts::default();
    (0..150).for_each(|seed| sum.join(&swarm::run(seed).counts));
    assert_eq!(both.counts, sum);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    campaign::hush_simulated_panics();
    for seed in 0..20 {
        assert_eq!(swarm::run(seed).events, swarm::run(seed).events, "seed {seed}");
    }
    assert_ne!(swarm::run(1).events, swarm::run(2).events);
}
