//! Where a server stands: one word for people and for the balancer, folded from what it reported
//! and what it was told.

use repave_protocol::{Stage, WipePass};
use serde::{Deserialize, Serialize};

/// Where a server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Standing {
    /// Nobody has approved it yet.
    Pending,
    /// In default, with nothing to do.
    Idle,
    /// Becoming something.
    Purposing {
        /// Last stage reached.
        stage: Stage,
        /// How much of the image was dealt with, 0 to 100.
        percent: u8,
        /// Bytes dealt with in each second, lately.
        bytes_per_s: u64,
    },
    /// It left for its target and has not reported from there.
    Booting,
    /// Its target runs.
    Up,
    /// Its target still runs, and is about to be taken for something else.
    Draining,
    /// On its way from its target to default.
    Returning,
    /// In default, and staying there on orders.
    Staying,
    /// Its disks are being wiped.
    Wiping {
        /// What is being done.
        pass: WipePass,
        /// How much of it was done, 0 to 100.
        percent: u8,
        /// Bytes dealt with in each second, lately.
        bytes_per_s: u64,
    },
    /// Wiped; in default, and staying there.
    Wiped,
    /// It has not reported for longer than the pool allows.
    Silent,
    /// It could not carry out its last order and tries again.
    Failed {
        /// Code of the fault.
        code: String,
        /// The fault, for people.
        message: String,
    },
    /// It failed too often at what it was told; an operator or another image is needed.
    Quarantined {
        /// Code of the last fault.
        code: String,
    },
    /// Something about it is not as it should be; it is given no orders.
    Suspended {
        /// What.
        reason: String,
    },
    /// Taken out of the pool.
    Retired,
}

impl Standing {
    /// Its name alone, as filters and metrics use it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Idle => "idle",
            Self::Purposing { .. } => "purposing",
            Self::Booting => "booting",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Returning => "returning",
            Self::Staying => "staying",
            Self::Wiping { .. } => "wiping",
            Self::Wiped => "wiped",
            Self::Silent => "silent",
            Self::Failed { .. } => "failed",
            Self::Quarantined { .. } => "quarantined",
            Self::Suspended { .. } => "suspended",
            Self::Retired => "retired",
        }
    }

    /// Every name there is.
    pub const NAMES: [&str; 15] = [
        "pending",
        "idle",
        "purposing",
        "booting",
        "up",
        "draining",
        "returning",
        "staying",
        "wiping",
        "wiped",
        "silent",
        "failed",
        "quarantined",
        "suspended",
        "retired",
    ];

    /// Whether going from `self` to `next` is worth an event: another word, another stage or
    /// another fault, but not another percent.
    pub(super) fn differs_notably(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Purposing { stage, .. }, Self::Purposing { stage: next, .. }) => stage != next,
            (Self::Wiping { pass, .. }, Self::Wiping { pass: next, .. }) => pass != next,
            _ => self != next,
        }
    }
}
