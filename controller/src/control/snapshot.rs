//! Every server as it was a moment ago, read once for all who look at the whole pool: lists by type,
//! plans, the page, names. What this controller itself did to a server is always in it; what servers
//! reported, and what other controllers did, may be older by [`FRESH`] and the time of reading it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use repave_protocol::ServerId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Control, ControlError};
use crate::fleet::Server;

/// How old a snapshot may be; a second is what people take for now.
const FRESH: Duration = Duration::from_secs(1);

/// Servers without settings, by id.
pub(super) type Servers = Arc<BTreeMap<ServerId, Server>>;

/// The last snapshot, and what makes it old before its time.
#[derive(Default)]
pub(super) struct Snapshot {
    taken: Mutex<Option<Taken>>,
    /// Commits of servers by operators and the balancer.
    writes: AtomicU64,
}

struct Taken {
    at: Instant,
    writes: u64,
    servers: Servers,
}

impl Snapshot {
    /// A server was changed here; whoever looks from now on sees it.
    pub(super) fn spoil(&self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Control {
    /// Every server, as of about a second ago at most.
    pub(super) async fn snapshot(&self) -> Result<Servers, ControlError> {
        // Held while it is read, so that those who come meanwhile share what was read.
        let mut taken = self.snapshot.taken.lock().await;
        let writes = self.snapshot.writes.load(Ordering::Acquire);
        let fresh =
            taken.as_ref().filter(|taken| taken.writes == writes && taken.at.elapsed() < FRESH);
        if let Some(fresh) = fresh {
            return Ok(Arc::clone(&fresh.servers));
        }
        let mut servers = BTreeMap::new();
        self.load_servers(&mut servers).await?;
        let servers = Arc::new(servers);
        // Counted from here, or a pool that takes a second to read would be read each time.
        let at = Instant::now();
        *taken = Some(Taken { at, writes, servers: Arc::clone(&servers) });
        Ok(servers)
    }
}
