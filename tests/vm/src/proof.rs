//! Asking a target's service from outside, over the network, as its users would. A target that
//! reports `up` has started its service manager, not yet every service: so one asks until there is
//! an answer, with a guard against asking for ever.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use repave_qemu::HANG_GUARD;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of a page.
const PAGE_BYTES: u64 = 64 * 1024;

/// A page of a web server.
#[derive(Clone, Debug)]
pub struct Page {
    /// What it answered in the header `X-Hostname`.
    pub hostname: Option<String>,
    /// The page.
    pub text: String,
}

/// The page at `/` of the web server behind a port of the loopback. `stop` ends the tries early.
///
/// # Errors
/// There was no page until the guard ended it.
pub fn page(port: u16, stop: &dyn Fn() -> bool) -> Result<Page> {
    let url = format!("http://127.0.0.1:{port}/");
    let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_LIMIT));
    let agent = config.build().new_agent();
    until(stop, || {
        let mut answer = agent.get(&url).call()?;
        let hostname = answer.headers().get("x-hostname").and_then(|value| value.to_str().ok());
        let hostname = hostname.map(Into::into);
        let text = answer.body_mut().with_config().limit(PAGE_BYTES).read_to_string()?;
        Ok(Page { hostname, text })
    })
    .with_context(|| format!("no page from {url}"))
}

/// The first column of the rows that `sql` gives, asked of the PostgreSQL behind a port of the
/// loopback. `stop` ends the tries early.
///
/// # Errors
/// There was no answer until the guard ended it.
pub fn query(port: u16, sql: &str, stop: &dyn Fn() -> bool) -> Result<Vec<String>> {
    until(stop, || {
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("repave").dbname("repave");
        let mut client: Client = config.connect_timeout(ANSWER_LIMIT).connect(NoTls)?;
        let answers = client.simple_query(sql)?;
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        Ok(rows.collect())
    })
    .with_context(|| format!("no answer from PostgreSQL on port {port} to {sql:?}"))
}

fn until<T>(stop: &dyn Fn() -> bool, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + HANG_GUARD;
    loop {
        match ask() {
            Err(_) if stop() => bail!("interrupted"),
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            result => return result,
        }
    }
}
