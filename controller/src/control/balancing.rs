//! Planning a round and carrying it out. What a round decides is the balancer's; here its fleet is
//! gathered, and each move becomes a change of one server's record, or is left for the next round
//! if that record changed meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use repave_protocol::{Purpose, ServerId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::view::{Around, fleet};
use super::{Active, Control, ControlError};
use crate::balance::{Action, Decision, Fleet, Memory, Move, Note, Wanted, balance};
use crate::clock;
use crate::fleet::{Event, EventKind, Server, Wish};
use crate::policy::{Policy, ServerType, settings};
use crate::records::{self, kind};
use crate::store::changes::{Changes, Expected};
use crate::views::TypeView;

/// The balancer's memory.
const BALANCER: &str = "balancer";

/// Records that are read anew in one go.
const RELOADED_AT_ONCE: usize = 100;

/// What a round would do, in words.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// What each type wants and has.
    #[schema(value_type = Vec<Object>)]
    pub wanted: Vec<Wanted>,
    /// What would be moved.
    pub moves: Vec<PlannedMove>,
    /// Why not more.
    pub notes: Vec<String>,
}

/// One move, in words.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedMove {
    /// The server.
    #[schema(value_type = String)]
    pub server: ServerId,
    /// What people call it.
    pub title: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it becomes; nothing means spare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The version of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why.
    pub why: String,
}

/// What a round did.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Applied {
    /// What was planned.
    pub plan: Plan,
    /// How many of its moves were made.
    pub made: usize,
    /// Whether too much of the pool is silent for anything to be moved.
    #[serde(default)]
    pub frozen: bool,
}

/// A round, decided and not yet carried out.
struct Round {
    active: Arc<Active>,
    fleet: Fleet,
    decision: Decision,
    now_ms: u64,
}

impl Round {
    fn is_frozen(&self) -> bool {
        self.decision.notes.iter().any(|note| matches!(note, Note::Frozen { .. }))
    }
}

/// A pool at a glance.
#[derive(Debug)]
pub struct Overview {
    /// Each declared type, what it wants and what it has.
    pub types: Vec<TypeView>,
    /// Why a round would not do more.
    pub notes: Vec<String>,
    /// Whether too much of the pool is silent for anything to be moved.
    pub frozen: bool,
    /// Every server, without settings.
    pub servers: Arc<BTreeMap<ServerId, Server>>,
}

impl Control {
    /// What a round would do now, under the policy in force or under another.
    pub async fn plan(&self, policy: Option<Policy>) -> Result<Plan, ControlError> {
        let servers = self.snapshot().await?;
        let active = self.active();
        if let Some(policy) = &policy {
            let faults = policy.check();
            if !faults.is_empty() {
                return Err(ControlError::Policy(faults));
            }
        }
        let active = match policy {
            Some(policy) => Arc::new(Active { policy, ..Active::clone(&active) }),
            None => active,
        };
        let round = self.decide(&servers, active, None).await?;
        Ok(words(&round, &servers))
    }

    /// Each declared type, what it wants and what it has.
    pub async fn types(&self) -> Result<Vec<TypeView>, ControlError> {
        let servers = self.snapshot().await?;
        let round = self.decide(&servers, self.active(), None).await?;
        Ok(types(&round))
    }

    /// The pool at a glance. What holds a round back is said as if the balancer were not paused, so
    /// that it can be seen before it is resumed.
    pub async fn overview(&self) -> Result<Overview, ControlError> {
        let servers = self.snapshot().await?;
        let round = self.decide(&servers, self.active(), Some(false)).await?;
        Ok(Overview {
            types: types(&round),
            notes: round.decision.notes.iter().map(ToString::to_string).collect(),
            frozen: round.is_frozen(),
            servers,
        })
    }

    /// Carries a round out now, even while the balancer is paused.
    pub async fn apply(&self, actor: &str) -> Result<Applied, ControlError> {
        let mut servers = BTreeMap::new();
        self.load_servers(&mut servers).await?;
        self.carry_out(&servers, Some(actor)).await
    }

