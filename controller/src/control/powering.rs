//! The power of servers: what each one's is, what operators order, and bringing home those that say
//! nothing. When that is done is decided in `power::home`; here orders are booked before they begin,
//! carried out away from the async threads, and put on record as they ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use repave_protocol::ServerId;
use tracing::warn;

use super::{Control, ControlError, operator};
use crate::clock;
use crate::fleet::{Enrolment, Event, EventKind, Server, Standing};
use crate::power::PowerConfig;
use crate::power::home::{Action, Ledger, Outcome, Policy, Record, Step, Who, carry_out};
use crate::records::{self, kind};
use crate::store::changes::{Changes, DocumentDelete, Expected};

/// The ledger's key among memories.
const LEDGER: &str = "power";
/// Tries at a change of the ledger that another's spoils.
const TRIES: u32 = 5;

/// An order that is booked.
struct Booked {
    server: ServerId,
    action: Action,
    who: Who,
    why: String,
    began_ms: u64,
}

impl Control {
    /// How a server's power is reached, if anybody said so.
    pub async fn power(&self, id: ServerId) -> Result<Option<PowerConfig>, ControlError> {
        let found = self.document(kind::POWER, &id.to_string()).await?;
        Ok(found.map(|(config, _)| config))
    }

    /// Says how a server's power is reached, or that it no longer can be.
    pub async fn set_power(
        &self,
        id: ServerId,
        config: Option<&PowerConfig>,
        actor: &str,
    ) -> Result<(), ControlError> {
        self.server(id).await?;
        if let Some(config) = config {
            self.check_power(config, id).await?;
        }
        let key = id.to_string();
        let mut changes = Changes::default();
        match config {
            Some(config) => {
                changes.documents =
                    vec![records::document(kind::POWER, &key, Expected::Any, config)];
            }
            None => {
                let (kind, expected) = (kind::POWER.into(), Expected::Any);
                changes.document_deletes = vec![DocumentDelete { kind, key, expected }];
            }
        }
        let mut event = operator(actor, clock::now_ms(), "server.power", "", None);
        event.server = Some(id);
        self.commit(changes, &[event]).await
    }

    /// A way that cannot be opened is not kept. One by a program runs as this daemon's user, so
    /// whoever started the daemon must have allowed that.
    async fn check_power(&self, config: &PowerConfig, id: ServerId) -> Result<(), ControlError> {
        if matches!(config, PowerConfig::Command(_)) && !self.setup.power_commands {
            return Err(ControlError::Refused(
                "power by a program is not allowed here; start the controller with --power-commands"
                    .into(),
            ));
        }
        let (config, name) = (config.clone(), id.to_string());
        let opened = tokio::task::spawn_blocking(move || config.open(&name).map(drop));
        let opened = opened.await.map_err(|error| ControlError::Refused(error.to_string()))?;
        opened.map_err(|error| ControlError::Refused(error.to_string()))
    }

    /// Carries an operator's order out, and gives its record. No budget holds it back.
    pub async fn order_power(
        self: &Arc<Self>,
        id: ServerId,
        action: Action,
        actor: &str,
    ) -> Result<Record, ControlError> {
        let config = self.power(id).await?.ok_or_else(|| ControlError::NotFound {
            what: format!("way to the power of server {id}: set one first"),
        })?;
        let rules = self.active().policy.pool.power.clone();
        let began_ms = clock::now_ms();
        let booked = self.change_ledger(|ledger| ledger.book(&rules, &id.to_string(), began_ms));
        booked.await?.map_err(|busy| ControlError::Refused(busy.to_string()))?;
        let (who, why) = (Who::Operator(actor.into()), format!("{actor} ordered it"));
        self.give(config, Booked { server: id, action, who, why, began_ms }).await
    }

    /// Brings home who is silent and whose power can be reached, within the pool's budget.
    pub(crate) async fn bring_home(
        self: &Arc<Self>,
        servers: &BTreeMap<ServerId, Server>,
        frozen: bool,
    ) -> Result<(), ControlError> {
        if self.active().paused {
            return Ok(());
        }
        let configs = self.documents::<PowerConfig>(kind::POWER).await?;
        if configs.is_empty() || !servers.values().any(|one| one.standing == Standing::Silent) {
            return Ok(());
        }
        let rules = self.active().policy.pool.power.clone();
        let now_ms = clock::now_ms();
        let steps = self
            .change_ledger(|ledger| {
                ledger.freeze(frozen);
                claim(ledger, &rules, &configs, servers, now_ms)
            })
            .await?;
        for (id, config, step) in steps {
            self.follow(id, config, step, now_ms).await?;
        }
        Ok(())
    }

