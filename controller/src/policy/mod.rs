//! The declared pool: which server types it holds, how many of each, and how boldly servers may be
//! moved. A policy is what people write (TOML) and what the API takes and gives (JSON); both have
//! the same fields, and `policy.example.toml` explains each. Here are the fields and their
//! defaults; [`Policy::check`] says what is wrong with a policy that could be read, and
//! [`settings`] renders its templates. Nothing here knows which servers there are.

mod channel;
mod check;
mod milli;
mod parts;
pub mod settings;

use std::io;
use std::path::{Path, PathBuf};

use repave_protocol::{BootMethod, PoolId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::power::home;

pub(crate) use channel::is_name;
pub use channel::{BadChannel, ImageChannel};
pub use check::{Fault, limits};
pub use milli::{BadMilli, Milli};
pub use parts::{
    Data, FailureBudget, FileTemplate, Health, LoadTarget, Measure, Requires, Rollout,
    SettingsTemplates,
};

/// One pool, declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The pool as a whole.
    pub pool: Pool,
    /// Its server types.
    #[serde(rename = "type", default)]
    pub types: Vec<ServerType>,
}

/// What holds for the pool as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name, as directives carry it.
    pub name: PoolId,
    /// Most servers moved at once.
    #[serde(default = "Pool::default_concurrency")]
    pub concurrency: u32,
    /// How many purposings may fail before the balancer waits.
    #[serde(default)]
    pub failure_budget: FailureBudget,
    /// A server that was not heard of for this many seconds counts as lost.
    #[serde(default = "Pool::default_silent_after_s")]
    pub silent_after_s: u64,
    /// If more than this share of the pool is lost at once, nothing is moved: the fault is then
    /// more likely the network's or ours than the servers'.
    #[serde(default = "Pool::default_freeze_share")]
    pub freeze_share: Milli,
    /// Failures of one image on one server before the pair is quarantined.
    #[serde(default = "Pool::default_retries")]
    pub retries: u32,
    /// When the power of silent servers is cycled.
    #[serde(default)]
    pub power: home::Policy,
}

impl Pool {
    const fn default_concurrency() -> u32 {
        10
    }

    /// Two missed long polls of a minute and some room.
    const fn default_silent_after_s() -> u64 {
        150
    }

    const fn default_freeze_share() -> Milli {
        Milli(300)
    }

    const fn default_retries() -> u32 {
        3
    }
}

/// One server type, declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerType {
    /// Its name: `web`, `db`, …
    pub name: String,
    /// The image and the channel of it that is followed, `name:channel`.
    pub image: ImageChannel,
    /// Fewest servers; the balancer never takes the type under it.
    #[serde(default)]
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// When servers are short, types of higher priority take from those of lower.
    #[serde(default)]
    pub priority: u32,
    /// How many are wanted, if that is a fixed number; else `load` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// What is wanted by how busy the servers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadTarget>,
    /// Whether its servers hold data that must not be overwritten.
    #[serde(default)]
    pub data: Data,
    /// What a server needs to become one.
    #[serde(default)]
    pub requires: Requires,
    /// Seconds between telling a server that it will be taken and taking it.
    #[serde(default)]
    pub drain_s: u64,
    /// How to leave for the target.
    #[serde(default = "ServerType::default_boot")]
    pub boot: BootMethod,
    /// What is configured inside it.
    #[serde(default)]
    pub settings: SettingsTemplates,
    /// When a server of it is well.
    #[serde(default)]
    pub health: Health,
    /// How a new version of the image reaches its servers.
    #[serde(default)]
    pub rollout: Rollout,
}

impl ServerType {
    const fn default_boot() -> BootMethod {
        BootMethod::Auto
    }
}

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The file.
    #[error("cannot read policy {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or a field that is missing, unknown or of another kind.
    #[error("policy {} is not in order; policy.example.toml shows every field", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where in it, and why.
        source: Box<toml::de::Error>,
    },
    /// It could be read, and says what cannot be.
    #[error("policy {} is refused:\n{}", path.display(), lines(faults))]
    Refused {
        /// Which.
        path: PathBuf,
        /// All that is wrong with it.
        faults: Vec<Fault>,
    },
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

impl Policy {
    /// Reads a TOML file and checks it.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Io { path: path.into(), source })?;
        let policy = Self::from_toml(&text)
            .map_err(|source| PolicyError::Syntax { path: path.into(), source: source.into() })?;
        let faults = policy.check();
        if faults.is_empty() {
            Ok(policy)
        } else {
            Err(PolicyError::Refused { path: path.into(), faults })
        }
    }

    /// A pool without types, as it is before anybody declared any.
    pub fn empty(name: PoolId) -> Self {
        let pool = Pool {
            name,
            concurrency: Pool::default_concurrency(),
            failure_budget: FailureBudget::default(),
            silent_after_s: Pool::default_silent_after_s(),
            freeze_share: Pool::default_freeze_share(),
            retries: Pool::default_retries(),
            power: home::Policy::default(),
        };
        Self { pool, types: Vec::new() }
    }

    /// Parses TOML; does not [check](Self::check).
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../policy.example.toml");

    #[test]
    fn the_example_is_in_order_and_survives_json_and_toml() {
        let policy = Policy::from_toml(EXAMPLE).unwrap();
        assert_eq!(policy.check(), []);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(Policy::from_toml(&text).unwrap(), policy);
    }

    fn check(text: &str, expected: &str) {
        let error = Policy::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_not_a_policy_says_where() {
        check("[pool", "line 1");
        check("[pool]\n", "missing field `name`");
        check("[pool]\nname = 'Demo'\n", "is not a name");
        check("[pool]\nname = 'demo'\ncolour = 1\n", "unknown field `colour`");
        check("[pool]\nname = 'demo'\nfreeze_share = -1\n", "-1");
        let web = "[pool]\nname='demo'\n[[type]]\nname='web'\nmax=1\n";
        check(&format!("{web}image='web'\n"), "name:channel");
        check(&format!("{web}image='web:stable'\nload.measure='heat'\n"), "unknown variant `heat`");
    }
}
