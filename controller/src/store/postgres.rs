//! The store in a PostgreSQL server, for as many controllers as like to share it. What a commit
//! writes is in `write`, how the others hear of it in `listen`. Sessions must be the server's own
//! (lease, LISTEN): a pooler that hands them out by transaction cannot be between.

mod listen;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use repave_protocol::ServerId;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

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

/// A store in a PostgreSQL server.
#[derive(Debug)]
pub(super) struct Postgres {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    options: PgConnectOptions,
    pool: PgPool,
    teller: Teller,
    /// A number of this store, by which it knows its own notifications.
    origin: i64,
}

impl Postgres {
    /// Connects to the server of `url`. Its password goes no further than into `options`.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        let scheme = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        if !scheme {
            return Err(StoreError::BadUrl { source: None });
        }
        let options: PgConnectOptions =
            url.parse().map_err(|error| StoreError::BadUrl { source: Some(error) })?;
        let place = Place::server(&options);
        // Migrations may take longer than our other statements do, so they go before `session`.
        let mut first = connect(&place, &options).await?;
        migrate::POSTGRES.bring(&mut first, &place).await?;
        let number = sqlx::query_scalar("SELECT nextval('revisions')").fetch_one(&mut first);
        let origin = place.call("draw a number", number).await?;
        // It has done its work, and what it answers to being closed changes nothing.
        let _ = place.call("disconnect", first.close()).await;

        let options = session(options);
        let pool = PgPoolOptions::new()
            .max_connections(limits::POSTGRES_CONNECTIONS)
            .acquire_timeout(limits::ACQUIRE)
            .connect_lazy_with(options.clone());
        let teller = Teller::new();
        let ear = listen::Ear::open(options.clone(), place.clone()).await?;
        let listener = tokio::spawn(ear.listen(origin, teller.clone()));
        let shared = Arc::new(Shared { place, options, pool, teller, origin });
        Ok(Self { shared, listener })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn connect(place: &Place, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    place.within(limits::ACQUIRE, "connect", PgConnection::connect_with(options)).await
}

/// What our sessions need set. The isolation is what `write` reasons with; keepalives let the
/// server notice in half a minute that a leader's machine is gone.
fn session(options: PgConnectOptions) -> PgConnectOptions {
    let statement_ms = limits::STATEMENT.as_millis().to_string();
    let call_ms = limits::CALL.as_millis().to_string();
    options.application_name("repave-controller").options([
        ("default_transaction_isolation", "read committed"),
        ("statement_timeout", &statement_ms),
        ("idle_in_transaction_session_timeout", &call_ms),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "4"),
    ])
}

impl Shared {
    async fn commit(&self, changes: Changes) -> Result<Committed, StoreError> {
        let touched = check::expectations(&changes);
        check::form(&changes, &touched)?;
        let writing = write::Commit { changes: &changes, touched: &touched, origin: self.origin };
        let committed = writing.run(&self.pool, &self.place).await;
        match &committed {
            Ok(committed) => self.teller.tell(Changed::of(&changes, committed)),
            // If it was written, its notifications are ours and so are not listened to.
            Err(StoreError::Unknown { .. }) => self.teller.tell(Changed::Anything),
            Err(_) => {}
        }
        committed
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
            let piece = self.place.call(doing, delete.execute(&self.pool)).await?;
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
        self.place.call("read events", query.build_query_as().fetch_all(&self.pool)).await
    }
}

#[async_trait]
impl Store for Postgres {
    async fn commit(&self, changes: Changes) -> Result<Committed, StoreError> {
        let shared = self.shared.clone();
        finished(tokio::spawn(async move { shared.commit(changes).await })).await
    }

    async fn servers(&self, ids: &[ServerId]) -> Result<Vec<ServerRow>, StoreError> {
        let sql = "SELECT id, revision, standing, server_type, seen_at_ms, doc FROM servers \
                   WHERE id = ANY($1) ORDER BY id";
        let ids: Vec<String> = ids.iter().map(ServerId::to_string).collect();
        let rows = sqlx::query_as(sql).bind(ids).fetch_all(&self.shared.pool);
        self.shared.place.call("read servers", rows).await
    }

    async fn list_servers(
        &self,
        filter: &ServerFilter,
        after: Option<ServerId>,
        limit: usize,
    ) -> Result<Vec<ServerRow>, StoreError> {
        let mut query = read::servers(filter, after, limit);
        let rows = query.build_query_as().fetch_all(&self.shared.pool);
        self.shared.place.call("list servers", rows).await
    }

    async fn document(&self, kind: &str, key: &str) -> Result<Option<DocumentRow>, StoreError> {
        let mut query = read::document(kind, key);
        let row = query.build_query_as().fetch_optional(&self.shared.pool);
        self.shared.place.call("read a document", row).await
    }

    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, StoreError> {
        let mut query = read::documents(kind, after, limit);
        let rows = query.build_query_as().fetch_all(&self.shared.pool);
        self.shared.place.call("list documents", rows).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.shared.events(filter, EventPage::After(after), limit).await
    }

    async fn newest_events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.shared.events(filter, EventPage::NewestBefore(before), limit).await
    }

    // Two controllers may prune at once: each passes over what the other has locked.
    async fn prune_events(&self, before_ms: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events \
                   WHERE at_ms < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        self.shared.prune("prune events", sql, before_ms).await
    }

    async fn expire_documents(&self, now_ms: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM documents WHERE (kind, key) IN (SELECT kind, key FROM documents \
                   WHERE expires_at_ms <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        self.shared.prune("expire documents", sql, now_ms).await
    }

    async fn lead(&self) -> Result<Option<Lease>, StoreError> {
        let connection = connect(&self.shared.place, &self.shared.options).await?;
        self.shared.place.call("ask for the lead", Lease::take(connection)).await
    }

    fn changes(&self) -> broadcast::Receiver<Changed> {
        self.shared.teller.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::BackupElsewhere { place: self.shared.place.clone() })
    }

    async fn close(&self) {
        self.listener.abort();
        self.shared.pool.close().await;
    }
}
