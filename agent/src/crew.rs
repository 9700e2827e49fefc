//! Transfer workers: threads over one disk that fetch, inflate, write, read back and digest in a
//! fixed pool of buffers. What is done in which order, what is tried again and whether the bytes
//! are right is the core's to say.

mod queue;
#[cfg(test)]
mod tests;
mod worker;
mod zeroes;

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use repave_core::edges::{Completion, Crew, DeviceError, Job, Slot, WorkError, Workers};
use repave_sys::AlignedBuffer;

use crate::direct_file::{ALIGNMENT_BYTES, DirectFile};
use crate::disk::OpenDisk;
use crate::http::Http;
use queue::{Queue, RUN_CHUNKS};
use worker::{Shared, Worker};

/// Fewest threads: one waits for the network while the other waits for the disk.
const THREADS_LEAST: usize = 2;
/// Most threads; more only wait for the same disk.
const THREADS_MOST: usize = 16;
/// Most bytes of buffers, frames included, so that the whole agent stays within 64 MiB whatever the
/// size of a chunk.
const POOL_BYTES: u64 = 24 * 1024 * 1024;
/// The part of the memory that is available which the buffers may take: the rest of it is the page
/// cache that settings need, and the kernel that kexec loads.
const POOL_SHARE: u64 = 6;
/// Fewest buffers, whatever their size: one on its way in, one on its way out.
const SLOTS_LEAST: usize = 2;

/// Makes workers over the server's disks.
pub struct ThreadCrew {
    disks: Vec<OpenDisk>,
    http: Arc<dyn Http>,
}

impl ThreadCrew {
    /// A crew for `disks`, in the order in which the core counts them. All its threads fetch with
    /// `http`, which had better keep a connection for each.
    pub fn new(disks: Vec<OpenDisk>, http: Arc<dyn Http>) -> Self {
        Self { disks, http }
    }
}

impl Crew for ThreadCrew {
    fn start(&mut self, disk: usize, chunk_bytes: u32) -> Result<Box<dyn Workers>, DeviceError> {
        let failed = |device: String, reason: String| DeviceError {
            device,
            operation: "start of workers",
            offset_bytes: 0,
            length_bytes: u64::from(chunk_bytes),
            reason,
        };
        let Some(open) = self.disks.get(disk) else {
            let reason = format!("there are {} disks", self.disks.len());
            return Err(failed(format!("disk number {disk}"), reason));
        };
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        let size = pool_size(cpus, available_bytes(), chunk_bytes as usize);
        ThreadWorkers::start(open.file(), Arc::clone(&self.http), size, chunk_bytes as usize)
            .map(|workers| Box::new(workers) as Box<dyn Workers>)
            .map_err(|error| failed(open.name().into(), error.to_string()))
    }
}

/// Threads and buffers for `cpus` processors, so much memory and chunks of `chunk_bytes`. There are
/// more threads than processors, since some of them wait; each may hold a frame as large as a chunk.
fn pool_size(cpus: usize, available_bytes: u64, chunk_bytes: usize) -> (usize, usize) {
    let pool_bytes = POOL_BYTES.min(available_bytes / POOL_SHARE);
    let room = (pool_bytes / chunk_bytes.max(1) as u64) as usize;
    let threads = (2 * cpus + 4).min(THREADS_MOST).min(room / 3).max(THREADS_LEAST);
    let slots = (RUN_CHUNKS * threads).min(room.saturating_sub(threads)).max(SLOTS_LEAST);
    (threads.min(slots), slots)
}

/// How much is written at a time where chunks lie behind one another: no less than the device likes,
/// as long as half of the buffers hold that, and no more than a run brings.
fn write_bytes(optimal_bytes: u32, slots: usize, chunk_bytes: u64) -> RangeInclusive<u64> {
    let least = u64::from(optimal_bytes).min((slots as u64 / 2).max(1) * chunk_bytes);
    least..=least.max(RUN_CHUNKS as u64 * chunk_bytes)
}

/// Memory that can be had without swapping (proc(5), `MemAvailable`).
fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

struct ThreadWorkers {
    slots: usize,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// Handed over, and not in the queue yet.
    submitted: Vec<Job>,
    completions: Receiver<Vec<Completion>>,
    /// Come in, and not reaped yet.
    completed: VecDeque<Completion>,
    under_way: Vec<Slot>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadWorkers {
    fn start(
        file: Arc<DirectFile>,
        http: Arc<dyn Http>,
        (threads, slots): (usize, usize),
        chunk_bytes: usize,
    ) -> std::io::Result<Self> {
        let buffer = || Mutex::new(AlignedBuffer::new(chunk_bytes, ALIGNMENT_BYTES));
        let shared = Arc::new(Shared {
            file,
            http,
            buffers: (0..slots).map(|_| buffer()).collect(),
            stored_most_bytes: zstd::zstd_safe::compress_bound(chunk_bytes),
            stopping: AtomicBool::new(false),
        });
        let write_bytes = write_bytes(shared.file.optimal_bytes(), slots, chunk_bytes as u64);
        let (done, completions) = mpsc::channel();
        // Half of the threads stay free of fetching: a run takes its thread for long, and one thread
        // alone would write more slowly than the disk.
        let queue = Arc::new(Queue::new((threads / 2).max(1), write_bytes));
        // From here on a failure drops `workers`, which ends the threads that did start.
        let mut workers = Self {
            slots,
            shared,
            queue: Arc::clone(&queue),
            submitted: Vec::with_capacity(slots),
            completions,
            completed: VecDeque::with_capacity(slots),
            under_way: Vec::with_capacity(slots),
            threads: Vec::with_capacity(threads),
        };
        for number in 0..threads {
            let worker = Worker::new(Arc::clone(&workers.shared));
            let (queue, done) = (Arc::clone(&queue), done.clone());
            let thread = thread::Builder::new()
                .name(format!("worker {number}"))
                .spawn(move || worker.run(&queue, &done))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Workers for ThreadWorkers {
    fn slots(&self) -> usize {
        self.slots
    }

    fn submit(&mut self, job: Job) {
        self.under_way.push(job.slot);
        self.submitted.push(job);
    }

    fn reap(&mut self) -> Completion {
        assert!(!self.under_way.is_empty(), "reap is called only while jobs are under way");
        if self.completed.is_empty() {
            self.queue.push(self.submitted.drain(..));
            self.completed.extend(self.completions.recv().unwrap_or_default());
        }
        let completion = self.completed.pop_front().unwrap_or_else(|| {
            let reason = "all workers have ended".into();
            let error = self.shared.file.error("work", 0, 0, reason);
            Completion { slot: self.under_way[0], outcome: Err(WorkError::Device(error)) }
        });
        self.under_way.retain(|slot| *slot != completion.slot);
        completion
    }
}

impl Drop for ThreadWorkers {
    /// Jobs not yet begun are forgotten; one that is under way is waited for.
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.queue.close();
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            // A worker catches its jobs' panics; if it ended by one of its own, it has ended.
            let _ = thread.join();
        }
    }
}
