//! What can be done to a pool, by operators and by the balancer alike: read its records, decide
//! something, commit it with its events, tell whoever waits. Every change goes through [`Control`],
//! so that each has its event and its actor; the API and the command line add only words.

mod access;
mod balancing;
mod channels;
mod enrolment;
mod error;
mod events;
mod naming;
mod once;
mod policy;
mod powering;
mod servers;
mod snapshot;
mod sweeping;
mod trust;
mod view;

use std::sync::Arc;

use repave_protocol::{PoolId, PublicKey};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::authority::{Authority, Trusted};
use crate::engine::{Terms, Waiting};
use crate::fleet::{Event, EventKind};
use crate::metrics::Metrics;
use crate::records;
use crate::shelf::Shelf;
use crate::store::changes::Changes;
use crate::store::{DocumentRow, Store};

pub use access::{Identity, NewToken, Role, Token, TokenInfo};
pub use balancing::{Applied, Overview, Plan, PlannedMove};
pub use channels::{Channel, ImageDetail, ImageInfo};
pub use enrolment::{JoinToken, NewJoinToken};
pub use error::ControlError;
pub use once::{Answered, Begun};
pub use policy::Active;
pub use servers::{Kept, Wiping};
pub use trust::{Behind, TrustUse};

/// What a controller is set up with; the same for all replicas of a pool.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The pool.
    pub pool: PoolId,
    /// The key that signs trust documents.
    pub root_key: PublicKey,
    /// Base URLs from which servers fetch blobs, best first.
    pub sources: Vec<String>,
    /// Whether servers that nobody invited may wait for approval.
    pub open_enrolment: bool,
    /// Whether servers' power may be reached by programs that this controller runs.
    pub power_commands: bool,
    /// After how long an idle server should report again, in milliseconds.
    pub wait_ms: u64,
}

/// The pool's operations.
pub struct Control {
    setup: Setup,
    store: Arc<dyn Store>,
    authority: Arc<Authority>,
    library: Shelf,
    waiting: Waiting,
    metrics: Metrics,
    snapshot: snapshot::Snapshot,
    active: watch::Sender<Arc<Active>>,
    terms: watch::Sender<Arc<Terms>>,
    trusted: watch::Sender<Option<Arc<Trusted>>>,
}

impl Control {
    /// The operations of a pool whose policy and trust are read from the store.
    pub async fn open(
        setup: Setup,
        library: Shelf,
        store: Arc<dyn Store>,
        authority: Arc<Authority>,
    ) -> Result<Arc<Self>, ControlError> {
        let terms = Arc::new(Active::none(&setup.pool).terms(setup.wait_ms));
        let control = Self {
            active: watch::Sender::new(Arc::new(Active::none(&setup.pool))),
            terms: watch::Sender::new(terms),
            trusted: watch::Sender::new(None),
            waiting: Waiting::default(),
            metrics: Metrics::default(),
            snapshot: snapshot::Snapshot::default(),
            setup,
            store,
            authority,
            library,
        };
        control.refresh().await?;
        Ok(Arc::new(control))
    }

    /// Reads policy and trust anew: another replica may have changed them.
    pub async fn refresh(&self) -> Result<(), ControlError> {
        self.refresh_policy().await?;
        self.refresh_trust().await
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Who waits for news.
    pub const fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// What is counted.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whose keys sign.
    pub const fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// What it was set up with.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The engine's terms, as the policy changes them.
    pub fn terms(&self) -> watch::Receiver<Arc<Terms>> {
        self.terms.subscribe()
    }

    /// Commits changes and their events.
    async fn commit(&self, mut changes: Changes, events: &[Event]) -> Result<(), ControlError> {
        changes.events.extend(events.iter().map(records::event));
        if changes.rows() == 0 {
            return Ok(());
        }
        let has_servers = !changes.servers.is_empty();
        self.store.commit(changes).await?;
        if has_servers {
            self.snapshot.spoil();
        }
        Ok(())
    }

    /// A document's value and revision.
    async fn document<T: DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
    ) -> Result<Option<(T, i64)>, ControlError> {
        let Some(row) = self.store.document(kind, key).await? else {
            return Ok(None);
        };
        Ok(Some((value(&row)?, row.revision)))
    }

    /// All documents of a kind. Kinds that are listed whole are few by their nature: channels,
    /// tokens, invitations.
    async fn documents<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<Vec<(String, T)>, ControlError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.documents(kind, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.key.clone());
            for row in &page {
                all.push((row.key.clone(), value(row)?));
            }
        }
    }
}

/// Documents read at once.
const PAGE: usize = 500;

fn value<T: DeserializeOwned>(row: &DocumentRow) -> Result<T, ControlError> {
    Ok(records::parse(&row.doc, || format!("{} {:?}", row.kind, row.key))?)
}

/// An operator's doing.
fn operator(actor: &str, at_ms: u64, action: &str, subject: &str, detail: Option<String>) -> Event {
    let kind = EventKind::Operator {
        action: action.into(),
        subject: (!subject.is_empty()).then(|| subject.into()),
        detail,
    };
    Event { at_ms, server: None, actor: Some(actor.into()), kind }
}
