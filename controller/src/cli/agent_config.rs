//! `repave agent-config`: writes `agent.json`, which the burn script puts on the default partition.

use std::path::PathBuf;

use clap::Args;
use repave_protocol::{PoolId, PublicKey};
use serde::Serialize;

use super::Failure;
use super::output::write_or_print;

/// Most controllers that an agent takes.
const CONTROLLERS: usize = 8;

#[derive(Debug, Args)]
pub(super) struct AgentConfig {
    /// The pool.
    #[arg(long)]
    pool: PoolId,
    /// Base URL of a controller, https only; may be given several times, best first.
    #[arg(long = "controller", value_name = "URL", required = true)]
    controllers: Vec<String>,
    /// The public key that signs trust documents.
    #[arg(long, value_name = "HEX")]
    root_key: PublicKey,
    /// Join token, as `repave join-token create` printed it. It only makes servers pending, so it
    /// may lie in the open.
    #[arg(long, value_name = "TOKEN")]
    join_token: Option<String>,
    /// The file to write; without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The file's fields, as the agent reads them.
#[derive(Serialize)]
struct Document<'a> {
    pool: &'a PoolId,
    controllers: &'a [String],
    root_key: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<&'a str>,
}

pub(super) fn run(arguments: &AgentConfig) -> Result<(), Failure> {
    let AgentConfig { pool, controllers, root_key, join_token, out } = arguments;
    if controllers.len() > CONTROLLERS {
        let found = controllers.len();
        let text = format!("{found} controllers are too many: an agent takes {CONTROLLERS}");
        return Err(Failure::Refused(text));
    }
    if let Some(url) = controllers.iter().find(|url| !is_https(url)) {
        let text = format!("controller {url:?} is not a URL: https://HOST or https://HOST:PORT");
        return Err(Failure::Refused(text));
    }
    let join_token = join_token.as_deref();
    let document = Document { pool, controllers, root_key: *root_key, join_token };
    let text = serde_json::to_string_pretty(&document).map_err(std::io::Error::from)?;
    write_or_print(out.as_deref(), &format!("{text}\n"))
}

fn is_https(url: &str) -> bool {
    let parsed: Result<ureq::http::Uri, _> = url.parse();
    parsed.is_ok_and(|uri| {
        let host = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        uri.scheme_str() == Some("https") && host.is_some() && uri.query().is_none()
    })
}
