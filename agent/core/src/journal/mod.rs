//! The journal: what a server remembers across boots, in its state partition. Two slots are
//! written in turn, so that a write that is cut leaves the other; the newest whole record counts.
//! The resident has two slots of its own for the one thing it may say: that the target came up.
//! Every byte is hostile input, since a target's root can write here.

mod record;
mod slot;

use repave_protocol::SigningKey;
use thiserror::Error;

pub use record::{
    Accepted, BootPlace, BootPlan, KexecPlan, Purposing, Record, Seal, Secret, UpRecord,
};
use slot::{SLOT_BYTES, encode, newest};

use crate::durable;
use crate::edges::{DeviceError, Disk};

/// Where the agent's two slots begin, from the start of the state partition.
const AGENT_SLOTS: u64 = 0;
/// Where the resident's two slots begin.
const RESIDENT_SLOTS: u64 = 2 * SLOT_BYTES;

/// The journal could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("journal: disk failed")]
    Device(#[from] DeviceError),
    /// A record would not fit its slot; a limit elsewhere is wrong.
    #[error("journal: a record of {bytes} bytes does not fit a slot of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The room.
        limit: usize,
    },
}

/// Where a journal lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the disk.
    pub disk: usize,
    /// First byte of the state partition.
    pub offset_bytes: u64,
}

/// An open journal: the newest record, and where the next one goes.
#[derive(Debug)]
pub struct Journal {
    place: Place,
    sequence: u64,
    record: Record,
    /// Whether the disk may hold something else than the record says.
    is_doubtful: bool,
}

impl Journal {
    /// Reads the newest whole record; `None` if there is none, which is a server's first boot.
    pub fn open(place: Place, disk: &mut dyn Disk) -> Result<Option<Self>, JournalError> {
        // An earlier life in this boot may have ended between a write and its flush. What it wrote
        // can be read now, and would be gone after a power cut.
        disk.flush()?;
        let found = newest(disk, place.offset_bytes + AGENT_SLOTS)?;
        Ok(found.map(|(sequence, record)| Self { place, sequence, record, is_doubtful: false }))
    }

    /// A journal that was written `sequence` times, which a first one was not; nothing is written yet.
    pub fn create(place: Place, sequence: u64, record: Record) -> Self {
        Self { place, sequence, record, is_doubtful: false }
    }

    /// The newest record.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// How often it was written; the two slots take turns by it.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The server's own key.
    pub fn device_key(&self) -> SigningKey {
        SigningKey::from_seed(self.record.device_seed.expose())
    }

    /// Changes the record in memory and puts it on stable storage. After an error the record is as
    /// it was, and stable storage may be either; the next update that succeeds settles it.
    pub fn update(
        &mut self,
        disk: &mut dyn Disk,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), JournalError> {
        let mut record = self.record.clone();
        change(&mut record);
        if record == self.record && self.sequence > 0 && !self.is_doubtful {
            return Ok(());
        }
        self.is_doubtful = true;
        // The highest sequence is nobody's but a target's root's; it must not end the agent.
        let sequence = self.sequence.saturating_add(1);
        write(disk, self.place.offset_bytes + AGENT_SLOTS, sequence, &encode(&record))?;
        *self = Self { place: self.place, sequence, record, is_doubtful: false };
        Ok(())
    }

    /// Makes stable storage say what the record says, where an update failed: the disk may have taken
    /// it all the same, and the next boot would go by it.
    pub fn settle(&mut self, disk: &mut dyn Disk) -> Result<(), JournalError> {
        if self.is_doubtful { self.update(disk, |_| {}) } else { Ok(()) }
    }

    /// Takes the sealed target away, whether or not the disk can be made to say so: whatever is written
    /// next says it, too.
    pub const fn withdraw(&mut self) {
        self.record.withdrawn = true;
        self.is_doubtful = true;
    }

    /// What the resident said last.
    pub fn up(&self, disk: &mut dyn Disk) -> Result<Option<UpRecord>, JournalError> {
        let found = newest(disk, self.place.offset_bytes + RESIDENT_SLOTS)?;
        Ok(found.map(|(_, up)| up))
    }
}

/// Writes the resident's record; the agent's own slots are not touched.
pub fn write_up(place: Place, disk: &mut dyn Disk, up: &UpRecord) -> Result<(), JournalError> {
    let offset_bytes = place.offset_bytes + RESIDENT_SLOTS;
    let found: Option<(u64, UpRecord)> = newest(disk, offset_bytes)?;
    if found.is_some_and(|(_, found)| found == *up) {
        return Ok(());
    }
    write(
        disk,
        offset_bytes,
        found.map_or(1, |(sequence, _)| sequence.saturating_add(1)),
        &encode(up),
    )
}

fn write(
    disk: &mut dyn Disk,
    slots_offset_bytes: u64,
    sequence: u64,
    body: &[u8],
) -> Result<(), JournalError> {
    let bytes = slot::frame(sequence, body)?;
    Ok(durable::write(disk, slots_offset_bytes + sequence % 2 * SLOT_BYTES, &bytes)?)
}
