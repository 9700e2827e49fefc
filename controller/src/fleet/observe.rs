//! The fold: what a status changes in the record of its server, and what time changes when no
//! status comes.

use repave_protocol::{Blame, Fault, Side, Standing as Said, Status};

use super::enrolment::Enrolment;
use super::event::{Event, EventKind};
use super::guard;
use super::hardware::{Facts, Print};
use super::orders::Wish;
use super::server::{Failures, Seen, Server};
use super::sources;
use super::standing::Standing;

/// What the pool's policy says about reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// After so many failures of an image on a server it is not tried there again.
    pub retries: u32,
    /// A server that says nothing for so long is silent.
    pub silent_after_ms: u64,
    /// The same for one that is on its way between its sides, where nobody can report.
    pub boot_within_ms: u64,
}

impl Seen {
    /// Of a status that came at `now_ms`, after `before`.
    pub(super) fn of(status: &Status, before: Option<&Self>, now_ms: u64) -> Self {
        // The first status of a boot says what was read from the journal, whichever side it is.
        let is_kept = status.side == Side::Default || status.sequence == 0;
        let default_trust =
            if is_kept { status.trust } else { before.and_then(|seen| seen.default_trust) };
        let load = match &status.standing {
            Said::Up { load } => *load,
            _ => Default::default(),
        };
        Self {
            at_ms: now_ms,
            boot: status.boot,
            sequence: status.sequence,
            side: status.side,
            agent: status.agent.clone(),
            generation: status.generation,
            seal: status.seal.clone(),
            wiped: status.wiped.clone(),
            load,
            trust: status.trust,
            default_trust,
            watchdog: status.watchdog.clone(),
            bad_sources: sources::known(status, before),
            default_armed: guard::default_armed(status, before),
        }
    }
}

impl Server {
    /// Takes in a status. One that is older than what was seen of the same boot changes nothing:
    /// what is told twice, or overtaken on its way, is no news.
    pub fn observe(&mut self, status: &Status, now_ms: u64, rules: &Rules) -> Vec<Event> {
        if status.boot == self.seen.boot && status.sequence < self.seen.sequence {
            return Vec::new();
        }
        let is_repeat = status.boot == self.seen.boot && status.sequence == self.seen.sequence;
        let is_boot = status.boot != self.seen.boot;
        let guards = guard::news(&self.seen, status);
        let seen = Seen::of(status, Some(&self.seen), now_ms);
        let is_known = self.enrolment.is_approved();
        let named = if is_known { sources::news(&self.seen, &seen) } else { Vec::new() };
        self.seen = seen;
        let mut events = Vec::new();
        if is_boot {
            events.push(Event::boot(status, now_ms));
        }
        let told = guards.into_iter().chain(named);
        events.extend(told.map(|kind| Event::of(self.id, now_ms, kind)));
        if let Some(reason) = self.recognise(status) {
            self.enrolment = Enrolment::Suspended { reason };
        }
        match &status.standing {
            Said::Failed { fault } if !is_repeat => {
                events.extend(self.count_failure(fault, now_ms, rules));
            }
            Said::Up { .. } if self.is_fulfilled() => {
                let manifest = self.seen.seal.as_ref().map(|seal| seal.manifest);
                self.failures.retain(|image, _| Some(*image) != manifest);
                self.close_order();
            }
            _ => {}
        }
        let (standing, cause) = self.standing_of(&status.standing, now_ms);
        events.extend(self.move_to(standing, cause, now_ms));
        events
    }

    /// Compares the machine with what was known of it; says what is wrong.
    fn recognise(&mut self, status: &Status) -> Option<String> {
        if let Some(inventory) = &status.inventory {
            // A resident sees no firmware's view of the default disk: the facts stay default's.
            if status.side == Side::Default || self.facts == Facts::default() {
                self.facts = Facts::of(inventory);
            }
            let print = Print::of(inventory);
            if self.print.is_some() && print.is_some() && print != self.print {
                return Some("its key is used by two machines".into());
            }
            self.print = self.print.or(print);
        }
        let found = status.default_partition?;
        let known = *self.default_partition.get_or_insert(found);
        (known != found).then(|| "its default partition has changed".into())
    }

    /// Counts a failure of the order that is out, once. A network that does not deliver says nothing
    /// about the image.
    fn count_failure(&mut self, fault: &Fault, now_ms: u64, rules: &Rules) -> Option<Event> {
        let is_out = self.close_order();
        if !is_out || fault.blame == Blame::Network {
            return None;
        }
        self.add_failure(&fault.code, now_ms, rules)
    }

