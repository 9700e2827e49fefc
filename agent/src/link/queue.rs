//! What is told and waits for the network, in its order and in bounded memory. Sending is not
//! done here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use repave_protocol::{Envelope, Standing, Status};

/// Most statuses that wait. When it is full, progress is dropped first, oldest first.
const QUEUE_LENGTH: usize = 64;

/// What waits to be told. The oldest stays in it while it is being sent.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    statuses: VecDeque<Arc<Told>>,
    /// Somebody waits for the queue to drain: the pause under way, or else the next, is skipped.
    hurry: bool,
    closed: bool,
}

pub(super) struct Told {
    pub(super) bytes: Vec<u8>,
    is_progress: bool,
}

impl Queue {
    /// Adds a sealed status. Never blocks.
    pub(super) fn push(&self, bytes: Vec<u8>) {
        let is_progress = is_progress(&bytes);
        let statuses = &mut self.lock().statuses;
        if statuses.len() == QUEUE_LENGTH {
            let dropped = statuses.iter().position(|told| told.is_progress).unwrap_or(0);
            statuses.remove(dropped);
        }
        statuses.push_back(Arc::new(Told { bytes, is_progress }));
        self.changed.notify_all();
    }

    /// Waits until nothing waits any more, at most for `limit`.
    pub(super) fn settle(&self, limit: Duration) {
        let mut state = self.lock();
        state.hurry = true;
        self.changed.notify_all();
        let full = |state: &mut Waiting| !state.statuses.is_empty();
        let waited = self.changed.wait_timeout_while(state, limit, full);
        waited.unwrap_or_else(PoisonError::into_inner).0.hurry = false;
    }

    /// Nobody tells any more; what waits is forgotten.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        self.lock().statuses.clear();
        self.changed.notify_all();
    }

    /// The oldest status, once there is one; `None` when the link is closed.
    pub(super) fn oldest(&self) -> Option<Arc<Told>> {
        let idle = |state: &mut Waiting| state.statuses.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.statuses.front().filter(|_| !state.closed).cloned()
    }

    /// Takes `told` out, unless it was dropped meanwhile.
    pub(super) fn done_with(&self, told: &Arc<Told>) {
        let mut state = self.lock();
        if state.is_wanted(told) {
            state.statuses.pop_front();
        }
        self.changed.notify_all();
    }

    /// Waits after a failure, and says whether `told` is to be tried again.
    pub(super) fn pause(&self, told: &Arc<Told>, duration: Duration) -> bool {
        let patient = |state: &mut Waiting| !state.hurry && state.is_wanted(told);
        let waited = self.changed.wait_timeout_while(self.lock(), duration, patient);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.hurry = false;
        state.is_wanted(told)
    }

    /// Nothing that panics holds the lock, so that poison would mean nothing.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether `told` is still the next to go.
    fn is_wanted(&self, told: &Arc<Told>) -> bool {
        !self.closed && self.statuses.front().is_some_and(|front| Arc::ptr_eq(front, told))
    }
}

/// Whether a sealed status only says how far a purposing or a wipe is; the next one says more.
fn is_progress(status: &[u8]) -> bool {
    let standing = serde_json::from_slice::<Envelope>(status)
        .ok()
        .and_then(|envelope| STANDARD.decode(envelope.payload).ok())
        .and_then(|payload| serde_json::from_slice::<Status>(&payload).ok())
        .map(|status| status.standing);
    matches!(standing, Some(Standing::Purposing { .. } | Standing::Wiping { .. }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use repave_protocol::{
        Generation, Nonce, ServerId, Side, SigningKey, Stage, Standing, Status, WipePass, seal,
    };

    use super::{QUEUE_LENGTH, Queue, is_progress};

    const LONG: Duration = Duration::from_secs(3600);

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn server() -> ServerId {
        ServerId::of(&key().public())
    }

    fn status(sequence: u64, standing: Standing) -> Vec<u8> {
        let status = Status {
            crit: Vec::new(),
            pool: "demo".parse().unwrap(),
            server: server(),
            nonce: Nonce::from_random([1; 32]),
            boot: Nonce::from_random([2; 32]),
            sequence,
            side: Side::Default,
            agent: "0.1.0".into(),
            generation: Some(Generation(1)),
            seal: None,
            wiped: None,
            standing,
            log: None,
            bad_sources: Vec::new(),
            uptime_ms: 1,
            watchdog: None,
            inventory: None,
            default_partition: None,
            trust: None,
            join_token: None,
        };
        seal(&status, &key())
    }

    fn progress(sequence: u64) -> Vec<u8> {
        let standing = Standing::Purposing {
            stage: Stage::Unsealed,
            done_bytes: 1,
            total_bytes: 2,
            bytes_per_s: 1,
        };
        status(sequence, standing)
    }

    #[test]
    fn a_full_queue_drops_progress_first_and_then_the_oldest() {
        let queue = Queue::default();
        queue.push(status(0, Standing::Idle));
        queue.push(progress(1));
        for sequence in 2..=QUEUE_LENGTH as u64 {
            queue.push(status(sequence, Standing::Staying));
        }
        let told = queue.oldest().unwrap();
        assert_eq!(told.bytes, status(0, Standing::Idle));
        assert_eq!(queue.lock().statuses[1].bytes, status(2, Standing::Staying));
        queue.push(status(1000, Standing::Staying));
        assert_eq!(queue.lock().statuses.len(), QUEUE_LENGTH);
        assert_eq!(queue.oldest().unwrap().bytes, status(2, Standing::Staying));
        // What was dropped while it was sent takes nobody else along.
        queue.done_with(&told);
        assert_eq!(queue.lock().statuses.len(), QUEUE_LENGTH);
    }

    #[test]
    fn a_pause_ends_when_somebody_settles_asks_or_leaves() {
        for (wake, again) in [
            ((|queue| queue.lock().hurry = true) as fn(&Queue), true),
            (Queue::clear, false),
            (Queue::close, false),
        ] {
            let queue = Queue::default();
            queue.push(b"told".to_vec());
            let told = queue.oldest().unwrap();
            wake(&queue);
            assert_eq!(queue.pause(&told, LONG), again);
        }
    }

    #[test]
    fn only_how_far_something_is_is_progress() {
        assert!(is_progress(&progress(1)));
        let pass = WipePass::Zeroing;
        let wiping = Standing::Wiping { pass, done_bytes: 1, total_bytes: 2, bytes_per_s: 1 };
        assert!(is_progress(&status(1, wiping)));
        assert!(!is_progress(&status(1, Standing::Staying)));
        assert!(!is_progress(b"no envelope"));
    }
}
