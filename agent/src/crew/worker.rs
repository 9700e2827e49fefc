//! What one worker thread does with one job and its buffer. A panic in a job becomes that job's
//! error, and the thread goes on.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use repave_core::edges::{
    Completion, DeviceError, Job, LinkError, Look, Seen, Slot, Work, WorkError,
};
use repave_image::ChunkDigest;
use repave_sys::AlignedBuffer;
use zstd::bulk::Decompressor;

use crate::direct_file::DirectFile;
use crate::http::{Http, blob_url};

use super::queue::{Queue, Taken};
use super::zeroes::{is_zero, zero};

/// What the threads of one crew have in common.
pub(super) struct Shared {
    pub(super) file: Arc<DirectFile>,
    pub(super) http: Arc<dyn Http>,
    /// One per slot. The core gives a slot to one job at a time, so that nobody waits for a lock.
    pub(super) buffers: Vec<Mutex<AlignedBuffer>>,
    /// Longest frame that a chunk can come to; no source may send more.
    pub(super) stored_most_bytes: usize,
    /// Set when nobody will reap any more.
    pub(super) stopping: AtomicBool,
}

/// What comes of a job.
type Outcome = Result<Seen, WorkError>;

/// The buffers of jobs that are done together.
type Buffers<'a> = [MutexGuard<'a, AlignedBuffer>];

