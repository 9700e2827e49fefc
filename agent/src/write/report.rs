//! What a run of `write` says: a line of progress while it works, and its figures at the end.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use repave_core::transfer::Tally;
use repave_protocol::SourceReport;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::options::Options;

/// Least time between two lines of progress.
const EVERY_MS: u64 = 500;

/// Figures of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    wall_s: f64,
    cpu_s: f64,
    peak_rss_bytes: u64,
    fetched_bytes: u64,
    written_bytes: u64,
    skipped_bytes: u64,
    read_back_bytes: u64,
    /// Sources that lied, or failed again and again.
    bad_sources: Vec<SourceReport>,
}

impl Report {
    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{text}\n")
    }

    pub(super) fn words(&self, options: &Options) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text = format!(
            "{} is {}:{} now: {:.1} MiB written, {:.1} MiB were right already, {:.1} MiB fetched, \
             {:.1} MiB read back, in {:.1} s\n",
            options.device,
            options.name,
            options.version,
            mib(self.written_bytes),
            mib(self.skipped_bytes),
            mib(self.fetched_bytes),
            mib(self.read_back_bytes),
            self.wall_s,
        );
        for SourceReport { source, lied, reason } in &self.bad_sources {
            let did = if *lied { "lied" } else { "failed" };
            text.push_str(&format!("source {source} {did}, last: {reason}\n"));
        }
        text
    }
}

/// The clock of a run, and its line on the terminal.
pub(super) struct Progress {
    started: Instant,
    is_shown: bool,
    shown_ms: Cell<u64>,
}

impl Progress {
    pub(super) fn start(options: &Options) -> Self {
        let is_shown = !options.json && std::io::stderr().is_terminal();
        Self { started: Instant::now(), is_shown, shown_ms: Cell::new(0) }
    }

    pub(super) fn show(&self, now_ms: u64, done_bytes: u64, total_bytes: u64) {
        if !self.is_shown || now_ms < self.shown_ms.get() + EVERY_MS {
            return;
        }
        self.shown_ms.set(now_ms);
        let percent = done_bytes * 100 / total_bytes.max(1);
        let (done, total) = (done_bytes >> 20, total_bytes >> 20);
        let line = format!("\r{percent:3} %  {done} of {total} MiB of this pass ");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    pub(super) fn end(&self) {
        if self.is_shown {
            let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }

    pub(super) fn report(
        &self,
        fetched_bytes: u64,
        tally: Tally,
        bad_sources: Vec<SourceReport>,
    ) -> Report {
        let Tally { written_bytes, skipped_bytes, read_back_bytes } = tally;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Report {
            wall_s: self.started.elapsed().as_secs_f64(),
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
            fetched_bytes,
            written_bytes,
            skipped_bytes,
            read_back_bytes,
            bad_sources,
        }
    }
}

/// The most memory that this process has had resident (proc(5), `VmHWM`).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
