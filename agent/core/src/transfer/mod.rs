//! The transfer's schedule: which chunk is fetched, written and read back when, and whether what a
//! worker saw is right. Pure: jobs go out, completions come in. Who runs the jobs is not known
//! here, and neither is time.

mod run;

use std::collections::BTreeMap;

use repave_image::{Chunk, StoredChunk, ValidManifest};
use repave_protocol::Sha256;
use thiserror::Error;

pub(crate) use run::run;

use crate::edges::{Completion, DeviceError, Job, LinkError, Seen, Slot, Work, WorkError};
use crate::image::{FETCH_ATTEMPTS, ImageError, TrustedImage, pause_ms};
use crate::plan::Extent;

/// Why a transfer was given up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// No source gave a chunk, or none the right one.
    #[error("chunk {chunk} could not be had in {attempts} attempts over {sources} sources")]
    Unavailable {
        /// The chunk.
        chunk: u64,
        /// Attempts made.
        attempts: u32,
        /// Sources that the directive named.
        sources: usize,
        /// What the last one did.
        #[source]
        last: LinkError,
    },
    /// The disk failed.
    #[error("target disk failed")]
    Device(#[from] DeviceError),
    /// The disk took the bytes and gave back others.
    #[error(
        "{length_bytes} bytes at byte {offset_bytes} of the target disk read back wrong (chunk {chunk}, CRC-32 {found:08x} instead of {wanted:08x})"
    )]
    ReadBack {
        /// The chunk.
        chunk: u64,
        /// Where on the disk.
        offset_bytes: u64,
        /// How much.
        length_bytes: u32,
        /// CRC-32 of what was read.
        found: u32,
        /// CRC-32 of what was written.
        wanted: u32,
    },
    /// An index page could not be had.
    #[error("chunk index failed")]
    Index(#[from] ImageError),
    /// The index and the manifest disagree about a chunk; both were checked, so the fault is ours.
    #[error("chunk {chunk} has no place in the image or its index")]
    NoPlace {
        /// The chunk.
        chunk: u64,
    },
    /// A worker answered something that was not asked.
    #[error("worker answered {seen:?} out of turn for chunk {chunk}")]
    OutOfTurn {
        /// The chunk.
        chunk: u64,
        /// The answer.
        seen: Seen,
    },
}

/// Which chunks one transfer deals with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but the first chunk of each partition.
    Bodies,
    /// The first chunk of each of these partitions, by their place in the manifest.
    Heads(Vec<usize>),
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Fetch and write. With `resume`, what the disk already holds right is left alone: it is read
    /// past the cache and compared by SHA-256, whatever the journal claims.
    Fill {
        /// Whether an earlier run may have left right chunks.
        resume: bool,
    },
    /// Read back past the cache and compare.
    Audit,
}

/// Chunks that need no audit, since a read past the cache has just seen them right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled(Vec<u64>);

impl Settled {
    fn insert(&mut self, chunk: u64) {
        let word = (chunk / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (chunk % 64);
    }

    fn contains(&self, chunk: u64) -> bool {
        self.0.get((chunk / 64) as usize).is_some_and(|word| word >> (chunk % 64) & 1 == 1)
    }
}

/// One chunk on its way.
#[derive(Clone, Copy, Debug)]
struct Task {
    chunk: u64,
    content: Chunk,
    offset_bytes: u64,
    length_bytes: u32,
    attempts: u32,
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer<'a> {
    image: &'a TrustedImage,
    extents: &'a [Extent],
    scope: Scope,
    pass: Pass,
    settled: Settled,
    /// How far the scope has been handed out: a chunk number, or a place in the list of heads.
    cursor: u64,
    tasks: BTreeMap<Slot, Task>,
    done_bytes: u64,
    seed: u64,
}

impl<'a> Transfer<'a> {
    /// A transfer of `scope`. `seed` spreads the retries of many servers.
    pub fn new(
        image: &'a TrustedImage,
        extents: &'a [Extent],
        scope: Scope,
        pass: Pass,
        settled: Settled,
        seed: u64,
    ) -> Self {
        let tasks = BTreeMap::new();
        Self { image, extents, scope, pass, settled, cursor: 0, tasks, done_bytes: 0, seed }
    }

    /// The next chunk to begin, skipping what is not in the scope or settled already.
    pub fn next_chunk(&mut self) -> Option<u64> {
        loop {
            let chunk = match &self.scope {
                Scope::Heads(heads) => self.head(*heads.get(self.cursor as usize)?)?,
                Scope::Bodies if self.cursor < self.manifest().manifest().index.chunks => {
                    self.cursor
                }
                Scope::Bodies => return None,
            };
            let held_back = self.scope == Scope::Bodies
                && self.extents.iter().any(|extent| extent.first_chunk == chunk);
            let settled = self.pass == Pass::Audit && self.settled.contains(chunk);
            if !held_back && !settled {
                return Some(chunk);
            }
            self.skip(chunk);
        }
    }

    fn head(&self, partition: usize) -> Option<u64> {
        self.extents.get(partition).map(|extent| extent.first_chunk)
    }

    fn manifest(&self) -> &'a ValidManifest {
        self.image.manifest()
    }

    fn skip(&mut self, chunk: u64) {
        self.cursor += 1;
        if let Some(place) = self.manifest().place(chunk) {
            self.done_bytes += u64::from(place.len_bytes);
        }
    }

