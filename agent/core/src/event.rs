//! What the core asks of its edges and how that ended, and what it was told and says: one event, one
//! line. The agent's field log and the simulator's log are both made of these lines, so that what a
//! server logged is a test of the simulator (docs/decisions/0020-field-log.md). Reads have a line
//! only if they fail, or if what they found decides what follows. No secret is in any of them.
//! Who writes them down is in [`crate::witness`]; reading them is in `parse`.

mod parse;

use std::fmt::{self, Write};

use repave_protocol::{Generation, Guid, Order, Purpose, Settings, Sha256, Standing, to_hex};
use serde::Serialize;

use crate::edges::{Completion, LinkErrorKind, WorkError};
use crate::gpt::{Entry, Health};
use crate::journal::{Record, Secret, UpRecord};

pub use parse::BadLine;

/// In a line of a log, what stands between the time and the event.
pub const MARK: &str = "repave EVENT";

/// An event, and when it was seen. As a line it is `[   12.345] repave EVENT disk 0 flush`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// What happened.
    pub event: Event,
}

/// One thing that happened at the core's edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A life of the agent begins, looking for its home: the first of a boot, or one that follows a
    /// panic or a failure.
    Home {
        /// Its number in this boot, from 1.
        life: u32,
    },
    /// A disk of the server; its identity, size and block size.
    Disk(usize, Box<repave_protocol::Disk>),
    /// A disk's partition table, as it was found, and which copies of it are good. Its entries follow.
    Table(usize, Guid, Health),
    /// An entry of the table just told.
    Entry(usize, Entry),
    /// Which partition the boot loader says it was read from.
    Loader(Option<Guid>),
    /// The journal's sequence and newest record, without its secret; none at a first boot.
    Journal(Option<(u64, Box<Record>)>),
    /// What the resident said last.
    Up(Option<UpRecord>),
    /// Bytes that chance gave, for what may be known: GUIDs, and which chunks are looked at.
    Drew([u8; 16]),
    /// The boot entries that the firmware lists, a space between two, where they are not those that it
    /// listed before.
    Names(String),
    /// A variable's value, where it is not what was read or written last.
    Found(String, Option<Vec<u8>>),
    /// What was asked, and why it failed if it did. What does not come back is told before.
    Call(Call, Option<String>),
    /// A status was signed. Rates, loads and messages are left out.
    Told(u64, Box<Standing>),
    /// An answer was believed: its generation, and the order without its settings.
    Answered(Generation, Box<Order>),
    /// The trust document of this version came along, and is gone by from now on.
    Trust(u64),
    /// An answer was not believed, by the refusal's code.
    Refused(String),
    /// No answer came.
    Unanswered(String),
    /// Patience is over: the last good target is booted without a controller.
    Alone,
    /// An image was trusted: the digest that names it, which pages of its index are stored, and its
    /// manifest as it was signed.
    Image(Sha256, Vec<bool>, String),
    /// A page of the index: which of its chunks are stored; the others are zero.
    Page(u64, Vec<bool>),
    /// A part of an image, or of the transfer's index, was not had from a source.
    Missed(LinkErrorKind, String),
    /// A job of the workers ended: its chunk, or the first of several (or, wiping, its piece), its
    /// buffer, and what was seen.
    Job(u64, usize, Outcome),
}

/// What the core asks of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "fields are what they are called: disks by number, places in bytes"
)]
pub enum Call {
    /// Read from a disk.
    Read { disk: usize, offset_bytes: u64, length_bytes: u64 },
    /// Write to a disk.
    Write { disk: usize, offset_bytes: u64, length_bytes: u64 },
    /// Put what was written on stable storage.
    Flush { disk: usize },
    /// Have the kernel read the partition table.
    Reread { disk: usize },
    /// Start workers over a disk.
    Workers { disk: usize, chunk_bytes: u32, slots: usize },
    /// List the firmware's variables.
    List,
    /// Read a variable.
    Get { name: String },
    /// Write a variable.
    Set { name: String, value: Vec<u8> },
    /// Delete a variable.
    Delete { name: String },
    /// Write settings into the target.
    Configure,
    /// Compare them.
    Verify,
    /// Arm the watchdog with a time-out.
    Arm { timeout_s: u32 },
    /// Stop the watchdog.
    Disarm,
    /// Load a kernel.
    Load,
    /// Start it.
    Kexec,
    /// Reset.
    Reboot,
}

