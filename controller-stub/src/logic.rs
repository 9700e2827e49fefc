//! What one server should do next. Pure: statuses in, orders and generations out.

use std::collections::VecDeque;

use repave_protocol::{Generation, Inventory, Order, Purpose, SealReport, Side, Standing, Status};

use crate::scenario::{Answer, Scenario};

/// Whether whoever sent `status` waits for its answer; progress is told to nobody in particular.
pub(crate) const fn listens(status: &Status) -> bool {
    !matches!(
        status.standing,
        Standing::Purposing { .. }
            | Standing::Wiping { .. }
            | Standing::Leaving { .. }
            | Standing::Returning
    )
}

/// One server, as the stub's own little controller sees it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its turn among the servers that ever reported, from 0.
    arrival: usize,
    approved: bool,
    inventory: Option<Inventory>,
    /// What it should do or be.
    wish: Order,
    /// The wish is new: it goes out under a new generation, even if it reads like the last order.
    renew: bool,
    /// The last order, and what it was issued under.
    last: Option<(Generation, Order)>,
    /// The generation under which the wished purpose was ordered.
    purposed: Option<Generation>,
    failures: u32,
    given_up: Option<String>,
    /// The highest generation in an answer that the server heard.
    heard: Option<Generation>,
    /// Scripted answers that are still to come.
    pub(crate) script: VecDeque<Answer>,
    /// The answer before, for stale ones.
    pub(crate) last_answer: Option<Vec<u8>>,
}

impl Server {
    /// A server that reported for the first time.
    pub(crate) fn new(arrival: usize, scenario: &Scenario) -> Self {
        Self {
            arrival,
            approved: false,
            inventory: None,
            wish: wait(scenario),
            renew: false,
            last: None,
            purposed: None,
            failures: 0,
            given_up: None,
            heard: None,
            script: scenario.script.iter().cloned().collect(),
            last_answer: None,
        }
    }

    /// Lets the server in, or back out.
    pub(crate) const fn approve(&mut self, approved: bool) {
        self.approved = approved;
    }

    /// Sets what it should do or be. Asking for the same again asks for it to be done again.
    pub(crate) fn wish(&mut self, order: Order) {
        self.wish = order;
        self.renew = true;
        self.purposed = None;
        self.failures = 0;
        self.given_up = None;
    }

    /// The wish was ordered under this generation before this stub's time. What the server has
    /// accepted since can only have been a boot of what it then became.
    fn recall(&mut self, generation: Generation, status: &Status) {
        let later = status.generation.filter(|accepted| *accepted > generation);
        self.last = Some(match later {
            Some(accepted) => (accepted, Order::Boot { sealed: generation }),
            None => (generation, self.wish.clone()),
        });
        self.renew = false;
        self.purposed = Some(generation);
    }

    /// Takes note of a status. `heard` tells whether the order before it can have arrived; a
    /// server that refuses a forgery has failed at nothing.
    pub(crate) fn observe(&mut self, status: &Status, heard: bool, scenario: &Scenario) {
        if let Some(inventory) = &status.inventory {
            self.inventory = Some(inventory.clone());
        }
        if !self.approved {
            let enrolment = scenario
                .enrolments
                .iter()
                .find(|enrolment| enrolment.select.fits(self.arrival, self.inventory.as_ref()));
            if let Some(enrolment) = enrolment {
                self.approved = true;
                if let Some(order) = &enrolment.order {
                    self.wish(order.clone());
                }
                if let Some(generation) = enrolment.issued {
                    self.recall(generation, status);
                }
            }
        }
        match &status.standing {
            Standing::Up { .. } => self.failures = 0,
            Standing::Failed { fault } if heard => {
                self.failures += 1;
                if scenario.retries.is_some_and(|most| self.failures > most) {
                    self.given_up = Some(format!("gave up after {}", fault.code));
                }
            }
            _ => {}
        }
    }

    /// The order that answers `status`.
    pub(crate) fn decide(&self, status: &Status, scenario: &Scenario) -> Order {
        if !self.approved {
            return wait(scenario);
        }
        if let Some(reason) = &self.given_up {
            return Order::Stay { reason: reason.clone() };
        }
        let Order::Purpose(purpose) = &self.wish else {
            return self.wish.clone();
        };
        let sealed = status.seal.as_ref().filter(|seal| self.fits(purpose, seal));
        match (&status.standing, sealed) {
            (Standing::Up { .. }, Some(_)) => wait(scenario),
            (Standing::Idle | Standing::Staying, Some(seal)) => {
                Order::Boot { sealed: seal.generation }
            }
            (Standing::Up { .. } | Standing::Idle | Standing::Staying, None) => self.wish.clone(),
            // Busy with the last order, or failed at it: the same again.
            (
                Standing::Purposing { .. }
                | Standing::Wiping { .. }
                | Standing::Leaving { .. }
                | Standing::Returning
                | Standing::Failed { .. },
                sealed,
            ) => match (&self.last, sealed) {
                (Some((_, order @ (Order::Purpose(_) | Order::Boot { .. }))), _) if !self.renew => {
                    order.clone()
                }
                (_, Some(seal)) => Order::Boot { sealed: seal.generation },
                (_, None) => self.wish.clone(),
            },
        }
    }