    /// Does what the ledger allows for a silent server.
    async fn follow(
        self: &Arc<Self>,
        id: ServerId,
        config: PowerConfig,
        step: Step,
        now_ms: u64,
    ) -> Result<(), ControlError> {
        match step {
            Step::Wait { .. } => {}
            Step::GiveUp { attempts, silent_ms } => {
                let silent_s = silent_ms / 1000;
                let outcome = format!(
                    "given up after {attempts} tries; it has been silent for {silent_s} s, and a person must look"
                );
                self.tell_power(id, "bring-home", &outcome).await?;
            }
            Step::BringHome { attempt, boot } => {
                let (who, action) = (Who::Policy, Action::BringHome(boot));
                let why = format!("it is silent, try {attempt}");
                let booked = Booked { server: id, action, who, why, began_ms: now_ms };
                let control = Arc::clone(self);
                // Not waited for: a management controller may take minutes.
                tokio::spawn(async move {
                    if let Err(error) = control.give(config, booked).await {
                        warn!("power of server {id}: {error}");
                    }
                });
            }
        }
        Ok(())
    }

    /// Carries a booked order out, and puts it on record.
    async fn give(&self, config: PowerConfig, booked: Booked) -> Result<Record, ControlError> {
        let Booked { server, action, who, why, began_ms } = booked;
        let name = server.to_string();
        let order = action.clone();
        let carried = tokio::task::spawn_blocking(move || match config.open(&name) {
            Ok(power) => carry_out(power.as_ref(), &order),
            Err(error) => Outcome::Failed { reason: error.to_string() },
        });
        let outcome = carried.await.unwrap_or_else(|error| Outcome::Failed {
            reason: format!("a fault of ours: {error}"),
        });
        let (server_name, ended_ms) = (server.to_string(), clock::now_ms());
        let record = Record { server: server_name, who, action, why, began_ms, ended_ms, outcome };
        self.change_ledger(|ledger| ledger.settle(&record)).await?;
        let outcome = match &record.outcome {
            Outcome::Done => format!("{}: done", record.why),
            Outcome::DoneWithoutBoot { reason } => {
                format!("{}: done, but where it boots from was not chosen: {reason}", record.why)
            }
            Outcome::Failed { reason } => format!("{}: failed: {reason}", record.why),
        };
        self.tell_power(server, name_of(&record.action), &outcome).await?;
        Ok(record)
    }

    async fn tell_power(
        &self,
        server: ServerId,
        action: &str,
        outcome: &str,
    ) -> Result<(), ControlError> {
        let kind = EventKind::Power { action: action.into(), outcome: outcome.into() };
        let event = Event::of(server, clock::now_ms(), kind);
        self.commit(Changes::default(), &[event]).await
    }

    /// Reads the ledger, changes it and writes it, as one step.
    async fn change_ledger<T>(
        &self,
        mut change: impl FnMut(&mut Ledger) -> T,
    ) -> Result<T, ControlError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let found = self.document::<Ledger>(kind::MEMORY, LEDGER).await?;
            let (mut ledger, expected) = match found {
                Some((ledger, revision)) => (ledger, Expected::Exactly(revision)),
                None => (Ledger::default(), Expected::MustNotExist),
            };
            let before = ledger.clone();
            let result = change(&mut ledger);
            if ledger == before {
                return Ok(result);
            }
            let put = records::document(kind::MEMORY, LEDGER, expected, &ledger);
            let changes = Changes { documents: vec![put], ..Changes::default() };
            match self.commit(changes, &[]).await {
                Ok(()) => return Ok(result),
                Err(ControlError::Changed { .. }) if tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the ledger allows for each silent server whose power can be reached.
fn claim(
    ledger: &mut Ledger,
    rules: &Policy,
    configs: &[(String, PowerConfig)],
    servers: &BTreeMap<ServerId, Server>,
    now_ms: u64,
) -> Vec<(ServerId, PowerConfig, Step)> {
    let known = configs.iter().filter_map(|(key, config)| {
        let id: ServerId = key.parse().ok()?;
        Some((id, config, servers.get(&id)?))
    });
    let mut steps = Vec::new();
    for (id, config, server) in known {
        look_at(ledger, server);
        if server.standing == Standing::Silent {
            steps.push((id, config.clone(), ledger.claim(rules, &id.to_string(), now_ms)));
        }
    }
    steps
}

/// Tells the ledger whether a server should speak, and when it last did.
fn look_at(ledger: &mut Ledger, server: &Server) {
    let name = server.id.to_string();
    let is_ours = matches!(server.enrolment, Enrolment::Approved { .. });
    // Where no resident reports, silence is what was ordered.
    let is_mute = server.standing == Standing::Booting && server.seen.seal.is_some();
    if is_ours && !is_mute && server.standing != Standing::Retired {
        ledger.expect(&name, server.seen.at_ms);
    } else {
        ledger.excuse(&name);
    }
    ledger.heard(&name, server.seen.at_ms);
}

const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::On => "on",
        Action::Shutdown => "shutdown",
        Action::Off => "off",
        Action::Cycle => "cycle",
        Action::BootOnce(_) => "boot-once",
        Action::BringHome(_) => "bring-home",
    }
}
