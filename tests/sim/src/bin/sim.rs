//! `make sim` and `make sim-exhaustive`: lives seeds, or one seed with its events, and says with
//! which one command whatever did not hold is seen again.

#![allow(clippy::print_stdout, reason = "this is a command-line tool; stdout is its report")]

use std::path::PathBuf;
use std::process::ExitCode;

use repave_sim::{campaign, exhaustive, swarm};

const USAGE: &str =
    "usage: sim SEEDS [STATE], where SEEDS is a..b, n to see one seed's events, or exhaustive";

fn main() -> ExitCode {
    campaign::hush_simulated_panics();
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().unwrap_or_default();
    let state = arguments.next().map(PathBuf::from);
    if seeds == "exhaustive" {
        return every_instant();
    }
    let Some(range) = campaign::parse_range(&seeds) else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if !seeds.contains("..") {
        return replay(range.start);
    }
    match campaign::run(range, state.as_deref(), &|line| println!("{line}")) {
        Ok(tally) => report(&tally),
        Err(error) => {
            println!("the state file of done seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64) -> ExitCode {
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
