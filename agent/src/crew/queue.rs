//! The jobs that wait for a thread. Fetches of frames that lie behind one another in a pack are
//! handed out together, as one run, so that one request brings them all; everything else goes
//! first, since it frees buffers. Reads and writes that lie behind one another are handed out together,
//! too, and writes wait for each other where the device likes to be written more at a time than one chunk.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use repave_core::edges::{Job, Work};

/// Most chunks of a run; the thread that has it inflates them one after the other.
pub(super) const RUN_CHUNKS: usize = 16;
/// Most chunks that are read at a time: with more, the other threads would have none to read while
/// one looks at its own.
const READ_CHUNKS: usize = 4;

/// What a thread is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One job that is no fetch.
    One(Job),
    /// Reads that lie behind one another on the disk.
    Reads(Vec<Job>),
    /// Writes that lie behind one another on the disk.
    Writes(Vec<Job>),
    /// Fetches from one source that one request covers. To be followed by [`Queue::ran`].
    Run(Vec<Job>),
}

/// A queue, shared by those who work.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Most runs at a time: some thread has to write what they bring.
    runs_most: usize,
    /// How much is written at a time where it can be joined: what the device likes at least, and most.
    write_bytes: RangeInclusive<u64>,
}

#[derive(Default)]
struct State {
    fetches: VecDeque<Job>,
    /// By their place on the disk.
    writes: Vec<Job>,
    others: VecDeque<Job>,
    runs: usize,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(runs_most: usize, write_bytes: RangeInclusive<u64>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), runs_most, write_bytes }
    }

    /// Takes in what is to be done, all at once: neighbours are then seen together.
    pub(super) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.lock();
        for job in jobs {
            match job.work {
                Work::Fetch { .. } => state.fetches.push_back(job),
                Work::Write { first_block_last: false, .. } => {
                    let start = extent(&job.work).start;
                    let is_before = |other: &Job| extent(&other.work).start < start;
                    let place = state.writes.partition_point(is_before);
                    state.writes.insert(place, job);
                }
                _ => state.others.push_back(job),
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next job or run; waits for it. `None` once the queue is closed.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = state.others.pop_front() {
                return Some(match job.work {
                    Work::Read { .. } => {
                        Taken::Reads(take_run(job, &mut state.others, READ_CHUNKS))
                    }
                    _ => Taken::One(job),
                });
            }
            if let Some(writes) = state.take_writes(&self.write_bytes) {
                return Some(Taken::Writes(writes));
            }
            if state.runs < self.runs_most
                && let Some(first) = state.fetches.pop_front()
            {
                state.runs += 1;
                return Some(Taken::Run(take_run(first, &mut state.fetches, RUN_CHUNKS)));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A run has ended; writes that waited for what it might bring need wait no longer.
    pub(super) fn ran(&self) {
        self.lock().runs -= 1;
        self.changed.notify_all();
    }

    /// Nobody is given anything any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// A panic of a thread that held it left it as it was: nothing is changed by halves.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first writes that lie behind one another and are enough together. Once nothing is fetched
    /// no other will come to join them, and fewer are enough.
    fn take_writes(&mut self, enough: &RangeInclusive<u64>) -> Option<Vec<Job>> {
        let may_come = self.runs > 0 || !self.fetches.is_empty();
        let least_bytes = if may_come { *enough.start().max(&1) } else { 1 };
        let (mut group, mut from, mut to) = (0..0, 0, 0);
        for (place, job) in self.writes.iter().enumerate() {
            let next = extent(&job.work);
            let joins = next.start == group.end && next.end - group.start <= *enough.end();
            if joins {
                group.end = next.end;
            } else if group.end - group.start >= least_bytes {
                break;
            } else {
                (group, from) = (next, place);
            }
            to = place + 1;
        }
        let is_enough = group.end - group.start >= least_bytes;
        is_enough.then(|| self.writes.drain(from..to).collect())
    }
}

/// Where on the disk a write or a read is.
const fn extent(work: &Work) -> Range<u64> {
    match *work {
        Work::Write { offset_bytes, length_bytes, .. }
        | Work::Read { offset_bytes, length_bytes, .. } => {
            offset_bytes..offset_bytes.saturating_add(length_bytes as u64)
        }
        _ => 0..0,
    }
}

/// A job and those that follow it at once, in the queue and in their place, so many at most.
fn take_run(first: Job, jobs: &mut VecDeque<Job>, most: usize) -> Vec<Job> {
    let mut run = vec![first];
    while run.len() < most
        && let (Some(last), Some(next)) = (run.last(), jobs.front())
        && follows(&last.work, &next.work)
    {
        run.extend(jobs.pop_front());
    }
    run
}

/// Whether `next` begins where `last` ends, and need not wait.
fn follows(last: &Work, next: &Work) -> bool {
    match (last, next) {
        (
            Work::Fetch { source, pack, offset_bytes, stored_bytes, .. },
            Work::Fetch {
                source: next_source,
                pack: next_pack,
                offset_bytes: next_offset_bytes,
                pause_ms: 0,
                ..
            },
        ) => {
            (source, pack) == (next_source, next_pack)
                && offset_bytes.checked_add((*stored_bytes).into()) == Some(*next_offset_bytes)
        }
        (Work::Read { .. }, Work::Read { .. }) => extent(last).end == extent(next).start,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use repave_core::edges::{Job, Look, Slot, Work};
    use repave_protocol::Sha256;

    use super::{Queue, READ_CHUNKS, RUN_CHUNKS, Taken};

    fn fetch(slot: usize, source: &str, offset_bytes: u64, pause_ms: u64) -> Job {
        let work = Work::Fetch {
            source: source.into(),
            pack: Sha256::of(b"pack"),
            offset_bytes,
            stored_bytes: 100,
            plain_bytes: 512,
            pause_ms,
        };
        Job { slot: Slot(slot), work }
    }

    fn zero(slot: usize) -> Job {
        let work = Work::Zero { offset_bytes: 0, length_bytes: 512, look_first: true };
        Job { slot: Slot(slot), work }
    }

    /// What comes out, as slot numbers, when these went in.
    fn check(jobs: Vec<Job>, expected: &[&[usize]]) {
        let queue = Queue::new(usize::MAX, 0..=0);
        queue.push(jobs);
        for slots in expected {
            let taken = match queue.take() {
                Some(Taken::One(job)) => vec![job],
                Some(Taken::Run(jobs) | Taken::Reads(jobs) | Taken::Writes(jobs)) => jobs,
                None => Vec::new(),
            };
            let found: Vec<usize> = taken.iter().map(|job| job.slot.0).collect();
            assert_eq!(found, *slots);
        }
        queue.close();
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn neighbours_are_one_run_and_others_go_first() {
        let jobs = vec![fetch(0, "a", 0, 0), zero(1), fetch(2, "a", 100, 0), fetch(3, "a", 300, 0)];
        check(jobs, &[&[1], &[0, 2], &[3]]);
    }

    #[test]
    fn another_source_a_pause_and_the_limit_end_a_run() {
        check(vec![fetch(0, "a", 0, 0), fetch(1, "b", 100, 0)], &[&[0], &[1]]);
        check(vec![fetch(0, "a", 0, 9), fetch(1, "a", 100, 9)], &[&[0], &[1]]);
        let many: Vec<Job> = (0..=RUN_CHUNKS).map(|n| fetch(n, "a", n as u64 * 100, 0)).collect();
        let first: Vec<usize> = (0..RUN_CHUNKS).collect();
        check(many, &[&first, &[RUN_CHUNKS]]);
        check(vec![fetch(0, "a", u64::MAX, 0), fetch(1, "a", 99, 0)], &[&[0], &[1]]);
    }

    #[test]
    fn neighbours_are_read_together() {
        let read = |slot: usize, offset_bytes| {
            let work = Work::Read { offset_bytes, length_bytes: 512, look: Look::Crc32 };
            Job { slot: Slot(slot), work }
        };
        check(vec![read(0, 0), read(1, 512), read(2, 1536)], &[&[0, 1], &[2]]);
        check(vec![read(0, 512), zero(1), read(2, 1024)], &[&[0], &[1], &[2]]);
        let many = (0..=READ_CHUNKS).map(|n| read(n, n as u64 * 512)).collect();
        let first: Vec<usize> = (0..READ_CHUNKS).collect();
        check(many, &[&first, &[READ_CHUNKS]]);
    }

    #[test]
    fn no_more_runs_at_a_time_than_allowed() {
        let queue = Queue::new(1, 1..=1);
        queue.push([fetch(0, "a", 0, 0)]);
        assert!(matches!(queue.take(), Some(Taken::Run(_))));
        queue.push([fetch(1, "a", 500, 0), zero(2)]);
        assert!(matches!(queue.take(), Some(Taken::One(_))));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.take());
            queue.ran();
            assert!(matches!(waiting.join().unwrap(), Some(Taken::Run(_))));
        });
    }

    fn write(slot: usize, offset_bytes: u64) -> Job {
        let work = Work::Write { offset_bytes, length_bytes: 512, first_block_last: false };
        Job { slot: Slot(slot), work }
    }

    /// The slots of the writes that are taken from a queue, one group after the other.
    fn check_writes(offsets: &[u64], is_fetching: bool, expected: &[&[usize]]) {
        let queue = Queue::new(1, 1024..=2048);
        if is_fetching {
            queue.push([fetch(99, "a", 0, 0)]);
            assert!(matches!(queue.take(), Some(Taken::Run(_))));
        }
        queue.push(offsets.iter().enumerate().map(|(slot, offset)| write(slot, *offset)));
        for slots in expected {
            let mut state = queue.lock();
            let taken = state.take_writes(&queue.write_bytes).unwrap();
            let found: Vec<usize> = taken.iter().map(|job| job.slot.0).collect();
            assert_eq!(found, *slots, "{offsets:?}");
        }
        assert_eq!(queue.lock().take_writes(&queue.write_bytes), None, "{offsets:?}");
    }

    #[test]
    fn writes_wait_for_their_neighbours_as_long_as_these_may_come() {
        check_writes(&[512, 0], true, &[&[1, 0]]);
        check_writes(&[0, 1024], true, &[]);
        check_writes(&[0, 1024, 1536], true, &[&[1, 2]]);
        check_writes(&[0, 1024, 1536], false, &[&[0], &[1, 2]]);
        check_writes(&[0, 512, 1024, 1536, 2048], true, &[&[0, 1, 2, 3]]);
        check_writes(&[0, 512, 1024, 1536, 2048], false, &[&[0, 1, 2, 3], &[4]]);
        check_writes(&[0, 0], false, &[&[1], &[0]]);
    }
}
