//! What cuts were made and how they went: a line of JSON each, so that a campaign goes on where it
//! was interrupted, and a table for people.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use repave_qemu::power_cut::Fate;
use serde::{Deserialize, Serialize};

use super::instants::{Instant, Phase};
use super::trial::Outcome;

/// One cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// What its choices came from.
    pub seed: u64,
    /// Which road was cut.
    pub road: String,
    /// How many cuts there were up to this one.
    pub depth: u32,
    /// When.
    pub instant: Instant,
    /// What became of the writes after the last flush.
    pub fate: String,
    /// How many of these there were.
    pub unflushed: usize,
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// The lines of a file; none if there is no such file.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = fs::read_to_string(path)?;
    // A last line without its end was being written when the power failed here.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = |line| serde_json::from_str(line).with_context(|| format!("{}", path.display()));
    whole.lines().map(line).collect()
}

/// Adds a line.
///
/// # Errors
/// It cannot be written.
pub fn add(path: &Path, line: &Line) -> Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?;
    Ok(())
}

/// A table by phase, in Markdown.
pub fn table(lines: &[Line]) -> String {
    let mut table = String::from(
        "| phase | cuts | second or later cut | with unflushed writes | failed | longest | fetched of what was missing |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut row = |name: &str, lines: &[&Line]| {
        let count = |fits: &dyn Fn(&Line) -> bool| lines.iter().filter(|line| fits(line)).count();
        let sum = |of: &dyn Fn(&Line) -> usize| lines.iter().map(|line| of(line)).sum::<usize>();
        let longest_ms = lines.iter().map(|line| line.outcome.took_ms).max().unwrap_or(0);
        // A String takes whatever is written to it.
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} | {} | {:.0} s | {} of {} |",
            lines.len(),
            count(&|line| line.depth > 1),
            count(&|line| line.unflushed > 0),
            count(&|line| line.failure.is_some()),
            longest_ms as f64 / 1e3,
            sum(&|line| line.outcome.fetched.fetched),
            sum(&|line| line.outcome.fetched.missing),
        );
    };
    for phase in Phase::ALL {
        let lines: Vec<&Line> = lines.iter().filter(|line| line.instant.phase == phase).collect();
        row(phase.name(), &lines);
    }
    row("all", &lines.iter().collect::<Vec<_>>());
    let fates = Fate::ALL.map(|fate| {
        let count = lines.iter().filter(|line| line.fate == fate.name()).count();
        format!("{} {count}", fate.name())
    });
    let mut roads: Vec<&str> = lines.iter().map(|line| line.road.as_str()).collect();
    roads.sort_unstable();
    let mut counted: Vec<String> = vec![];
    for road in roads.chunk_by(|a, b| a == b) {
        counted.push(format!("{} {}", road[0], road.len()));
    }
    let _ =
        writeln!(table, "\nroads: {}; unflushed writes: {}", counted.join(", "), fates.join(", "));
    table
}