/// One thread's own things.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// Made once: it takes more time to make than to use for a chunk.
    inflate: Option<Decompressor<'static>>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, inflate: None }
    }

    /// Works until the queue is closed. What was taken together is told of together: each waking of
    /// the one who reaps costs as much as reading some kilobytes.
    pub(super) fn run(mut self, queue: &Queue, done: &Sender<Vec<Completion>>) {
        while let Some(taken) = queue.take() {
            let completions = match taken {
                Taken::One(job) => vec![self.do_one(job)],
                Taken::Reads(jobs) => self.do_all(jobs, Self::read_together),
                Taken::Writes(jobs) => self.do_all(jobs, Self::write_together),
                Taken::Run(jobs) => {
                    let completions = self.fetch_run(&jobs);
                    queue.ran();
                    completions
                }
            };
            let is_reaped = done.send(completions).is_ok();
            if !is_reaped || self.shared.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn do_one(&mut self, Job { slot, work }: Job) -> Completion {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.perform(slot, &work)));
        let outcome = outcome.unwrap_or_else(|panic| Err(self.panicked(&work, &*panic)));
        Completion { slot, outcome }
    }

    /// Does neighbours together, given where they begin, or one by one: a job that has none, and those
    /// that could not be done as a whole.
    fn do_all(
        &mut self,
        jobs: Vec<Job>,
        together: impl FnOnce(&Self, u64, &[Job], &mut Buffers<'_>) -> Option<Vec<Outcome>>,
    ) -> Vec<Completion> {
        let shared = Arc::clone(&self.shared);
        let outcomes = catch_unwind(AssertUnwindSafe(|| {
            let [Job { work, .. }, _, ..] = jobs.as_slice() else { return None };
            let (_, offset_bytes, _) = extent(work);
            let buffers = jobs.iter().map(|job| buffer(&shared, job.slot, &job.work));
            let mut buffers = buffers.collect::<Result<Vec<_>, _>>().ok()?;
            together(self, offset_bytes, &jobs, &mut buffers)
        }));
        match outcomes {
            Ok(Some(outcomes)) => {
                let completion =
                    |(job, outcome): (Job, Outcome)| Completion { slot: job.slot, outcome };
                jobs.into_iter().zip(outcomes).map(completion).collect()
            }
            _ => jobs.into_iter().map(|job| self.do_one(job)).collect(),
        }
    }

    /// Reads into buffers with one call, and looks at each; `None` if not all of it was read.
    fn read_together(
        &self,
        offset_bytes: u64,
        jobs: &[Job],
        buffers: &mut Buffers<'_>,
    ) -> Option<Vec<Outcome>> {
        let pieces = buffers.iter_mut().zip(jobs);
        let mut pieces: Vec<_> =
            pieces.map(|(buffer, job)| IoSliceMut::new(used(buffer, job))).collect();
        if !self.shared.file.read_together(offset_bytes, &mut pieces) {
            return None;
        }
        let seen = |(buffer, job): (&mut MutexGuard<'_, AlignedBuffer>, &Job)| match job.work {
            Work::Read { look, .. } => Some(Ok(look_at(used(buffer, job), look))),
            _ => None,
        };
        buffers.iter_mut().zip(jobs).map(seen).collect()
    }

    /// Writes buffers with one call; `None` if not all of it was written.
    fn write_together(
        &self,
        offset_bytes: u64,
        jobs: &[Job],
        buffers: &mut Buffers<'_>,
    ) -> Option<Vec<Outcome>> {
        let pieces = buffers.iter_mut().zip(jobs);
        let pieces: Vec<_> = pieces.map(|(buffer, job)| IoSlice::new(used(buffer, job))).collect();
        let wrote = match self.shared.file.write_together(offset_bytes, &pieces) {
            Ok(true) => Ok(Seen::Wrote),
            Ok(false) => return None,
            // A write that failed is not tried again: somebody has to hear of that disk.
            Err(error) => Err(WorkError::Device(error)),
        };
        Some(vec![wrote; jobs.len()])
    }

    /// Fetches, inflates and digests every chunk of a run. What fails before its turn has come fails
    /// for the same reason as the one whose turn it was.
    fn fetch_run(&mut self, jobs: &[Job]) -> Vec<Completion> {
        let mut completions = Vec::with_capacity(jobs.len());
        let fetched = catch_unwind(AssertUnwindSafe(|| {
            self.fetch(jobs, &mut |worker, frame| {
                let Some(job) = jobs.get(completions.len()) else { return };
                let outcome = worker.take_in(job, frame);
                completions.push(Completion { slot: job.slot, outcome });
            })
        }));
        let failure = match fetched {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(panic) => jobs.get(completions.len()).map(|job| self.panicked(&job.work, &*panic)),
        };
        for job in &jobs[completions.len()..] {
            let missing = || misuse(&self.shared, &job.work, "it was passed over".into());
            let outcome = Err(failure.clone().unwrap_or_else(missing));
            completions.push(Completion { slot: job.slot, outcome });
        }
        completions
    }

    /// Gets the frames of a run with one request.
    fn fetch(
        &mut self,
        jobs: &[Job],
        each: &mut dyn FnMut(&mut Self, &[u8]),
    ) -> Result<(), WorkError> {
        let [Job { work: Work::Fetch { source, pack, offset_bytes, pause_ms, .. }, .. }, ..] = jobs
        else {
            return Ok(());
        };
        let url = blob_url(source, pack);
        let most = self.shared.stored_most_bytes;
        let mut lengths = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Work::Fetch { stored_bytes, .. } = job.work else { continue };
            if stored_bytes as usize > most {
                let reason =
                    format!("a frame of {stored_bytes} bytes; a chunk's has at most {most}");
                return Err(WorkError::Source(LinkError::trouble(&url, reason)));
            }
            lengths.push(stored_bytes as usize);
        }
        self.pause(Duration::from_millis(*pause_ms));
        let http = Arc::clone(&self.shared.http);
        // Booked after the pause, so that others go meanwhile; waited for before the request, so that
        // the source is not blamed for it.
        self.pause(http.book(source, lengths.iter().map(|length| *length as u64).sum()));
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(WorkError::Source(LinkError::trouble(&url, "nobody waits for it".into())));
        }
        http.get_pieces(&url, *offset_bytes, &lengths, &mut |frame| each(self, frame))
            .map_err(WorkError::Source)
    }

    /// Inflates a frame into its job's buffer.
    fn take_in(&mut self, job: &Job, frame: &[u8]) -> Result<Seen, WorkError> {
        let shared = Arc::clone(&self.shared);
        let mut buffer = buffer(&shared, job.slot, &job.work)?;
        let (_, _, length_bytes) = extent(&job.work);
        let Work::Fetch { source, pack, offset_bytes, .. } = &job.work else {
            return Err(misuse(&shared, &job.work, "it is no fetch".into()));
        };
        self.inflate(frame, &mut buffer[..length_bytes]).map_err(|reason| {
            let reason = format!("frame at byte {offset_bytes} {reason}");
            WorkError::Source(LinkError::lie(&blob_url(source, pack), reason))
        })
    }

    fn inflate(&mut self, frame: &[u8], plain: &mut [u8]) -> Result<Seen, String> {
        let inflate = match &mut self.inflate {
            Some(inflate) => inflate,
            None => {
                let made = Decompressor::new().map_err(|error| error.to_string())?;
                self.inflate.insert(made)
            }
        };
        let inflated = inflate
            .decompress_to_buffer(frame, plain)
            .map_err(|error| format!("does not inflate: {error}"))?;
        if inflated != plain.len() {
            return Err(format!("inflates to {inflated} bytes instead of {}", plain.len()));
        }
        Ok(Seen::Fetched { digest: ChunkDigest::of(plain) })
    }

    fn perform(&mut self, slot: Slot, work: &Work) -> Result<Seen, WorkError> {
        let shared = Arc::clone(&self.shared);
        let file = &shared.file;
        let (_, offset_bytes, length_bytes) = extent(work);
        let mut buffer = buffer(&shared, slot, work)?;
        match work {
            Work::Fetch { .. } => Err(misuse(&shared, work, "a fetch goes in a run".into())),
            Work::Write { first_block_last, .. } => {
                let bytes = &buffer[..length_bytes];
                let written = match first_block_last {
                    true => write_first_block_last(file, offset_bytes, bytes),
                    false => file.write(offset_bytes, bytes),
                };
                written.map_err(WorkError::Device)?;
                Ok(Seen::Wrote)
            }
            Work::Flush => file.flush().map(|()| Seen::Flushed).map_err(WorkError::Device),
            Work::Read { look, .. } => {
                let bytes = &mut buffer[..length_bytes];
                file.read(offset_bytes, bytes).map_err(WorkError::Device)?;
                Ok(look_at(bytes, *look))
            }
            Work::Zero { look_first, .. } => {
                let written = zero(file, offset_bytes, length_bytes, &mut buffer, *look_first);
                Ok(Seen::Zeroed { written_bytes: written.map_err(WorkError::Device)? })
            }
        }
    }

    /// Waits, but not for what nobody will reap: stopping unparks the thread.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.shared.stopping.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// The error of a job that panicked.
    fn panicked(&self, work: &Work, panic: &(dyn Any + Send)) -> WorkError {
        let reason = format!("the worker panicked: {}", panic_text(panic));
        match work {
            Work::Fetch { source, pack, .. } => {
                WorkError::Source(LinkError::trouble(&blob_url(source, pack), reason))
            }
            _ => {
                let (operation, offset_bytes, length_bytes) = extent(work);
                let error = self.shared.file.error(operation, offset_bytes, length_bytes, reason);
                WorkError::Device(error)
            }
        }
    }
}

