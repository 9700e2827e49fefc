//! The agent's configuration, as it is burned into the default partition. It lies in the open, so
//! it holds no secret: a join token yields `pending` and nothing more.

use repave_protocol::{PoolId, PublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most controllers that one configuration may name.
const CONTROLLERS: usize = 8;
/// Patience of a configuration that states none.
const PATIENCE_S: u64 = 15 * 60;
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
        match config.controllers.iter().find(|url| !url.starts_with("https://")) {
            Some(url) => Err(BadConfig::NotHttps { url: url.clone() }),
            None => Ok(config),
        }
    }
}
