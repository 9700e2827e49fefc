//! From verified statuses to answers that are on record: many statuses become one batch, one batch
//! becomes one commit, and nobody is answered before it is durable. What a batch comes to is decided
//! in `batch`, which is pure; here are the queue, the store and the second try after a conflict.

mod batch;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use repave_protocol::{Directive, ServerId, Status};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use crate::clock;
use crate::fleet::{Credentials, NotAdmitted, Rules, Server};
use crate::store::changes::Changes;
use crate::store::{Store, StoreError};

use batch::{Before, Known, Work, decide};
pub use waiting::{News, Waiting};

/// Most statuses in one commit. Larger batches gain nothing and make the last one wait.
const BATCH: usize = 512;
/// How long the first status of a batch waits for others.
const GATHER: Duration = Duration::from_millis(4);
/// Most statuses that wait for their batch; beyond it a server is told to come again.
const QUEUE: usize = 16 * 1024;
/// Tries at one batch; only another replica's writes can spoil one.
const TRIES: u32 = 8;

/// What became of a status.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// This is its answer; it is on record.
    Answer(Box<Directive>),
    /// There is nothing to say yet. `until_ms` is when that changes by itself.
    Hold {
        /// Milliseconds since 1970.
        until_ms: Option<u64>,
    },
    /// The server has spoken again since, and waits for that answer.
    Overtaken,
    /// It is not one of ours.
    NotAdmitted(NotAdmitted),
    /// Its record cannot be read: written by a newer controller, or damaged.
    Unreadable,
}

/// A status was not taken in; the server comes again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Busy {
    /// Too many wait already.
    #[error("more than {QUEUE} statuses wait already")]
    Queue,
    /// The store did not take the batch.
    #[error("the store did not take it: {0}")]
    Store(String),
    /// The daemon is going down.
    #[error("this controller is shutting down")]
    Ending,
}

/// How a status is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It has just arrived.
    Arrived,
    /// The same, and it must have an answer now.
    ArrivedAndNow,
    /// It was held, and there may be news.
    Again,
    /// It must have an answer now.
    Now,
}

/// What the engine is told besides the statuses.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The rules of the policy in force.
    pub rules: Rules,
    /// After how long an idle server should report again, in milliseconds.
    pub wait_ms: u64,
}

/// What an unknown server may show; asked once for each.
#[async_trait::async_trait]
pub trait Gate: Send + Sync {
    /// Looks up what the status shows for itself.
    async fn credentials(&self, status: &Status) -> Result<Credentials, StoreError>;
}

struct Request {
    status: Arc<Status>,
    call: Call,
    reply: oneshot::Sender<Result<Outcome, Busy>>,
}

/// A handle to the running engine.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
}

impl Engine {
    /// Starts the engine on the present runtime. It ends when its last handle is gone.
    pub fn start(
        store: Arc<dyn Store>,
        gate: Arc<dyn Gate>,
        terms: watch::Receiver<Arc<Terms>>,
    ) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(store, gate, terms, queue));
        Self { requests }
    }

    /// Takes a status in, or looks at a held one again.
    pub async fn report(&self, status: Arc<Status>, call: Call) -> Result<Outcome, Busy> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { status, call, reply }).map_err(
            |refused| match refused {
                mpsc::error::TrySendError::Full(_) => Busy::Queue,
                mpsc::error::TrySendError::Closed(_) => Busy::Ending,
            },
        )?;
        answer.await.unwrap_or(Err(Busy::Ending))
    }
}

async fn run(
    store: Arc<dyn Store>,
    gate: Arc<dyn Gate>,
    terms: watch::Receiver<Arc<Terms>>,
    mut queue: mpsc::Receiver<Request>,
) {
    let mut requests = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut requests, BATCH).await > 0 {
        gather(&mut queue, &mut requests).await;
        let work: Vec<Work> =
            requests.iter().map(|r| Work { status: Arc::clone(&r.status), call: r.call }).collect();
        let now = terms.borrow().clone();
        let outcomes = carry_out(store.as_ref(), gate.as_ref(), &now, &work).await;
        let mut outcomes =
            outcomes.map_err(|error| Busy::Store(error.to_string())).map(Vec::into_iter);
        for request in requests.drain(..) {
            let outcome = match &mut outcomes {
                Ok(outcomes) => outcomes.next().ok_or(Busy::Ending),
                Err(busy) => Err(busy.clone()),
            };
            // Whoever hung up needs no answer.
            let _ = request.reply.send(outcome);
        }
    }
}

/// Lets more come for [`GATHER`]: a commit costs much the same for one status as for twenty.
async fn gather(queue: &mut mpsc::Receiver<Request>, requests: &mut Vec<Request>) {
    if requests.len() < BATCH {
        tokio::time::sleep(GATHER).await;
    }
    while requests.len() < BATCH
        && let Ok(request) = queue.try_recv()
    {
        requests.push(request);
    }
}

/// Reads, decides and commits; again from the start if somebody else wrote in between.
async fn carry_out(
    store: &dyn Store,
    gate: &dyn Gate,
    terms: &Terms,
    work: &[Work],
) -> Result<Vec<Outcome>, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let before = before(store, gate, work).await?;
        let (outcomes, changes) = decide(work, &before, terms, clock::now_ms());
        match commit(store, changes).await {
            Ok(()) => return Ok(outcomes),
            Err(conflict @ StoreError::Conflict { .. }) if tries < TRIES => {
                warn!("a batch of {} statuses is done again: {conflict}", work.len());
            }
            Err(error) => {
                error!("a batch of {} statuses failed: {error}", work.len());
                return Err(error);
            }
        }
    }
}

async fn commit(store: &dyn Store, changes: Changes) -> Result<(), StoreError> {
    if changes.rows() == 0 { Ok(()) } else { store.commit(changes).await.map(drop) }
}

/// What is known of the servers that `work` is about.
async fn before(store: &dyn Store, gate: &dyn Gate, work: &[Work]) -> Result<Before, StoreError> {
    let mut ids: Vec<ServerId> = work.iter().map(|work| work.status.server).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut before = Before::default();
    for row in store.servers(&ids).await? {
        match serde_json::from_str::<Server>(&row.doc) {
            Ok(server) => {
                before.known.insert(row.id, Known { revision: Some(row.revision), server });
            }
            Err(error) => {
                error!("record of server {}: {error}", row.id);
                before.unreadable.insert(row.id);
            }
        }
    }
    for work in work {
        let id = work.status.server;
        if !before.known.contains_key(&id) && !before.unreadable.contains(&id) {
            before.credentials.insert(id, gate.credentials(&work.status).await?);
        }
    }
    Ok(before)
}
