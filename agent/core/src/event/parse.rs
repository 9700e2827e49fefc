//! Reading the lines of a field log back. Whoever writes a log does not need this, so it is not in
//! the agent's binary; here it stands beside what it must agree with.

use std::str::FromStr;

use repave_protocol::Generation;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Call, Event, Line, MARK, Outcome};
use crate::edges::LinkErrorKind;
use crate::gpt::{Entry, Health};
use crate::journal::UpRecord;

/// Most chunks of a page, or pages of an image, that a line may count.
const RUN_MOST: usize = 1 << 22;

/// A line that looks like an event's and is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadLine {
    /// It has no mark.
    #[error("there is no {MARK:?} in it")]
    NoMark,
    /// No time stands before the mark.
    #[error("no time in the form [seconds.milliseconds] stands before {MARK:?}")]
    NoTime,
    /// The event has another form.
    #[error("{event:?} is no event that this version knows: {what}")]
    Unknown {
        /// The event.
        event: String,
        /// What is missing or wrong.
        what: String,
    },
}

impl FromStr for Line {
    type Err = BadLine;

    fn from_str(line: &str) -> Result<Self, BadLine> {
        let (before, event) = line.split_once(MARK).ok_or(BadLine::NoMark)?;
        let time = before.trim_end().strip_suffix(']').and_then(|before| before.rsplit_once('['));
        let time = time.and_then(|(_, time)| time.split_once('.')).ok_or(BadLine::NoTime)?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| BadLine::NoTime);
        let (seconds, millis) = (number(time.0)?, number(time.1)?);
        let uptime_ms = seconds.saturating_mul(1000).saturating_add(millis);
        Ok(Self { uptime_ms, event: event.trim_start().trim_end_matches('\r').parse()? })
    }
}

impl FromStr for Event {
    type Err = BadLine;

    fn from_str(event: &str) -> Result<Self, BadLine> {
        let bad = |what: String| BadLine::Unknown { event: event.into(), what };
        Words(event).event().map_err(bad)
    }
}

/// What is left of an event.
#[derive(Clone, Copy)]
struct Words<'a>(&'a str);

type Parsed<T> = Result<T, String>;

impl<'a> Words<'a> {
    /// The next word.
    fn word(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        word
    }

    fn value<T: FromStr>(&mut self) -> Parsed<T> {
        let word = self.word();
        word.parse().map_err(|_| format!("{word:?} is out of place"))
    }

    /// The next word, of which `none` is nothing.
    fn some<T: FromStr>(&mut self) -> Parsed<Option<T>> {
        if self.0.split(' ').next() == Some("none") {
            self.word();
            return Ok(None);
        }
        self.value().map(Some)
    }

    fn json<T: DeserializeOwned>(&mut self) -> Parsed<T> {
        serde_json::from_str(std::mem::take(&mut self.0)).map_err(|error| error.to_string())
    }

