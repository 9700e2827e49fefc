//! What a server is to be, and since when.

use repave_protocol::{ImageReference, Purpose, Wipe};
use serde::{Deserialize, Serialize};

/// What a server is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wish {
    /// This. The purpose is whole, settings rendered: any controller can order it.
    Be {
        /// What the directive will say.
        purpose: Box<Purpose>,
    },
    /// Nothing: in default, until somebody needs it.
    Spare,
    /// Nothing any more: it stays in default until it is burned anew.
    Retired,
    /// Nothing: what it was is wiped from its disks, and it stays in default.
    Wiped {
        /// What the directive will say.
        wipe: Wipe,
        /// Whether it is taken out of the pool, too.
        #[serde(default)]
        retired: bool,
    },
}

/// One decision about a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Counts the decisions about this server from 1. Deciding the same again is another decision:
    /// the target is written again.
    pub number: u64,
    /// What it is to be.
    pub wish: Wish,
    /// Why, in a sentence.
    pub why: String,
    /// The operator who decided; without one the balancer did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When, in milliseconds since 1970.
    pub decided_ms: u64,
    /// The running target is left alone until then, so that its clients can be moved.
    #[serde(default)]
    pub drained_ms: u64,
    /// How often it was found not to have come about in time.
    #[serde(default)]
    pub overdue: u32,
}

impl Wish {
    /// The type to be, if any.
    pub fn server_type(&self) -> Option<&str> {
        self.purpose().map(|purpose| purpose.server_type.as_str())
    }

    /// Whether it leaves the pool.
    pub const fn is_retired(&self) -> bool {
        matches!(self, Self::Retired | Self::Wiped { retired: true, .. })
    }

    /// The purpose, if any.
    pub const fn purpose(&self) -> Option<&Purpose> {
        match self {
            Self::Be { purpose } => Some(purpose),
            Self::Spare | Self::Retired | Self::Wiped { .. } => None,
        }
    }

    /// The image, if any.
    pub fn image(&self) -> Option<&ImageReference> {
        self.purpose().map(|purpose| &purpose.image)
    }
}
