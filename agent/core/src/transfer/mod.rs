//! The transfer's schedule: which chunk is fetched, written and read back when, and whether what a
//! worker saw is right. Pure: jobs go out, completions come in. Who runs the jobs is not known
//! here, and neither is time.

mod behind;
mod error;
mod held;
mod pages;
mod run;
mod sample;
mod task;

use std::collections::BTreeMap;

use repave_image::{Chunk, StoredChunk, ValidManifest};

use behind::{Behind, Step};
use task::{Aim, Task};

pub use behind::reads_behind;
pub use error::TransferError;
pub use held::Held;
pub(crate) use pages::Pages;
pub use run::Watch;
pub(crate) use run::{Hands, run};
pub(crate) use sample::{Sampling, samples};

use crate::edges::{Completion, Job, LinkError, Seen, Slot, Work, WorkError};
use crate::event::Outcome;
use crate::image::{FETCH_ATTEMPTS, TrustedImage, pause_ms};
use crate::mirrors::Mirrors;
use crate::plan::Extent;

/// Unreadable places after which comparing ends: a dying disk takes its time over each.
const UNREADABLE_MOST: u32 = 16;
/// Most bytes of zeroes in one job. A command for each chunk costs more than the zeroes do; one for
/// all of them would be seen by nobody while it runs.
const ZEROES_MOST_BYTES: u64 = 16 << 20;

/// Which chunks one transfer deals with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// These.
    Some(Vec<u64>),
    /// All but the first chunk of each partition.
    Bodies,
    /// The first chunk of each of these partitions, by their place in the manifest.
    Heads(Vec<usize>),
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Read past the cache, and note what is right already; nothing is written. What cannot be
    /// read is not right, and no failure: a disk may mend a bad block when it is written.
    Compare,
    /// Fetch and write what is not held.
    Fill {
        /// Whether chunks of zeroes that are not held may still be zero on the disk, since nobody
        /// has looked.
        look_first: bool,
        /// Whether what was written is read back while more is written. What was right is held then.
        read_behind: bool,
    },
    /// Read back past the cache and compare what is not held.
    Audit,
}

/// What a transfer did, in bytes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Written, zeroes included.
    pub written_bytes: u64,
    /// Found to be right already and left alone.
    pub skipped_bytes: u64,
    /// Read back after they were written.
    pub read_back_bytes: u64,
}

impl Tally {
    /// Adds another transfer's.
    pub(crate) const fn add(&mut self, other: Self) {
        self.written_bytes += other.written_bytes;
        self.skipped_bytes += other.skipped_bytes;
        self.read_back_bytes += other.read_back_bytes;
    }
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer<'a> {
    image: &'a TrustedImage,
    extents: &'a [Extent],
    scope: Scope,
    pass: Pass,
    held: Held,
    /// Set if what is written is read back meanwhile.
    behind: Option<Behind>,
    /// Chunks that could not be read to be compared.
    unreadable: u32,
    /// How far the scope has been handed out: a chunk number, or a place in the list of heads.
    cursor: u64,
    tasks: BTreeMap<Slot, Task>,
    done_bytes: u64,
    tally: Tally,
    seed: u64,
}

impl<'a> Transfer<'a> {
    /// A transfer of `scope`. `seed` spreads the retries of many servers.
    pub fn new(
        image: &'a TrustedImage,
        extents: &'a [Extent],
        scope: Scope,
        pass: Pass,
        held: Held,
        seed: u64,
    ) -> Self {
        let manifest = image.manifest().manifest();
        let reads_behind = matches!(pass, Pass::Fill { read_behind: true, .. });
        let behind = reads_behind.then(|| Behind::new(&manifest.index, manifest.chunk_bytes));
        let tasks = BTreeMap::new();
        let (unreadable, cursor, done_bytes, tally) = (0, 0, 0, Tally::default());
        Self {
            image,
            extents,
            scope,
            pass,
            held,
            behind,
            unreadable,
            cursor,
            tasks,
            done_bytes,
            tally,
            seed,
        }
    }

