//! The news of a commit as PostgreSQL carries it from one controller to the others: JSON in
//! notifications, in pieces, since a payload holds less than 8,000 bytes.

use repave_protocol::ServerId;
use serde::{Deserialize, Serialize};

use super::limits;
use super::told::Changed;

/// An id is 64 digits, two quotes and a comma; the rest is for what stands beside the ids.
const PIECE_SERVERS: usize = 100;

/// One notification. Controllers of other versions read it too: a field may come, none may go.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notice {
    /// The store that committed; it has told its own listeners already.
    pub(super) from: i64,
    #[serde(default)]
    servers: Vec<ServerId>,
    #[serde(default)]
    document_kinds: Vec<String>,
    #[serde(default)]
    events_to: Option<i64>,
    /// Set where the pieces would be too many or too large.
    #[serde(default)]
    anything: bool,
}

impl Notice {
    /// The payloads that tell `changed`.
    pub(super) fn payloads(from: i64, changed: &Changed) -> Vec<String> {
        let anything = || {
            let none = Vec::new;
            let servers = Vec::new();
            Self { from, servers, document_kinds: none(), events_to: None, anything: true }.text()
        };
        let Changed::Rows { servers, document_kinds, events_to } = changed else {
            return vec![anything()];
        };
        let mut chunks: Vec<&[ServerId]> = servers.chunks(PIECE_SERVERS).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        if chunks.len() > limits::NOTICE_PIECES {
            return vec![anything()];
        }
        let piece = |servers: &[ServerId]| {
            let (servers, document_kinds) = (servers.to_vec(), document_kinds.clone());
            Self { from, servers, document_kinds, events_to: *events_to, anything: false }.text()
        };
        let pieces: Vec<String> = chunks.into_iter().map(piece).collect();
        if pieces.iter().any(|piece| piece.len() > limits::NOTICE_BYTES) {
            return vec![anything()];
        }
        pieces
    }

    /// What a payload tells; one that is not understood may have told anything.
    pub(super) fn read(payload: &str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }

    /// Numbers and text always have a JSON form.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<Notice> for Changed {
    fn from(notice: Notice) -> Self {
        if notice.anything {
            return Self::Anything;
        }
        let Notice { servers, document_kinds, events_to, .. } = notice;
        Self::Rows { servers, document_kinds, events_to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(servers: usize, kinds: usize) -> Changed {
        let id = |number| format!("{number:064x}").parse().unwrap();
        let document_kinds = (0..kinds).map(|kind| format!("{kind:0128}")).collect();
        Changed::Rows {
            servers: (0..servers).map(id).collect(),
            document_kinds,
            events_to: Some(i64::MAX),
        }
    }

    fn check(changed: &Changed, pieces: usize, whole: bool) {
        let payloads = Notice::payloads(i64::MIN, changed);
        assert_eq!(payloads.len(), pieces);
        let (mut told, mut anything) = (0, false);
        for payload in &payloads {
            assert!(payload.len() < 8_000, "{}", payload.len());
            match Notice::read(payload).unwrap().into() {
                Changed::Anything => anything = true,
                Changed::Rows { servers, events_to, .. } => {
                    told += servers.len();
                    assert_eq!(events_to, Some(i64::MAX));
                }
            }
        }
        let Changed::Rows { servers, .. } = changed else { return };
        assert_eq!(anything, !whole);
        assert!(anything || told == servers.len());
    }

    #[test]
    fn every_row_is_told_or_anything_is() {
        check(&news(0, 0), 1, true);
        check(&news(100, 5), 1, true);
        check(&news(101, 5), 2, true);
        check(&news(1_600, 5), 16, true);
        check(&news(1_601, 5), 1, false);
        check(&news(1, 57), 1, true);
        check(&news(1, 61), 1, false);
        check(&news(100, 10), 1, false);
        assert_eq!(Notice::payloads(1, &Changed::Anything).len(), 1);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let notice = Notice::read(r#"{"from":1,"events_to":5,"weather":"fine"}"#).unwrap();
        assert_eq!(notice.events_to, Some(5));
        assert!(Notice::read("all").is_none());
    }
}