/// What became of a job, as the core judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A chunk was fetched, and is the right one.
    Fetched,
    /// A source served other bytes.
    Lied,
    /// The chunk was written.
    Wrote,
    /// There are zeroes now, of which so many bytes had to be written.
    Zeroed(u32),
    /// The device keeps what was written, this chunk and others.
    Flushed,
    /// What was read is what should be there.
    Same,
    /// It is not.
    Other,
    /// The source failed, or answered with what was not asked for.
    Source(LinkErrorKind, String),
    /// The device failed.
    Device(String),
}

impl Event {
    /// A journal's record, without what nobody may know, and what is told for people only.
    #[inline(never)]
    pub fn journal(kept: Option<(u64, &Record)>) -> Self {
        let bare = |record: &Record| {
            let mut record =
                Record { device_seed: Secret::new([0; 32]), trust: None, ..record.clone() };
            if let Some(failure) = &mut record.failure {
                failure.message.clear();
            }
            Box::new(record)
        };
        Self::Journal(kept.map(|(sequence, record)| (sequence, bare(record))))
    }

    /// A status; what only a clock or people understand is left out.
    #[inline(never)]
    pub fn told(sequence: u64, standing: &Standing) -> Self {
        let mut standing = standing.clone();
        match &mut standing {
            Standing::Purposing { bytes_per_s, .. } | Standing::Wiping { bytes_per_s, .. } => {
                *bytes_per_s = 0;
            }
            Standing::Failed { fault } => fault.message.clear(),
            Standing::Up { load } => *load = Default::default(),
            _ => {}
        }
        Self::Told(sequence, Box::new(standing))
    }

    /// An order; of its settings only that and how the watchdog is fed, which decides how to leave.
    #[inline(never)]
    pub fn answered(generation: Generation, order: &Order) -> Self {
        // Arm by arm, since a clone of all orders would bring one of all settings into the binary.
        let order = match order {
            Order::Purpose(purpose) => {
                let watchdog_s = purpose.settings.watchdog_s;
                Order::Purpose(Box::new(Purpose {
                    server_type: purpose.server_type.clone(),
                    image: purpose.image.clone(),
                    sources: purpose.sources.clone(),
                    disk: purpose.disk.clone(),
                    boot: purpose.boot,
                    settings: Settings { watchdog_s, ..Settings::default() },
                }))
            }
            Order::Boot { sealed } => Order::Boot { sealed: *sealed },
            Order::Stay { reason } => Order::Stay { reason: reason.clone() },
            Order::Wipe(wipe) => Order::Wipe(wipe.clone()),
            Order::Wait { after_ms } => Order::Wait { after_ms: *after_ms },
        };
        Self::Answered(generation, Box::new(order))
    }
}

