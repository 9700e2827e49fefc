//! Where the agent says what it does: standard error, which for PID 1 is the kernel's console. One
//! line an event, with the seconds since the kernel started, as the kernel's own lines have them.

use std::io::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};
use rustix::termios::tcdrain;
use rustix::time::{ClockId, clock_gettime};
use simplelog::SharedLogger;

use crate::field_log::TARGET;

struct Console;

/// Starts logging; a second call does nothing.
pub(crate) fn start() {
    let _ = simplelog::CombinedLogger::init(vec![Box::new(Console)]);
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
        let line = format!(
            "[{:5}.{:03}] repave {:5} {}\n",
            now.tv_sec,
            now.tv_nsec / 1_000_000,
            level,
            record.args()
        );
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
