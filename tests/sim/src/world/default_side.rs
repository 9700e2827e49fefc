//! The default side of a world: coming home, and a round of the agent. A panic ends a life, and the
//! life after it is told, as PID 1 does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use repave_core::agent::{Agent, Character, Round};
use repave_core::edges::{Configurator, Crew, Edges, Host, Power, Watchdog};
use repave_core::event::Event;
use repave_core::home::Home;
use repave_core::watchdog::TIMEOUT_S;
use repave_core::witness::{self, Known, Witness, Witnessed, WitnessedFirmware};
use repave_protocol::{Nonce, ServerId, SigningKey};

use super::edges::Around;
use super::{PAUSE_MS, Place, World};
use crate::events::PANIC;

impl World {
    /// A stretch of the agent's life. A panic ends it.
    pub(super) fn life(&mut self, stretch: impl FnOnce(&mut Self) -> Place) -> Place {
        match catch_unwind(AssertUnwindSafe(|| stretch(self))) {
            Ok(place) => place,
            Err(panic) => {
                if panic.downcast_ref::<String>().map(String::as_str) != Some(PANIC) {
                    let what = panic.downcast_ref::<String>().cloned();
                    let what = what.or(panic.downcast_ref::<&str>().map(|&text| text.into()));
                    let found = format!("the agent panicked: {}", what.unwrap_or_default());
                    self.machine.borrow_mut().watch.violated("I9", &found);
                }
                self.has_panicked = true;
                self.pause(PAUSE_MS);
                Place::Entering
            }
        }
    }

    pub(super) fn enter(&mut self) -> Place {
        self.lives += 1;
        self.known = Known::default();
        let (pen, disks, mut around) = self.edges();
        let mut disks = witness::disks(disks, &pen);
        let edge = around.firmware.as_mut();
        let mut firmware = WitnessedFirmware { edge, known: &mut self.known, witness: &pen };
        let mut host = Witnessed::<dyn Host> { edge: around.host.as_mut(), witness: &pen };
        host.saw(Event::Home { life: self.lives });
        let found = Home::find(&mut disks, &mut firmware, &mut host, self.latest);
        let entered = found.and_then(|default| {
            Home::enter(default, &mut disks, &mut firmware, &mut host, &mut self.latest)
        });
        // As PID 1 does before it comes home.
        self.machine.borrow_mut().watchdog_s = Some(TIMEOUT_S);
        let mut home = match entered {
            Ok(home) => home,
            Err(failure) => return self.not_home("not at home", &failure.chain()),
        };
        let (burned, root_key, pool) = {
            let controller = &self.machine.borrow().controller;
            (controller.burned_trust(), controller.root_key(), controller.pool.clone())
        };
        let disk = disks[home.default.disk].as_mut();
        let trust = match home.trust(&burned, root_key, &pool, disk) {
            Ok(trust) => trust,
            Err(failure) => return self.not_home("no trust", &failure.chain()),
        };
        self.machine.borrow_mut().trusted_ca.clone_from(&trust.message().ca_pem);
        let character = Character {
            pool,
            controllers: vec!["https://sim".into()],
            root_key,
            join_token: None,
            architecture: self.spec.architecture.clone(),
            patience_ms: self.patience_ms,
        };
        self.machine.borrow_mut().watch.begin_life();
        let boot = Nonce::from_random(host.entropy());
        let mut agent = Agent::new(character, trust, home, boot);
        if std::mem::take(&mut self.has_panicked) {
            agent.confess(PANIC);
        }
        Place::Default(Box::new(agent))
    }

    fn not_home(&self, what: &str, why: &str) -> Place {
        self.machine.borrow_mut().events.note(&format!("{what}: {why}"));
        self.pause(PAUSE_MS);
        Place::Entering
    }

    pub(super) fn round(&mut self, mut agent: Box<Agent>) -> Place {
        let (pen, disks, mut around) = self.edges();
        let witness: &dyn Witness = &pen;
        let Around { firmware, link, crew, configurator, power, watchdog, host } = &mut around;
        let mut edges = Edges {
            disks: witness::disks(disks, witness),
            firmware: &mut WitnessedFirmware {
                edge: firmware.as_mut(),
                known: &mut self.known,
                witness,
            },
            link: link.as_mut(),
            crew: &mut Witnessed::<dyn Crew> { edge: crew.as_mut(), witness },
            configurator: &mut Witnessed::<dyn Configurator> {
                edge: configurator.as_mut(),
                witness,
            },
            power: &mut Witnessed::<dyn Power> { edge: power.as_mut(), witness },
            watchdog: &mut Witnessed::<dyn Watchdog> { edge: watchdog.as_mut(), witness },
            host: &mut Witnessed::<dyn Host> { edge: host.as_mut(), witness },
        };
        let outcome = agent.round(&mut edges);
        drop(edges);
        match outcome {
            Ok(Round::Left) => return Place::Off,
            Ok(Round::Again(pause_ms)) => self.pause(pause_ms),
            Err(failure) => {
                let line = format!("round failed: {}", failure.chain());
                self.machine.borrow_mut().events.note(&line);
                self.pause(PAUSE_MS);
            }
        }
        Place::Default(agent)
    }

    /// Who the server is, by the key on its stable storage.
    pub fn server(&self) -> ServerId {
        let machine = self.machine.borrow();
        let seed = machine.watch.record.as_ref().map_or([0; 32], |r| *r.device_seed.expose());
        match self.server.get() {
            Some((known, server)) if known == seed => server,
            _ => {
                let server = ServerId::of(&SigningKey::from_seed(&seed).public());
                self.server.set(Some((seed, server)));
                server
            }
        }
    }
}