impl Outcome {
    /// What a job failed of; `None` if it did not.
    pub(crate) fn of_failure(completion: &Completion) -> Option<Self> {
        match &completion.outcome {
            Ok(_) => None,
            Err(WorkError::Source(error)) => Some(Self::Source(error.kind, error.reason.clone())),
            Err(WorkError::Device(error)) => Some(Self::Device(error.reason.clone())),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.uptime_ms / 1000, self.uptime_ms % 1000);
        write!(f, "[{seconds:5}.{millis:03}] {MARK} {}", self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home { life } => write!(f, "home {life}"),
            Self::Disk(disk, facts) => {
                write!(f, "disk {disk} is ")?;
                json(f, facts)
            }
            Self::Table(disk, guid, Health { primary, backup }) => {
                write!(f, "disk {disk} table {guid} {primary} {backup}")
            }
            Self::Entry(disk, entry) => {
                let Entry { number, type_guid, guid, first_lba, last_lba, attributes, name } =
                    entry;
                write!(f, "disk {disk} entry {number} {type_guid} {guid} ")?;
                write!(f, "{first_lba} {last_lba} {attributes} ")?;
                json(f, name)
            }
            Self::Loader(None) => f.write_str("loader none"),
            Self::Loader(Some(guid)) => write!(f, "loader {guid}"),
            Self::Journal(None) => f.write_str("journal none"),
            Self::Journal(Some((sequence, record))) => {
                write!(f, "journal {sequence} ")?;
                json(f, record)
            }
            Self::Up(None) => f.write_str("up none"),
            Self::Up(Some(up)) => write!(f, "up {} {}", up.generation, up.departure),
            Self::Drew(bytes) => {
                f.write_str("drew ")?;
                f.write_str(&to_hex(bytes))
            }
            Self::Names(names) => write!(f, "variables {names}"),
            Self::Found(name, None) => write!(f, "found {name} none"),
            Self::Found(name, Some(value)) => {
                write!(f, "found {name} ")?;
                f.write_str(&to_hex(value))
            }
            Self::Call(call, None) => call.fmt(f),
            Self::Call(call, Some(reason)) => {
                call.fmt(f)?;
                text(f, " failed: ", reason)
            }
            Self::Told(sequence, standing) => {
                write!(f, "told {sequence} ")?;
                json(f, standing)
            }
            Self::Answered(generation, order) => {
                write!(f, "answered {generation} ")?;
                json(f, order)
            }
            Self::Trust(version) => write!(f, "trust {version}"),
            Self::Refused(code) => text(f, "refused ", code),
            Self::Unanswered(reason) => text(f, "unanswered ", reason),
            Self::Alone => f.write_str("alone"),
            Self::Image(manifest, pages, config) => {
                write!(f, "image {manifest} ")?;
                runs(f, pages)?;
                text(f, " ", config)
            }
            Self::Page(number, stored) => {
                write!(f, "page {number} ")?;
                runs(f, stored)
            }
            Self::Missed(LinkErrorKind::Trouble, reason) => text(f, "missed ", reason),
            Self::Missed(LinkErrorKind::Lie, reason) => text(f, "lied ", reason),
            Self::Job(chunk, slot, outcome) => {
                write!(f, "chunk {chunk} slot {slot} ")?;
                f.write_str(match outcome {
                    Outcome::Fetched => "fetched",
                    Outcome::Lied => "lied",
                    Outcome::Wrote => "wrote",
                    Outcome::Zeroed(bytes) => return write!(f, "zeroed {bytes}"),
                    Outcome::Flushed => "flushed",
                    Outcome::Same => "same",
                    Outcome::Other => "other",
                    Outcome::Source(LinkErrorKind::Trouble, reason) => {
                        return text(f, "source failed: ", reason);
                    }
                    Outcome::Source(LinkErrorKind::Lie, reason) => {
                        return text(f, "source lied: ", reason);
                    }
                    Outcome::Device(reason) => return text(f, "device failed: ", reason),
                })
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { disk, offset_bytes, length_bytes } => {
                write!(f, "disk {disk} read {offset_bytes} {length_bytes}")
            }
            Self::Write { disk, offset_bytes, length_bytes } => {
                write!(f, "disk {disk} write {offset_bytes} {length_bytes}")
            }
            Self::Flush { disk } => write!(f, "disk {disk} flush"),
            Self::Reread { disk } => write!(f, "disk {disk} reread"),
            Self::Workers { disk, chunk_bytes, slots } => {
                write!(f, "disk {disk} workers {chunk_bytes} {slots}")
            }
            Self::List => f.write_str("firmware list"),
            Self::Get { name } => write!(f, "firmware get {name}"),
            Self::Set { name, value } => {
                write!(f, "firmware set {name} ")?;
                f.write_str(&to_hex(value))
            }
            Self::Delete { name } => write!(f, "firmware delete {name}"),
            Self::Configure => f.write_str("settings write"),
            Self::Verify => f.write_str("settings verify"),
            Self::Arm { timeout_s } => write!(f, "watchdog arm {timeout_s}"),
            Self::Disarm => f.write_str("watchdog stop"),
            Self::Load => f.write_str("kexec load"),
            Self::Kexec => f.write_str("kexec"),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

/// A value of ours, as JSON of one line.
fn json(f: &mut fmt::Formatter<'_>, value: &impl Serialize) -> fmt::Result {
    f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
}

/// Somebody else's words, which may have anything in them but stay one line.
fn text(f: &mut fmt::Formatter<'_>, head: &str, words: &str) -> fmt::Result {
    f.write_str(head)?;
    words.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
}

/// `12s3z`: twelve that are stored, three that are zero.
fn runs(f: &mut fmt::Formatter<'_>, stored: &[bool]) -> fmt::Result {
    for run in stored.chunk_by(|a, b| a == b) {
        write!(f, "{}{}", run.len(), if run[0] { 's' } else { 'z' })?;
    }
    Ok(())
}