    /// Whether a seal says that the wish was fulfilled.
    fn fits(&self, purpose: &Purpose, seal: &SealReport) -> bool {
        !self.renew
            && self.purposed == Some(seal.generation)
            && seal.manifest == purpose.image.manifest
            && seal.server_type == purpose.server_type
    }

    /// The last order again; the first one, if there was none.
    pub(crate) fn repeat(&self, status: &Status, scenario: &Scenario) -> Order {
        match &self.last {
            Some((_, order)) => order.clone(),
            None => self.decide(status, scenario),
        }
    }

    /// Gives `order` its generation: the last one if it is the last order again, else the next.
    pub(crate) fn issue(&mut self, order: Order, status: &Status) -> Generation {
        let fulfils_wish = order == self.wish;
        let again = self.last.as_ref().filter(|(_, last)| *last == order);
        let generation = match again {
            Some((generation, _)) if !(self.renew && fulfils_wish) => *generation,
            _ => self.next_generation(status),
        };
        if fulfils_wish {
            self.renew = false;
            if matches!(order, Order::Purpose(_)) {
                self.purposed = Some(generation);
            }
        }
        self.last = Some((generation, order));
        generation
    }

    /// Takes note of a sound answer that is on its way to a server that waits for it.
    pub(crate) fn hears(&mut self, generation: Generation) {
        self.heard = self.heard.max(Some(generation));
    }

    /// The generation that the server accepted last. The target has no journal to write to, so
    /// its statuses tell only until it is started anew.
    pub(crate) fn accepted(&self, status: &Status) -> Option<Generation> {
        match status.side {
            Side::Default => status.generation,
            Side::Target => status.generation.max(self.heard),
        }
    }

    /// Above everything issued here, and above what the server accepted before this stub's time.
    pub(crate) fn next_generation(&self, status: &Status) -> Generation {
        let issued = self.last.as_ref().map(|(generation, _)| *generation);
        match issued.max(status.generation) {
            Some(generation) => Generation(generation.0.saturating_add(1)),
            // Generation 0 is the wait of servers that nobody has approved yet.
            None => Generation(u64::from(self.approved)),
        }
    }
}

fn wait(scenario: &Scenario) -> Order {
    Order::Wait { after_ms: scenario.wait_ms }
}

#[cfg(test)]
mod tests {
    use repave_protocol::{
        Blame, BootMethod, Fault, ImageReference, Load, Nonce, PoolId, ServerId, Settings, Sha256,
        SigningKey, Stage,
    };

    use super::*;
    use crate::scenario::{Enrolment, Select};

    const WAIT: Order = Order::Wait { after_ms: 500 };

    fn purpose(server_type: &str) -> Order {
        Order::Purpose(Box::new(Purpose {
            server_type: server_type.into(),
            image: ImageReference {
                name: server_type.into(),
                version: 1,
                manifest: Sha256::of(server_type.as_bytes()),
            },
            sources: Vec::new(),
            disk: None,
            boot: BootMethod::Auto,
            settings: Settings::default(),
        }))
    }

    fn stay(reason: &str) -> Order {
        Order::Stay { reason: reason.into() }
    }

    fn seal(server_type: &str, generation: u64) -> SealReport {
        SealReport {
            generation: Generation(generation),
            server_type: server_type.into(),
            image: server_type.into(),
            version: 1,
            manifest: Sha256::of(server_type.as_bytes()),
            attempts: 0,
            alone: false,
        }
    }

    fn failed() -> Standing {
        Standing::Failed { fault: Fault::new(Blame::Image, "chunk", "a chunk", None) }
    }

    fn up() -> Standing {
        Standing::Up { load: Load::default() }
    }

    fn at(stage: Stage) -> Standing {
        Standing::Purposing { stage, done_bytes: 0, total_bytes: 0, bytes_per_s: 0 }
    }

    /// A server and the scenario around it.
    struct Bench {
        server: Server,
        scenario: Scenario,
        accepted: Option<Generation>,
    }

    impl Bench {
        fn new(order: Option<Order>) -> Self {
            let select = Select::Anyone;
            let scenario = Scenario {
                enrolments: vec![Enrolment { select, order, issued: None }],
                retries: Some(1),
                ..Scenario::default()
            };
            Self { server: Server::new(0, &scenario), scenario, accepted: None }
        }