    /// The next chunk to begin, skipping what is not in the scope or held already.
    pub fn next_chunk(&mut self) -> Option<u64> {
        loop {
            let chunks = self.manifest().manifest().index.chunks;
            let chunk = match &self.scope {
                _ if self.unreadable >= UNREADABLE_MOST => return None,
                Scope::Heads(heads) => self.head(*heads.get(self.cursor as usize)?)?,
                Scope::Some(listed) => *listed.get(self.cursor as usize)?,
                Scope::All | Scope::Bodies if self.cursor < chunks => self.cursor,
                Scope::All | Scope::Bodies => return None,
            };
            let is_held = self.held.contains(chunk);
            if !self.is_held_back(chunk) && !is_held {
                return Some(chunk);
            }
            self.skip(chunk, is_held);
        }
    }

    fn is_held_back(&self, chunk: u64) -> bool {
        self.scope == Scope::Bodies && self.extents.iter().any(|extent| extent.first_chunk == chunk)
    }

    /// How many chunks are one job, from the one that [`Transfer::next_chunk`] named and its content:
    /// zeroes that are to be made and lie behind each other are. `is_zero` looks a chunk up in the
    /// index.
    pub(crate) fn chunks_of_job(
        &self,
        (first, content): (u64, Chunk),
        mut is_zero: impl FnMut(u64) -> Result<bool, TransferError>,
    ) -> Result<u64, TransferError> {
        let is_in_order = matches!(self.scope, Scope::All | Scope::Bodies);
        if !is_in_order || !matches!(self.pass, Pass::Fill { .. }) || content != Chunk::Zero {
            return Ok(1);
        }
        let place = |chunk| self.manifest().place(chunk);
        let partition = place(first).map(|place| place.partition);
        let mut bytes = place(first).map_or(0, |place| u64::from(place.len_bytes));
        let mut next = first + 1;
        while let Some(place) = place(next).filter(|place| Some(place.partition) == partition) {
            bytes += u64::from(place.len_bytes);
            let is_wanted = !self.is_held_back(next) && !self.held.contains(next);
            if bytes > ZEROES_MOST_BYTES || !is_wanted || !is_zero(next)? {
                break;
            }
            next += 1;
        }
        Ok(next - first)
    }

    fn head(&self, partition: usize) -> Option<u64> {
        self.extents.get(partition).map(|extent| extent.first_chunk)
    }

