//! Where the agent says what it does: standard error, which for PID 1 is the kernel's console. One
//! line an event, with the seconds since the kernel started, as the kernel's own lines have them.
//! The last lines are kept for statuses that tell of a failure.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use repave_protocol::limits;
use rustix::termios::tcdrain;
use rustix::time::{ClockId, clock_gettime};
use simplelog::SharedLogger;

use crate::field_log::TARGET;

/// What is kept: whole lines of at most [`limits::LOG_BYTES`] together.
static KEPT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

struct Console;

/// Starts logging; a second call does nothing.
pub(crate) fn start() {
    let _ = simplelog::CombinedLogger::init(vec![Box::new(Console)]);
}

/// The last lines, oldest first.
pub(crate) fn last_lines() -> Vec<u8> {
    kept().iter().copied().collect()
}

fn kept() -> MutexGuard<'static, VecDeque<u8>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a line behind the others, and drops the oldest for it.
fn keep(kept: &mut VecDeque<u8>, line: &str) {
    kept.extend(&line.as_bytes()[..line.len().min(limits::LOG_BYTES - 1)]);
    kept.push_back(b'\n');
    while kept.len() > limits::LOG_BYTES {
        let end = kept.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        kept.drain(..=end);
    }
}

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = clock_gettime(ClockId::Boottime);
        let level = match record.target() {
            TARGET => TARGET,
            _ => record.level().as_str(),
        };
        let mut line = format!(
            "[{:5}.{:03}] repave {:5} {}",
            now.tv_sec,
            now.tv_nsec / 1_000_000,
            level,
            record.args()
        );
        keep(&mut kept(), &line);
        line.push('\n');
        // One write a line, so that lines of several threads stay whole. Nothing can be done
        // about a console that does not take it.
        let _ = io::stderr().lock().write_all(line.as_bytes());
        if level == TARGET {
            // A serial line takes pages at once and sends them later. What is not sent at a reset is
            // lost, and a field log that ends too early tells of another world.
            let _ = tcdrain(io::stderr());
        }
    }

    fn flush(&self) {}
}

impl SharedLogger for Console {
    fn level(&self) -> LevelFilter {
        LevelFilter::Info
    }

    fn config(&self) -> Option<&simplelog::Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{keep, limits};

    #[test]
    fn the_newest_lines_are_kept_whole_and_no_more_of_them_than_there_is_room_for() {
        let mut kept = VecDeque::new();
        for number in 0..5_000 {
            keep(&mut kept, &format!("{number} {}", "x".repeat(number % 100)));
            assert!(kept.len() <= limits::LOG_BYTES, "{}", kept.len());
        }
        let text = String::from_utf8(kept.iter().copied().collect()).unwrap();
        let numbers: Vec<usize> =
            text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.len() > 40, "{numbers:?}");
        assert_eq!(numbers.last(), Some(&4_999));
        keep(&mut kept, &"y".repeat(3 * limits::LOG_BYTES));
        assert_eq!(kept.len(), limits::LOG_BYTES, "a line that is longer than all of it is cut");
    }
}
