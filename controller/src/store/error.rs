//! Why the store did not do it. Every sentence names the database without its password, says what
//! was tried, and what to do; the database's own words are the source.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::changes::{Expected, Key};
use super::place::Place;

/// What the store answers instead of doing it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else changed the row since it was read. Nothing was written.
    #[error("{key} is not what was read: expected {expected}, found {}; \
         read it again and decide anew", or_nothing(.found))]
    Conflict {
        /// Which row.
        key: Key,
        /// What the writer had read.
        expected: Expected,
        /// The revision that is there, if the row is.
        found: Option<i64>,
    },
    /// One commit changes a row twice: a mistake of the caller.
    #[error("{key} stands twice in one commit; write each row once")]
    Twice {
        /// Which row.
        key: Key,
    },
    /// Larger than the store takes.
    #[error("{what} is {size} large, more than {limit}; make it smaller or write it in pieces")]
    TooLarge {
        /// What.
        what: String,
        /// Its bytes or rows.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Text with a zero byte, which PostgreSQL does not store.
    #[error("{what} contains a zero byte; JSON writes it as \\u0000")]
    ZeroByte {
        /// What.
        what: String,
    },
    /// No URL of a database. It is not shown, since it may hold a password.
    #[error(
        "the database URL is not of the form postgres://user:password@host:port/database; \
         leave it out to keep everything in a file"
    )]
    BadUrl {
        /// The parser's answer, if it came so far.
        source: Option<sqlx::Error>,
    },
    /// The database cannot be reached.
    #[error("cannot {doing}: {place} is not reachable; see whether it runs, and try again")]
    Unavailable {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// TLS with the database does not come about. It is reachable, and not believed.
    #[error(
        "cannot {doing}: {place} is reachable and not believed; see that sslrootcert in the database \
         URL is the CA of its certificate, and that the certificate names this host"
    )]
    Untrusted {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// The database does not let us in.
    #[error("{place} refuses the connection ({reason}); correct the database URL or its rights")]
    Refused {
        /// Which database.
        place: Place,
        /// Its own words.
        reason: String,
    },
    /// The database took too long.
    #[error("cannot {doing}: {place} gave no answer in {} seconds; try again", .limit.as_secs())]
    Slow {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Somebody else holds a lock, or the database undid one of two that waited for each other.
    #[error("cannot {doing}: {place} is busy; nothing was written, try again")]
    Busy {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// No room.
    #[error("cannot {doing}: the disk of {place} is full; make room on it")]
    Full {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// The connection was lost between the order to commit and the answer.
    #[error(
        "{place} was lost while it committed: whether the changes were written is not known; \
         read them again"
    )]
    Unknown {
        /// Which database.
        place: Place,
    },
    /// Written by a newer version.
    #[error(
        "{place} has schema {found}, this version knows {known}; \
         start the newer version again, or go back to a backup"
    )]
    Newer {
        /// Which database.
        place: Place,
        /// Its schema.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// Its schema is none of ours.
    #[error("the schema of {place} was changed by somebody else; go back to a backup")]
    Altered {
        /// Which database.
        place: Place,
        /// The driver's answer.
        source: sqlx::migrate::MigrateError,
    },
    /// Another controller serves this file.
    #[error(
        "{path} is in use by another controller; \
         stop that one, or let both use one PostgreSQL database"
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The store cannot copy this database itself.
    #[error("{place} is backed up with pg_dump, not by the controller")]
    BackupElsewhere {
        /// Which database.
        place: Place,
    },
    /// A row that this version did not write so.
    #[error("cannot {doing}: a row of {place} cannot be read; go back to a backup")]
    Damaged {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// The database refuses a statement: a mistake of ours.
    #[error("cannot {doing}: {place} does not take the statement; please report this")]
    Statement {
        /// Which database.
        place: Place,
        /// What was tried.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help. A commit that ended as
    /// [`Unknown`](Self::Unknown) is not among them: it may have been written.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Slow { .. } | Self::Busy { .. })
    }
}

fn or_nothing(revision: &Option<i64>) -> String {
    revision.map_or_else(|| "nothing".into(), |revision| format!("revision {revision}"))
}
