//! What a round of balancing decides: moves, each with its reason, and notes on what was not done.
//! Reasons and notes are sentences with figures, since they are what people read first when a pool
//! does not do what they hoped.

use std::fmt;

use repave_protocol::ServerId;
use serde::{Deserialize, Serialize};

use super::fleet::TypeId;
use super::memory::Memory;
use crate::policy::Milli;

/// What to do now.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What is moved, each server at most once.
    pub moves: Vec<Move>,
    /// To be handed to the next round.
    pub memory: Memory,
    /// Why not more.
    pub notes: Vec<Note>,
    /// Each declared type, in the policy's order.
    pub wanted: Vec<Wanted>,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The server's place in the fleet.
    pub index: u32,
    /// The server.
    pub server: ServerId,
    /// What its target is now and will no longer be.
    pub from: Option<TypeId>,
    /// What it becomes.
    pub action: Action,
    /// Seconds between telling it and taking it.
    pub drain_s: u64,
    /// Why, in one sentence.
    pub why: String,
}

/// What a moved server becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One of a type.
    Purpose {
        /// The type.
        to: TypeId,
        /// The version of its image.
        version: u64,
    },
    /// Spare: it stays in default.
    Release,
}

/// How many servers a type wants and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The type.
    pub server_type: String,
    /// How many it wants, within its min and max.
    pub wanted: u32,
    /// How many it has: up, becoming, or silent for a short time.
    pub have: u32,
    /// How many of these are up.
    pub up: u32,
    /// The mean load of those that are settled, if load decides and any is.
    pub load: Option<Milli>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Note {
    /// People stopped the balancer.
    Paused,
    /// Too much of the pool is silent.
    Frozen {
        /// Lost servers.
        silent: u32,
        /// Of this many known.
        known: u32,
        /// More than this share freezes.
        limit: Milli,
    },
    /// Too many purposings failed lately.
    BudgetUsed {
        /// How many.
        failures: u32,
        /// The budget.
        budget: u32,
        /// When the next move is possible, if nothing else fails.
        until_ms: u64,
        /// From now, in seconds.
        left_s: u64,
    },
    /// As many are moving as may.
    ConcurrencyReached {
        /// Moving, this round's moves included.
        moving: u32,
        /// The limit.
        limit: u32,
    },
    /// No server is left that the type could take.
    Short {
        /// The type.
        server_type: String,
        /// How many it wants.
        wanted: u32,
        /// How many it has.
        have: u32,
        /// What keeps free servers out, and how many each.
        excluded: Vec<Excluded>,
    },
    /// The type's channel points at no version.
    NoImage {
        /// The type.
        server_type: String,
    },
    /// Servers are of a type that the policy does not name: they are left as they are.
    Undeclared {
        /// The type.
        server_type: String,
        /// How many.
        servers: u32,
    },
    /// A version failed too often.
    RolloutStopped {
        /// The type.
        server_type: String,
        /// The version.
        version: u64,
        /// Servers that failed at it.
        failures: u32,
        /// Servers that keep what they have.
        outdated: u32,
        /// The channel, as name:channel, and the version that it pointed at before.
        channel: String,
        /// That version, if it is known.
        previous: Option<u64>,
    },
    /// A rollout cannot go on.
    RolloutHeld {
        /// The type.
        server_type: String,
        /// The version.
        version: u64,
        /// Servers that wait for it.
        outdated: u32,
        /// Why.
        reason: RolloutHold,
    },
}

/// Why a rollout cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutHold {
    /// No more are up than must be.
    Min,
    /// Its servers hold data, are cordoned, or failed with it before.
    Untouchable,
}

/// Free servers that a constraint keeps out of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// The constraint, in words.
    pub constraint: String,
    /// How many servers.
    pub servers: u32,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused: nothing is moved until the balancer is resumed"),
            Self::Frozen { silent, known, limit } => {
                let share = f64::from(*silent) * 100.0 / f64::from((*known).max(1));
                write!(
                    f,
                    "frozen: {silent} of {known} servers ({share:.0} %) are silent, more than \
                     {limit}; nothing is moved until they are back or freeze_share is raised"
                )
            }
            Self::BudgetUsed { failures, budget, left_s, .. } => write!(
                f,
                "failure budget used up: {failures} purposings failed, the budget is {budget}; \
                 nothing is moved for another {left_s} s"
            ),
            Self::ConcurrencyReached { moving, limit } => {
                write!(f, "concurrency reached: {moving} servers are moving, {limit} may at once")
            }
            Self::Short { server_type, wanted, have, excluded } => {
                write!(f, "short of servers: {server_type} wants {wanted} and has {have}")?;
                write_excluded(f, excluded)
            }
            Self::NoImage { server_type } => {
                write!(f, "{server_type} has no image: point its channel at a version")
            }
            Self::Undeclared { server_type, servers } => write!(
                f,
                "{servers} servers are {server_type}, which the policy does not name; declare it \
                 with max = 0 to release them"
            ),
            Self::RolloutStopped {
                server_type,
                version,
                failures,
                outdated,
                channel,
                previous,
            } => {
                let old = previous.map_or_else(|| "VERSION".into(), |version| version.to_string());
                write!(
                    f,
                    "rollout of {server_type} {version} stopped after {failures} failures; \
                     {outdated} servers keep what they have until a newer version comes, or until \
                     `repave channel set {channel} {old}` goes back"
                )
            }
            Self::RolloutHeld { server_type, version, outdated, reason } => write!(
                f,
                "rollout of {server_type} {version} waits, {outdated} servers are outdated: \
                 {reason}"
            ),
        }
    }
}

fn write_excluded(f: &mut fmt::Formatter<'_>, excluded: &[Excluded]) -> fmt::Result {
    for (place, Excluded { constraint, servers }) in excluded.iter().enumerate() {
        let before = if place == 0 { "; of the free ones " } else { ", " };
        write!(f, "{before}{constraint} excludes {servers}")?;
    }
    if excluded.is_empty() { f.write_str("; no server is free") } else { Ok(()) }
}

impl fmt::Display for RolloutHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Min => "no more are up than its min; raise its max, or add servers",
            Self::Untouchable => {
                "they hold data, are cordoned, or failed with it before; update them by hand"
            }
        })
    }
}
