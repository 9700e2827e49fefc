//! Waits for lines of a growing log: a machine's serial console, or what a daemon prints.
//!
//! A wait starts where the last successful one ended, so a test reads like the boot it watches.
//! Lines come out without escape sequences, carriage returns and blank lines. Nothing is written
//! to the console from here.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::POLL_INTERVAL;

/// How many of the last lines a failed wait shows.
const TAIL_LINES: usize = 20;

/// Why a wait ended without its line.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The machine lives, but did not say it in time.
    #[error("none of {patterns:?} within {waited_s:.1} s, and it still runs; last lines:\n{tail}")]
    Silent {
        /// What was waited for.
        patterns: Vec<String>,
        /// How long, in seconds.
        waited_s: f64,
        /// The last lines of the log, wherever the wait began.
        tail: String,
    },
    /// The process behind the log ended without saying it.
    #[error(
        "it ended after {waited_s:.1} s without saying any of {patterns:?}; last lines:\n{tail}"
    )]
    Ended {
        /// What was waited for.
        patterns: Vec<String>,
        /// How long, in seconds.
        waited_s: f64,
        /// The last lines of the log.
        tail: String,
    },
    /// The log itself cannot be read.
    #[error("cannot read the log {path}")]
    Log {
        /// The log's path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A line that was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Which of the patterns it holds: the lowest index, if several.
    pub pattern: usize,
    /// The whole line.
    pub line: String,
}

/// The reader of one log, from the place where it was opened.
pub struct Console {
    path: PathBuf,
    tail: Mutex<Tail>,
    alive: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Console {
    /// Reads `path` from `offset_bytes` on. `alive` says whether anyone still writes to it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(
        path: &Path,
        offset_bytes: u64,
        alive: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, WaitError> {
        let failed = |source| WaitError::Log { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(offset_bytes)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            tail: Mutex::new(Tail { file, decoder: Decoder::default(), lines: vec![], next: 0 }),
            alive: Box::new(alive),
        })
    }

    /// Waits for a line that contains `pattern` and returns the line.
    ///
    /// # Errors
    /// [`WaitError`]; the place where the next wait starts is then unchanged.
    pub fn wait_for(&self, pattern: &str, limit: Duration) -> Result<String, WaitError> {
        Ok(self.wait_for_any(&[pattern], limit)?.line)
    }

    /// Waits for the first line that contains one of `patterns`.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_for_any(&self, patterns: &[&str], limit: Duration) -> Result<Match, WaitError> {
        let start = Instant::now();
        loop {
            // Asked before the log is read, so that the last words of the dead are heard.
            let ended = !(self.alive)();
            let mut tail = self.read_on(ended)?;
            if let Some(found) = tail.take(patterns) {
                return Ok(found);
            }
            let waited = start.elapsed();
            if ended || waited >= limit {
                let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
                let (waited_s, tail) = (waited.as_secs_f64(), tail.last_lines());
                return Err(match ended {
                    true => WaitError::Ended { patterns, waited_s, tail },
                    false => WaitError::Silent { patterns, waited_s, tail },
                });
            }
            drop(tail);
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Every whole line so far, also those that waits have passed; the waits do not notice.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn lines(&self) -> Result<Vec<String>, WaitError> {
        let ended = !(self.alive)();
        Ok(self.read_on(ended)?.lines.clone())
    }

    fn read_on(&self, ended: bool) -> Result<MutexGuard<'_, Tail>, WaitError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        match tail.read_on(ended) {
            Ok(()) => Ok(tail),
            Err(source) => Err(WaitError::Log { path: self.path.clone(), source }),
        }
    }
}

struct Tail {
    file: File,
    decoder: Decoder,
    lines: Vec<String>,
    /// The line that the next wait looks at first.
    next: usize,
}

impl Tail {
    fn read_on(&mut self, ended: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        self.decoder.feed(&bytes, &mut self.lines);
        if ended {
            self.decoder.end_line(&mut self.lines);
        }
        Ok(())
    }

    fn take(&mut self, patterns: &[&str]) -> Option<Match> {
        let (offset, pattern) = self.lines[self.next..]
            .iter()
            .enumerate()
            .find_map(|(i, line)| Some((i, patterns.iter().position(|&p| line.contains(p))?)))?;
        let line = self.lines[self.next + offset].clone();
        self.next += offset + 1;
        Some(Match { pattern, line })
    }

