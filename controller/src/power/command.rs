//! Power by a program of the operator's own: whatever has a command line has power, from a smart
//! plug to `ipmitool`.
//!
//! There is no shell: each argument is a literal or one whole placeholder, and a value becomes one
//! argument, whatever is in it (decision 0010). Exit code 0 means done. `status` prints `on` or
//! `off`. The environment is empty but for PATH. Running the program is the work of `process`.

mod process;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::process::Job;
use super::config::Method;
use super::error::limit_of;
use super::{BootSource, Off, Power, PowerError, PowerState};

/// A power program asks a machine far away and may wait for it.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings of a power program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments. An argument may be `{action}` (`status`, `on`, `off`,
    /// `shutdown`, `cycle` or `boot-once`; one argument must be it), `{server}`, `{address}`, or
    /// `{boot}` (`default`, `disk`, `network` or a UEFI device path for `boot-once`, else `none`);
    /// without `{boot}`, there is no `boot-once`.
    pub argv: Vec<String>,
    /// What `{address}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How long one run may take; then it is killed with all that it started.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

impl Method for CommandConfig {
    fn open(&self, server: &str) -> Result<Box<dyn Power>, PowerError> {
        let (program, arguments) =
            self.argv.split_first().ok_or_else(|| refused("there is no program".into()))?;
        if program.is_empty() || program.contains(['{', '}']) {
            return Err(refused(format!("the program {program:?} must be named, not substituted")));
        }
        let arguments =
            arguments.iter().map(|text| Argument::of(text)).collect::<Result<Vec<_>, _>>()?;
        if !arguments.contains(&Argument::Action) {
            return Err(refused("{action} is missing: the program cannot know what to do".into()));
        }
        if arguments.contains(&Argument::Address) && self.address.is_none() {
            return Err(PowerError::setting("address", "argv has {address} in it: set it"));
        }
        Ok(Box::new(Command {
            program: program.into(),
            arguments,
            server: value("server", server)?.to_owned(),
            address: value("address", self.address.as_deref().unwrap_or("none"))?.to_owned(),
            limit: limit_of(self.timeout_ms, MAX_TIMEOUT)?,
        }))
    }
}

fn refused(reason: String) -> PowerError {
    PowerError::setting("argv", reason)
}

/// Refuses what a program could read as something else than a value.
fn value<'a>(setting: &'static str, value: &'a str) -> Result<&'a str, PowerError> {
    if value.is_empty() || value.starts_with('-') {
        let reason = format!("{value:?} would be taken for an option, or for nothing");
        return Err(PowerError::setting(setting, reason));
    }
    match value.contains(char::is_control) {
        true => Err(PowerError::setting(setting, format!("{value:?} has control characters"))),
        false => Ok(value),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    Literal(String),
    Action,
    Server,
    Address,
    Boot,
}

impl Argument {
    fn of(text: &str) -> Result<Self, PowerError> {
        match text {
            "{action}" => Ok(Self::Action),
            "{server}" => Ok(Self::Server),
            "{address}" => Ok(Self::Address),
            "{boot}" => Ok(Self::Boot),
            _ if text.contains(['{', '}', '\0']) => Err(refused(format!(
                "{text:?} is neither a literal nor one of {{action}}, {{server}}, {{address}} and \
                 {{boot}}; a placeholder is a whole argument"
            ))),
            _ => Ok(Self::Literal(text.to_owned())),
        }
    }
}

#[derive(Debug)]
struct Command {
    program: PathBuf,
    arguments: Vec<Argument>,
    server: String,
    address: String,
    limit: Duration,
}

impl Command {
    /// Runs the program and gives what it printed.
    fn run(&self, action: &str, boot: &str) -> Result<String, PowerError> {
        let substitute = |argument: &Argument| match argument {
            Argument::Literal(text) => text.clone(),
            Argument::Action => action.to_owned(),
            Argument::Server => self.server.clone(),
            Argument::Address => self.address.clone(),
            Argument::Boot => boot.to_owned(),
        };
        Job {
            program: &self.program,
            arguments: self.arguments.iter().map(substitute).collect(),
            path: env::var_os("PATH").unwrap_or_default(),
            limit: self.limit,
        }
        .run()
    }

    fn order(&self, action: &str) -> Result<(), PowerError> {
        self.run(action, "none").map(drop)
    }

    fn place(&self) -> String {
        self.program.display().to_string()
    }
}

impl Power for Command {
    fn status(&self) -> Result<PowerState, PowerError> {
        match self.run("status", "none")?.trim() {
            "on" => Ok(PowerState::On),
            "off" => Ok(PowerState::Off),
            other => Err(PowerError::malformed(&self.place(), "\"on\" or \"off\"", other)),
        }
    }

    fn on(&self) -> Result<(), PowerError> {
        self.order("on")
    }

    fn off(&self, how: Off) -> Result<(), PowerError> {
        match how {
            Off::Graceful => self.order("shutdown"),
            Off::Forced => self.order("off"),
        }
    }

    fn cycle(&self) -> Result<(), PowerError> {
        self.order("cycle")
    }

    fn boot_once(&self, source: &BootSource) -> Result<(), PowerError> {
        if !self.arguments.contains(&Argument::Boot) {
            return Err(PowerError::NotOffered {
                place: self.place(),
                order: format!("boot once from {source}"),
                offered: "no boot source: argv has no {boot}".into(),
            });
        }
        let source = source.to_string();
        self.run("boot-once", value("boot", &source)?).map(drop)
    }
}
