//! What happened, in the order in which the stub saw it.

use repave_protocol::{Directive, ServerId, Sha256, Status};
use serde::Serialize;

use crate::scenario::{Action, Answer};

/// One verified status and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place among all statuses of all servers.
    pub index: usize,
    /// When it was received, in milliseconds since the stub started.
    pub at_ms: u64,
    /// The status.
    pub status: Status,
    /// Its answer, once it has one.
    pub answer: Option<Answered>,
}

/// The answer to one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it was made, in milliseconds since the stub started.
    pub at_ms: u64,
    /// What kind it was.
    pub answer: Answer,
    /// The directive in it; a stale or raw answer has none of its own.
    pub directive: Option<Directive>,
    /// Whether a fault keeps it from arriving whole.
    pub spoiled: bool,
}

impl Answered {
    /// Whether an agent can have obeyed it.
    pub const fn is_sound(&self) -> bool {
        !self.answer.is_hostile() && !self.spoiled
    }
}

/// Anything that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A status was verified; [`Record::index`].
    Status {
        /// When, in milliseconds since the stub started.
        at_ms: u64,
        /// Whose.
        server: ServerId,
        /// Which.
        index: usize,
    },
    /// Something that came as a status was not believed.
    Refused {
        /// When, in milliseconds since the stub started.
        at_ms: u64,
        /// The server to whose address it came.
        server: ServerId,
        /// `Refusal::code`.
        code: &'static str,
        /// What the refusal says.
        reason: String,
    },
    /// A blob was asked for.
    Blob {
        /// When, in milliseconds since the stub started.
        at_ms: u64,
        /// Which.
        digest: Sha256,
        /// The `Range` asked for.
        range: Option<String>,
    },
    /// A fault struck.
    Fault {
        /// When, in milliseconds since the stub started.
        at_ms: u64,
        /// What it did.
        action: Action,
    },
    /// A connection was not to be had: who dislikes our certificate says so here.
    Handshake {
        /// When, in milliseconds since the stub started.
        at_ms: u64,
        /// Why.
        reason: String,
    },
}
