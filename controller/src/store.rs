//! The controller's memory: one seam, [`Store`], over a file (SQLite) or a server (PostgreSQL).
//! It holds servers, documents and events, writes whole commits with revisions through one door,
//! tells what changed, and says who leads. It does not look into documents; what they mean is
//! decided above. See docs/decisions/0009.

pub mod changes;
mod check;
mod error;
mod lease;
pub mod limits;
mod migrate;
mod notice;
mod place;
mod postgres;
mod read;
mod row;
mod sqlite;
mod told;

use std::panic;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use repave_protocol::ServerId;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use changes::{Changes, Committed};
pub use error::StoreError;
pub use lease::Lease;
pub use place::Place;
pub use row::{DocumentRow, EventFilter, EventRow, ServerFilter, ServerRow};
pub use told::Changed;

/// The database's name in the state directory.
const FILE_NAME: &str = "controller.db";

/// What the controller remembers. Every call ends: in [`limits::CALL`] or little more, with an
/// answer or with a [`StoreError`]; after a failure of the database the same store works again.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes all of `changes` or nothing. When it returns, they survive a power failure. Once
    /// called it runs to its end, even if its caller stops waiting for it.
    async fn commit(&self, changes: Changes) -> Result<Committed, StoreError>;

    /// Those of `ids` that exist, by id.
    async fn servers(&self, ids: &[ServerId]) -> Result<Vec<ServerRow>, StoreError>;

    /// A page of servers by id, from the first behind `after`; at most [`limits::PAGE_ROWS`].
    async fn list_servers(
        &self,
        filter: &ServerFilter,
        after: Option<ServerId>,
        limit: usize,
    ) -> Result<Vec<ServerRow>, StoreError>;

    /// Hands every server to `each`, page by page. What changes meanwhile is seen either way.
    async fn all_servers(
        &self,
        each: &mut (dyn FnMut(ServerRow) + Send),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page =
                self.list_servers(&ServerFilter::default(), after, limits::PAGE_ROWS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            page.into_iter().for_each(&mut *each);
        }
    }

    /// One document.
    async fn document(&self, kind: &str, key: &str) -> Result<Option<DocumentRow>, StoreError>;

    /// A page of documents of a kind by key, from the first behind `after`.
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, StoreError>;

    /// A page of events, oldest first, from the first behind sequence `after` (0: from the
    /// beginning). A reader that goes on where its page ended misses none.
    async fn events(
        &self,
        filter: &EventFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// A page of events, newest first, below sequence `before`.
    async fn newest_events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Removes events that are older than `before_ms`, and says how many.
    async fn prune_events(&self, before_ms: i64) -> Result<u64, StoreError>;

    /// Removes documents whose time is over at `now_ms`, and says how many. It is no news.
    async fn expire_documents(&self, now_ms: i64) -> Result<u64, StoreError>;

    /// Becomes the leader, if nobody is: neither another controller nor another part of this one.
    async fn lead(&self) -> Result<Option<Lease>, StoreError>;

    /// The news of every commit from now on, those of other controllers included.
    fn changes(&self) -> broadcast::Receiver<Changed>;

    /// Whether other controllers may write to it as well.
    fn is_shared(&self) -> bool {
        false
    }

    /// Writes a copy, as of one moment, to a new file. SQLite only: PostgreSQL has pg_dump.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Ends all connections; what is called afterwards fails.
    async fn close(&self);
}

/// Opens the database of `url`, or without one a file in `state_dir`, and brings its schema up to
/// date. The file is for one controller; a second one is refused.
pub async fn open(url: Option<&str>, state_dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        None => Ok(Arc::new(sqlite::Sqlite::open(state_dir.join(FILE_NAME)).await?)),
        Some(url) => Ok(Arc::new(postgres::Postgres::open(url).await?)),
    }
}

/// Waits for a task that nobody aborts; its panic is ours.
async fn finished<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime is shutting down, and this future with it: it is not polled again.
            Err(_) => std::future::pending().await,
        },
    }
}
