//! The store in one file: nothing to install and nothing to configure, for one controller. One
//! connection writes and some read beside it (WAL). What a commit writes is in `write`.

mod file;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use async_trait::async_trait;
use repave_protocol::ServerId;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::{Mutex, broadcast};

use super::changes::{Changes, Committed};
use super::check;
use super::error::StoreError;
use super::lease::Lease;
use super::limits;
use super::migrate;
use super::place::Place;
use super::read::{self, EventPage};
use super::row::{DocumentRow, EventFilter, EventRow, ServerFilter, ServerRow};
use super::told::{Changed, Teller};
use super::{Store, finished};

/// A store in a file of this machine.
#[derive(Debug)]
pub(super) struct Sqlite(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    place: Place,
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    teller: Teller,
    turn: Arc<Mutex<()>>,
    /// Keeps other controllers off; after the pools, since fields are dropped in order.
    lock: SyncMutex<Option<file::Lock>>,
}

impl Sqlite {
    /// Opens `path`, or makes it, for this process alone.
    pub(super) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        let place = Place::file(&path);
        let lock = SyncMutex::new(Some(file::prepare(&path)?));
        let writer = pool(&path, 1, false);
        migrate::SQLITE.bring(&writer, &place).await?;
        let readers = pool(&path, limits::SQLITE_READERS, true);
        let turn = Arc::new(Mutex::new(()));
        let shared = Shared { place, path, writer, readers, teller: Teller::new(), turn, lock };
        Ok(Self(Arc::new(shared)))
    }
}

/// FULL, since in WAL mode the default would let a power failure take back the last commits.
fn pool(path: &Path, connections: u32, read_only: bool) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(limits::STATEMENT)
        .pragma("query_only", if read_only { "ON" } else { "OFF" });
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limits::CALL)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options)
}

impl Shared {
    async fn commit(&self, changes: Changes) -> Result<Committed, StoreError> {
        let touched = check::expectations(&changes);
        check::form(&changes, &touched)?;
        let committed = write::commit(&self.writer, &self.place, &changes, &touched).await?;
        self.teller.tell(Changed::of(&changes, &committed));
        Ok(committed)
    }

    /// Deletes rows in pieces, until a piece is not full.
    async fn prune(
        &self,
        doing: &'static str,
        sql: &'static str,
        before_ms: i64,
    ) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let delete = sqlx::query(sql).bind(before_ms).bind(limits::PRUNE_ROWS);
            let piece = self.place.call(doing, delete.execute(&self.writer)).await?;
            pruned += piece.rows_affected();
            if piece.rows_affected() < limits::PRUNE_ROWS.unsigned_abs() {
                return Ok(pruned);
            }
        }
    }

    async fn events(
        &self,
        filter: &EventFilter,
        from: EventPage,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let mut query = read::events(filter, from, limit);
        self.place.call("read events", query.build_query_as().fetch_all(&self.readers)).await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, changes: Changes) -> Result<Committed, StoreError> {
        let shared = self.0.clone();
        finished(tokio::spawn(async move { shared.commit(changes).await })).await
    }

    async fn servers(&self, ids: &[ServerId]) -> Result<Vec<ServerRow>, StoreError> {
        let sql = "SELECT id, revision, standing, server_type, seen_at_ms, doc FROM servers \
                   WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id";
        let query = sqlx::query_as(sql).bind(write::json(ids));
        self.0.place.call("read servers", query.fetch_all(&self.0.readers)).await
    }

    async fn list_servers(
        &self,
        filter: &ServerFilter,
        after: Option<ServerId>,
        limit: usize,
    ) -> Result<Vec<ServerRow>, StoreError> {
        let mut query = read::servers(filter, after, limit);
        self.0.place.call("list servers", query.build_query_as().fetch_all(&self.0.readers)).await
    }

    async fn document(&self, kind: &str, key: &str) -> Result<Option<DocumentRow>, StoreError> {
        let mut query = read::document(kind, key);
        let row = query.build_query_as().fetch_optional(&self.0.readers);
        self.0.place.call("read a document", row).await
    }

    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, StoreError> {
        let mut query = read::documents(kind, after, limit);
        let rows = query.build_query_as().fetch_all(&self.0.readers);
        self.0.place.call("list documents", rows).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.0.events(filter, EventPage::After(after), limit).await
    }

    async fn newest_events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.0.events(filter, EventPage::NewestBefore(before), limit).await
    }

    async fn prune_events(&self, before_ms: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM events WHERE sequence IN \
                   (SELECT sequence FROM events WHERE at_ms < ?1 LIMIT ?2)";
        self.0.prune("prune events", sql, before_ms).await
    }

    async fn expire_documents(&self, now_ms: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM documents WHERE rowid IN \
                   (SELECT rowid FROM documents WHERE expires_at_ms <= ?1 LIMIT ?2)";
        self.0.prune("expire documents", sql, now_ms).await
    }

    async fn lead(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.0.turn.clone().try_lock_owned().ok().map(Lease::of_process))
    }

    fn changes(&self) -> broadcast::Receiver<Changed> {
        self.0.teller.subscribe()
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        // A connection of its own: VACUUM counts as writing, even into another file, but keeps
        // nobody from it.
        let own = pool(&self.0.path, 1, false);
        let copied = file::backup(&own, &self.0.place, to).await;
        own.close().await;
        copied
    }

    async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
        // Whoever still holds this store can do nothing with it; another controller may.
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
