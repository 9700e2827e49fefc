//! One line on a terminal that says how far a long job is, how fast, and how long it will take.
//! Where standard error is no terminal, nothing is printed: logs want results.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use repave_image_codec::Progress;

/// Often enough to look alive, seldom enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct ProgressLine {
    what: &'static str,
    started: Instant,
    printed: Option<Instant>,
    is_terminal: bool,
}

impl ProgressLine {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            started: Instant::now(),
            printed: None,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let is_due = self.printed.is_none_or(|at| at.elapsed() >= INTERVAL);
        if self.is_terminal && is_due {
            let line = line(progress, self.started.elapsed());
            // A line that cannot be shown is no reason to stop the job.
            let _ = write!(io::stderr(), "\r{} {line}\x1b[K", self.what);
            self.printed = Some(Instant::now());
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.printed.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: Progress, elapsed: Duration) -> String {
    let Progress { done_bytes, total_bytes } = progress;
    let percent = 100.0 * done_bytes as f64 / total_bytes.max(1) as f64;
    let bytes_per_s = done_bytes as f64 / elapsed.as_secs_f64().max(1e-3);
    let left_s = total_bytes.saturating_sub(done_bytes) as f64 / bytes_per_s.max(1.0);
    let eta = match left_s.ceil() as u64 {
        left_s if left_s < 60 => format!("{left_s} s"),
        left_s => format!("{} min {} s", left_s / 60, left_s % 60),
    };
    format!("{percent:.0} %, {:.0} MB/s, {eta} left", bytes_per_s / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left() {
        let check = |done_bytes, total_bytes, seconds, expected| {
            let progress = Progress { done_bytes, total_bytes };
            assert_eq!(line(progress, Duration::from_secs(seconds)), expected);
        };
        check(500_000_000, 2_000_000_000, 5, "25 %, 100 MB/s, 15 s left");
        check(1_000_000, 1_000_000_000, 1, "0 %, 1 MB/s, 16 min 39 s left");
        check(0, 0, 0, "0 %, 0 MB/s, 0 s left");
    }
}
