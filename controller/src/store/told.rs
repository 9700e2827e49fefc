//! The news of a commit: what changed, so that whoever waits reads just that. News may be merged
//! into "anything" and may come twice; it is never the truth itself, which is in the tables.

use repave_protocol::ServerId;
use tokio::sync::broadcast;

use super::changes::{Changes, Committed};
use super::limits;

/// What changed. A receiver that `Lagged` is to act as if it had been told [`Changed::Anything`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These rows.
    Rows {
        /// Servers that were written or removed.
        servers: Vec<ServerId>,
        /// Kinds of the documents that were written or removed, each once.
        document_kinds: Vec<String>,
        /// There are events up to this sequence.
        events_to: Option<i64>,
    },
    /// Some were not told of: read everything again.
    Anything,
}

impl Changed {
    pub(super) fn of(changes: &Changes, committed: &Committed) -> Self {
        let puts = changes.servers.iter().map(|put| put.id);
        let servers = puts.chain(changes.server_deletes.iter().map(|gone| gone.id)).collect();
        let puts = changes.documents.iter().map(|put| &put.kind);
        let kinds = puts.chain(changes.document_deletes.iter().map(|gone| &gone.kind));
        let mut document_kinds: Vec<String> = kinds.cloned().collect();
        document_kinds.sort_unstable();
        document_kinds.dedup();
        let events_to = committed.events.as_ref().map(|events| *events.end());
        Self::Rows { servers, document_kinds, events_to }
    }
}

/// Where the news goes; nobody has to listen.
#[derive(Clone, Debug)]
pub(super) struct Teller(broadcast::Sender<Changed>);

impl Teller {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(limits::CHANGES_BEHIND))
    }

    pub(super) fn tell(&self, changed: Changed) {
        // An error says that nobody listens, which is no error here.
        let _ = self.0.send(changed);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Changed> {
        self.0.subscribe()
    }
}