    /// One more failure of the image that it was told to be; what fails too often is quarantined.
    fn add_failure(&mut self, code: &str, now_ms: u64, rules: &Rules) -> Option<Event> {
        let purpose = self.assignment.as_ref()?.wish.purpose()?;
        let image = purpose.image.clone();
        let failures = self.failures.entry(image.manifest).or_insert_with(|| Failures {
            server_type: purpose.server_type.clone(),
            image: image.name.clone(),
            version: image.version,
            count: 0,
            first_ms: Some(now_ms),
            last_ms: now_ms,
            code: String::new(),
            quarantined: false,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last_ms = now_ms;
        failures.code = code.into();
        if failures.quarantined || failures.count < rules.retries {
            return None;
        }
        failures.quarantined = true;
        let (count, code) = (failures.count, code.into());
        let image = format!("{}:{}", image.name, image.version);
        Some(Event::of(self.id, now_ms, EventKind::Quarantine { image, code, count }))
    }

    /// Finds out that what was decided has not come about in time, once for every `within_ms` that
    /// it takes, and counts that as a failure.
    pub fn overdue(&mut self, now_ms: u64, within_ms: u64, rules: &Rules) -> Option<Event> {
        if self.is_fulfilled() || self.quarantine().is_some() {
            return None;
        }
        let assignment = self.assignment.as_mut()?;
        let begin_ms = assignment.decided_ms.max(assignment.drained_ms);
        let periods = now_ms.saturating_sub(begin_ms) / within_ms.max(1);
        if assignment.wish.purpose().is_none() || periods <= u64::from(assignment.overdue) {
            return None;
        }
        assignment.overdue = u32::try_from(periods).unwrap_or(u32::MAX);
        self.add_failure("not-up-in-time", now_ms, rules)
    }

    /// Whether an order was out; it no longer is.
    fn close_order(&mut self) -> bool {
        self.issued.as_mut().is_some_and(|issued| std::mem::replace(&mut issued.is_out, false))
    }

    /// The fault that keeps it from being tried again with what it was told to be.
    pub(super) fn quarantine(&self) -> Option<&Failures> {
        let image = self.assignment.as_ref()?.wish.image()?;
        self.failures.get(&image.manifest).filter(|failures| failures.quarantined)
    }

    fn standing_of(&self, said: &Said, now_ms: u64) -> (Standing, String) {
        let (standing, cause) = match &self.enrolment {
            Enrolment::Pending => (Standing::Pending, "waits for approval"),
            Enrolment::Rejected { .. } => (suspended("rejected"), "was rejected"),
            Enrolment::Revoked { .. } => (suspended("revoked"), "its key was revoked"),
            Enrolment::Suspended { reason } => (suspended(reason), reason.as_str()),
            Enrolment::Approved { .. } => return self.standing_of_approved(said, now_ms),
        };
        (standing, cause.into())
    }

    fn standing_of_approved(&self, said: &Said, now_ms: u64) -> (Standing, String) {
        let wish = self.assignment.as_ref().map(|assignment| &assignment.wish);
        let quarantined = self.quarantine().map(|failures| failures.code.clone());
        let (standing, cause) = match said {
            Said::Purposing { stage, done_bytes, total_bytes, bytes_per_s } => {
                let percent = percent(*done_bytes, *total_bytes);
                let (stage, bytes_per_s) = (*stage, *bytes_per_s);
                (Standing::Purposing { stage, percent, bytes_per_s }, "reports it")
            }
            Said::Wiping { pass, done_bytes, total_bytes, bytes_per_s } => {
                let percent = percent(*done_bytes, *total_bytes);
                let (pass, bytes_per_s) = (*pass, *bytes_per_s);
                (Standing::Wiping { pass, percent, bytes_per_s }, "reports it")
            }
            Said::Leaving { .. } => (Standing::Booting, "left for its target"),
            Said::Returning => (Standing::Returning, "left its target"),
            Said::Up { .. } if self.is_draining(now_ms) => {
                (Standing::Draining, "is to be something else")
            }
            Said::Up { .. } if self.seen.seal.as_ref().is_some_and(|seal| seal.alone) => {
                (Standing::Up, "its resident reports; it booted without a controller")
            }
            Said::Up { .. } => (Standing::Up, "its resident reports"),
            _ if wish == Some(&Wish::Retired) => (Standing::Retired, "was retired"),
            Said::Idle | Said::Staying if self.is_wiped() => match wish {
                Some(wish) if wish.is_retired() => (Standing::Retired, "was wiped and retired"),
                _ => (Standing::Wiped, "reads zero where its target was"),
            },
            Said::Idle | Said::Staying | Said::Failed { .. } if quarantined.is_some() => {
                let code = quarantined.unwrap_or_default();
                (Standing::Quarantined { code }, "failed too often")
            }
            Said::Idle => (Standing::Idle, "waits in default"),
            Said::Staying => (Standing::Staying, "stays in default on orders"),
            Said::Failed { fault } => {
                let (code, message) = (fault.code.clone(), fault.message.clone());
                return (Standing::Failed { code, message: message.clone() }, message);
            }
        };
        (standing, cause.into())
    }

    /// Whether its target runs only until its clients are elsewhere.
    fn is_draining(&self, now_ms: u64) -> bool {
        let drained = self.assignment.as_ref().map_or(0, |assignment| assignment.drained_ms);
        drained > now_ms && !self.is_fulfilled()
    }

    /// Changes the standing, and tells of it if it is worth telling.
    pub fn move_to(&mut self, to: Standing, cause: String, now_ms: u64) -> Option<Event> {
        let from = std::mem::replace(&mut self.standing, to.clone());
        if from.name() != to.name() {
            self.standing_since_ms = now_ms;
        }
        let notable = from.differs_notably(&to);
        notable.then(|| Event::of(self.id, now_ms, EventKind::Standing { from, to, cause }))
    }
}

/// Finds out that a server has gone silent.
pub fn silence(server: &mut Server, now_ms: u64, rules: &Rules) -> Option<Event> {
    let limit_ms = match server.standing {
        Standing::Silent | Standing::Retired | Standing::Pending | Standing::Suspended { .. } => {
            return None;
        }
        Standing::Booting | Standing::Returning => rules.silent_after_ms.max(rules.boot_within_ms),
        _ => rules.silent_after_ms,
    };
    let quiet_ms = now_ms.saturating_sub(server.seen.at_ms);
    if quiet_ms <= limit_ms {
        return None;
    }
    let cause = format!("has not reported for {} s", quiet_ms / 1000);
    server.move_to(Standing::Silent, cause, now_ms)
}

fn percent(done_bytes: u64, total_bytes: u64) -> u8 {
    (done_bytes.saturating_mul(100) / total_bytes.max(1)).min(100) as u8
}

fn suspended(reason: &str) -> Standing {
    Standing::Suspended { reason: reason.into() }
}
