//! The leader's lease: held by one controller of all that share a database. It has no term; it is
//! over when its connection is. A leader that lost it without noticing still overwrites nothing,
//! since its commits name the revisions that it had read.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::limits;

/// The one key of our session lock in its database: "repave" in ASCII.
const LOCK_KEY: i64 = 0x7265_7061_7665;

/// Proof of being the leader; dropped or [released](Lease::release), somebody else may be.
#[derive(Debug)]
pub struct Lease(Held);

#[derive(Debug)]
enum Held {
    /// SQLite has one process, whose parts take turns.
    Process(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>),
    /// `None`: was lost.
    Connection(Option<PgConnection>),
}

impl Lease {
    pub(super) fn of_process(turn: OwnedMutexGuard<()>) -> Self {
        Self(Held::Process(turn))
    }

    /// Tries to take the lock on a connection of its own, and gives the connection away with it.
    pub(super) async fn take(mut connection: PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let sql = AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK_KEY})"));
        let taken: bool = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        if taken {
            return Ok(Some(Self(Held::Connection(Some(connection)))));
        }
        connection.close().await?;
        Ok(None)
    }

    /// Asks the database over the lease's own connection. Once it was not held, it never is again:
    /// drop it and ask for a new one.
    pub async fn is_held(&mut self) -> bool {
        let Held::Connection(connection) = &mut self.0 else { return true };
        let Some(open) = connection else { return false };
        let held = timeout(limits::LEASE_CHECK, lock_is_there(open)).await;
        let held = matches!(held, Ok(Ok(true)));
        if !held {
            *connection = None;
        }
        held
    }

    /// Gives it back at once; a dropped lease is free when the server notices.
    pub async fn release(self) {
        if let Held::Connection(Some(connection)) = self.0 {
            // What cannot be closed is dropped, which comes to the same.
            let _ = timeout(limits::LEASE_CHECK, connection.close()).await;
        }
    }
}

/// The lock itself is looked for and not only the connection: a pooler between us and the server
/// could have given us another session. `objid` is the key's low half, `classid` its high half.
async fn lock_is_there(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = AssertSqlSafe(format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND pid = pg_backend_pid() AND objsubid = 1 \
         AND (classid::bigint << 32 | objid::bigint) = {LOCK_KEY})"
    ));
    sqlx::query_scalar(sql).fetch_one(connection).await
}
