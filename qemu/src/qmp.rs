//! A minimal client of the QEMU Machine Protocol: commands, their answers, and events.
//!
//! Spec: QEMU's docs/interop/qmp-spec. The stream is one end of a socket pair whose other end is
//! QEMU's standard input and output: no path in the file system, no race for who listens first,
//! and its end is QEMU's end. Commands are plain JSON; their meaning is left to the caller.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::HANG_GUARD;

/// How many events are kept for later waits; beyond that the oldest are forgotten.
const EVENTS_KEPT: usize = 256;
/// How long one read holds the connection, so that a wait for an event lets commands pass.
const READ_SLICE: Duration = Duration::from_millis(50);

/// Why a command or a wait failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU is gone.
    #[error("QEMU closed its monitor while we waited for {awaited}")]
    Closed {
        /// The command or event.
        awaited: String,
    },
    /// QEMU did not answer, or the event did not come.
    #[error("no {awaited} within {waited_s} s")]
    Silent {
        /// The command or event.
        awaited: String,
        /// The limit, in seconds.
        waited_s: u64,
    },
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {class}: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class.
        class: String,
        /// QEMU's sentence for people.
        description: String,
    },
    /// A line that is no QMP message.
    #[error("QEMU's monitor said something that is no QMP message: {line:?}")]
    Malformed {
        /// The line.
        line: String,
    },
    /// The socket failed.
    #[error("cannot talk to QEMU's monitor")]
    Io(#[from] io::Error),
}

/// A connection that has done its handshake.
#[derive(Debug)]
pub struct Qmp {
    wire: Mutex<Wire>,
}

impl Qmp {
    /// Reads the greeting and leaves the capabilities negotiation.
    ///
    /// # Errors
    /// [`QmpError`], most often `Closed`: QEMU refused its arguments and exited.
    pub fn handshake(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(READ_SLICE))?;
        let mut wire = Wire {
            reader: BufReader::new(stream),
            line: vec![],
            events: VecDeque::new(),
            next_id: 0,
        };
        wire.receive("greeting", |message| message.get("QMP").cloned())?;
        wire.execute("qmp_capabilities", &json!({}))?;
        Ok(Self { wire: Mutex::new(wire) })
    }

    /// Sends `command` with `arguments` (an object) and returns its `return` value.
    ///
    /// # Errors
    /// `Refused` if QEMU says no; else the connection is of no more use.
    pub fn execute(&self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        self.lock().execute(command, arguments)
    }

    /// Waits for an event of this name and returns the whole event. Each event is returned once;
    /// one that came before the call counts.
    ///
    /// # Errors
    /// `Silent` after `limit`, else as [`Qmp::execute`].
    pub fn wait_event(&self, name: &str, limit: Duration) -> Result<Value, QmpError> {
        let deadline = Instant::now() + limit;
        loop {
            let mut wire = self.lock();
            if let Some(at) = wire.events.iter().position(|event| event["event"] == name) {
                return Ok(wire.events.remove(at).unwrap_or_default());
            }
            if Instant::now() >= deadline {
                return Err(silent(name, limit));
            }
            // No command is under way while we hold the lock, so only an event can come; it is
            // kept by the read. The lock is let go between the slices.
            wire.next_message(name)?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Wire {
    reader: BufReader<UnixStream>,
    /// The begun line, kept across reads that time out.
    line: Vec<u8>,
    events: VecDeque<Value>,
    next_id: u64,
}

impl Wire {
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": id});
        match writeln!(self.reader.get_mut(), "{request}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(closed(command)),
            result => result?,
        }
        // An answer with another id belongs to a command that was given up.
        let answer =
            self.receive(command, |message| (message["id"] == id).then(|| message.clone()))?;
        match (answer.get("return"), answer.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(error)) => Err(QmpError::Refused {
                command: command.to_owned(),
                class: text(&error["class"]),
                description: text(&error["desc"]),
            }),
            (None, None) => Err(QmpError::Malformed { line: answer.to_string() }),
        }
    }

    fn receive<T>(
        &mut self,
        awaited: &str,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, QmpError> {
        let deadline = Instant::now() + HANG_GUARD;
        while Instant::now() < deadline {
            if let Some(value) = self.next_message(awaited)?.as_ref().and_then(&wanted) {
                return Ok(value);
            }
        }
        Err(silent(awaited, HANG_GUARD))
    }

    /// Reads for at most [`READ_SLICE`]. Events are put aside; anything else is returned.
    fn next_message(&mut self, awaited: &str) -> Result<Option<Value>, QmpError> {
        match self.reader.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) => return Err(closed(awaited)),
            Err(error) => {
                return match error.kind() {
                    // What was read of the line stays in it.
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(None),
                    io::ErrorKind::ConnectionReset => Err(closed(awaited)),
                    _ => Err(error.into()),
                };
            }
        }
        let line = std::mem::take(&mut self.line);
        let message: Value = serde_json::from_slice(&line).map_err(|_| QmpError::Malformed {
            line: String::from_utf8_lossy(&line).trim_end().to_owned(),
        })?;
        if message.get("event").is_none() {
            return Ok(Some(message));
        }
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(message);
        Ok(None)
    }
}

fn closed(awaited: &str) -> QmpError {
    QmpError::Closed { awaited: awaited.to_owned() }
}

fn silent(awaited: &str, limit: Duration) -> QmpError {
    QmpError::Silent { awaited: awaited.to_owned(), waited_s: limit.as_secs() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

    /// A QEMU that greets and then answers each command with the next of `answers`, in which
    /// `ID` stands for the command's id.
    fn qemu(answers: &'static [&'static str]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut commands = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(theirs, "{GREETING}").unwrap();
            for answer in [r#"{"return": {}, "id": ID}"#].iter().chain(answers) {
                let Some(Ok(command)) = commands.next() else {
                    return;
                };
                let command: Value = serde_json::from_str(&command).unwrap();
                writeln!(theirs, "{}", answer.replace("ID", &command["id"].to_string())).unwrap();
            }
        });
        ours
    }

    #[test]
    fn answers_are_told_from_events_and_stale_answers() {
        let qmp = Qmp::handshake(qemu(&[concat!(
            r#"{"event": "RESET", "data": {"guest": true}}"#,
            "\n{\"return\": \"stale\", \"id\": 999}\n",
            r#"{"return": {"status": "running"}, "id": ID}"#,
            "\n",
            r#"{"event": "STOP"}"#
        )]))
        .unwrap();
        let status = qmp.execute("query-status", &json!({})).unwrap();
        assert_eq!(status["status"], "running");
        assert_eq!(qmp.wait_event("STOP", HANG_GUARD).unwrap()["event"], "STOP");
        assert_eq!(qmp.wait_event("RESET", HANG_GUARD).unwrap()["data"]["guest"], true);
        let again = qmp.wait_event("RESET", Duration::ZERO).unwrap_err();
        assert!(matches!(again, QmpError::Silent { .. } | QmpError::Closed { .. }), "{again}");
    }

    #[test]
    fn each_failure_has_its_name() {
        let check = |answers, expected: &str| {
            let qmp = Qmp::handshake(qemu(answers)).unwrap();
            let error = qmp.execute("set_link", &json!({"name": "x", "up": true})).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            &[r#"{"error": {"class": "DeviceNotFound", "desc": "no x"}, "id": ID}"#],
            "QEMU refused set_link: DeviceNotFound: no x",
        );
        check(&["{oops"], r#"QEMU's monitor said something that is no QMP message: "{oops""#);
        check(&[], "QEMU closed its monitor while we waited for set_link");
    }
}
