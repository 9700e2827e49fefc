//! Every bound of the store, with its reason. What is longer, larger or slower is an error with a
//! name, never a surprise in the database.

use std::time::Duration;

/// Bytes of one document. A server's is a few kilobytes; a megabyte is somebody's mistake.
pub const DOC_BYTES: usize = 1 << 20;
/// Bytes of a key or an actor; PostgreSQL indexes no more than about 2,700.
pub const KEY_BYTES: usize = 512;
/// Bytes of a kind, a standing or a server type.
pub const NAME_BYTES: usize = 128;
/// Rows of one commit, of all tables together.
pub const COMMIT_ROWS: usize = 10_000;
/// Bytes of all documents of one commit: they are held in memory three times on their way.
pub const COMMIT_BYTES: usize = 64 << 20;
/// Rows of one page, however many were asked for.
pub const PAGE_ROWS: usize = 1_000;
/// Rows that pruning and expiry delete in one transaction, so that writers get their turn.
pub const PRUNE_ROWS: i64 = 5_000;

/// Changes that a slow reader of the broadcast may be behind before it is told that it missed some.
pub const CHANGES_BEHIND: usize = 1_024;
/// Bytes of one notification's payload; PostgreSQL takes less than 8,000.
pub const NOTICE_BYTES: usize = 7_900;
/// Pieces of one commit's news; with more, reading everything is the cheaper way.
pub const NOTICE_PIECES: usize = 16;

/// Connections that write and read in PostgreSQL, for each controller; lease and listener have
/// one each besides.
pub const POSTGRES_CONNECTIONS: u32 = 8;
/// Connections that read in SQLite. There is one that writes.
pub const SQLITE_READERS: u32 = 4;

/// How long a call waits for a connection, a restart of the server included.
pub const ACQUIRE: Duration = Duration::from_secs(5);
/// How long the server works on one statement, and SQLite waits for a lock of another program.
pub const STATEMENT: Duration = Duration::from_secs(10);
/// How long a call takes altogether; longer than both above, so that their errors, which say more,
/// come first.
pub const CALL: Duration = Duration::from_secs(20);
/// How long migrations take, those of other controllers that start at the same time included.
pub const MIGRATION: Duration = Duration::from_secs(300);
/// How long a backup takes: it copies everything.
pub const BACKUP: Duration = Duration::from_secs(3_600);
/// How long a lease holder waits for the answer that it is still alive.
pub const LEASE_CHECK: Duration = Duration::from_secs(3);
/// How often the listener, which hears nothing in a quiet pool, asks whether its server is there.
pub const LISTENER_CHECK: Duration = Duration::from_secs(15);
/// The pause before the listener's first new attempt, and what doubling it ends at.
pub const LISTENER_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