/// The buffer of a job, which holds as much as the job needs. A panic while it was held left bytes in
/// it, and the next job overwrites them.
fn buffer<'a>(
    shared: &'a Shared,
    slot: Slot,
    work: &Work,
) -> Result<MutexGuard<'a, AlignedBuffer>, WorkError> {
    let Some(buffer) = shared.buffers.get(slot.0) else {
        return Err(misuse(shared, work, format!("there is no buffer number {}", slot.0)));
    };
    let buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, _, length_bytes) = extent(work);
    let is_for_looking = matches!(work, Work::Zero { .. });
    if length_bytes > buffer.len() && !is_for_looking {
        return Err(misuse(shared, work, format!("a buffer holds {} bytes", buffer.len())));
    }
    Ok(buffer)
}

/// The part of a buffer that a job uses.
fn used<'a>(buffer: &'a mut AlignedBuffer, job: &Job) -> &'a mut [u8] {
    let (_, _, length_bytes) = extent(&job.work);
    &mut buffer[..length_bytes]
}

fn look_at(bytes: &[u8], look: Look) -> Seen {
    match look {
        Look::Crc32 => Seen::Crc32(crc32fast::hash(bytes)),
        Look::Digest => Seen::Digest(ChunkDigest::of(bytes)),
        Look::Zero => Seen::Zero(is_zero(bytes)),
    }
}

fn misuse(shared: &Shared, work: &Work, reason: String) -> WorkError {
    let (operation, offset_bytes, length_bytes) = extent(work);
    WorkError::Device(shared.file.error(operation, offset_bytes, length_bytes, reason))
}

/// What the job is called, where on the disk it is, and how much of its buffer it uses. A fetch
/// touches no disk, and a flush no buffer.
fn extent(work: &Work) -> (&'static str, u64, usize) {
    match *work {
        Work::Fetch { plain_bytes, .. } => ("fetch", 0, plain_bytes as usize),
        Work::Write { offset_bytes, length_bytes, .. } => {
            ("write", offset_bytes, length_bytes as usize)
        }
        Work::Read { offset_bytes, length_bytes, .. } => {
            ("read", offset_bytes, length_bytes as usize)
        }
        Work::Zero { offset_bytes, length_bytes, .. } => {
            ("zero", offset_bytes, length_bytes as usize)
        }
        Work::Flush => ("flush", 0, 0),
    }
}

/// Writes all behind the first block, flushes, and writes the first block.
fn write_first_block_last(
    file: &DirectFile,
    offset_bytes: u64,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    let first_bytes = bytes.len().min(file.block_bytes() as usize);
    let (first, rest) = bytes.split_at(first_bytes);
    if !rest.is_empty() {
        file.write(offset_bytes + first_bytes as u64, rest)?;
        file.flush()?;
    }
    file.write(offset_bytes, first)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
