//! `repave server power`: how a server's power is reached, and orders to it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::operate::path;
use crate::cli::client::Client;
use crate::cli::{Failure, print, print_json};
use crate::power::PowerConfig;
use crate::power::home::{Outcome, Record};

#[derive(Debug, Args)]
pub(super) struct Power {
    /// The server: its id, the beginning of it (4 digits or more), or its name.
    server: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how its power is reached.
    Show,
    /// Say how its power is reached.
    Set {
        /// A TOML file: kind = "redfish", "qmp" or "command", and what belongs to it. Passwords
        /// stay in files of the controller's machine.
        file: PathBuf,
    },
    /// Say that its power cannot be reached any more.
    Unset,
    /// Switch it on.
    On,
    /// Switch it off at once.
    Off,
    /// Ask its operating system to switch it off.
    Shutdown,
    /// Make it start anew.
    Cycle,
}

pub(super) fn run(client: &Client, json: bool, arguments: &Power) -> Result<(), Failure> {
    let server = &arguments.server;
    let place = path(server, "power");
    let order = match &arguments.command {
        Command::Show => return print_json(&client.get(&place)?.json::<Value>()?),
        Command::Set { file } => {
            let body = serde_json::to_value(config(file)?).map_err(std::io::Error::from)?;
            client.put(&place, &body, None)?;
            return done(json, server, "power is reached as told");
        }
        Command::Unset => {
            client.delete(&place)?;
            return done(json, server, "power can no longer be reached");
        }
        Command::On => "on",
        Command::Off => "off",
        Command::Shutdown => "shutdown",
        Command::Cycle => "cycle",
    };
    let answer = client.post(&format!("{place}/{order}"), None)?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let ended = match answer.json::<Record>()?.outcome {
        Outcome::Done => "done".into(),
        Outcome::DoneWithoutBoot { reason } => format!("done, but {reason}"),
        Outcome::Failed { reason } => format!("failed: {reason}"),
    };
    print(&format!("{server}: {order} {ended}"))
}

fn config(path: &Path) -> Result<PowerConfig, Failure> {
    let text = fs::read_to_string(path).map_err(|source| Failure::File {
        what: "read",
        path: path.into(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
}

fn done(json: bool, server: &str, what: &str) -> Result<(), Failure> {
    if json { print_json(&json!({})) } else { print(&format!("{server}: {what}")) }
}
