//! Many seeds: spread over the processors, counted, and remembered, so that a campaign that is ended
//! goes on where it was. What a seed does is in [`crate::swarm`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::events::PANIC;
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
    /// Seeds that were lived before, by the state file.
    pub before: u64,
    /// Seeds that there are to live.
    pub wanted: u64,
    /// How often what happened, in all of them.
    pub counts: Counts,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, before, wanted, counts, failures, took } = self;
        let (all, failures) = (seeds + before, failures.len());
        let [steps, effects, targets] =
            ["steps", "effects", "targets-started"].map(|name| counts.of(name));
        let seconds = took.as_secs_f64().max(0.001);
        let rate = *seeds as f64 / seconds;
        write!(
            f,
            "{all} of {wanted} seeds, {seeds} of them in {seconds:.0} s ({rate:.0} a second); "
        )?;
        write!(f, "{steps} steps, {effects} effects, {targets} targets started, ")?;
        write!(f, "{failures} violations")?;
        if all < *wanted && *seeds > 0 {
            let left_s = (wanted - all) as f64 / rate;
            write!(f, "; {} min {:02} s left", left_s as u64 / 60, left_s as u64 % 60)?;
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, seed: u64, run: &Run) {
        self.seeds += 1;
        self.counts.join(&run.counts);
        if let Some(violation) = &run.violation {
            self.failures.push((seed, violation.to_string()));
        }
    }

    fn join(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.counts.join(&other.counts);
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

/// What the threads of a campaign share.
struct Shared {
    left: Vec<Range<u64>>,
    tally: Tally,
    state: Option<File>,
    started: Instant,
    told: Instant,
}

/// Lives the seeds of `range`, on all processors. With a `state` file, blocks that it names are left
/// out, and those that hold are added to it with their counts. A failure is told to `say` at once, and
/// the others are lived all the same, until there are eight.
pub fn run(
    range: Range<u64>,
    state: Option<&Path>,
    say: &(dyn Fn(&str) + Sync),
) -> io::Result<Tally> {
    let done = state.map_or(Ok(BTreeMap::new()), read)?;
    let mut tally = Tally { wanted: range.end.saturating_sub(range.start), ..Tally::default() };
    let mut left = Vec::new();
    for block in blocks(&range) {
        match done.get(&(block.start, block.end)) {
            Some(counts) => {
                tally.before += block.end - block.start;
                tally.counts.join(counts);
            }
            None => left.push(block),
        }
    }
    // Taken from the end.
    left.reverse();
    let state = state.map(open).transpose()?;
    let started = Instant::now();
    let shared = Mutex::new(Shared { left, tally, state, started, told: started });
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&shared, say))).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("it does not panic"));
        ended.collect::<io::Result<Vec<()>>>()
    })?;
    let mut tally = shared.into_inner().expect("no thread panics with it").tally;
    tally.failures.sort();
    tally.took = started.elapsed();
    Ok(tally)
}

/// Lives blocks until none is left, or there are failures enough.
fn work(shared: &Mutex<Shared>, say: &(dyn Fn(&str) + Sync)) -> io::Result<()> {
    let lock = || shared.lock().expect("no thread panics with it");
    let next = || {
        let shared = &mut *lock();
        shared.left.pop().filter(|_| shared.tally.failures.len() < FAILURES)
    };
    while let Some(block) = next() {
        let tally = live(block.clone());
        let shared = &mut *lock();
        if let (Some(file), true) = (&mut shared.state, tally.failures.is_empty()) {
            // In one piece, so that ending the campaign tears no line.
            let line = format!("{}..{} {}\n", block.start, block.end, tally.counts);
            file.write_all(line.as_bytes())?;
        }
        for (seed, found) in &tally.failures {
            say(&format!("{found}replay: make sim SEEDS={seed}\n"));
        }
        shared.tally.join(tally);
        shared.tally.took = shared.started.elapsed();
        if shared.told.elapsed() > PROGRESS {
            shared.told = Instant::now();
            say(&shared.tally.to_string());
        }
    }
    Ok(())
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

/// Blocks that are done, with their counts. A line that was torn is a block to be lived again.
fn read(state: &Path) -> io::Result<BTreeMap<(u64, u64), Counts>> {
    let parse = |line: &str| {
        let (range, counts) = line.split_once(' ')?;
        let range = parse_range(range)?;
        Some(((range.start, range.end), Counts::parse(counts)?))
    };
    match fs::read_to_string(state) {
        Ok(text) => {
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            Ok(whole.filter_map(parse).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn open(state: &Path) -> io::Result<File> {
    if let Some(folder) = state.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(state)?;
    // Behind a line that was torn.
    file.write_all(b"\n")?;
    Ok(file)
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
