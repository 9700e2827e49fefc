//! The agent's configuration, as it is burned into the default partition. It lies in the open, so
//! it holds no secret: a join token yields `pending` and nothing more.

use std::num::NonZeroU64;

use repave_protocol::{PoolId, PublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most controllers that one configuration may name.
const CONTROLLERS: usize = 8;
/// Patience of a configuration that states none.
const PATIENCE_S: u64 = 15 * 60;
/// Least limit for a source, in bytes per second. Below it a run of chunks could take longer than the
/// watchdog waits for the next one: up to 16 MiB are asked for together, which take four minutes.
pub const SOURCE_BYTES_PER_S_LEAST: u64 = 64 * 1024;
/// Largest configuration accepted, in bytes.
pub const CONFIG_BYTES: usize = 64 * 1024;

/// `repave/agent.json` of the default partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config<N> {
    /// The pool that this server belongs to.
    pub pool: PoolId,
    /// Base URLs of controllers, best first; `https` only.
    pub controllers: Vec<String>,
    /// The key that signs trust documents.
    pub root_key: PublicKey,
    /// Shown to the controller until it has given a first order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
    /// After so many seconds without a controller the last good target is booted; 0 is never.
    #[serde(default = "default_patience_s")]
    pub patience_s: u64,
    /// Most bytes per second that are asked of each source (mirror) of an image, so that a rack that
    /// is purposed leaves its mirrors something for others; without it, as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_bytes_per_s: Option<NonZeroU64>,
    /// Whether the agent says each event at its edges, so that the simulator can live them again.
    #[serde(default)]
    pub events: bool,
    /// How to bring the network up; what it holds is the agent's affair.
    #[serde(default)]
    pub network: N,
}

const fn default_patience_s() -> u64 {
    PATIENCE_S
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum BadConfig {
    /// Not JSON of the right form.
    #[error("agent.json: {0}; correct it on the default partition")]
    Json(#[source] serde_json::Error),
    /// Too large.
    #[error("agent.json has {bytes} bytes, the limit is {CONFIG_BYTES}")]
    Oversized {
        /// Its size.
        bytes: usize,
    },
    /// No controller, or too many.
    #[error("agent.json names {found} controllers, 1 to {CONTROLLERS} are needed")]
    Controllers {
        /// How many.
        found: usize,
    },
    /// A limit at which nothing would get done.
    #[error(
        "agent.json: source_bytes_per_s is {found}, at least {SOURCE_BYTES_PER_S_LEAST} are needed"
    )]
    SlowSources {
        /// What it says.
        found: u64,
    },
    /// A controller without TLS.
    #[error("agent.json: controller {url:?} is not an https URL")]
    NotHttps {
        /// The URL.
        url: String,
    },
}

impl<N: for<'de> Deserialize<'de> + Default> Config<N> {
    /// From the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadConfig> {
        if bytes.len() > CONFIG_BYTES {
            return Err(BadConfig::Oversized { bytes: bytes.len() });
        }
        let config: Self = serde_json::from_slice(bytes).map_err(BadConfig::Json)?;
        let found = config.controllers.len();
        if !(1..=CONTROLLERS).contains(&found) {
            return Err(BadConfig::Controllers { found });
        }
        let rate = config.source_bytes_per_s.map(NonZeroU64::get);
        if let Some(found) = rate.filter(|found| *found < SOURCE_BYTES_PER_S_LEAST) {
            return Err(BadConfig::SlowSources { found });
        }
        match config.controllers.iter().find(|url| !url.starts_with("https://")) {
            Some(url) => Err(BadConfig::NotHttps { url: url.clone() }),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, SOURCE_BYTES_PER_S_LEAST};

    /// Which rate is read from a configuration with this in it, or why it is refused.
    fn rate(more: &str) -> Result<Option<u64>, String> {
        let key = "00".repeat(32);
        let text = format!(
            r#"{{ "pool": "demo", "controllers": ["https://a"], "root_key": "{key}"{more} }}"#
        );
        let config = Config::<()>::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(config.source_bytes_per_s.map(u64::from))
    }

    #[test]
    fn a_source_s_rate_is_not_limited_unless_it_is_said() {
        assert_eq!(rate(""), Ok(None));
        let limited = |rate: u64| format!(", \"source_bytes_per_s\": {rate}");
        let least = SOURCE_BYTES_PER_S_LEAST;
        assert_eq!(rate(&limited(least)), Ok(Some(least)));
        let slow = "agent.json: source_bytes_per_s is 65535, at least 65536 are needed";
        assert_eq!(rate(&limited(least - 1)), Err(slow.into()));
        assert!(
            rate(&limited(0)).unwrap_err().starts_with("agent.json: "),
            "no limit has no number"
        );
    }
}
