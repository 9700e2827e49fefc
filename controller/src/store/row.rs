//! What the store gives back: rows, and the filters that choose them. A document is JSON text that
//! the store never looks into; whatever it must be found by stands in a column beside it.

use repave_protocol::ServerId;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    /// Its key.
    pub id: ServerId,
    /// The commit that wrote it last.
    pub revision: i64,
    /// Where it stands, in the words of the layer above.
    pub standing: String,
    /// What it is to be or is, if that is known.
    pub server_type: Option<String>,
    /// When it was last heard of: milliseconds since 1970.
    pub seen_at_ms: i64,
    /// Everything else.
    pub doc: String,
}

/// A document: a policy, a token, an idempotency key and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// What it is.
    pub kind: String,
    /// Which one.
    pub key: String,
    /// The commit that wrote it last.
    pub revision: i64,
    /// When [`expire_documents`](super::Store::expire_documents) may remove it. Until then a
    /// document whose time is over is still given back: the store has no clock.
    pub expires_at_ms: Option<i64>,
    /// Its contents.
    pub doc: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its place among all events. There are gaps, but never does an event appear below one that
    /// could be read before.
    pub sequence: i64,
    /// When: milliseconds since 1970.
    pub at_ms: i64,
    /// To which server, if to one.
    pub server: Option<ServerId>,
    /// What.
    pub kind: String,
    /// Who caused it, if somebody did.
    pub actor: Option<String>,
    /// The details.
    pub doc: String,
}

/// Which servers to list; a field that is `None` does not choose.
#[derive(Clone, Debug, Default)]
pub struct ServerFilter {
    /// Of this standing.
    pub standing: Option<String>,
    /// Of this type.
    pub server_type: Option<String>,
    /// Not heard of since.
    pub seen_before_ms: Option<i64>,
}

/// Which events to read; a field that is `None` does not choose.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this server.
    pub server: Option<ServerId>,
    /// Of this kind.
    pub kind: Option<String>,
}
