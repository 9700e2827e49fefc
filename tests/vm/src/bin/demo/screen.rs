//! What people see: lines that stay, and progress that is painted over on a terminal and otherwise
//! printed once a second, so that a log stays readable.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

/// Least time between two lines of progress where they cannot be painted over.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// Standard output.
pub(crate) struct Screen {
    out: Stdout,
    is_terminal: bool,
    /// How many lines of progress are at the end of the screen.
    painted: usize,
    last: Vec<String>,
    last_at: Option<Instant>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self { out, is_terminal, painted: 0, last: Vec::new(), last_at: None }
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.end_progress();
        self.write(&format!("{text}\n"));
    }

    /// The present state of everything, a line each.
    pub(crate) fn progress(&mut self, lines: Vec<String>) {
        if lines == self.last {
            return;
        }
        if self.is_terminal {
            // Up to the first line of the last progress, and clear each line as it is written.
            let mut text = match self.painted {
                0 => String::new(),
                lines => format!("\x1b[{lines}A"),
            };
            lines.iter().for_each(|line| text += &format!("\x1b[2K        {line}\n"));
            self.painted = lines.len();
            self.write(&text);
        } else if self.last_at.is_none_or(|at| at.elapsed() >= PROGRESS_PAUSE) {
            self.last_at = Some(Instant::now());
            self.write(&format!("        {}\n", lines.join("  |  ")));
        } else {
            return;
        }
        self.last = lines;
    }

    /// What was painted last stays.
    pub(crate) fn end_progress(&mut self) {
        self.painted = 0;
        self.last.clear();
    }

    fn write(&mut self, text: &str) {
        // Nobody is told when nobody listens; the demo goes on and its report is a file.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}
