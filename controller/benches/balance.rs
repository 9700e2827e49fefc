//! How long one round of balancing takes; see `rounds`. Where the median is far from the minimum, the
//! machine was busy with something else.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "controller/rounds.rs"]
mod rounds;

use rounds::{SERVERS, TYPES};

fn main() {
    for round in rounds::all() {
        println!(
            "{:<10} {SERVERS} servers, {TYPES} types: median {:.1} ms, max {:.1} ms, min {:.1} ms, {} moves",
            round.name,
            round.median_ms(),
            round.worst_ms(),
            round.times_us[0] as f64 / 1000.0,
            round.moves
        );
    }
}
