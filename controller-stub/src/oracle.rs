//! What an honest agent can never say, whatever the stub did to it. Pure: a history in, the
//! breaches of it out. It holds agents to the invariants about statuses: I6 (hostile answers
//! change nothing), I7 (one directive, one purposing), I11 (no stage claimed that was not reached).
//! Where sequence numbers show that statuses were lost, missing stages are nobody's fault.

use std::collections::{HashMap, HashSet};

use repave_protocol::{
    Generation, Nonce, Order, SealReport, ServerId, Sha256, Side, Stage, Standing, Status,
};
use serde::Serialize;
use thiserror::Error;

use crate::record::{Answered, Record};

/// One status that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[error("status {index} (server {}, sequence {sequence}): {breach}", server.short())]
pub struct Violation {
    /// [`Record::index`].
    pub index: usize,
    /// Whose.
    pub server: ServerId,
    /// Its sequence number within its boot.
    pub sequence: u64,
    /// What cannot be about it.
    pub breach: Breach,
}

/// What cannot be about a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Breach {
    /// A nonce serves once.
    #[error("nonce used before")]
    NonceReused,
    /// Statuses count up within a boot.
    #[error("sequence did not rise above {last}")]
    SequenceNotRising {
        /// The highest one before.
        last: u64,
    },
    /// A boot that was over speaks again: both sides, or two servers, run at once.
    #[error("speaks from a boot that was followed by another")]
    BootReturned,
    /// An accepted generation is never given back.
    #[error("generation fell below {last}")]
    GenerationFell {
        /// The one reported before.
        last: Generation,
    },
    /// It accepted what was never honestly ordered.
    #[error("reports generation {generation}, which was never issued")]
    NeverIssued {
        /// What it reports.
        generation: Generation,
    },
    /// The answer before was hostile or damaged, and something changed.
    #[error("obeyed an answer that it had to refuse")]
    HostileObeyed,
    /// The stub's own fault: two orders under one generation.
    #[error("two different orders were issued under generation {generation}")]
    UnequalAnswers {
        /// The generation.
        generation: Generation,
    },
    /// It purposes where it cannot.
    #[error("cannot be purposing: {why}")]
    Impossible {
        /// Why not.
        why: &'static str,
    },
    /// A stage of which the one before was not reported.
    #[error("claims {to:?} right after {from:?}")]
    StageSkipped {
        /// The stage before; none at the start of a run.
        from: Option<Stage>,
        /// The stage claimed.
        to: Stage,
    },
    /// A stage was undone within one run.
    #[error("claims {to:?} after {from:?} of the same run")]
    StageFell {
        /// The highest stage before.
        from: Stage,
        /// The stage claimed.
        to: Stage,
    },
    /// A target sealed under this generation is written again under it.
    #[error("writes again under generation {generation}, which it had sealed")]
    PurposedTwice {
        /// The generation.
        generation: Generation,
    },
    /// A seal where there can be none, or none where there must be one.
    #[error("its seal contradicts what it is doing")]
    SealContradicts,
    /// It left without having reported the target armed.
    #[error("leaves for a target that is not armed")]
    LeftUnarmed,
    /// The target runs, though nobody left for it.
    #[error("is up before it was armed and left for")]
    UpTooEarly,
    /// The target is not what was ordered.
    #[error("is not what generation {generation} ordered")]
    SealMismatch {
        /// The generation it was sealed under.
        generation: Generation,
    },
}

/// Every violation in a history, in its order.
pub fn check(history: &[Record]) -> Vec<Violation> {
    let mut tracks: HashMap<ServerId, Track> = HashMap::new();
    let mut violations = Vec::new();
    for record in history {
        let status = &record.status;
        let track = tracks.entry(status.server).or_default();
        let breaches = track.follow(status, record.answer.as_ref());
        violations.extend(breaches.into_iter().map(|breach| Violation {
            index: record.index,
            server: status.server,
            sequence: status.sequence,
            breach,
        }));
    }
    violations
}

