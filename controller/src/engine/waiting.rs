//! Who waits for news of which server. A held status registers before it looks, so that no news
//! falls between; whoever commits a change that may matter tells here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repave_protocol::ServerId;
use tokio::sync::Notify;

/// All who wait.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    servers: Arc<Mutex<HashMap<ServerId, Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    notify: Arc<Notify>,
    count: usize,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub struct News {
    waiting: Waiting,
    server: ServerId,
    notify: Arc<Notify>,
}

impl Waiting {
    /// Waits for news of `server` from now on.
    pub fn register(&self, server: ServerId) -> News {
        let mut servers = self.lock();
        let waiter =
            servers.entry(server).or_insert_with(|| Waiter { notify: Arc::default(), count: 0 });
        waiter.count += 1;
        let notify = Arc::clone(&waiter.notify);
        drop(servers);
        News { waiting: self.clone(), server, notify }
    }

    /// There is news of these.
    pub fn tell(&self, news: &[ServerId]) {
        let servers = self.lock();
        for waiter in news.iter().filter_map(|server| servers.get(server)) {
            // Kept for one that is about to wait; two who wait for one server are a rarity, and
            // the second looks again when its poll is over.
            waiter.notify.notify_one();
        }
    }

    /// There may be news of anybody.
    pub fn tell_all(&self) {
        for waiter in self.lock().values() {
            waiter.notify.notify_one();
        }
    }

    /// How many servers are waited for.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Nothing that is done under the lock can leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<ServerId, Waiter>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    /// Returns once there is news; at once if there was some since the last call.
    pub async fn come(&self) {
        self.notify.notified().await;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waiter) = self.waiting.lock().entry(self.server) {
            waiter.get_mut().count -= 1;
            if waiter.get().count == 0 {
                waiter.remove();
            }
        }
    }
}
