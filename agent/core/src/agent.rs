//! The agent's life in default: report, be told, do it, and again. It ends only by leaving for a
//! target. Whatever goes wrong is reported with the next status and followed by a pause.

mod patience;
mod wipe;

use repave_protocol::{
    Blame, Directive, Fault, Nonce, Order, PoolId, PublicKey, Purpose, Recency, Side, Stage,
    Standing, TrustDocument, Verified,
};

use crate::answer::{believe, wait_ms};
use crate::backoff::Backoff;
use crate::boot;
use crate::edges::Edges;
use crate::event::Event;
use crate::failure::Failure;
use crate::gpt::Table;
use crate::home::Home;
use crate::image::{TrustedImage, Way};
use crate::journal::{Accepted, UpRecord};
use crate::mirrors::Mirrors;
use crate::plan::{Ground, Plan};
use crate::report::Voice;
use crate::road::{self, Sealed, Traveller};
use crate::settings::ResidentConfig;
use crate::survey::survey;
use crate::trust;
use crate::watchdog::{self, Stretch, TIMEOUT_S};

/// Departures without an `up` after which the target is not booted again.
pub const ATTEMPTS: u32 = 3;
/// How long a departure waits for the digest of the default partition, in milliseconds. Reading 64 MiB
/// and digesting them takes well under a second; an emulated CPU on a host with much else to do was
/// seen to take 15.
const DIGEST_MS: u64 = 60_000;
/// Pause between two reports of a server that stays in default on orders.
const STAY_MS: u64 = 15_000;

/// What the agent is, besides what its journal says.
#[derive(Clone, Debug)]
pub struct Character {
    /// Its pool.
    pub pool: PoolId,
    /// Its controllers; the resident is told them.
    pub controllers: Vec<String>,
    /// The key that signs trust documents.
    pub root_key: PublicKey,
    /// Shown until a first order was given.
    pub join_token: Option<String>,
    /// `amd64`, …
    pub architecture: String,
    /// After so long without a controller the last good target is booted; 0 is never.
    pub patience_ms: u64,
}

/// The agent in default.
pub struct Agent {
    character: Character,
    trust: TrustDocument,
    home: Home,
    voice: Voice,
    /// Why the last order failed; told until another order comes.
    fault: Option<Fault>,
    /// Why the last answer was not believed; told once, until one is.
    refusal: Option<Fault>,
    /// Whether a status with the inventory has had an answer since this boot.
    surveyed: bool,
    /// When a controller was last heard, or waited for the first time.
    heard_ms: Option<u64>,
    /// The last stage that the present order reached.
    reached: Option<Stage>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Report again after so many milliseconds.
    Again(u64),
    /// The server has left. Only a simulation ever sees it.
    Left,
}

impl Agent {
    /// An agent at home. `boot` is drawn once for this boot.
    pub fn new(
        character: Character,
        trust: Verified<TrustDocument>,
        home: Home,
        boot: Nonce,
    ) -> Self {
        let key = home.journal.device_key();
        let token = character.join_token.clone();
        let voice = Voice::new(trust.message(), key, boot, Side::Default, token);
        // Made anew, since a target's root can write what no status may carry.
        let kept = home.journal.record().failure.as_ref();
        let fault = kept.map(|f| Fault::new(f.blame, &f.code, &f.message, f.stage));
        Self {
            character,
            trust: trust.into_message(),
            home,
            voice,
            fault,
            refusal: None,
            surveyed: false,
            heard_ms: None,
            reached: None,
        }
    }

    /// Makes the next status tell of a life that ended in a panic.
    pub fn confess(&mut self, panic: &str) {
        self.fault = Some(Fault::new(Blame::Agent, "agent-panic", panic, None));
    }

    /// Rounds until the server leaves. A failed round is followed by a pause that grows; for ever,
    /// since a server that gives up is a server that somebody has to visit. It also ends after a
    /// failed round if other disks are attached by then, so that they are opened.
    pub fn live(&mut self, edges: &mut Edges<'_>) {
        let mut backoff = Backoff::default();
        loop {
            let outcome = self.round(edges);
            // A controller that is not heard has nothing to do with disks, and the patience with it
            // is this life's.
            let unheard = matches!(outcome, Err(Failure::Link(_) | Failure::Refused(_)));
            let may_be_disks = outcome.is_err() && !unheard;
            let pause_ms = match outcome {
                Ok(Round::Left) => return,
                Ok(Round::Again(pause_ms)) => {
                    backoff = Backoff::default();
                    pause_ms
                }
                Err(failure) => {
                    let pause_ms = backoff.next_ms(&edges.host.entropy());
                    log::error!("{} (again in {} ms)", failure.chain(), pause_ms);
                    pause_ms
                }
            };
            edges.watchdog.begin(Stretch::Pausing { pause_ms });
            edges.host.sleep(pause_ms);
            // Without its home the next life would not be heard; this one can still tell of it.
            if may_be_disks && edges.host.has_other_disks() && self.is_home_there(edges) {
                return;
            }
        }
    }