/// What the statuses of one server so far allow the next one to be.
#[derive(Default)]
struct Track {
    nonces: HashSet<Nonce>,
    boots: HashSet<Nonce>,
    /// Orders honestly issued: digest and order.
    issued: HashMap<Generation, (Sha256, Order)>,
    /// What the server brought along from before this history.
    brought: HashSet<Generation>,
    sealed: HashSet<Generation>,
    armed: HashSet<Generation>,
    left: HashSet<Generation>,
    /// The highest generation that the default side reported.
    journalled: Option<Generation>,
    /// Whether statuses were lost on the way just before this one.
    gap: bool,
    /// The run in progress and its highest stage.
    run: Option<(Generation, Stage)>,
    last: Option<Status>,
    /// Whether the last answer, if there was one, could not be obeyed.
    last_unsound: bool,
}

impl Track {
    fn follow(&mut self, status: &Status, answer: Option<&Answered>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        if self.last.is_none() {
            self.brought.extend(status.generation);
            self.brought.extend(status.seal.as_ref().map(|seal| seal.generation));
        }
        self.follow_boot(status, &mut breaches);
        self.follow_generation(status, &mut breaches);
        match &status.standing {
            Standing::Purposing { stage, done_bytes, total_bytes, .. } => {
                if done_bytes > total_bytes {
                    let why = "more bytes done than there are";
                    breaches.push(Breach::Impossible { why });
                }
                self.follow_stage(status, *stage, &mut breaches);
            }
            Standing::Leaving { .. } => {
                breaches.extend(self.follow_leaving(status));
                self.run = None;
            }
            Standing::Up { .. } => {
                breaches.extend(self.check_up(status));
                self.run = None;
            }
            Standing::Wiping { done_bytes, total_bytes, .. } => {
                if done_bytes > total_bytes {
                    let why = "more bytes wiped than there are";
                    breaches.push(Breach::Impossible { why });
                }
                self.run = None;
            }
            Standing::Idle | Standing::Staying | Standing::Failed { .. } | Standing::Returning => {
                self.run = None;
            }
        }
        breaches.extend(answer.and_then(|answer| self.note_answer(answer)));
        self.last_unsound = answer.is_some_and(|answer| !answer.is_sound());
        self.last = Some(status.clone());
        breaches
    }

    fn follow_boot(&mut self, status: &Status, breaches: &mut Vec<Breach>) {
        if !self.nonces.insert(status.nonce) {
            breaches.push(Breach::NonceReused);
        }
        let new = self.boots.insert(status.boot);
        self.gap = false;
        match &self.last {
            Some(last) if last.boot == status.boot => {
                self.gap = status.sequence > last.sequence.saturating_add(1);
                if status.sequence <= last.sequence {
                    let last = last.sequence;
                    breaches.push(Breach::SequenceNotRising { last });
                }
            }
            _ => {
                self.run = None;
                self.gap = status.sequence > 0;
                if !new {
                    breaches.push(Breach::BootReturned);
                }
            }
        }
    }

    fn follow_generation(&mut self, status: &Status, breaches: &mut Vec<Breach>) {
        if let Some(generation) = status.generation
            && !self.issued.contains_key(&generation)
            && !self.brought.contains(&generation)
        {
            breaches.push(Breach::NeverIssued { generation });
        }
        // The target cannot write the journal: what it accepted, the default side may not know.
        let same_boot = self.last.as_ref().filter(|last| last.boot == status.boot);
        let least = same_boot.and_then(|last| last.generation).max(self.journalled);
        if let Some(last) = least
            && status.generation < least
        {
            breaches.push(Breach::GenerationFell { last });
        }
        if status.side == Side::Default {
            self.journalled = self.journalled.max(status.generation);
        }
        let acts = |status: &Status| {
            matches!(status.standing, Standing::Purposing { .. } | Standing::Returning)
        };
        if let Some(before) = &self.last
            && self.last_unsound
            && (status.generation > before.generation || acts(status) && !acts(before))
        {
            breaches.push(Breach::HostileObeyed);
        }
    }