    /// One round over `servers`: decide, remember, move. An `actor` is an operator who wants it even
    /// though the balancer is paused.
    pub(crate) async fn carry_out(
        &self,
        servers: &BTreeMap<ServerId, Server>,
        actor: Option<&str>,
    ) -> Result<Applied, ControlError> {
        let paused = actor.map(|_| false);
        let round = self.decide(servers, self.active(), paused).await?;
        if round.decision.memory != round.fleet.memory {
            let memory = &round.decision.memory;
            let put = records::document(kind::MEMORY, BALANCER, Expected::Any, memory);
            self.commit(Changes { documents: vec![put], ..Changes::default() }, &[]).await?;
        }
        let mut made = 0;
        for one in &round.decision.moves {
            let Some(seen) = servers.get(&one.server) else { continue };
            match self.make(&round, one, seen, actor).await {
                Ok(()) => made += 1,
                // Left for the next round, which decides by what it is now.
                Err(ControlError::Changed { .. }) => {}
                Err(error) => warn!("server {}: {error}", one.server),
            }
        }
        let frozen = round.is_frozen();
        self.metrics.round(made);
        Ok(Applied { plan: words(&round, servers), made, frozen })
    }

    async fn decide(
        &self,
        servers: &BTreeMap<ServerId, Server>,
        active: Arc<Active>,
        paused: Option<bool>,
    ) -> Result<Round, ControlError> {
        let memory = self.document::<Memory>(kind::MEMORY, BALANCER).await?;
        let around = Around {
            available: self.available().await?,
            memory: memory.map(|(memory, _)| memory).unwrap_or_default(),
            paused: paused.unwrap_or(active.paused),
        };
        let now_ms = clock::now_ms();
        let fleet = fleet(servers, &active.policy, around);
        let decision = balance(&fleet, &active.policy, now_ms);
        Ok(Round { active, fleet, decision, now_ms })
    }

    /// Makes one move, if the server still stands as the round has `seen` it: somebody may have
    /// cordoned, pinned or retired it since.
    async fn make(
        &self,
        round: &Round,
        one: &Move,
        seen: &Server,
        actor: Option<&str>,
    ) -> Result<(), ControlError> {
        let kept = self.server(one.server).await?;
        if !kept.server.stands_as(seen) {
            return Err(ControlError::Changed { what: format!("server {}", one.server) });
        }
        let mut server = kept.server;
        let wish = match one.action {
            Action::Release => Wish::Spare,
            Action::Purpose { to, version } => {
                let purpose = self.purpose(round, &server, to.index(), version)?;
                Wish::Be { purpose: Box::new(purpose) }
            }
        };
        let drain_ms = one.drain_s * 1000;
        let why = named(&one.why, &server);
        let event = server.assign(wish, &why, actor, round.now_ms, drain_ms);
        let put = records::put(&server, Some(kept.revision));
        self.commit(Changes { servers: vec![put], ..Changes::default() }, &[event]).await?;
        self.waiting.tell(&[one.server]);
        Ok(())
    }

    /// The purpose that makes `server` one of a declared type.
    fn purpose(
        &self,
        round: &Round,
        server: &Server,
        place: usize,
        version: u64,
    ) -> Result<Purpose, ControlError> {
        let name = &round.fleet.types[place].name;
        let declared = round
            .active
            .server_type(name)
            .ok_or_else(|| ControlError::NotFound { what: format!("server type {name:?}") })?;
        let facts = settings::Facts {
            pool: self.setup.pool.clone(),
            server: settings::ServerFacts {
                id: server.id,
                name: Some(server.title()),
                serial: server.facts.serial.clone(),
                labels: server.labels.clone(),
                macs: server.facts.macs.clone(),
            },
        };
        let settings = settings::render(declared, &facts)
            .map_err(|error| ControlError::Refused(error.to_string()))?;
        Ok(Purpose {
            server_type: name.clone(),
            image: self.library.find(&declared.image.name, version)?,
            sources: self.setup.sources.clone(),
            disk: None,
            boot: declared.boot,
            settings,
        })
    }