    fn is_home_there(&self, edges: &mut Edges<'_>) -> bool {
        Table::read(edges.disks[self.home.default.disk].as_mut()).is_ok()
    }

    /// One status, its answer, and what follows from it.
    pub fn round(&mut self, edges: &mut Edges<'_>) -> Result<Round, Failure> {
        edges.watchdog.begin(Stretch::Working);
        self.voice.guarded_by(edges.watchdog.report());
        let settled = self.settle(edges);
        let came_up = self.came_up(edges).unwrap_or_else(|failure| {
            // A server whose journal cannot be read must still be heard.
            self.fault = Some(failure.fault(None));
            false
        });
        let standing = self.standing(came_up);
        let inventory = (!self.surveyed).then(|| survey(edges));
        let record = self.home.journal.record();
        let (nonce, status) = self.voice.status(edges.host, record, standing, inventory);
        self.heard_ms.get_or_insert(edges.host.uptime_ms());
        edges.watchdog.begin(Stretch::Asking { controllers: self.character.controllers.len() });
        let answer = edges.link.ask(&status);
        edges.watchdog.begin(Stretch::Working);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                edges.host.saw(Event::Unanswered(error.reason.clone()));
                return self.unanswered(error.into(), came_up, edges);
            }
        };
        self.surveyed = true;
        let accepted = self.home.journal.record().accepted;
        let directive = match believe(&answer, &self.voice, nonce, &self.trust, accepted) {
            Ok(directive) => directive,
            Err(refusal) => {
                edges.host.saw(Event::Refused(refusal.code().into()));
                let failure = Failure::from(refusal);
                self.refusal = Some(failure.fault(None));
                return self.unanswered(failure, came_up, edges);
            }
        };
        self.refusal = None;
        let Directive { generation, order, .. } = directive.message();
        edges.host.saw(Event::answered(*generation, order));
        self.heard_ms = Some(edges.host.uptime_ms());
        if let Err(failure) = settled.and_then(|()| self.accept(&directive, edges)) {
            self.fault = Some(failure.fault(None));
            return Err(failure);
        }
        self.reached = None;
        let outcome = self.obey(&directive, came_up, edges);
        if let Err(failure) = &outcome {
            let fault = failure.fault(self.reached);
            self.fault = Some(fault.clone());
            // Kept for the next boot as well, where the disk still allows it.
            let disk = edges.disks[self.home.default.disk].as_mut();
            if let Err(error) =
                self.home.journal.update(disk, |record| record.failure = Some(fault))
            {
                log::error!("{error}");
            }
        }
        outcome
    }

    /// While the disk may hold another order than was told as the last, none is accepted.
    fn settle(&mut self, edges: &mut Edges<'_>) -> Result<(), Failure> {
        let disk = edges.disks[self.home.default.disk].as_mut();
        let settled = self.home.journal.settle(disk).map_err(Failure::from);
        if let Err(failure) = &settled {
            self.fault = Some(failure.fault(None));
        }
        settled
    }

    /// Records a new order before anything is done about it.
    fn accept(
        &mut self,
        directive: &Verified<Directive>,
        edges: &mut Edges<'_>,
    ) -> Result<(), Failure> {
        let message = directive.message();
        self.take_trust(message, edges)?;
        if *directive.finding() == Recency::Repeat {
            return Ok(());
        }
        let accepted = Accepted { generation: message.generation, digest: message.order_digest() };
        let is_wait = matches!(message.order, Order::Wait { .. });
        if !is_wait {
            log::info!("generation {}: {}", message.generation, order_words(&message.order));
            self.fault = None;
            self.voice.forget_sources();
        }
        // Whatever becomes of this order, what it takes away is not booted without another.
        if !matches!(message.order, Order::Boot { .. } | Order::Wait { .. }) {
            self.home.journal.withdraw();
        }
        let disk = edges.disks[self.home.default.disk].as_mut();
        Ok(self.home.journal.update(disk, |record| {
            record.accepted = Some(accepted);
            if !is_wait {
                record.failure = None;
            }
            // A wipe that is new was not carried out, whatever a target's root wrote here.
            if matches!(message.order, Order::Wipe(_)) {
                record.wiped = None;
            }
        })?)
    }

    /// Takes a newer trust document that came along.
    fn take_trust(&mut self, directive: &Directive, edges: &mut Edges<'_>) -> Result<(), Failure> {
        let (came, root_key) = (directive.trust.as_ref(), self.character.root_key);
        if let Some((document, text)) = trust::newer(came, &self.trust, root_key, edges.link)? {
            edges.host.saw(Event::Trust(document.version));
            let disk = edges.disks[self.home.default.disk].as_mut();
            self.home.journal.update(disk, |record| record.trust = Some(text))?;
            self.voice.goes_by(&document);
            self.trust = document;
        }
        Ok(())
    }

    fn obey(
        &mut self,
        directive: &Verified<Directive>,
        came_up: bool,
        edges: &mut Edges<'_>,
    ) -> Result<Round, Failure> {
        match &directive.message().order {
            Order::Wait { after_ms } => Ok(Round::Again(wait_ms(*after_ms))),
            Order::Stay { reason } => self.stay(reason, edges),
            Order::Wipe(wipe) => self.wipe(directive, wipe, edges),
            Order::Boot { sealed } => {
                let seal = self.home.journal.record().seal.as_ref();
                if seal.map(|seal| seal.generation) != Some(*sealed) {
                    let found =
                        seal.map_or("nothing".into(), |s| format!("generation {}", s.generation));
                    return Err(Failure::NotSealed { wanted: *sealed, found });
                }
                self.depart(came_up, false, edges)
            }
            Order::Purpose(purpose) => {
                let sealed = self.home.journal.record().seal.as_ref().map(|seal| seal.generation);
                // Sealed under this very order: it was carried out, and only leaving is left.
                if sealed == Some(directive.message().generation) {
                    return self.depart(came_up, false, edges);
                }
                self.purpose(directive, purpose, edges)?;
                self.depart(false, false, edges)
            }
        }
    }

    fn stay(&mut self, reason: &str, edges: &mut Edges<'_>) -> Result<Round, Failure> {
        boot::forget_target(edges.firmware)?;
        let disk = edges.disks[self.home.default.disk].as_mut();
        self.home.journal.update(disk, |record| {
            record.staying = Some(reason.into());
            record.failure = None;
        })?;
        self.fault = None;
        Ok(Round::Again(STAY_MS))
    }

    /// The whole road, up to the seal.
    fn purpose(
        &mut self,
        directive: &Verified<Directive>,
        purpose: &Purpose,
        edges: &mut Edges<'_>,
    ) -> Result<(), Failure> {
        self.tell(
            edges,
            Standing::Purposing {
                stage: Stage::Accepted,
                done_bytes: 0,
                total_bytes: 0,
                bytes_per_s: 0,
            },
        );
        let mut mirrors = Mirrors::new(&purpose.sources);
        let mut way = Way { link: edges.link, host: edges.host, mirrors: &mut mirrors };
        let image = TrustedImage::fetch(&mut way, &purpose.image, &self.trust);
        self.voice.names(&mirrors);
        let image = image?;
        let disk = edges.disks[self.home.default.disk].as_mut();
        self.home.settle_identity(disk, edges.firmware)?;
        let resident = ResidentConfig {
            pool: self.character.pool.clone(),
            controllers: self.character.controllers.clone(),
            root_key: self.character.root_key,
            state_partition: self.home.default.state.guid,
            generation: directive.message().generation,
        };
        let ground = Ground {
            default: &self.home.default,
            architecture: &self.character.architecture,
            resident: &resident,
            earlier: self.home.journal.record().boot_places(),
        };
        let plan = Plan::make(directive, purpose, image, &ground, &mut edges.disks)?;
        let journal_disk = self.home.default.disk;
        let (journal, voice) = (&mut self.home.journal, &mut self.voice);
        let reached = &mut self.reached;
        let mut on = Traveller::new(edges, journal, journal_disk, voice, reached, mirrors);
        road::travel(plan, &mut on)?;
        Ok(())
    }

    /// Counts the departure and leaves. One that did not happen is not counted: a firmware that
    /// cannot be written to says nothing about the target.
    /// `alone` says that no controller ordered it.
    fn depart(
        &mut self,
        came_up: bool,
        alone: bool,
        edges: &mut Edges<'_>,
    ) -> Result<Round, Failure> {
        let Some(sealed) = Sealed::of(&self.home.journal) else {
            return Err(Failure::NotSealed { wanted: Default::default(), found: "nothing".into() });
        };
        let before = sealed.seal();
        if before.reports && !came_up && before.attempts >= ATTEMPTS {
            let image = before.image.clone();
            return Err(Failure::NotUp { image, attempts: before.attempts });
        }
        // A target's root may have changed the default partition, and a server that is only booted
        // is gone before it was read: what is told on leaving says what it is. A controller that
        // cannot be reached has been waited for longer than this.
        if edges.host.default_partition(DIGEST_MS).is_none() {
            log::warn!("leaving without a digest of the default partition");
        }
        let disk = self.home.default.disk;
        let attempts = if came_up { 1 } else { before.attempts.saturating_add(1) };
        // Counted before it is armed: a departure that nobody counted could repeat for ever.
        self.home.journal.update(edges.disks[disk].as_mut(), |record| {
            record.staying = None;
            record.withdrawn = false;
            record.failure = None;
            if let Some(seal) = &mut record.seal {
                seal.departures = seal.departures.saturating_add(1);
                seal.attempts = attempts;
                seal.came_up |= came_up;
                seal.alone = alone;
            }
        })?;
        let outcome = self.leave(&sealed, came_up, edges);
        if outcome.is_err() {
            // It stays, so it is guarded as before.
            if let Err(error) = edges.watchdog.arm(TIMEOUT_S) {
                log::error!("{error}");
            }
            if let Err(error) = boot::forget_target(edges.firmware) {
                log::error!("{error}");
            }
            self.home.journal.update(edges.disks[disk].as_mut(), |record| {
                record.seal = Some(before.clone());
            })?;
        }
        outcome
    }

    /// Arms and leaves, falling from one boot method to the next.
    fn leave(
        &mut self,
        sealed: &Sealed,
        came_up: bool,
        edges: &mut Edges<'_>,
    ) -> Result<Round, Failure> {
        let mut skip = Vec::new();
        let mut not_left = None;
        loop {
            let armed = boot::arm(sealed, came_up, &self.home.default, edges, &skip);
            // Once no method is left, the reason is why the last one did not leave.
            let armed = armed.map_err(|failure| not_left.take().unwrap_or(failure))?;
            let method = armed.method();
            edges.watchdog.begin(Stretch::Leaving);
            watchdog::hand_over(sealed.seal(), method, edges.watchdog)?;
            self.voice.guarded_by(edges.watchdog.report());
            log::info!("target armed: leaving by {method:?}");
            self.tell(
                edges,
                Standing::Purposing {
                    stage: Stage::Armed,
                    done_bytes: 0,
                    total_bytes: 0,
                    bytes_per_s: 0,
                },
            );
            self.tell(edges, Standing::Leaving { method });
            edges.link.settle();
            match armed.leave(edges) {
                Ok(()) => return Ok(Round::Left),
                Err(failure) => {
                    log::error!("{method:?}: {}", failure.chain());
                    skip.push(method);
                    not_left = Some(failure);
                }
            }
        }
    }

    fn tell(&mut self, edges: &mut Edges<'_>, standing: Standing) {
        if let Standing::Purposing { stage, .. } = standing {
            self.reached = Some(stage);
        }
        self.voice.tell(edges.link, edges.host, self.home.journal.record(), standing);
    }

    fn standing(&self, came_up: bool) -> Standing {
        let record = self.home.journal.record();
        if let Some(fault) = self.refusal.as_ref().or(self.fault.as_ref()) {
            return Standing::Failed { fault: fault.clone() };
        }
        if record.staying.is_some() {
            return Standing::Staying;
        }
        match &record.seal {
            Some(seal) if seal.reports && seal.departures > 0 && !came_up => {
                let failure = Failure::NotUp { image: seal.image.clone(), attempts: seal.attempts };
                Standing::Failed { fault: failure.fault(Some(Stage::Armed)) }
            }
            _ => Standing::Idle,
        }
    }

    /// Whether the resident said that the latest departure arrived.
    fn came_up(&self, edges: &mut Edges<'_>) -> Result<bool, Failure> {
        let Some(seal) = &self.home.journal.record().seal else {
            return Ok(false);
        };
        let latest = UpRecord { generation: seal.generation, departure: seal.departures };
        let up = self.home.journal.up(edges.disks[self.home.default.disk].as_mut())?;
        edges.host.saw(Event::Up(up));
        Ok(seal.departures > 0 && up == Some(latest))
    }
}

fn order_words(order: &Order) -> String {
    match order {
        Order::Purpose(purpose) => {
            format!(
                "become {} with image {} {}",
                purpose.server_type, purpose.image.name, purpose.image.version
            )
        }
        Order::Boot { sealed } => format!("boot the target of generation {sealed}"),
        Order::Stay { reason } => format!("stay in default: {reason}"),
        Order::Wipe(wipe) => format!("wipe: {}", wipe.reason),
        Order::Wait { after_ms } => format!("wait {after_ms} ms"),
    }
}
