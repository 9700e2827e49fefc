//! The operator of the demo: everything that is asked of the controller goes through the command
//! `repave`, as a person would do it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use repave_controller::views::{EventView, Page, ServerView};
use serde::de::DeserializeOwned;

/// Events asked for at once.
const EVENTS: &str = "500";

/// Whoever runs the pool.
pub(crate) struct Operator {
    program: PathBuf,
    state: PathBuf,
    url: String,
}

impl Operator {
    /// With the CA and the token that lie in the state folder, towards a controller at `url`.
    pub(crate) fn new(program: PathBuf, state: &Path, url: String) -> Self {
        Self { program, state: state.into(), url }
    }

    /// Runs a command; gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().into());
        }
        bail!("repave {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim_end())
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.program)
            .args(arguments)
            .env("REPAVE_URL", &self.url)
            .env("REPAVE_CA", self.state.join("ca.pem"))
            .env("REPAVE_TOKEN_FILE", self.state.join("admin.token"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))
    }

    fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.run(arguments)?;
        let shown = || format!("repave {} printed something else: {text}", arguments.join(" "));
        serde_json::from_str(&text).with_context(shown)
    }

    /// Every server.
    pub(crate) fn servers(&self) -> Result<Vec<ServerView>> {
        Ok(self.json::<Page<ServerView>>(&["server", "list", "--json"])?.items)
    }

    /// What happened behind event `after`, oldest first.
    pub(crate) fn events(&self, after: i64) -> Result<Vec<EventView>> {
        let after = after.to_string();
        let arguments = ["event", "list", "--json", "--limit", EVENTS, "--after", &after];
        Ok(self.json::<Page<EventView>>(&arguments)?.items)
    }
}