    /// Reads every server; settings are left out, since they are large and decide nothing.
    pub(crate) async fn load_servers(
        &self,
        servers: &mut BTreeMap<ServerId, Server>,
    ) -> Result<(), ControlError> {
        servers.clear();
        let mut each = |row| keep(servers, &row);
        Ok(self.store.all_servers(&mut each).await?)
    }

    /// Reads some servers anew.
    pub(crate) async fn reload_servers(
        &self,
        ids: &[ServerId],
        servers: &mut BTreeMap<ServerId, Server>,
    ) -> Result<(), ControlError> {
        // In pieces: between two of them, those who wait for an answer get their turn.
        for ids in ids.chunks(RELOADED_AT_ONCE) {
            let rows = self.store.servers(ids).await?;
            for id in ids {
                servers.remove(id);
            }
            rows.iter().for_each(|row| keep(servers, row));
        }
        Ok(())
    }

    /// Puts what the balancer has to say on record.
    pub(crate) async fn note(&self, note: &str) -> Result<(), ControlError> {
        let kind = EventKind::Balancer { note: note.into() };
        let event = Event { at_ms: clock::now_ms(), server: None, actor: None, kind };
        self.commit(Changes::default(), &[event]).await
    }
}

fn keep(servers: &mut BTreeMap<ServerId, Server>, row: &crate::store::ServerRow) {
    match records::server(row) {
        Ok(mut server) => {
            if let Some(Wish::Be { purpose }) = server.assignment.as_mut().map(|a| &mut a.wish) {
                purpose.settings = Default::default();
            }
            server.issued = server.issued.map(|issued| issued.without_settings());
            servers.insert(server.id, server);
        }
        Err(error) => warn!("{error}: {}", error.source),
    }
}

/// Each declared type as the API says it.
fn types(round: &Round) -> Vec<TypeView> {
    let view = |declared: &ServerType| {
        let known = round.fleet.types.iter().find(|known| known.name == declared.name);
        let wanted =
            round.decision.wanted.iter().find(|wanted| wanted.server_type == declared.name);
        TypeView {
            name: declared.name.clone(),
            image: declared.image.to_string(),
            version: known.and_then(|known| known.image).map(|image| image.version),
            min: declared.min,
            max: declared.max,
            wanted: wanted.map_or(0, |wanted| wanted.wanted),
            have: wanted.map_or(0, |wanted| wanted.have),
            up: wanted.map_or(0, |wanted| wanted.up),
            load_milli: wanted.and_then(|wanted| wanted.load).map(|load| load.0),
        }
    };
    round.active.policy.types.iter().map(view).collect()
}

/// A reason with the server's name in place of its id, which is all that the balancer knows of it.
fn named(why: &str, server: &Server) -> String {
    why.replace(&server.id.short(), &server.title())
}

fn words(round: &Round, servers: &BTreeMap<ServerId, Server>) -> Plan {
    let name = |id: crate::balance::TypeId| round.fleet.type_name(id).to_owned();
    let planned = |one: &Move| {
        let (to, version) = match one.action {
            Action::Purpose { to, version } => (Some(name(to)), Some(version)),
            Action::Release => (None, None),
        };
        let known = servers.get(&one.server);
        let title = known.map_or_else(|| one.server.short(), Server::title);
        let why = known.map_or_else(|| one.why.clone(), |server| named(&one.why, server));
        let (server, from) = (one.server, one.from.map(name));
        PlannedMove { server, title, from, to, version, why }
    };
    Plan {
        wanted: round.decision.wanted.clone(),
        moves: round.decision.moves.iter().map(planned).collect(),
        notes: round.decision.notes.iter().map(ToString::to_string).collect(),
    }
}
