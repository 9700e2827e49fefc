//! What a batch of statuses comes to. Pure: records, statuses and the time go in, outcomes and one
//! set of changes come out. Several statuses of one server are taken in their order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use repave_protocol::{Directive, Order, ServerId, Status};

use super::{Call, Outcome, Terms};
use crate::fleet::{
    Answer, Credentials, Event, FailureLog, Invitation, LOG_KEPT_MS, NotAdmitted, Server, admit,
    answer, listens,
};
use crate::records::{self, kind};
use crate::store::changes::{Changes, DocumentPut, Expected};

/// A status and how it is to be treated.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) status: Arc<Status>,
    pub(super) call: Call,
}

/// A record and the revision that it was read at; a new one has none.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) revision: Option<i64>,
    pub(super) server: Server,
}

/// What is known before a batch is looked at.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// The records of its servers, as far as there are any.
    pub(super) known: HashMap<ServerId, Known>,
    /// Servers whose records cannot be read: nothing is decided about them.
    pub(super) unreadable: HashSet<ServerId>,
    /// What unknown servers show.
    pub(super) credentials: HashMap<ServerId, Credentials>,
}

/// Takes all of `work` in.
pub(super) fn decide(
    work: &[Work],
    before: &Before,
    terms: &Terms,
    now_ms: u64,
) -> (Vec<Outcome>, Changes) {
    let known = before.known.clone();
    let mut batch = Batch { before, known, news: News::default(), invitations: Vec::new() };
    let outcomes = work.iter().map(|work| batch.take(work, terms, now_ms)).collect();
    (outcomes, batch.changes())
}

/// A batch that is being taken in.
struct Batch<'a> {
    before: &'a Before,
    known: HashMap<ServerId, Known>,
    news: News,
    invitations: Vec<DocumentPut>,
}

/// What the statuses brought, besides what stands in the records.
#[derive(Debug, Default)]
struct News {
    events: Vec<Event>,
    /// One for each server: a row may stand in a commit once.
    logs: BTreeMap<ServerId, FailureLog>,
}

impl Batch<'_> {
    fn take(&mut self, work: &Work, terms: &Terms, now_ms: u64) -> Outcome {
        let id = work.status.server;
        if self.before.unreadable.contains(&id) {
            return Outcome::Unreadable;
        }
        let known = match self.known.remove(&id).map_or_else(|| self.admit(work, now_ms), Ok) {
            Ok(known) => known,
            Err(refused) => return Outcome::NotAdmitted(refused),
        };
        let known = self.known.entry(id).or_insert(known);
        one(work, known, terms, now_ms, &mut self.news)
    }

    fn admit(&mut self, work: &Work, now_ms: u64) -> Result<Known, NotAdmitted> {
        let shown = self.before.credentials.get(&work.status.server).cloned().unwrap_or_default();
        let (server, news) = admit(&work.status, &shown, now_ms)?;
        if let Some(used) = used_invitation(&server, &shown) {
            // One use in one commit: a second server comes again, and is counted then.
            if self.invitations.iter().any(|other| other.key == used.key) {
                return Err(NotAdmitted::NotInvited { server: server.id.short() });
            }
            self.invitations.push(used);
        }
        self.news.events.extend(news);
        Ok(Known { revision: None, server })
    }

    fn changes(self) -> Changes {
        let is_as_before = |id: &ServerId, known: &Known| {
            self.before.known.get(id).is_some_and(|before| before.server == known.server)
        };
        let changed = self.known.iter().filter(|(id, known)| !is_as_before(id, known));
        let logs = self.news.logs.iter().map(|(server, log)| kept_log(server, log));
        Changes {
            servers: changed
                .map(|(_, known)| records::put(&known.server, known.revision))
                .collect(),
            documents: self.invitations.into_iter().chain(logs).collect(),
            events: self.news.events.iter().map(records::event).collect(),
            ..Changes::default()
        }
    }
}

/// The invitation that approved a new server, with one use less.
fn used_invitation(server: &Server, shown: &Credentials) -> Option<DocumentPut> {
    let (invitation, revision) = shown.invitation.as_ref()?;
    if !server.enrolment.is_approved() {
        return None;
    }
    let left = Invitation { uses: invitation.uses.saturating_sub(1), ..invitation.clone() };
    let expected = Expected::Exactly(*revision);
    let mut put = records::document(kind::INVITATION, &left.machine, expected, &left);
    put.expires_at_ms = i64::try_from(left.expires_ms).ok();
    Some(put)
}

/// A failure's log as a row, in place of the one before.
fn kept_log(server: &ServerId, log: &FailureLog) -> DocumentPut {
    let mut put = records::document(kind::FAILURE_LOG, &server.to_string(), Expected::Any, log);
    put.expires_at_ms = i64::try_from(log.at_ms.saturating_add(LOG_KEPT_MS)).ok();
    put
}

fn one(work: &Work, known: &mut Known, terms: &Terms, now_ms: u64, news: &mut News) -> Outcome {
    let server = &mut known.server;
    let status = work.status.as_ref();
    match work.call {
        Call::Arrived | Call::ArrivedAndNow => {
            news.events.extend(server.observe(status, now_ms, &terms.rules));
            news.logs.extend(server.take_log(status, now_ms).map(|log| (server.id, log)));
        }
        Call::Again | Call::Now => {
            let seen = (server.seen.boot, server.seen.sequence);
            if seen != (status.boot, status.sequence) {
                return Outcome::Overtaken;
            }
        }
    }
    let must_answer = matches!(work.call, Call::Now | Call::ArrivedAndNow);
    let order = match answer(server, status, now_ms) {
        Answer::Order(order) => order,
        Answer::Hold { until_ms } if listens(status) && !must_answer => {
            return Outcome::Hold { until_ms };
        }
        Answer::Hold { .. } => Order::Wait { after_ms: terms.wait_ms },
    };
    let (generation, event) = server.issue(order.clone(), status, now_ms);
    news.events.extend(event);
    Outcome::Answer(Box::new(Directive {
        crit: Vec::new(),
        pool: status.pool.clone(),
        server: status.server,
        nonce: status.nonce,
        generation,
        order,
        trust: None,
    }))
}