    fn manifest(&self) -> &'a ValidManifest {
        self.image.manifest()
    }

    fn skip(&mut self, chunk: u64, is_held: bool) {
        self.cursor += 1;
        let length_bytes = self.manifest().place(chunk).map_or(0, |place| place.len_bytes);
        self.done_bytes += u64::from(length_bytes);
        if is_held && matches!(self.pass, Pass::Fill { .. }) {
            self.tally.skipped_bytes += u64::from(length_bytes);
        }
    }

    /// Begins the chunk that [`Transfer::next_chunk`] named, now that its entry is known, and those
    /// that are one job with it: the first, how many, and what they hold.
    pub(crate) fn begin(
        &mut self,
        slot: Slot,
        (chunk, chunks, content): (u64, u64, Chunk),
        mirrors: &Mirrors,
    ) -> Option<Job> {
        let aim = match self.pass {
            Pass::Compare => Aim::Compare,
            Pass::Fill { .. } => Aim::Fill,
            Pass::Audit => Aim::Audit,
        };
        let mut task = self.task(aim, (chunk, chunks, content))?;
        self.cursor += chunks;
        let work = match (self.pass, content) {
            (Pass::Compare | Pass::Audit, _) => task.read(),
            (Pass::Fill { look_first, .. }, Chunk::Zero) => {
                let (offset_bytes, length_bytes) = (task.offset_bytes, task.length_bytes);
                Work::Zero { offset_bytes, length_bytes, look_first }
            }
            (Pass::Fill { .. }, Chunk::Stored(stored)) => {
                self.fetch(&mut task, &stored, mirrors)?
            }
        };
        self.tasks.insert(slot, task);
        Some(Job { slot, work })
    }

    /// Begins what is to be done behind the writing before more is written, with `slots` buffers in
    /// all.
    pub(crate) fn begin_behind(&mut self, slot: Slot, slots: usize) -> Option<Job> {
        let (task, work) = match self.behind.as_mut()?.next(slots)? {
            Step::Flush(chunk) => (self.task(Aim::Flush, (chunk, 0, Chunk::Zero))?, Work::Flush),
            Step::Read(chunk, content) => {
                let task = self.task(Aim::Audit, (chunk, 1, content))?;
                (task, task.read())
            }
        };
        self.tasks.insert(slot, task);
        Some(Job { slot, work })
    }

    fn task(&self, aim: Aim, (chunk, chunks, content): (u64, u64, Chunk)) -> Option<Task> {
        let place = self.manifest().place(chunk)?;
        let lengths = (chunk..chunk + chunks).map(|chunk| self.manifest().place(chunk));
        Some(Task {
            aim,
            chunk,
            chunks,
            content,
            offset_bytes: self.extents.get(place.partition)?.offset_bytes + place.offset_bytes,
            length_bytes: lengths.map(|place| Some(place?.len_bytes)).sum::<Option<u32>>()?,
            attempts: 0,
            source: None,
        })
    }

    /// What a completion says of its chunk, for the field log.
    pub(crate) fn outcome(&self, completion: &Completion) -> Option<(u64, Outcome)> {
        let task = self.tasks.get(&completion.slot)?;
        Some((task.chunk, task.outcome(completion)?))
    }

    /// The next job for the same buffer; `None` once it is free.
    pub fn complete(
        &mut self,
        completion: Completion,
        mirrors: &mut Mirrors,
    ) -> Result<Option<Job>, TransferError> {
        let slot = completion.slot;
        let Some(mut task) = self.tasks.remove(&slot) else {
            return Ok(None);
        };
        let next = match completion.outcome {
            Ok(seen) => self.judge(&mut task, seen, mirrors)?,
            Err(WorkError::Device(error)) if self.pass == Pass::Compare => {
                log::warn!("{error}; it will be written");
                self.unreadable += 1;
                None
            }
            Err(WorkError::Device(error)) => return Err(error.into()),
            Err(WorkError::Source(error)) => Some(self.again(&mut task, error, mirrors)?),
        };
        match next {
            Some(work) => {
                self.tasks.insert(slot, task);
                Ok(Some(Job { slot, work }))
            }
            None => {
                // What is read back behind the writing was done when it was written.
                let is_behind = self.behind.is_some() && task.aim == Aim::Audit;
                self.done_bytes += if is_behind { 0 } else { u64::from(task.length_bytes) };
                Ok(None)
            }
        }
    }

    /// Whether what a worker saw is right, and what follows from it.
    fn judge(
        &mut self,
        task: &mut Task,
        seen: Seen,
        mirrors: &mut Mirrors,
    ) -> Result<Option<Work>, TransferError> {
        let out_of_turn = TransferError::OutOfTurn { chunk: task.chunk, seen };
        match (task.aim, task.content, seen) {
            (Aim::Fill, Chunk::Stored(stored), Seen::Fetched { digest }) => {
                if digest != stored.digest {
                    let lie = task.lie(mirrors, &stored.digest, &digest);
                    return self.again(task, lie, mirrors).map(Some);
                }
                if let Some(source) = task.source {
                    mirrors.was_right(source);
                }
                let (offset_bytes, length_bytes) = (task.offset_bytes, task.length_bytes);
                let first_block_last = self.scope != Scope::Bodies;
                return Ok(Some(Work::Write { offset_bytes, length_bytes, first_block_last }));
            }
            (Aim::Fill, Chunk::Stored(_), Seen::Wrote) => self.wrote(task, task.length_bytes),
            (Aim::Fill, Chunk::Zero, Seen::Zeroed { written_bytes }) => {
                self.tally.skipped_bytes +=
                    u64::from(task.length_bytes.saturating_sub(written_bytes));
                match written_bytes {
                    0 => self.note(task),
                    _ => self.wrote(task, written_bytes),
                }
            }
            (Aim::Compare, Chunk::Stored(stored), Seen::Digest(found)) => {
                if found == stored.digest {
                    self.note(task);
                }
            }
            (Aim::Compare, Chunk::Zero, Seen::Zero(is_zero)) => {
                if is_zero {
                    self.note(task);
                }
            }
            (Aim::Flush, _, Seen::Flushed) => self.behind.iter_mut().for_each(Behind::keeps),
            (Aim::Audit, Chunk::Stored(stored), Seen::Crc32(found)) => {
                if found != stored.crc32 {
                    let words = format!("CRC-32 {found:08x} instead of {:08x}", stored.crc32);
                    return Err(task.wrong(words));
                }
                self.read_back(task);
            }
            (Aim::Audit, Chunk::Zero, Seen::Zero(is_zero)) => {
                if !is_zero {
                    return Err(task.wrong("not all of them are zero".into()));
                }
                self.read_back(task);
            }
            _ => return Err(out_of_turn),
        }
        Ok(None)
    }

    fn wrote(&mut self, task: &Task, written_bytes: u32) {
        self.tally.written_bytes += u64::from(written_bytes);
        if let Some(behind) = &mut self.behind {
            behind.wrote(task.chunk, task.chunks, task.content);
        }
    }

    fn read_back(&mut self, task: &Task) {
        self.tally.read_back_bytes += u64::from(task.length_bytes);
        if let Some(behind) = &mut self.behind {
            behind.has_read();
            self.note(task);
        }
    }

    fn note(&mut self, task: &Task) {
        (task.chunk..task.chunk + task.chunks).for_each(|chunk| self.held.insert(chunk));
    }

    /// Another attempt at fetching, from the next source, after a pause.
    fn again(
        &self,
        task: &mut Task,
        last: LinkError,
        mirrors: &mut Mirrors,
    ) -> Result<Work, TransferError> {
        if let Some(source) = task.source {
            mirrors.blame(source, &last);
        }
        task.attempts += 1;
        let unavailable = TransferError::Unavailable {
            chunk: task.chunk,
            attempts: task.attempts,
            sources: mirrors.count(),
            last,
        };
        match task.content {
            Chunk::Stored(stored) if task.attempts < FETCH_ATTEMPTS => {
                self.fetch(task, &stored, mirrors).ok_or(unavailable)
            }
            _ => Err(unavailable),
        }
    }

    fn fetch(&self, task: &mut Task, stored: &StoredChunk, mirrors: &Mirrors) -> Option<Work> {
        let source = mirrors.pick(task.source)?;
        task.source = Some(source);
        Some(Work::Fetch {
            source: mirrors.url(source)?.clone(),
            pack: self.image.pack(stored.pack)?,
            offset_bytes: stored.offset_bytes,
            stored_bytes: stored.stored_bytes,
            plain_bytes: task.length_bytes,
            pause_ms: pause_ms(task.attempts, self.seed ^ task.chunk),
        })
    }

    /// Whether no job is under way.
    pub fn idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes of the image dealt with so far in this pass, what it skipped included.
    pub const fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    /// Whether every chunk of the scope was looked at.
    pub const fn is_complete(&self) -> bool {
        self.unreadable == 0
    }

    /// What was done.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// What the disk holds right.
    pub fn into_held(self) -> Held {
        self.held
    }
}
