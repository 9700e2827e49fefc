//! One pass over one range: workers make every piece zero, or find that it is. A piece that was zero
//! already is read and not written, so that a pass that was cut goes on where it ended, and finds
//! that out from the disk alone.

use std::collections::BTreeMap;

use repave_protocol::WipePass;

use super::{Area, WipeError};
use crate::edges::{Completion, DeviceError, Job, Look, Seen, Slot, Work, WorkError, Workers};
use crate::event::{Event, Outcome};

/// Bytes of one piece: long enough for any disk to stream, short enough for every buffer.
pub(super) const PIECE_BYTES: u32 = 1024 * 1024;
/// Pieces that may fail before a disk is given up; until then the others are still wiped.
const BAD_PIECES: u32 = 64;

/// A pass under way.
pub(super) struct Sweep<'a> {
    pass: WipePass,
    area: &'a Area,
    name: &'a str,
    next_bytes: u64,
    under_way: BTreeMap<Slot, (u64, u32)>,
    bad: u32,
    failure: Option<WipeError>,
    /// Bytes that were not zero before.
    written_bytes: u64,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(pass: WipePass, area: &'a Area, name: &'a str) -> Self {
        Self {
            pass,
            area,
            name,
            next_bytes: 0,
            under_way: BTreeMap::new(),
            bad: 0,
            failure: None,
            written_bytes: 0,
        }
    }

    /// Goes through the range; returns the bytes that were not zero. `watch` is told the bytes done,
    /// after what became of a piece.
    pub(super) fn run(
        mut self,
        workers: &mut dyn Workers,
        watch: &mut dyn FnMut(u64, Event),
    ) -> Result<u64, WipeError> {
        let mut free: Vec<Slot> = (0..workers.slots()).map(Slot).collect();
        let mut done_bytes = 0;
        loop {
            while let Some(job) = free.last().and_then(|slot| self.next_job(*slot)) {
                free.pop();
                workers.submit(job);
            }
            // Even after a failure: jobs under way own their buffers and may still write.
            if self.under_way.is_empty() {
                break;
            }
            let completion = workers.reap();
            free.push(completion.slot);
            let event = self.event(&completion);
            done_bytes += self.take(completion.slot, completion.outcome);
            watch(done_bytes, event);
        }
        match self.failure {
            Some(WipeError::Device { disk, piece_bytes, source, .. }) => {
                Err(WipeError::Device { disk, pieces: self.bad, piece_bytes, source })
            }
            Some(failure) => Err(failure),
            None => Ok(self.written_bytes),
        }
    }

    /// What a completion says of its piece, for the field log.
    fn event(&self, completion: &Completion) -> Event {
        let (offset_bytes, _) = self.under_way.get(&completion.slot).copied().unwrap_or_default();
        let piece = offset_bytes.saturating_sub(self.area.offset_bytes) / u64::from(PIECE_BYTES);
        let outcome = Outcome::of_failure(completion).unwrap_or(match completion.outcome {
            Ok(Seen::Zeroed { written_bytes }) => Outcome::Zeroed(written_bytes),
            Ok(Seen::Zero(true)) => Outcome::Same,
            _ => Outcome::Other,
        });
        Event::Job(piece, completion.slot.0, outcome)
    }

    fn next_job(&mut self, slot: Slot) -> Option<Job> {
        let left_bytes = self.area.length_bytes - self.next_bytes;
        let length_bytes = left_bytes.min(u64::from(PIECE_BYTES)) as u32;
        if length_bytes == 0 || self.bad >= BAD_PIECES {
            return None;
        }
        let offset_bytes = self.area.offset_bytes + self.next_bytes;
        self.next_bytes += u64::from(length_bytes);
        self.under_way.insert(slot, (offset_bytes, length_bytes));
        let work = match self.pass {
            WipePass::Zeroing => Work::Zero { offset_bytes, length_bytes, look_first: true },
            WipePass::ReadingBack => Work::Read { offset_bytes, length_bytes, look: Look::Zero },
        };
        Some(Job { slot, work })
    }

    /// Takes in what became of a piece; returns its length.
    fn take(&mut self, slot: Slot, outcome: Result<Seen, WorkError>) -> u64 {
        let (offset_bytes, length_bytes) = self.under_way.remove(&slot).unwrap_or_default();
        let disk = || self.name.to_owned();
        let failure = match (outcome, self.pass) {
            (Ok(Seen::Zeroed { written_bytes }), WipePass::Zeroing) => {
                self.written_bytes += u64::from(written_bytes);
                return u64::from(length_bytes);
            }
            (Ok(Seen::Zero(true)), WipePass::ReadingBack) => return u64::from(length_bytes),
            (Ok(_), _) => WipeError::NotZero { disk: disk(), offset_bytes, length_bytes },
            (Err(error), _) => {
                let source = device_error(error, self.name, (offset_bytes, length_bytes));
                WipeError::Device { disk: disk(), pieces: 0, piece_bytes: PIECE_BYTES, source }
            }
        };
        self.bad += 1;
        self.failure.get_or_insert(failure);
        u64::from(length_bytes)
    }
}

/// A worker that only zeroes can fail by its device alone; whatever else it says is kept.
fn device_error(
    error: WorkError,
    disk: &str,
    (offset_bytes, length_bytes): (u64, u32),
) -> DeviceError {
    match error {
        WorkError::Device(error) => error,
        WorkError::Source(error) => DeviceError {
            device: disk.into(),
            operation: "zero",
            offset_bytes,
            length_bytes: u64::from(length_bytes),
            reason: error.to_string(),
        },
    }
}
