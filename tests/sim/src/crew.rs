//! Workers without threads: jobs wait in a heap, and which is done and reaped next is for chance to
//! say, so that every order that threads could come to comes up under some seed.

use std::cell::RefCell;
use std::rc::Rc;

use repave_core::edges::{
    Completion, Crew, DeviceError, Job, LinkError, Look, Seen, Slot, Work, WorkError, Workers,
};
use repave_image::ChunkDigest;
use zstd::bulk::Decompressor;

use crate::machine::{Machine, Shared};

/// Buffers of a crew; more than a page of the image's index has chunks.
const SLOTS: usize = 10;

thread_local! {
    /// Making one takes longer than most frames do.
    static INFLATER: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("there is memory for it"));
}

/// Makes workers over a machine's disks.
#[derive(Debug)]
pub struct Hands(pub Shared);

impl Crew for Hands {
    fn start(&mut self, disk: usize, chunk_bytes: u32) -> Result<Box<dyn Workers>, DeviceError> {
        Ok(Box::new(Gang::new(&self.0, disk, chunk_bytes, SLOTS)))
    }
}

/// Workers over one disk.
pub(crate) struct Gang {
    machine: Shared,
    disk: usize,
    /// As long as what is in them; nothing else of a buffer is ever looked at.
    buffers: Vec<Vec<u8>>,
    buffer_bytes: usize,
    jobs: Vec<Job>,
}

impl Gang {
    /// With so many buffers.
    pub(crate) fn new(machine: &Shared, disk: usize, chunk_bytes: u32, slots: usize) -> Self {
        let (buffers, buffer_bytes) = (vec![Vec::new(); slots], chunk_bytes as usize);
        Self { machine: Rc::clone(machine), disk, buffers, buffer_bytes, jobs: Vec::new() }
    }

    /// The job under way in a slot.
    pub(crate) fn job(&self, slot: Slot) -> Option<Job> {
        self.jobs.iter().find(|job| job.slot == slot).cloned()
    }

    /// A job that somebody else ends.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.jobs.retain(|job| job.slot != slot);
    }

    /// Does the job under way in a slot.
    pub(crate) fn finish(&mut self, slot: Slot) -> Completion {
        let next = self.jobs.iter().position(|job| job.slot == slot);
        self.end(next.expect("whoever asks has seen the job"))
    }

    fn end(&mut self, next: usize) -> Completion {
        let Job { slot, work } = self.jobs.swap_remove(next);
        let outcome = self.work(slot, &work);
        Completion { slot, outcome }
    }

    /// I10: a slot has one job at a time, and no job needs more than its buffer.
    fn check(&self, job: &Job) {
        let length_bytes = match &job.work {
            Work::Fetch { plain_bytes, .. } => *plain_bytes,
            Work::Write { length_bytes, .. } | Work::Read { length_bytes, .. } => *length_bytes,
            // It looks piece by piece.
            Work::Zero { .. } | Work::Flush => 0,
        };
        let fits = length_bytes as usize <= self.buffer_bytes && job.slot.0 < self.slots();
        if !fits || self.jobs.iter().any(|other| other.slot == job.slot) {
            let words = format!("{job:?} while {} are under way", self.jobs.len());
            self.machine.borrow_mut().watch.violated("I10", &words);
        }
    }

    fn work(&mut self, slot: Slot, work: &Work) -> Result<Seen, WorkError> {
        let machine = &mut *self.machine.borrow_mut();
        let buffer = &mut self.buffers[slot.0];
        match *work {
            Work::Fetch {
                ref source,
                ref pack,
                offset_bytes,
                stored_bytes,
                plain_bytes,
                pause_ms,
            } => {
                machine.events.sleep(pause_ms);
                let lie = |reason: String| WorkError::Source(LinkError::lie(source, reason));
                let part = (offset_bytes, Some(stored_bytes as usize));
                let frame = machine.blob(source, pack, part);
                let frame = frame.map_err(WorkError::Source)?;
                let capacity_bytes = self.buffer_bytes;
                let plain =
                    INFLATER.with_borrow_mut(|zstd| zstd.decompress(&frame, capacity_bytes));
                let plain = plain.map_err(|error| lie(error.to_string()))?;
                if plain.len() != plain_bytes as usize {
                    return Err(lie(format!("{} bytes instead of {plain_bytes}", plain.len())));
                }
                *buffer = plain;
                machine.events.note(&format!("fetch {offset_bytes}+{stored_bytes} from {source}"));
                Ok(Seen::Fetched { digest: ChunkDigest::of(buffer) })
            }
            Work::Write { offset_bytes, length_bytes, first_block_last } => {
                let bytes = &buffer[..length_bytes as usize];
                let written = match first_block_last {
                    true => write_first_block_last(machine, self.disk, offset_bytes, bytes),
                    false => machine.write(self.disk, offset_bytes, bytes),
                };
                written.map(|()| Seen::Wrote).map_err(WorkError::Device)
            }
            Work::Read { offset_bytes, length_bytes, look: Look::Zero } => {
                let is_zero = machine.read_zero(self.disk, offset_bytes, length_bytes as usize);
                is_zero.map(Seen::Zero).map_err(WorkError::Device)
            }
            Work::Read { offset_bytes, length_bytes, look } => {
                buffer.resize(length_bytes as usize, 0);
                machine.read(self.disk, offset_bytes, buffer).map_err(WorkError::Device)?;
                Ok(match look {
                    Look::Crc32 => Seen::Crc32(crc32fast::hash(buffer)),
                    _ => Seen::Digest(ChunkDigest::of(buffer)),
                })
            }
            Work::Flush => {
                machine.flush(self.disk).map(|()| Seen::Flushed).map_err(WorkError::Device)
            }
            Work::Zero { offset_bytes, length_bytes, look_first } => {
                let place = (offset_bytes, length_bytes as usize);
                let mut looks = || machine.read_zero(self.disk, place.0, place.1);
                if look_first && matches!(looks(), Ok(true)) {
                    return Ok(Seen::Zeroed { written_bytes: 0 });
                }
                let zeroes = vec![0; length_bytes as usize];
                machine.write(self.disk, offset_bytes, &zeroes).map_err(WorkError::Device)?;
                Ok(Seen::Zeroed { written_bytes: length_bytes })
            }
        }
    }
}

fn write_first_block_last(
    machine: &mut Machine,
    disk: usize,
    offset_bytes: u64,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    let block_bytes = machine.media[disk].facts().logical_block_bytes as usize;
    let (first, rest) = bytes.split_at(block_bytes);
    machine.write(disk, offset_bytes + block_bytes as u64, rest)?;
    machine.flush(disk)?;
    machine.write(disk, offset_bytes, first)
}

impl Workers for Gang {
    fn slots(&self) -> usize {
        self.buffers.len()
    }

    fn submit(&mut self, job: Job) {
        self.check(&job);
        self.jobs.push(job);
    }

    fn reap(&mut self) -> Completion {
        let count = self.jobs.len();
        assert!(count > 0, "reap is called only while jobs are under way");
        let next = self.machine.borrow_mut().chance.below(count as u64) as usize;
        self.end(next)
    }
}
