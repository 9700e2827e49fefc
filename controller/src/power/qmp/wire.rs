//! One conversation with QEMU's monitor: greeting, commands and their answers, and one kind of wait
//! for an event. The whole of it has one deadline, and a line has a limit.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::power::PowerError;

/// The longest line; the answers to our commands have a hundred bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

pub(super) struct Wire {
    reader: BufReader<UnixStream>,
    place: String,
    limit: Duration,
    deadline: Instant,
    /// Names of the events that came and were not waited for.
    events: BTreeSet<String>,
    next_id: u64,
}

impl Wire {
    /// Connects, reads the greeting and leaves the capabilities negotiation.
    pub(super) fn connect(socket: &Path, limit: Duration) -> Result<Self, PowerError> {
        let place = socket.display().to_string();
        let deadline = Instant::now() + limit;
        let stream = UnixStream::connect(socket).map_err(|source| PowerError::Unreachable {
            what: "connect to",
            place: place.clone(),
            source,
        })?;
        let (reader, events) = (BufReader::new(stream), BTreeSet::new());
        let mut wire = Self { reader, place, limit, deadline, events, next_id: 0 };
        let greeting = wire.message()?;
        if greeting.get("QMP").is_none() {
            return Err(wire.malformed("QMP greeting", &greeting.to_string()));
        }
        wire.execute("qmp_capabilities")?;
        Ok(wire)
    }

    /// Sends a command and gives its `return` value.
    pub(super) fn execute(&mut self, command: &str) -> Result<Value, PowerError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"execute": command, "id": id});
        let left = self.left()?;
        let sent = self.reader.get_mut().set_write_timeout(Some(left));
        sent.and_then(|()| writeln!(self.reader.get_mut(), "{request}"))
            .map_err(|error| self.failed("write to", error))?;
        loop {
            let answer = self.message()?;
            if let Some(event) = answer["event"].as_str() {
                self.events.insert(event.to_owned());
            } else if answer["id"] != id {
                return Err(self.malformed("answer to our command", &answer.to_string()));
            } else if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            } else {
                let said = answer["error"]["desc"].as_str().unwrap_or_default();
                return Err(PowerError::refused(&self.place, &format!("{command}: {said}")));
            }
        }
    }

    /// Waits for an event, which may have come before.
    pub(super) fn wait_event(&mut self, name: &str) -> Result<(), PowerError> {
        while !self.events.remove(name) {
            let message = self.message()?;
            let event = message["event"].as_str();
            let event = event.ok_or_else(|| self.malformed("event", &message.to_string()))?;
            self.events.insert(event.to_owned());
        }
        Ok(())
    }

    pub(super) fn malformed(&self, expected: &'static str, found: &str) -> PowerError {
        PowerError::malformed(&self.place, expected, found)
    }

    fn left(&self) -> Result<Duration, PowerError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(PowerError::timed_out(&self.place, self.limit)) } else { Ok(left) }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> PowerError {
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                PowerError::timed_out(&self.place, self.limit)
            }
            _ => PowerError::Unreachable { what, place: self.place.clone(), source },
        }
    }

    fn message(&mut self) -> Result<Value, PowerError> {
        let line = self.line()?;
        serde_json::from_slice(&line)
            .map_err(|_| self.malformed("line of JSON", &String::from_utf8_lossy(&line)))
    }

    /// Reads a line piece by piece, so that one that drips in cannot stretch the deadline.
    fn line(&mut self) -> Result<Vec<u8>, PowerError> {
        let mut line = Vec::new();
        loop {
            let left = self.left()?;
            let piece = self.reader.get_ref().set_read_timeout(Some(left));
            let piece = piece.and_then(|()| self.reader.fill_buf().map(<[u8]>::to_vec));
            let piece = match piece {
                Ok(piece) if piece.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                piece => piece,
            };
            let piece = piece.map_err(|error| self.failed("read from", error))?;
            let end = piece.iter().position(|&byte| byte == b'\n');
            let taken_bytes = end.map_or(piece.len(), |end| end + 1);
            self.reader.consume(taken_bytes);
            line.extend_from_slice(&piece[..taken_bytes]);
            if line.len() > MAX_LINE_BYTES {
                let limit_bytes = MAX_LINE_BYTES as u64;
                return Err(PowerError::Long { place: self.place.clone(), limit_bytes });
            }
            if end.is_some() {
                return Ok(line);
            }
        }
    }
}
