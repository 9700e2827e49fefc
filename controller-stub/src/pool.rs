//! The state that all connections share: the servers, what they said, and what to answer.

use std::collections::HashMap;
use std::sync::Arc;

use repave_protocol::{
    Directive, Envelope, Generation, Keys, Nonce, Order, PoolId, Refusal, ServerId, Sha256,
    SigningKey, Status, StatusExpected, seal, verify,
};

use crate::authority::Authority;
use crate::logic::{Server, listens};
use crate::record::{Answered, Event, Record};
use crate::scenario::{Action, Answer, Fault, Scenario, Target};

/// How far above the honest generation a hostile answer counts.
const HOSTILE_LEAP: u64 = 1_000;

/// A fault of the scenario and how many requests it has seen.
#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u32,
}

/// What became of the attempt to answer a status.
pub(crate) enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing worth saying yet.
    Hold,
    /// The server has spoken again since; nobody waits for this answer any more.
    Overtaken,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) authority: Arc<Authority>,
    pub(crate) scenario: Scenario,
    pub(crate) records: Vec<Record>,
    pub(crate) events: Vec<Event>,
    /// Travels along with each directive.
    pub(crate) trust: Option<Envelope>,
    /// When servers were powered on, as the harness says.
    pub(crate) power_ons: Vec<(ServerId, u64)>,
    servers: HashMap<ServerId, Server>,
    faults: Vec<Armed>,
}

impl Pool {
    pub(crate) fn new(id: PoolId, authority: Arc<Authority>, scenario: Scenario) -> Self {
        let faults = scenario.faults.clone();
        let mut pool = Self {
            id,
            authority,
            scenario,
            records: Vec::new(),
            events: Vec::new(),
            trust: None,
            power_ons: Vec::new(),
            servers: HashMap::new(),
            faults: Vec::new(),
        };
        pool.set_faults(faults);
        pool
    }

