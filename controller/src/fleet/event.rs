//! What happened, to be kept and asked for: each with its time, its cause and whose doing it was.

use repave_protocol::{Generation, ServerId, Side, Status};
use serde::{Deserialize, Serialize};

use super::standing::Standing;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The server it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// The operator whose doing it was; without one it was a server's or the controller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A server reported for the first time.
    Enrolled {
        /// Which token or invitation let it in.
        by: String,
    },
    /// A server reported for the first time since it was started.
    Boot {
        /// The side that came up.
        side: Side,
        /// How long its kernel had been running, in milliseconds.
        uptime_ms: u64,
    },
    /// A server came to stand elsewhere.
    Standing {
        /// Where it stood.
        from: Standing,
        /// Where it stands.
        to: Standing,
        /// Why, in a sentence.
        cause: String,
    },
    /// The server type, or the lack of one, that a server is to have was decided.
    Decision {
        /// What it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// What it is to be; nothing means spare.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The image, as name:version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// Why, in a sentence.
        why: String,
    },
    /// An order was issued for the first time.
    Order {
        /// Its generation.
        generation: Generation,
        /// `purpose`, `boot`, `stay`, `wipe` or `wait`.
        order: String,
    },
    /// An image was quarantined on a server.
    Quarantine {
        /// The image, as name:version.
        image: String,
        /// Code of the fault.
        code: String,
        /// How often it failed.
        count: u32,
    },
    /// A hardware watchdog has reset a server, or does not guard it any more.
    Watchdog {
        /// It has reset it.
        expired: bool,
        /// What is so, in a sentence.
        note: String,
    },
    /// A source (mirror) of images lied to a server, or failed it again and again.
    Source {
        /// Its URL.
        source: String,
        /// It lied.
        lied: bool,
        /// What it did, in a sentence.
        note: String,
    },
    /// The balancer has something to say that is not about one server.
    Balancer {
        /// A sentence.
        note: String,
    },
    /// A server's power was switched, or that was tried.
    Power {
        /// `cycle`, `on`, …
        action: String,
        /// Why and how it ended, in a sentence.
        outcome: String,
    },
    /// An operator did something.
    Operator {
        /// What, such as `server.approve`.
        action: String,
        /// On what, where it is not the event's server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// With what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

impl EventKind {
    /// Every name there is.
    pub const NAMES: [&str; 11] = [
        "enrolled",
        "boot",
        "standing",
        "decision",
        "order",
        "quarantine",
        "watchdog",
        "source",
        "balancer",
        "power",
        "operator",
    ];

    /// Its name alone, as filters use it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Enrolled { .. } => "enrolled",
            Self::Boot { .. } => "boot",
            Self::Standing { .. } => "standing",
            Self::Decision { .. } => "decision",
            Self::Order { .. } => "order",
            Self::Quarantine { .. } => "quarantine",
            Self::Watchdog { .. } => "watchdog",
            Self::Source { .. } => "source",
            Self::Balancer { .. } => "balancer",
            Self::Power { .. } => "power",
            Self::Operator { .. } => "operator",
        }
    }
}

impl Event {
    /// About one server, of its own or the controller's doing.
    pub const fn of(server: ServerId, at_ms: u64, kind: EventKind) -> Self {
        Self { at_ms, server: Some(server), actor: None, kind }
    }

    /// The first status of a boot.
    pub(super) const fn boot(status: &Status, at_ms: u64) -> Self {
        let kind = EventKind::Boot { side: status.side, uptime_ms: status.uptime_ms };
        Self::of(status.server, at_ms, kind)
    }

    /// The same as an operator's doing.
    pub fn by(mut self, actor: &str) -> Self {
        self.actor = Some(actor.into());
        self
    }
}
