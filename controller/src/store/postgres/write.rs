//! One commit in PostgreSQL: a handful of statements, however many rows; arrays go in and `unnest`
//! takes them apart.
//!
//! Rows that exist are locked first, in one order (servers by id, then documents by kind and key),
//! then compared, then written; new rows are inserted in that order too. So two commits wait for
//! one another and do not lock each other out. What remains (one creates rows that the other puts
//! with [`Expected::Any`]) the server ends with an error that becomes [`StoreError::Busy`].

mod rows;

use std::ops::RangeInclusive;

use sqlx::Transaction;
use sqlx::postgres::{PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::listen::CHANNEL;
use crate::store::changes::{Changes, Committed, Expected, Key};
use crate::store::check;
use crate::store::error::StoreError;
use crate::store::limits;
use crate::store::notice::Notice;
use crate::store::place::Place;
use crate::store::told::Changed;

const DOING: &str = "commit";
/// The key of the transaction lock under which events get their sequences: "events" in ASCII.
const EVENTS_KEY: i64 = 0x6576_656e_7473;

type Open = (Transaction<'static, Postgres>, Committed);

/// A commit and what it needs to know.
pub(super) struct Commit<'a> {
    pub(super) changes: &'a Changes,
    pub(super) touched: &'a [(Key, Expected)],
    pub(super) origin: i64,
}

impl Commit<'_> {
    pub(super) async fn run(&self, pool: &PgPool, place: &Place) -> Result<Committed, StoreError> {
        let (transaction, committed) = place.call(DOING, self.prepare(pool)).await??;
        match timeout(limits::CALL, transaction.commit()).await {
            Ok(Ok(())) => Ok(committed),
            Ok(Err(error)) if was_refused(&error) => Err(place.failed(DOING, error)),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unknown { place: place.clone() }),
        }
    }

    /// Everything but the last word. The inner error is a conflict; then all of it is undone.
    async fn prepare(&self, pool: &PgPool) -> Result<Result<Open, StoreError>, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        match self.write(&mut transaction).await? {
            Ok(committed) => Ok(Ok((transaction, committed))),
            Err(conflict) => {
                transaction.rollback().await?;
                Ok(Err(conflict))
            }
        }
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Result<Committed, StoreError>, sqlx::Error> {
        let found = rows::lock(connection, self.touched).await?;
        if let Err(conflict) = check::revisions(self.touched, &found) {
            return Ok(Err(conflict));
        }
        // Drawn under the locks, so that no row's revision falls.
        let sql = "SELECT nextval('revisions')";
        let revision = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
        let mut late = rows::servers(connection, self.changes, revision).await?;
        late.extend(rows::documents(connection, self.changes, revision).await?);
        if let Some(key) = late.into_iter().next() {
            return self.was_created(connection, key).await.map(Err);
        }
        let events = self.events(connection).await?;
        let committed = Committed { revision, events };
        self.notify(connection, &committed).await?;
        Ok(Ok(committed))
    }

    /// `key` was not there when the others were locked, and is there now: somebody was faster.
    async fn was_created(
        &self,
        connection: &mut PgConnection,
        key: Key,
    ) -> Result<StoreError, sqlx::Error> {
        let expected = Expected::MustNotExist;
        let found = rows::lock(connection, &[(key.clone(), expected)]).await?.remove(&key);
        Ok(StoreError::Conflict { key, expected, found })
    }

    /// Sequences are given out in the order of commits, so that a reader who has seen one will
    /// never find another below it: the lock is held from drawing them to the end of the commit,
    /// which PostgreSQL makes visible before it lets go of locks. A row with a counter would do the
    /// same and leave a dead row behind each commit. It costs nothing that NOTIFY, which also lets
    /// commits through one by one, would not cost anyway.
    async fn events(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<RangeInclusive<i64>>, sqlx::Error> {
        if self.changes.events.is_empty() {
            return Ok(None);
        }
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(EVENTS_KEY);
        lock.execute(&mut *connection).await?;
        rows::events(connection, &self.changes.events).await.map(Some)
    }

    /// Within the transaction: the others are told if and only if it is committed.
    async fn notify(
        &self,
        connection: &mut PgConnection,
        committed: &Committed,
    ) -> Result<(), sqlx::Error> {
        let payloads = Notice::payloads(self.origin, &Changed::of(self.changes, committed));
        let sql = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
        sqlx::query(sql).bind(CHANNEL).bind(payloads).execute(connection).await.map(drop)
    }
}

/// Whether the server said no, and did not just go away: then nothing was written.
fn was_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|answer| answer.code());
    code.is_some_and(|code| !code.starts_with("08") && !code.starts_with("57"))
}
