//! The pool's state between the connections, which wait for it asynchronously, and the test, which
//! blocks. Whoever changes it wakes both.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::library::Library;
use crate::pool::{Pool, Reply};

pub(crate) struct Shared {
    pool: Mutex<Pool>,
    changed: Condvar,
    version: watch::Sender<u64>,
    start: Instant,
    pub(crate) library: Option<Library>,
}

impl Shared {
    pub(crate) fn new(pool: Pool, library: Option<Library>) -> Self {
        Self {
            pool: Mutex::new(pool),
            changed: Condvar::new(),
            version: watch::Sender::new(0),
            start: Instant::now(),
            library,
        }
    }

    /// Milliseconds from the stub's start to `instant`; 0 for what was earlier.
    pub(crate) fn at_ms(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    /// Looks at the pool.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Pool) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the pool and wakes everybody who waits for a change.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Pool) -> R) -> R {
        let result = change(&mut self.lock());
        self.wake();
        result
    }

    /// Tries to answer a status. A status that stays held is no news: two of them would else wake
    /// each other for ever.
    pub(crate) fn try_answer(&self, attempt: impl FnOnce(&mut Pool) -> Reply) -> Reply {
        let reply = attempt(&mut self.lock());
        if !matches!(reply, Reply::Hold) {
            self.wake();
        }
        reply
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.version.send_modify(|version| *version += 1);
    }

    /// Sees every change that comes after this call.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Blocks until `look` finds something, or `limit` is over.
    pub(crate) fn wait<R>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&Pool) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut pool = self.lock();
        loop {
            if let Some(found) = look(&pool) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            pool = self.changed.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A test that panicked while it looked has changed nothing; the others go on.
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