        /// Reports `standing` and checks the answer.
        #[track_caller]
        fn check(&mut self, standing: Standing, seal: Option<SealReport>, expected: (u64, Order)) {
            let id = ServerId::of(&SigningKey::from_seed(&[1; 32]).public());
            let status = Status {
                crit: Vec::new(),
                pool: "demo".parse::<PoolId>().unwrap(),
                server: id,
                nonce: Nonce::from_random([0; 32]),
                boot: Nonce::from_random([0; 32]),
                sequence: 0,
                side: Side::Default,
                agent: String::new(),
                generation: self.accepted,
                seal,
                wiped: None,
                standing,
                log: None,
                bad_sources: Vec::new(),
                uptime_ms: 0,
                watchdog: None,
                inventory: None,
                default_partition: None,
                trust: None,
                join_token: None,
            };
            self.server.observe(&status, true, &self.scenario);
            let order = self.server.decide(&status, &self.scenario);
            let generation = self.server.issue(order.clone(), &status);
            self.accepted = Some(generation);
            assert_eq!((generation.0, order), expected);
        }
    }

    #[test]
    fn a_whole_life() {
        let (web, db) = (purpose("web"), purpose("db"));
        let mut bench = Bench::new(Some(web.clone()));
        bench.check(Standing::Idle, None, (1, web.clone()));
        bench.check(at(Stage::Accepted), None, (1, web.clone()));
        // A crash in the middle, and the same order again.
        bench.check(Standing::Idle, None, (1, web.clone()));
        bench.check(at(Stage::Armed), Some(seal("web", 1)), (1, web));
        bench.check(up(), Some(seal("web", 1)), (2, WAIT));
        bench.check(up(), Some(seal("web", 1)), (2, WAIT));
        // A power cycle: the target is booted, not written.
        let boot = Order::Boot { sealed: Generation(1) };
        bench.check(Standing::Idle, Some(seal("web", 1)), (3, boot.clone()));
        let leaving = Standing::Leaving { method: BootMethod::Firmware };
        bench.check(leaving, Some(seal("web", 1)), (3, boot));
        bench.check(up(), Some(seal("web", 1)), (4, WAIT));
        // Another purpose.
        bench.server.wish(db.clone());
        bench.check(up(), Some(seal("web", 1)), (5, db.clone()));
        bench.check(Standing::Returning, Some(seal("web", 1)), (5, db.clone()));
        bench.check(Standing::Idle, Some(seal("web", 1)), (5, db.clone()));
        bench.check(up(), Some(seal("db", 5)), (6, WAIT));
        // The same purpose, asked for again: it is written again.
        bench.server.wish(db.clone());
        bench.check(up(), Some(seal("db", 5)), (7, db.clone()));
        bench.check(Standing::Idle, Some(seal("db", 5)), (7, db));
    }

    #[test]
    fn an_order_given_up_is_not_ordered_again() {
        let web = purpose("web");
        let given_up = stay("gave up after chunk");
        let mut bench = Bench::new(Some(web.clone()));
        bench.check(Standing::Idle, None, (1, web.clone()));
        bench.check(failed(), None, (1, web.clone()));
        bench.check(failed(), None, (2, given_up.clone()));
        bench.check(Standing::Staying, None, (2, given_up));
        bench.server.wish(web.clone());
        bench.check(Standing::Staying, None, (3, web));
    }

    #[test]
    fn a_server_is_pending_until_it_is_approved() {
        let mut bench = Bench::new(None);
        bench.scenario.enrolments.clear();
        bench.server.wish(purpose("web"));
        bench.check(Standing::Idle, None, (0, WAIT));
        bench.check(Standing::Idle, None, (0, WAIT));
        bench.server.approve(true);
        bench.check(Standing::Idle, None, (1, purpose("web")));
    }

    #[test]
    fn generations_go_on_from_where_the_server_is() {
        let mut bench = Bench::new(Some(purpose("web")));
        bench.accepted = Some(Generation(41));
        bench.check(Standing::Idle, Some(seal("web", 40)), (42, purpose("web")));
    }

    #[test]
    fn what_was_ordered_before_the_stubs_time_is_recalled() {
        let (web, boot) = (purpose("web"), Order::Boot { sealed: Generation(3) });
        let recalling = || {
            let mut bench = Bench::new(Some(web.clone()));
            bench.scenario.enrolments[0].issued = Some(Generation(3));
            bench
        };
        // It had not heard of it yet, or was in the midst of it: the same again.
        recalling().check(Standing::Idle, None, (3, web.clone()));
        let mut bench = recalling();
        bench.accepted = Some(Generation(3));
        bench.check(Standing::Idle, None, (3, web.clone()));
        // It was done: it is booted.
        let mut bench = recalling();
        bench.accepted = Some(Generation(3));
        bench.check(Standing::Idle, Some(seal("web", 3)), (4, boot.clone()));
        // It had been told to boot already, and did not come up.
        let mut bench = recalling();
        bench.accepted = Some(Generation(7));
        bench.check(failed(), Some(seal("web", 3)), (7, boot));
    }

    #[test]
    fn a_server_that_should_stay_stays() {
        let mut bench = Bench::new(Some(stay("rack is moved")));
        bench.check(Standing::Idle, None, (1, stay("rack is moved")));
        bench.check(Standing::Staying, None, (1, stay("rack is moved")));
    }
}