    fn hex(&mut self) -> Parsed<Vec<u8>> {
        let word = self.word().as_bytes();
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8);
        let bytes: Option<Vec<u8>> = word.chunks(2).map(byte).collect();
        bytes.ok_or_else(|| "not pairs of hexadecimal digits".into())
    }

    fn runs(&mut self) -> Parsed<Vec<bool>> {
        let word = self.word();
        let (mut stored, mut digits) = (Vec::new(), word);
        while let Some(end) = digits.find(|c: char| !c.is_ascii_digit()) {
            let count = digits[..end].parse().ok().filter(|count| stored.len() + count <= RUN_MOST);
            let count = count.ok_or_else(|| format!("{word:?} counts no chunks"))?;
            let is_stored = digits[end..].starts_with('s');
            if !is_stored && !digits[end..].starts_with('z') {
                return Err(format!("{word:?} has runs that are neither stored nor zero"));
            }
            stored.resize(stored.len() + count, is_stored);
            digits = &digits[end + 1..];
        }
        if digits.is_empty() { Ok(stored) } else { Err(format!("{word:?} ends in a number")) }
    }

    /// All that is left.
    fn rest(&mut self) -> String {
        std::mem::take(&mut self.0).into()
    }

    fn event(mut self) -> Parsed<Event> {
        let (words, failure) = match self.0.split_once(" failed: ") {
            Some((words, reason)) => (words, Some(reason.to_owned())),
            None => (self.0, None),
        };
        if let Some(call) = Words(words).call()? {
            return Ok(Event::Call(call, failure));
        }
        let event = match self.word() {
            "home" => Event::Home { life: self.value()? },
            "disk" => self.disk()?,
            "loader" => Event::Loader(self.some()?),
            "journal" => match self.some()? {
                None => Event::Journal(None),
                Some(sequence) => Event::Journal(Some((sequence, self.json()?))),
            },
            "up" => match self.some::<u64>()? {
                None => Event::Up(None),
                Some(generation) => {
                    let (generation, departure) = (Generation(generation), self.value()?);
                    Event::Up(Some(UpRecord { generation, departure }))
                }
            },
            "drew" => Event::Drew(self.hex()?.try_into().map_err(|_| "it takes 16 bytes")?),
            "variables" => Event::Names(self.rest()),
            "found" => {
                let name = self.word().to_owned();
                let value = if self.0 == "none" {
                    self.rest();
                    None
                } else {
                    Some(self.hex()?)
                };
                Event::Found(name, value)
            }
            "told" => Event::Told(self.value()?, self.json()?),
            "answered" => Event::Answered(Generation(self.value()?), self.json()?),
            "trust" => Event::Trust(self.value()?),
            "refused" => Event::Refused(self.rest()),
            "unanswered" => Event::Unanswered(self.rest()),
            "alone" => Event::Alone,
            "image" => Event::Image(self.value()?, self.runs()?, self.rest()),
            "page" => Event::Page(self.value()?, self.runs()?),
            "missed" => Event::Missed(LinkErrorKind::Trouble, self.rest()),
            "lied" => Event::Missed(LinkErrorKind::Lie, self.rest()),
            "chunk" => self.job()?,
            other => return Err(format!("it begins with {other:?}")),
        };
        match self.0 {
            "" => Ok(event),
            surplus => Err(format!("{surplus:?} is too much")),
        }
    }

    fn disk(&mut self) -> Parsed<Event> {
        let disk = self.value()?;
        Ok(match self.word() {
            "is" => Event::Disk(disk, self.json()?),
            "table" => {
                let guid = self.value()?;
                let health = Health { primary: self.value()?, backup: self.value()? };
                Event::Table(disk, guid, health)
            }
            "entry" => {
                let entry = Entry {
                    number: self.value()?,
                    type_guid: self.value()?,
                    guid: self.value()?,
                    first_lba: self.value()?,
                    last_lba: self.value()?,
                    attributes: self.value()?,
                    name: self.json()?,
                };
                Event::Entry(disk, entry)
            }
            other => return Err(format!("a disk has no {other:?}")),
        })
    }

    fn job(&mut self) -> Parsed<Event> {
        let chunk = self.value()?;
        if self.word() != "slot" {
            return Err("a chunk has a slot".into());
        }
        let slot = self.value()?;
        let outcome = match self.word() {
            "fetched" => Outcome::Fetched,
            "lied" => Outcome::Lied,
            "wrote" => Outcome::Wrote,
            "zeroed" => Outcome::Zeroed(self.value()?),
            "flushed" => Outcome::Flushed,
            "same" => Outcome::Same,
            "other" => Outcome::Other,
            at @ ("source" | "device") => match (at, self.word()) {
                ("source", "failed:") => Outcome::Source(LinkErrorKind::Trouble, self.rest()),
                ("source", "lied:") => Outcome::Source(LinkErrorKind::Lie, self.rest()),
                ("device", "failed:") => Outcome::Device(self.rest()),
                (at, _) => return Err(format!("a {at} can only fail")),
            },
            other => return Err(format!("a job does not come to {other:?}")),
        };
        Ok(Event::Job(chunk, slot, outcome))
    }

    /// A call, if it is one; how it ended is cut off already.
    fn call(mut self) -> Parsed<Option<Call>> {
        let first = self.word();
        let call = match first {
            "disk" => {
                let disk = self.value()?;
                match self.word() {
                    "read" => Call::Read {
                        disk,
                        offset_bytes: self.value()?,
                        length_bytes: self.value()?,
                    },
                    "write" => Call::Write {
                        disk,
                        offset_bytes: self.value()?,
                        length_bytes: self.value()?,
                    },
                    "flush" => Call::Flush { disk },
                    "reread" => Call::Reread { disk },
                    "workers" => {
                        Call::Workers { disk, chunk_bytes: self.value()?, slots: self.value()? }
                    }
                    _ => return Ok(None),
                }
            }
            "firmware" => match self.word() {
                "list" => Call::List,
                "get" => Call::Get { name: self.word().into() },
                "set" => Call::Set { name: self.word().into(), value: self.hex()? },
                "delete" => Call::Delete { name: self.word().into() },
                other => return Err(format!("a firmware does not {other:?}")),
            },
            "settings" => match self.word() {
                "write" => Call::Configure,
                "verify" => Call::Verify,
                other => return Err(format!("settings do not {other:?}")),
            },
            "watchdog" => match self.word() {
                "arm" => Call::Arm { timeout_s: self.value()? },
                "stop" => Call::Disarm,
                other => return Err(format!("a watchdog does not {other:?}")),
            },
            "kexec" if self.0 == "load" => {
                self.word();
                Call::Load
            }
            "kexec" => Call::Kexec,
            "reboot" => Call::Reboot,
            _ => return Ok(None),
        };
        match self.0 {
            "" => Ok(Some(call)),
            surplus => Err(format!("{surplus:?} is too much")),
        }
    }
}

#[cfg(test)]
mod tests;
