//! How records and events become rows of the store, and back: the one place that knows which of
//! their fields are columns.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::fleet::{Event, Server};
use crate::store::changes::{DocumentPut, EventPut, Expected, ServerPut};
use crate::store::{EventRow, ServerRow};

/// Kinds of documents in the store.
pub mod kind {
    /// The policy.
    pub const POLICY: &str = "policy";
    /// What people switched on or off.
    pub const SWITCH: &str = "switch";
    /// What one round of balancing hands to the next.
    pub const MEMORY: &str = "memory";
    /// Where a channel points.
    pub const CHANNEL: &str = "channel";
    /// Operators' tokens.
    pub const TOKEN: &str = "token";
    /// Servers' tokens.
    pub const JOIN_TOKEN: &str = "join-token";
    /// Machines that are expected.
    pub const INVITATION: &str = "invitation";
    /// How a server's power is reached.
    pub const POWER: &str = "power";
    /// What a server's logs said when it last failed.
    pub const FAILURE_LOG: &str = "failure-log";
    /// The trust document.
    pub const TRUST: &str = "trust";
    /// Answers to requests that are to be done once.
    pub const IDEMPOTENCY: &str = "idempotency";
}

/// A row whose document is not what it should be: written by a newer controller, or damaged.
#[derive(Debug, Error)]
#[error("the record of {what} cannot be read")]
pub struct BadRecord {
    /// Which.
    pub what: String,
    /// Why.
    pub source: serde_json::Error,
}

/// A server as a row; `revision` is the one that it was read at.
pub fn put(server: &Server, revision: Option<i64>) -> ServerPut {
    ServerPut {
        id: server.id,
        expected: revision,
        standing: server.standing.name().into(),
        server_type: server.server_type().map(Into::into),
        seen_at_ms: milliseconds(server.seen.at_ms),
        doc: json(server),
    }
}

/// A row as a server.
pub fn server(row: &ServerRow) -> Result<Server, BadRecord> {
    parse(&row.doc, || format!("server {}", row.id))
}

/// An event as a row.
pub fn event(event: &Event) -> EventPut {
    EventPut {
        at_ms: milliseconds(event.at_ms),
        server: event.server,
        kind: event.kind.name().into(),
        actor: event.actor.clone(),
        doc: json(&event.kind),
    }
}

/// A row as an event.
pub fn event_of(row: &EventRow) -> Result<Event, BadRecord> {
    Ok(Event {
        at_ms: u64::try_from(row.at_ms).unwrap_or_default(),
        server: row.server,
        actor: row.actor.clone(),
        kind: parse(&row.doc, || format!("event {}", row.sequence))?,
    })
}

/// A document as a row.
pub fn document<T: Serialize>(kind: &str, key: &str, expected: Expected, value: &T) -> DocumentPut {
    let (kind, key) = (kind.into(), key.into());
    DocumentPut { kind, key, expected, expires_at_ms: None, doc: json(value) }
}

/// A document's value.
pub fn parse<T: DeserializeOwned>(
    doc: &str,
    what: impl FnOnce() -> String,
) -> Result<T, BadRecord> {
    serde_json::from_str(doc).map_err(|source| BadRecord { what: what(), source })
}

fn json<T: Serialize>(value: &T) -> String {
    // Structs, lists, strings and numbers only, and map keys that are strings.
    serde_json::to_string(value).expect("a record is always JSON")
}

fn milliseconds(at_ms: u64) -> i64 {
    i64::try_from(at_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use repave_protocol::ServerId;

    use super::*;
    use crate::fleet::{EventKind, Standing};

    #[test]
    fn an_event_comes_back_as_it_went() {
        let server: ServerId = "5a".repeat(32).parse().unwrap();
        let (from, to) = (Standing::Idle, Standing::Silent);
        let kind = EventKind::Standing { from, to, cause: "has not reported".into() };
        let before = Event::of(server, 7, kind).by("ann");
        let put = event(&before);
        let row = EventRow {
            sequence: 1,
            at_ms: put.at_ms,
            server: put.server,
            kind: put.kind,
            actor: put.actor,
            doc: put.doc,
        };
        assert_eq!(event_of(&row).unwrap(), before);
    }
}