    /// Replaces all faults; their counts start anew.
    pub(crate) fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults = faults.into_iter().map(|fault| Armed { fault, seen: 0 }).collect();
    }

    /// The server with this id, made up if it has not reported yet.
    pub(crate) fn server(&mut self, id: ServerId) -> &mut Server {
        let arrival = self.servers.len();
        self.servers.entry(id).or_insert_with(|| Server::new(arrival, &self.scenario))
    }

    /// Servers in the order of their first status.
    pub(crate) fn arrivals(&self) -> Vec<ServerId> {
        let mut servers = Vec::new();
        for record in &self.records {
            if !servers.contains(&record.status.server) {
                servers.push(record.status.server);
            }
        }
        servers
    }

    /// The faults that strike a request for one of `targets`, in the order of the scenario.
    pub(crate) fn strike(&mut self, targets: &[Target], at_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        for armed in &mut self.faults {
            if targets.contains(&armed.fault.on) {
                if armed.fault.strikes(armed.seen) {
                    actions.push(armed.fault.action.clone());
                }
                armed.seen = armed.seen.saturating_add(1);
            }
        }
        for action in actions.iter().cloned() {
            self.events.push(Event::Fault { at_ms, action });
        }
        actions
    }

    /// Takes in what came to the address of `server`; gives the index of its record.
    pub(crate) fn receive(
        &mut self,
        server: ServerId,
        bytes: &[u8],
        at_ms: u64,
    ) -> Result<usize, Refusal> {
        let expected = StatusExpected { pool: self.id.clone(), server };
        let status = verify::<Status>(bytes, Keys::Device(&server), &expected)
            .inspect_err(|refusal| {
                self.events.push(Event::Refused {
                    at_ms,
                    server,
                    code: refusal.code(),
                    reason: refusal.to_string(),
                });
            })?
            .into_message();
        let heard = self
            .last_record(server)
            .and_then(|record| record.answer.as_ref())
            .is_some_and(Answered::is_sound);
        let index = self.records.len();
        let scenario = self.scenario.clone();
        self.server(server).observe(&status, heard, &scenario);
        self.events.push(Event::Status { at_ms, server, index });
        self.records.push(Record { index, at_ms, status, answer: None });
        Ok(index)
    }

    fn last_record(&self, server: ServerId) -> Option<&Record> {
        let mut newest_first = self.records.iter().rev();
        newest_first.find(|record| record.status.server == server)
    }

    /// Answers the status of record `index`. An answer that would only be `wait` is held back,
    /// unless `now` demands one, or the server only tells of its progress and goes on. `faulty` stands in for the script; `spoiled` goes on record.
    pub(crate) fn answer(
        &mut self,
        index: usize,
        faulty: Option<&Answer>,
        spoiled: bool,
        now: bool,
        at_ms: u64,
    ) -> Reply {
        let status = self.records[index].status.clone();
        let overtaken = self.last_record(status.server).is_some_and(|last| last.index != index);
        if overtaken {
            return Reply::Overtaken;
        }
        let scenario = self.scenario.clone();
        let server = self.server(status.server);
        let before = server.last_answer.clone();
        let accepted = server.accepted(&status);
        let possible = |answer: &&Answer| answer.is_possible(accepted, before.is_some());
        let scripted = server.script.front().filter(|_| listens(&status));
        let (answer, scripted) = match (faulty.filter(possible), scripted) {
            (Some(answer), _) => (answer.clone(), false),
            (None, Some(answer)) if possible(&answer) => (answer.clone(), true),
            _ => (Answer::Genuine, false),
        };
        let order = match &answer {
            Answer::Order(order) => order.clone(),
            Answer::Repeat => server.repeat(&status, &scenario),
            _ => server.decide(&status, &scenario),
        };
        let waits = matches!(order, Order::Wait { .. }) && listens(&status);
        if answer == Answer::Genuine && waits && !now {
            return Reply::Hold;
        }
        if scripted {
            server.script.pop_front();
        }
        let (directive, bytes) = match &answer {
            Answer::Stale => (None, before.unwrap_or_default()),
            Answer::Raw(bytes) => (None, bytes.clone()),
            _ => {
                let directive = self.directive(&answer, order, &status);
                let bytes = seal(&directive, self.key(&answer));
                (Some(directive), bytes)
            }
        };
        let answered = Answered { at_ms, answer, directive, spoiled };
        let server = self.server(status.server);
        server.last_answer = Some(bytes.clone());
        if let Some(directive) = &answered.directive
            && answered.is_sound()
            && listens(&status)
        {
            server.hears(directive.generation);
        }
        self.records[index].answer = Some(answered);
        Reply::Bytes(bytes)
    }

    fn key(&self, answer: &Answer) -> &SigningKey {
        match answer {
            Answer::Forged => self.authority.foreign_key(),
            _ => self.authority.directive_key(),
        }
    }

    fn directive(&mut self, answer: &Answer, order: Order, status: &Status) -> Directive {
        let trust = self.trust.clone();
        let server = self.server(status.server);
        let accepted = server.accepted(status).unwrap_or_default();
        let generation = if answer.is_hostile() {
            Generation(server.next_generation(status).0.saturating_add(HOSTILE_LEAP))
        } else {
            server.issue(order.clone(), status)
        };
        let mut directive = Directive {
            crit: Vec::new(),
            pool: status.pool.clone(),
            server: status.server,
            nonce: status.nonce,
            generation,
            order,
            trust,
        };
        match answer {
            Answer::OtherServer => {
                directive.server = ServerId::of(&self.authority.foreign_key().public());
            }
            Answer::OtherPool => directive.pool = other_pool(&status.pool),
            Answer::OtherNonce => {
                let nonce = Sha256::of(status.nonce.to_string().as_bytes());
                directive.nonce = Nonce::from_random(*nonce.as_bytes());
            }
            Answer::UnknownCritical => directive.crit = vec!["not_before".into()],
            Answer::LowerGeneration => {
                directive.generation = Generation(accepted.0.saturating_sub(1));
            }
            Answer::ReusedGeneration => {
                directive.generation = accepted;
                directive.order =
                    Order::Stay { reason: "another order under a generation already used".into() };
            }
            _ => {}
        }
        directive
    }
}

fn other_pool(pool: &PoolId) -> PoolId {
    let name = if pool.as_str() == "other" { "another" } else { "other" };
    name.parse().expect("a valid name")
}
