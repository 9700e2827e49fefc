//! What a batch of statuses comes to. Pure: records, statuses and the time go in, outcomes and one
//! set of changes come out. Several statuses of one server are taken in their order.

use std::collections::HashMap;
use std::sync::Arc;

use repave_protocol::{Directive, Order, ServerId, Status};

use super::{Call, Outcome, Terms};
use crate::fleet::{
    Answer, Credentials, Event, Invitation, NotAdmitted, Server, admit, answer, listens,
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
pub(crate) struct Known {
    pub(crate) revision: Option<i64>,
    pub(crate) server: Server,
}

/// Takes all of `work` in.
pub(super) fn decide(
    work: &[Work],
    known: &mut HashMap<ServerId, Known>,
    credentials: &HashMap<ServerId, Credentials>,
    terms: &Terms,
    now_ms: u64,
) -> (Vec<Outcome>, Changes) {
    let before: HashMap<ServerId, Option<Server>> =
        known.iter().map(|(id, known)| (*id, Some(known.server.clone()))).collect();
    let mut events = Vec::new();
    let mut invitations = Vec::new();
    let mut outcomes = Vec::with_capacity(work.len());
    for work in work {
        let id = work.status.server;
        if !known.contains_key(&id) {
            let shown = credentials.get(&id).cloned().unwrap_or_default();
            match admit(&work.status, &shown, now_ms) {
                Ok((server, news)) => {
                    if let Some(used) = used_invitation(&server, &shown) {
                        // One use in one commit: a second server comes again, and is counted then.
                        if invitations.iter().any(|other: &DocumentPut| other.key == used.key) {
                            let server = id.short();
                            let refused = NotAdmitted::NotInvited { server };
                            outcomes.push(Outcome::NotAdmitted(refused));
                            continue;
                        }
                        invitations.push(used);
                    }
                    events.extend(news);
                    known.insert(id, Known { revision: None, server });
                }
                Err(refused) => {
                    outcomes.push(Outcome::NotAdmitted(refused));
                    continue;
                }
            }
        }
        outcomes.push(match known.get_mut(&id) {
            Some(known) => one(work, known, terms, now_ms, &mut events),
            None => Outcome::NotAdmitted(NotAdmitted::NotInvited { server: id.short() }),
        });
    }
    let mut changes = Changes { documents: invitations, ..Changes::default() };
    for (id, known) in known.iter() {
        if before.get(id).and_then(Option::as_ref) != Some(&known.server) {
            changes.servers.push(records::put(&known.server, known.revision));
        }
    }
    changes.events = events.iter().map(records::event).collect();
    (outcomes, changes)
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

fn one(
    work: &Work,
    known: &mut Known,
    terms: &Terms,
    now_ms: u64,
    events: &mut Vec<Event>,
) -> Outcome {
    let server = &mut known.server;
    let status = work.status.as_ref();
    match work.call {
        Call::Arrived | Call::ArrivedAndNow => {
            events.extend(server.observe(status, now_ms, &terms.rules))
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
    events.extend(event);
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
