//! What one worker thread does with one job and its buffer. A panic in a job becomes that job's
//! error, and the thread goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use repave_core::edges::{
    Completion, DeviceError, Job, LinkError, Look, Seen, Slot, Work, WorkError,
};
use repave_protocol::Sha256;
use repave_sys::AlignedBuffer;
use zstd::bulk::Decompressor;

use crate::direct_file::DirectFile;
use crate::http::{Http, blob_url};

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

/// One thread's own things.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// The frame as it was fetched; grows once, to at most `stored_most_bytes`.
    stored: Vec<u8>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stored: Vec::new() }
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self, queue: &Mutex<Receiver<Job>>, done: &Sender<Completion>) {
        loop {
            // The lock is held while waiting: the others then wait for the lock instead.
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { slot, work }) = job else { return };
            if self.shared.stopping.load(Ordering::Acquire) {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| self.perform(slot, &work)));
            let outcome = outcome.unwrap_or_else(|panic| Err(self.panicked(&work, &*panic)));
            if done.send(Completion { slot, outcome }).is_err() {
                return;
            }
        }
    }

    fn perform(&mut self, slot: Slot, work: &Work) -> Result<Seen, WorkError> {
        let shared = Arc::clone(&self.shared);
        let file = &shared.file;
        let (operation, offset_bytes, length_bytes) = extent(work);
        let misuse = |reason: String| {
            WorkError::Device(file.error(operation, offset_bytes, length_bytes, reason))
        };
        let Some(buffer) = shared.buffers.get(slot.0) else {
            return Err(misuse(format!("there is no buffer number {}", slot.0)));
        };
        // A panic while it was held left bytes in it, and the next job overwrites them.
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer_bytes = buffer.len();
        let Some(bytes) = buffer.get_mut(..length_bytes) else {
            return Err(misuse(format!("a buffer holds {buffer_bytes} bytes")));
        };
        match work {
            Work::Fetch { source, pack, offset_bytes, stored_bytes, pause_ms, .. } => {
                self.pause(*pause_ms);
                self.fetch(&blob_url(source, pack), *offset_bytes, *stored_bytes as usize, bytes)
                    .map_err(WorkError::Source)
            }
            Work::Write { first_block_last, .. } => {
                let written = match first_block_last {
                    true => write_first_block_last(file, offset_bytes, bytes),
                    false => file.write(offset_bytes, bytes),
                };
                written.map_err(WorkError::Device)?;
                Ok(Seen::Wrote)
            }
            Work::Read { look, .. } => {
                file.read(offset_bytes, bytes).map_err(WorkError::Device)?;
                Ok(match look {
                    Look::Crc32 => Seen::Crc32(crc32fast::hash(bytes)),
                    Look::Sha256 => Seen::Sha256(Sha256::of(bytes)),
                    Look::Zero => Seen::Zero(is_zero(bytes)),
                })
            }
            Work::Zero { look_first, .. } => {
                let already = zero(file, offset_bytes, bytes, *look_first);
                Ok(Seen::Zeroed { already: already.map_err(WorkError::Device)? })
            }
        }
    }

    fn fetch(
        &mut self,
        url: &str,
        offset_bytes: u64,
        stored_bytes: usize,
        plain: &mut [u8],
    ) -> Result<Seen, LinkError> {
        let fault = |reason: String| LinkError { peer: url.into(), reason };
        let most = self.shared.stored_most_bytes;
        if stored_bytes > most {
            let reason = format!("a frame of {stored_bytes} bytes; a chunk's has at most {most}");
            return Err(fault(reason));
        }
        self.stored.resize(stored_bytes, 0);
        self.shared.http.get_range(url, offset_bytes, &mut self.stored)?;
        let inflated = Decompressor::new()
            .and_then(|mut inflate| inflate.decompress_to_buffer(&self.stored, plain))
            .map_err(|error| {
                fault(format!("frame at byte {offset_bytes} does not inflate: {error}"))
            })?;
        if inflated != plain.len() {
            return Err(fault(format!(
                "frame at byte {offset_bytes} inflates to {inflated} bytes instead of {}",
                plain.len()
            )));
        }
        Ok(Seen::Fetched { sha256: Sha256::of(plain) })
    }

    /// Waits, but not for what nobody will reap: stopping unparks the thread.
    fn pause(&self, pause_ms: u64) {
        let until = Instant::now() + Duration::from_millis(pause_ms);
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
                WorkError::Source(LinkError { peer: blob_url(source, pack), reason })
            }
            _ => {
                let (operation, offset_bytes, length_bytes) = extent(work);
                let error = self.shared.file.error(operation, offset_bytes, length_bytes, reason);
                WorkError::Device(error)
            }
        }
    }
}

/// What the job is called, where on the disk it is, and how much of its buffer it uses. A fetch
/// touches no disk.
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

/// Makes the range zero; says whether it was so already. Reading first spares the medium a write
/// that changes nothing, and a discard would not promise zeroes. What cannot be read is written: a
/// disk may mend a bad block by that.
fn zero(
    file: &DirectFile,
    offset_bytes: u64,
    buffer: &mut [u8],
    look_first: bool,
) -> Result<bool, DeviceError> {
    if look_first && file.read(offset_bytes, buffer).is_ok() && is_zero(buffer) {
        return Ok(true);
    }
    buffer.fill(0);
    file.write(offset_bytes, buffer)?;
    Ok(false)
}

/// In blocks, since comparing memory is fast even in a binary that was built to be small.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|block| block == &ZEROES[..block.len()])
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