    fn last_lines(&self) -> String {
        self.lines[self.lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Turns terminal output into plain lines. A cursor that jumps starts a new line, since firmware
/// paints its screens by position and ends few lines otherwise.
#[derive(Default)]
struct Decoder {
    line: Vec<u8>,
    escape: Escape,
}

/// Where in an escape sequence (ECMA-48 §5.3–5.6) the last byte was.
#[derive(Default, Clone, Copy)]
enum Escape {
    #[default]
    Outside,
    /// After ESC and perhaps intermediate bytes.
    Begun,
    /// In a control sequence, ESC [ … up to its final byte.
    Control,
    /// In a command string, ESC ] and its like, up to BEL or another escape.
    Text,
}

impl Decoder {
    fn feed(&mut self, bytes: &[u8], lines: &mut Vec<String>) {
        for &byte in bytes {
            self.escape = match (self.escape, byte) {
                (_, 0x1b) => Escape::Begun,
                (Escape::Begun, b'[') => Escape::Control,
                (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
                (Escape::Begun, 0x20..=0x2f) => Escape::Begun,
                (Escape::Begun, _) | (Escape::Text, 0x07) => Escape::Outside,
                (Escape::Control, 0x40..=0x7e) => {
                    if matches!(byte, b'H' | b'f') {
                        self.end_line(lines);
                    }
                    Escape::Outside
                }
                (Escape::Outside, b'\n') => {
                    self.end_line(lines);
                    Escape::Outside
                }
                (Escape::Outside, b'\t' | 0x20..) => {
                    self.line.push(byte);
                    Escape::Outside
                }
                (state, _) => state,
            };
        }
    }

    fn end_line(&mut self, lines: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if !line.is_empty() {
            lines.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const SOON: Duration = Duration::from_secs(60);

    fn decoded(bytes: &[u8]) -> Vec<String> {
        // Byte by byte, so that every sequence is also cut at every place.
        let (mut decoder, mut lines) = (Decoder::default(), vec![]);
        bytes.iter().for_each(|byte| decoder.feed(&[*byte], &mut lines));
        decoder.end_line(&mut lines);
        lines
    }

    #[test]
    fn terminal_output_becomes_plain_lines() {
        let check = |bytes: &[u8], lines: &[&str]| assert_eq!(decoded(bytes), lines);
        check(b"one\r\n\r\ntwo\tthree  \r\nfour", &["one", "two\tthree", "four"]);
        check(b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2JBdsDxe: loading\r\n", &["BdsDxe: loading"]);
        check(b"\x1b[1mMapping\x1b[0m\x1b[04;01H\x1b[37mmap: none", &["Mapping", "map: none"]);
        check(b"\x1b]0;title\x07text \x1b(B\x1b]8;;x\x1b\\more\n", &["text more"]);
        check("gr\u{fc}n\0\n".as_bytes(), &["gr\u{fc}n"]);
        check(b"bad \xff byte\n", &["bad \u{fffd} byte"]);
    }

    struct Log {
        file: File,
        console: Console,
        alive: Arc<AtomicBool>,
        _dir: tempfile::TempDir,
    }

    fn log() -> Log {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = File::create(&path).unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&alive);
        let console = Console::open(&path, 0, move || asked.load(Ordering::Relaxed)).unwrap();
        Log { file, console, alive, _dir: dir }
    }

    #[test]
    fn a_wait_starts_where_the_last_one_ended() {
        let mut log = log();
        log.file.write_all(b"boot 1\nready\nboot 2\nready\nhalf").unwrap();
        assert_eq!(log.console.wait_for("boot", NOW).unwrap(), "boot 1");
        assert_eq!(log.console.wait_for("boot", NOW).unwrap(), "boot 2");
        assert!(matches!(log.console.wait_for("boot", NOW), Err(WaitError::Silent { .. })));
        assert!(log.console.wait_for("half", NOW).is_err(), "a line has an end");
        let found = log.console.wait_for_any(&["never", "read", "ready"], NOW).unwrap();
        assert_eq!(found, Match { pattern: 1, line: "ready".to_owned() });
        assert_eq!(log.console.lines().unwrap().len(), 4);
    }

    #[test]
    fn a_line_that_comes_during_the_wait_is_seen() {
        let Log { mut file, console, .. } = log();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| console.wait_for("up", SOON).unwrap());
            file.write_all(b"starting\nu").unwrap();
            file.write_all(b"p\n").unwrap();
            assert_eq!(waiter.join().unwrap(), "up");
        });
    }

    #[test]
    fn a_failed_wait_says_what_happened() {
        let mut log = log();
        (0..30).for_each(|i| writeln!(log.file, "line {i}").unwrap());
        let silent = log.console.wait_for("login", NOW).unwrap_err().to_string();
        assert!(silent.contains("login") && silent.contains("still runs"), "{silent}");
        assert!(silent.contains("line 10\n") && !silent.contains("line 9\n"), "{silent}");
        log.file.write_all(b"last words").unwrap();
        log.alive.store(false, Ordering::Relaxed);
        assert!(matches!(log.console.wait_for("login", SOON), Err(WaitError::Ended { .. })));
        assert_eq!(log.console.wait_for("words", SOON).unwrap(), "last words");
    }
}