    /// Begins the chunk that [`Transfer::next_chunk`] named, now that its entry is known.
    pub fn begin(&mut self, slot: Slot, chunk: u64, content: Chunk) -> Option<Job> {
        let place = self.manifest().place(chunk)?;
        self.cursor += 1;
        let task = Task {
            chunk,
            content,
            offset_bytes: self.extents.get(place.partition)?.offset_bytes + place.offset_bytes,
            length_bytes: place.len_bytes,
            attempts: 0,
        };
        let work = match (self.pass, content) {
            (Pass::Audit, _) => task.read(false),
            (Pass::Fill { .. }, Chunk::Zero) => {
                Work::Zero { offset_bytes: task.offset_bytes, length_bytes: task.length_bytes }
            }
            (Pass::Fill { resume: true }, Chunk::Stored(_)) => task.read(true),
            (Pass::Fill { resume: false }, Chunk::Stored(stored)) => self.fetch(&task, &stored)?,
        };
        self.tasks.insert(slot, task);
        Some(Job { slot, work })
    }

    /// The next job for the same buffer; `None` once it is free.
    pub fn complete(&mut self, completion: Completion) -> Result<Option<Job>, TransferError> {
        let slot = completion.slot;
        let Some(mut task) = self.tasks.remove(&slot) else {
            return Ok(None);
        };
        let next = match completion.outcome {
            Ok(seen) => self.judge(&mut task, seen)?,
            Err(WorkError::Device(error)) => return Err(error.into()),
            Err(WorkError::Source(error)) => Some(self.again(&mut task, error)?),
        };
        match next {
            Some(work) => {
                self.tasks.insert(slot, task);
                Ok(Some(Job { slot, work }))
            }
            None => {
                self.done_bytes += u64::from(task.length_bytes);
                Ok(None)
            }
        }
    }

    /// Whether what a worker saw is right, and what follows from it.
    fn judge(&mut self, task: &mut Task, seen: Seen) -> Result<Option<Work>, TransferError> {
        let out_of_turn = TransferError::OutOfTurn { chunk: task.chunk, seen };
        match (self.pass, task.content, seen) {
            (Pass::Fill { .. }, Chunk::Stored(stored), Seen::Fetched { sha256 }) => {
                if sha256 != stored.sha256 {
                    let lie = self.lie(task, &stored.sha256, &sha256);
                    return self.again(task, lie).map(Some);
                }
                let (offset_bytes, length_bytes) = (task.offset_bytes, task.length_bytes);
                Ok(Some(Work::Write {
                    offset_bytes,
                    length_bytes,
                    first_block_last: self.scope != Scope::Bodies,
                }))
            }
            (Pass::Fill { .. }, Chunk::Stored(_), Seen::Wrote) => Ok(None),
            (Pass::Fill { .. }, Chunk::Stored(stored), Seen::Read { sha256: Some(sha256), .. }) => {
                if sha256 == stored.sha256 {
                    self.settled.insert(task.chunk);
                    return Ok(None);
                }
                self.fetch(task, &stored).map(Some).ok_or(out_of_turn)
            }
            (Pass::Fill { .. }, Chunk::Zero, Seen::Zeroed { already }) => {
                if already {
                    self.settled.insert(task.chunk);
                }
                Ok(None)
            }
            (Pass::Audit, content, Seen::Read { crc32: found, .. }) => {
                let wanted = match content {
                    Chunk::Stored(stored) => stored.crc32,
                    Chunk::Zero => crc32_of_zeroes(task.length_bytes),
                };
                if found == wanted {
                    return Ok(None);
                }
                Err(TransferError::ReadBack {
                    chunk: task.chunk,
                    offset_bytes: task.offset_bytes,
                    length_bytes: task.length_bytes,
                    found,
                    wanted,
                })
            }
            _ => Err(out_of_turn),
        }
    }

    /// Another attempt at fetching, from the next source, after a pause.
    fn again(&self, task: &mut Task, last: LinkError) -> Result<Work, TransferError> {
        task.attempts += 1;
        let unavailable = TransferError::Unavailable {
            chunk: task.chunk,
            attempts: task.attempts,
            sources: self.image.sources().len(),
            last,
        };
        match task.content {
            Chunk::Stored(stored) if task.attempts < FETCH_ATTEMPTS => {
                self.fetch(task, &stored).ok_or(unavailable)
            }
            _ => Err(unavailable),
        }
    }

    fn fetch(&self, task: &Task, stored: &StoredChunk) -> Option<Work> {
        let sources = self.image.sources();
        Some(Work::Fetch {
            source: sources.get(task.attempts as usize % sources.len())?.clone(),
            pack: self.image.pack(stored.pack)?,
            offset_bytes: stored.offset_bytes,
            stored_bytes: stored.stored_bytes,
            plain_bytes: task.length_bytes,
            pause_ms: pause_ms(task.attempts, self.seed ^ task.chunk),
        })
    }

    fn lie(&self, task: &Task, wanted: &Sha256, found: &Sha256) -> LinkError {
        let sources = self.image.sources();
        LinkError {
            peer: sources[task.attempts as usize % sources.len()].clone(),
            reason: format!("served chunk {} with SHA-256 {found} instead of {wanted}", task.chunk),
        }
    }

    /// Whether no job is under way.
    pub fn idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes of the image dealt with so far in this pass, what it skipped included.
    pub const fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    /// What the audit may leave out.
    pub fn into_settled(self) -> Settled {
        self.settled
    }
}

impl Task {
    const fn read(&self, sha256: bool) -> Work {
        Work::Read { offset_bytes: self.offset_bytes, length_bytes: self.length_bytes, sha256 }
    }
}

fn crc32_of_zeroes(length_bytes: u32) -> u32 {
    const ZEROES: [u8; 4096] = [0; 4096];
    let mut hasher = crc32fast::Hasher::new();
    let mut left = length_bytes as usize;
    while left > 0 {
        let count = left.min(ZEROES.len());
        hasher.update(&ZEROES[..count]);
        left -= count;
    }
    hasher.finalize()
}
