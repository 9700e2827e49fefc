//! One power order from its reason to its outcome, as it is written down. Nothing is done to a
//! server's power that leaves no record.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::power::{BootSource, Off, Power, PowerError};

/// What was done to a server's power.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Whose.
    pub server: String,
    /// Who wanted it.
    pub who: Who,
    /// What.
    pub action: Action,
    /// Why, for people.
    pub why: String,
    /// When it began; with the server's name, this tells one order from another.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// How.
    pub outcome: Outcome,
}

/// Who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The rules of this module.
    Policy,
    /// A person, by the name that the API knows.
    Operator(String),
}

/// An order as it is asked for and written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Switch on.
    On,
    /// Ask the operating system to switch off.
    Shutdown,
    /// Switch off at once.
    Off,
    /// Start anew.
    Cycle,
    /// Choose where the next start boots from.
    BootOnce(BootSource),
    /// Choose that, and start anew, even if there is nothing to choose.
    BringHome(BootSource),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The order was taken; whether the server obeys is seen from its next report.
    Done,
    /// It was cycled, but where it boots from was not chosen.
    DoneWithoutBoot {
        /// Why not.
        reason: String,
    },
    /// Nothing was done, as far as is known.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Carries one order out. Blocks, as all of [`Power`] does.
pub fn carry_out(power: &dyn Power, action: &Action) -> Outcome {
    let result = match action {
        Action::On => power.on(),
        Action::Shutdown => power.off(Off::Graceful),
        Action::Off => power.off(Off::Forced),
        Action::Cycle => power.cycle(),
        Action::BootOnce(source) => power.boot_once(source),
        Action::BringHome(source) => return bring_home(power, source),
    };
    result.map_or_else(|error| Outcome::Failed { reason: told(&error) }, |()| Outcome::Done)
}

/// The firmware's own order leads home, too, so a choice that fails is noted and no obstacle.
fn bring_home(power: &dyn Power, source: &BootSource) -> Outcome {
    let chosen = power.boot_once(source);
    match (power.cycle(), chosen) {
        (Err(error), _) => Outcome::Failed { reason: told(&error) },
        (Ok(()), Err(error)) => Outcome::DoneWithoutBoot { reason: told(&error) },
        (Ok(()), Ok(())) => Outcome::Done,
    }
}

/// The error with everything that led to it.
fn told(error: &PowerError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
