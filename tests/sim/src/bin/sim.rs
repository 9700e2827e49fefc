//! `make sim`, `make sim-exhaustive` and `make sim-replay`: lives seeds, one seed with its events, or
//! the field log of a server; says with which one command whatever did not hold is seen again.

#![allow(clippy::print_stdout, reason = "this is a command-line tool; stdout is its report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use repave_sim::{campaign, exhaustive, replay, swarm};

const USAGE: &str = "usage: sim SEEDS [STATE], where SEEDS is a..b, n to see one seed's events, or exhaustive; or sim replay DUMP";

fn main() -> ExitCode {
    campaign::hush_simulated_panics();
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().unwrap_or_default();
    let state = arguments.next().map(PathBuf::from);
    if seeds == "exhaustive" {
        return every_instant();
    }
    if seeds == "replay" {
        return from_the_field(&state.unwrap_or_default());
    }
    let Some(range) = campaign::parse_range(&seeds) else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if !seeds.contains("..") {
        return live(range.start);
    }
    match campaign::run(range, state.as_deref(), &|line| println!("{line}")) {
        Ok(tally) => report(&tally),
        Err(error) => {
            println!("the state file of done seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn live(seed: u64) -> ExitCode {
    let run = swarm::run(seed);
    println!("{run}");
    match run.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("{} violated: {}", violation.invariant, violation.found);
            ExitCode::FAILURE
        }
    }
}

/// Lives the field log in a file again.
fn from_the_field(dump: &Path) -> ExitCode {
    // A console has bytes of the firmware in it that are no text.
    let text = match fs::read(dump) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            println!("{}: {error}", dump.display());
            return ExitCode::FAILURE;
        }
    };
    match replay::replay(&text) {
        Ok(replayed) => {
            replayed.log.iter().for_each(|line| println!("{line}"));
            println!("{} events in {} boots, as in the field", replayed.events, replayed.boots);
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            println!("{}: {trouble}", dump.display());
            ExitCode::FAILURE
        }
    }
}

fn every_instant() -> ExitCode {
    let mut failures = 0;
    for scenario in exhaustive::Scenario::all() {
        let account = exhaustive::run(&scenario);
        account.failures.iter().take(3).for_each(|failure| println!("{failure}"));
        println!("{}: {account}", scenario.name);
        failures += account.failures.len();
    }
    if failures > 0 {
        println!("replay: make sim-exhaustive");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Everything that was counted, by name, and in the end how many seeds hold.
fn report(tally: &campaign::Tally) -> ExitCode {
    for (name, count) in tally.counts.iter() {
        println!("{count:>12} {name}");
    }
    for (seed, _) in &tally.failures {
        println!("replay: make sim SEEDS={seed}");
    }
    println!("{tally}");
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