    fn follow_stage(&mut self, status: &Status, stage: Stage, breaches: &mut Vec<Breach>) {
        let seal = status.seal.as_ref().map(|seal| seal.generation);
        let before = self.run.filter(|run| Some(run.0) == status.generation);
        let before = before.map(|(_, stage)| stage);
        // A target that was sealed earlier is armed again before each departure.
        let departs = before.is_none() && stage == Stage::Armed;
        let known = seal.is_some_and(|seal| self.knows(seal));
        // A target that was found to be its image already is sealed as it is.
        let is_equal = before == Some(Stage::Planned) && stage == Stage::Sealed;
        let may_skip = self.gap || departs && known || is_equal;
        if let Some(why) = self.impossible(status, departs) {
            breaches.push(Breach::Impossible { why });
        }
        match before {
            Some(from) if stage < from => breaches.push(Breach::StageFell { from, to: stage }),
            from if stage > next(from) && !may_skip => {
                breaches.push(Breach::StageSkipped { from, to: stage });
            }
            _ => {}
        }
        let writing = (Stage::Unsealed..Stage::Sealed).contains(&stage);
        if stage >= Stage::Unsealed && seal.is_some() == writing {
            breaches.push(Breach::SealContradicts);
        }
        if let Some(generation) = status.generation {
            self.run = Some((generation, before.unwrap_or(stage).max(stage)));
            if writing && self.sealed.contains(&generation) {
                breaches.push(Breach::PurposedTwice { generation });
            }
        }
        if stage >= Stage::Sealed {
            self.sealed.extend(seal);
        }
        if stage >= Stage::Armed {
            self.armed.extend(seal);
        }
    }

    /// Why there can be no purposing; `departs` tells that it only leaves for a sealed target.
    fn impossible(&self, status: &Status, departs: bool) -> Option<&'static str> {
        if status.side == Side::Target {
            return Some("the target runs");
        }
        let Some(generation) = status.generation else {
            return Some("no order was accepted");
        };
        let seal = status.seal.as_ref().map(|seal| seal.generation);
        match self.issued.get(&generation).map(|(_, order)| order) {
            None => None,
            Some(Order::Purpose(_)) if seal.is_some_and(|seal| seal != generation) => {
                // Until it is unsealed the target keeps the seal of another generation.
                let early = matches!(
                    status.standing,
                    Standing::Purposing { stage: Stage::Accepted | Stage::Planned, .. }
                );
                (!early).then_some("the target is sealed under another generation")
            }
            Some(Order::Purpose(_)) => None,
            Some(Order::Boot { sealed }) if departs && seal == Some(*sealed) => None,
            Some(_) => Some("the order accepted is another one"),
        }
    }

    /// Whether a seal of this generation was reported here, or brought along.
    fn knows(&self, seal: Generation) -> bool {
        self.sealed.contains(&seal) || self.brought.contains(&seal)
    }

    fn follow_leaving(&mut self, status: &Status) -> Option<Breach> {
        let Some(seal) = &status.seal else {
            return Some(Breach::SealContradicts);
        };
        self.left.insert(seal.generation);
        let armed = self.armed.contains(&seal.generation) || self.gap;
        (!armed).then_some(Breach::LeftUnarmed)
    }

    fn check_up(&self, status: &Status) -> Option<Breach> {
        let Some(seal) = &status.seal else {
            return Some(Breach::SealContradicts);
        };
        let generation = seal.generation;
        if self.brought.contains(&generation) {
            return None;
        }
        let ordered = self.issued.get(&generation);
        if !ordered.is_some_and(|(_, order)| is_of(seal, order)) {
            return Some(Breach::SealMismatch { generation });
        }
        (!self.left.contains(&generation)).then_some(Breach::UpTooEarly)
    }

    fn note_answer(&mut self, answer: &Answered) -> Option<Breach> {
        let directive = answer.directive.as_ref()?;
        if answer.answer.is_hostile() {
            return None;
        }
        let digest = directive.order_digest();
        let generation = directive.generation;
        let issued =
            self.issued.entry(generation).or_insert_with(|| (digest, directive.order.clone()));
        (issued.0 != digest).then_some(Breach::UnequalAnswers { generation })
    }
}

/// The furthest stage that may follow one.
fn next(stage: Option<Stage>) -> Stage {
    match stage {
        None => Stage::Accepted,
        Some(Stage::Accepted) => Stage::Planned,
        Some(Stage::Planned) => Stage::Unsealed,
        Some(Stage::Unsealed) => Stage::Written,
        Some(Stage::Written) => Stage::Audited,
        Some(Stage::Audited) => Stage::Configured,
        Some(Stage::Configured) => Stage::Sealed,
        Some(Stage::Sealed | Stage::Armed) => Stage::Armed,
    }
}

/// Whether a seal is what an order asked for.
fn is_of(seal: &SealReport, order: &Order) -> bool {
    let Order::Purpose(purpose) = order else {
        return false;
    };
    seal.server_type == purpose.server_type
        && seal.image == purpose.image.name
        && seal.version == purpose.image.version
        && seal.manifest == purpose.image.manifest
}
