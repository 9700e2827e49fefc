//! Which database it is, for messages, and what its errors mean: the one place where driver errors
//! become ours.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteError;
use tokio::time::timeout;

use super::error::StoreError;
use super::limits;

/// A database's name in messages, which never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Arc<str>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    pub(super) fn file(path: &Path) -> Self {
        Self(format!("SQLite database {}", path.display()).into())
    }

    pub(super) fn server(options: &PgConnectOptions) -> Self {
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let host = options.get_socket().map_or_else(
            || format!("{}:{}", options.get_host(), options.get_port()),
            |socket| format!("{} (port {})", socket.display(), options.get_port()),
        );
        let user = options.get_username();
        Self(format!("PostgreSQL database {database} at {host} (user {user})").into())
    }

    /// Runs one call, for [`limits::CALL`] at most, and says what its error means.
    pub(super) async fn call<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        self.within(limits::CALL, doing, work).await
    }

    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        doing: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        match timeout(limit, work).await {
            Ok(result) => result.map_err(|source| self.failed(doing, source)),
            Err(_) => Err(StoreError::Slow { place: self.clone(), doing, limit }),
        }
    }

    pub(super) fn failed(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        let place = self.clone();
        match meaning(&source) {
            Meaning::Unavailable => StoreError::Unavailable { place, doing, source },
            Meaning::Untrusted => StoreError::Untrusted { place, doing, source },
            Meaning::Refused(reason) => StoreError::Refused { place, reason },
            Meaning::Slow => StoreError::Slow { place, doing, limit: limits::STATEMENT },
            Meaning::Busy => StoreError::Busy { place, doing, source },
            Meaning::Full => StoreError::Full { place, doing, source },
            Meaning::Damaged => StoreError::Damaged { place, doing, source },
            Meaning::Statement => StoreError::Statement { place, doing, source },
        }
    }
}

enum Meaning {
    Unavailable,
    Untrusted,
    Refused(String),
    Slow,
    Busy,
    Full,
    Damaged,
    Statement,
}

fn meaning(error: &sqlx::Error) -> Meaning {
    match error {
        sqlx::Error::Database(answer) => {
            let code = answer.code().unwrap_or_default();
            match answer.try_downcast_ref::<SqliteError>() {
                Some(_) => sqlite_code(&code),
                None => postgres_code(&code, answer.message()),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Meaning::Damaged,
        sqlx::Error::Tls(fault) if is_disbelief(fault.as_ref()) => Meaning::Untrusted,
        sqlx::Error::Io(fault) if is_disbelief(fault) => Meaning::Untrusted,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Meaning::Unavailable,
        _ => Meaning::Statement,
    }
}

/// Whether TLS failed for what either side showed, and not for a connection that broke off.
fn is_disbelief(fault: &(dyn Error + 'static)) -> bool {
    match fault.downcast_ref::<io::Error>() {
        Some(fault) => fault.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        None => true,
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn sqlite_code(code: &str) -> Meaning {
    match code.parse::<i32>().map(|code| code & 0xff) {
        // SQLITE_BUSY, SQLITE_LOCKED
        Ok(5 | 6) => Meaning::Busy,
        // SQLITE_IOERR, SQLITE_CANTOPEN
        Ok(10 | 14) => Meaning::Unavailable,
        // SQLITE_FULL
        Ok(13) => Meaning::Full,
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Ok(11 | 26) => Meaning::Damaged,
        _ => Meaning::Statement,
    }
}

/// PostgreSQL 15, appendix A: error codes.
fn postgres_code(code: &str, message: &str) -> Meaning {
    match code {
        // query_canceled, which is what statement_timeout ends in
        "57014" => Meaning::Slow,
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Meaning::Busy,
        // disk_full
        "53100" => Meaning::Full,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => Meaning::Damaged,
        // invalid_catalog_name, insufficient_privilege, read_only_sql_transaction
        "3D000" | "42501" | "25006" => Meaning::Refused(message.into()),
        // invalid authorization
        _ if code.starts_with("28") => Meaning::Refused(message.into()),
        // connection exception, insufficient resources, operator intervention, system error
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Meaning::Unavailable
        }
        _ => Meaning::Statement,
    }
}
