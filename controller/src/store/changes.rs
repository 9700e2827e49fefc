//! What is written: one value holds a whole commit. Revisions are how writers that know nothing of
//! each other keep from overwriting what they have not read; see docs/decisions/0009.

use std::fmt;
use std::ops::RangeInclusive;

use repave_protocol::ServerId;

/// What must be in the store, so that a change of it is no change of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    Any,
    /// Nothing.
    MustNotExist,
    /// The row as this commit wrote it.
    Exactly(i64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::MustNotExist => f.write_str("nothing"),
            Self::Exactly(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// A row that is changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A server.
    Server(ServerId),
    /// A document.
    Document {
        /// What it is.
        kind: String,
        /// Which one.
        key: String,
    },
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(id) => write!(f, "server {id}"),
            Self::Document { kind, key } => write!(f, "{kind} {key:?}"),
        }
    }
}

/// A server to create or replace.
#[derive(Clone, Debug)]
pub struct ServerPut {
    /// Its key.
    pub id: ServerId,
    /// The revision that was read; `None`: it must not exist.
    pub expected: Option<i64>,
    /// Where it stands.
    pub standing: String,
    /// What it is to be or is.
    pub server_type: Option<String>,
    /// When it was last heard of: milliseconds since 1970.
    pub seen_at_ms: i64,
    /// Everything else, as JSON.
    pub doc: String,
}

/// A server to forget.
#[derive(Clone, Debug)]
pub struct ServerDelete {
    /// Its key.
    pub id: ServerId,
    /// What must be there.
    pub expected: Expected,
}

/// A document to create or replace.
#[derive(Clone, Debug)]
pub struct DocumentPut {
    /// What it is.
    pub kind: String,
    /// Which one.
    pub key: String,
    /// What must be there.
    pub expected: Expected,
    /// When it may be removed; `None`: never.
    pub expires_at_ms: Option<i64>,
    /// Its contents, as JSON.
    pub doc: String,
}

/// A document to remove.
#[derive(Clone, Debug)]
pub struct DocumentDelete {
    /// What it is.
    pub kind: String,
    /// Which one.
    pub key: String,
    /// What must be there.
    pub expected: Expected,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct EventPut {
    /// When: milliseconds since 1970.
    pub at_ms: i64,
    /// To which server, if to one.
    pub server: Option<ServerId>,
    /// What.
    pub kind: String,
    /// Who caused it, if somebody did.
    pub actor: Option<String>,
    /// The details, as JSON.
    pub doc: String,
}

/// One commit: all of it is written, or nothing. A row may stand in it once.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Servers to create or replace.
    pub servers: Vec<ServerPut>,
    /// Servers to forget.
    pub server_deletes: Vec<ServerDelete>,
    /// Documents to create or replace.
    pub documents: Vec<DocumentPut>,
    /// Documents to remove.
    pub document_deletes: Vec<DocumentDelete>,
    /// Events to append, in this order.
    pub events: Vec<EventPut>,
}

impl Changes {
    /// How many rows it writes or removes.
    pub fn rows(&self) -> usize {
        self.servers.len()
            + self.server_deletes.len()
            + self.documents.len()
            + self.document_deletes.len()
            + self.events.len()
    }
}

/// A commit that is written and will stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision that every row written by it has now. It rises from commit to commit and is
    /// never given twice, so a row that was removed and made anew is not taken for the old one.
    pub revision: i64,
    /// The sequences that its events were given, if it had any.
    pub events: Option<RangeInclusive<i64>>,
}
