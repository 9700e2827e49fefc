//! Many seeds: spread over the processors, counted, and remembered, so that a campaign that is ended
//! goes on where it was. What a seed does is in [`crate::swarm`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::events::PANIC;
use crate::faults::Fault;
use crate::swarm::{self, Run};

/// Seeds that are done and remembered together.
pub const BLOCK: u64 = 100;
/// Failures after which a campaign ends.
const FAILURES: usize = 8;
/// One seed of so many is lived twice, and must come out the same (I13).
const TWICE: u64 = 128;
/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// A seed that did not hold, with what was found.
pub type Failure = (u64, String);

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds lived now.
    pub seeds: u64,
    /// Seeds that an earlier campaign had lived.
    pub skipped: u64,
    /// Effects on their worlds.
    pub effects: u64,
    /// Targets started.
    pub departures: u64,
    /// How often each fault struck.
    pub struck: BTreeMap<Fault, u64>,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(0.001);
        let rate = self.seeds as f64 / seconds;
        write!(
            f,
            "{} seeds in {seconds:.1} s ({rate:.0} a second), {} done before; {} effects, {} targets started, {} violations",
            self.seeds,
            self.skipped,
            self.effects,
            self.departures,
            self.failures.len()
        )
    }
}

impl Tally {
    fn add(&mut self, seed: u64, run: &Run) {
        self.seeds += 1;
        self.effects += run.effects;
        self.departures += run.departures;
        for (fault, count) in &run.struck {
            *self.struck.entry(*fault).or_default() += count;
        }
        if let Some(violation) = &run.violation {
            self.failures.push((seed, violation.to_string()));
        }
    }

    fn join(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.effects += other.effects;
        self.departures += other.departures;
        for (fault, count) in other.struck {
            *self.struck.entry(fault).or_default() += count;
        }
        self.failures.extend(other.failures);
    }
}

/// Keeps the reports of simulated panics quiet; real ones are told as ever.
pub fn hush_simulated_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.to_string().ends_with(PANIC) {
            report(panic);
        }
    }));
}

/// Lives the seeds of `range`, on all processors. With a `state` file, blocks that it names are left
/// out, and those that hold are added to it. `say` is told of progress.
pub fn run(
    range: Range<u64>,
    state: Option<&Path>,
    say: &(dyn Fn(&str) + Sync),
) -> io::Result<Tally> {
    let done = state.map_or(Ok(BTreeSet::new()), read)?;
    let blocks: Vec<_> = blocks(&range).collect();
    let left: Vec<_> =
        blocks.iter().filter(|b| !done.contains(&(b.start, b.end))).cloned().collect();
    let skipped = blocks.iter().filter(|b| done.contains(&(b.start, b.end)));
    let skipped = skipped.map(|block| block.end - block.start).sum();
    let file = state.map(open).transpose()?;
    let started = Instant::now();
    let shared =
        Mutex::new((left.into_iter(), Tally { skipped, ..Tally::default() }, file, started));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        loop {
            let next = {
                let (left, tally, ..) = &mut *shared.lock().expect("no thread panics with it");
                left.next().filter(|_| tally.failures.len() < FAILURES)
            };
            let Some(block) = next else {
                return Ok(());
            };
            let tally = live(block.clone());
            let (_, total, file, told) = &mut *shared.lock().expect("no thread panics with it");
            if let (Some(file), true) = (file, tally.failures.is_empty()) {
                writeln!(file, "{}..{}", block.start, block.end)?;
            }
            for (seed, found) in &tally.failures {
                say(&format!("{found}replay: make sim SEEDS={seed}\n"));
            }
            total.join(tally);
            total.took = started.elapsed();
            if told.elapsed() > PROGRESS {
                *told = Instant::now();
                say(&total.to_string());
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("it does not panic"));
        ended.collect::<io::Result<Vec<()>>>()
    })?;
    let (_, mut total, ..) = shared.into_inner().expect("no thread panics with it");
    total.failures.sort();
    total.took = started.elapsed();
    Ok(total)
}

fn live(block: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in block {
        let Ok(mut run) = catch_unwind(|| swarm::run(seed)) else {
            tally.failures.push((seed, "the simulator panicked\n".into()));
            continue;
        };
        if seed % TWICE == 0 && run.violation.is_none() && swarm::run(seed).events != run.events {
            let found = "the same seed gave other events".to_owned();
            run.violation = Some(crate::Violation { invariant: "I13", found, events: Vec::new() });
        }
        tally.add(seed, &run);
    }
    tally
}

/// The range in blocks that begin at multiples of their size.
fn blocks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut next, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        let start = next;
        next = ((start / BLOCK + 1) * BLOCK).min(end);
        (start < end).then_some(start..next)
    })
}

fn read(state: &Path) -> io::Result<BTreeSet<(u64, u64)>> {
    match fs::read_to_string(state) {
        Ok(text) => Ok(text.lines().filter_map(parse_range).map(|r| (r.start, r.end)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn open(state: &Path) -> io::Result<File> {
    if let Some(folder) = state.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(state)
}

/// `a..b`, or `n` for that one seed.
pub fn parse_range(text: &str) -> Option<Range<u64>> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    match text.split_once("..") {
        Some((start, end)) => Some(number(start)?..number(end)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_cut_into_blocks() {
        let check = |text: &str, expected: &[Range<u64>]| {
            let found = parse_range(text).map(|range| blocks(&range).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        };
        assert_eq!(parse_range("7"), Some(7..8));
        check("0..200", &[0..100, 100..200]);
        check("150..1_01", &[]);
        check("99..201", &[99..100, 100..200, 200..201]);
        assert_eq!(parse_range("a..b"), None);
    }
}
