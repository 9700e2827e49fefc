//! Which controller a command asks, and who it says it is: flags, then the environment, then the
//! operator's configuration file. A token is never an argument, since everybody on a machine can
//! read those.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::client::Client;
use super::{Failure, output};
use crate::owner_only::Secret;

/// Holds the token itself, where a file is unhandy.
const TOKEN: &str = "REPAVE_TOKEN";

/// The controller, and how its answers are printed.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The controller's URL: https://HOST or https://HOST:PORT.
    #[arg(
        long,
        env = "REPAVE_URL",
        hide_env_values = true,
        global = true,
        help_heading = "Controller"
    )]
    url: Option<String>,
    /// File with the operator's token, readable by its owner only. REPAVE_TOKEN may hold the token
    /// itself instead.
    #[arg(
        long,
        env = "REPAVE_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE",
        global = true,
        help_heading = "Controller"
    )]
    token_file: Option<PathBuf>,
    /// Certificate of the controller's CA, PEM. No other CA is believed. What is not given is read
    /// from ~/.config/repave/config.toml: url, token_file, ca.
    #[arg(
        long,
        env = "REPAVE_CA",
        hide_env_values = true,
        value_name = "FILE",
        global = true,
        help_heading = "Controller"
    )]
    ca: Option<PathBuf>,
    /// Print the API's JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// `~/.config/repave/config.toml`; files in it are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Remote {
    /// A client of the controller.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let file = File::read()?;
        let url = needed(self.url.clone().or(file.url), "--url or REPAVE_URL")?;
        let ca = needed(self.ca.clone().or(file.ca), "--ca or REPAVE_CA")?;
        let token = self.token(file.token_file)?;
        Ok(Client::new(&url, &ca, &token)?)
    }

    /// A flag is nearer than the environment, and that is nearer than a file.
    fn token(&self, from_config: Option<PathBuf>) -> Result<String, Failure> {
        let own = std::env::var(TOKEN).ok().filter(|_| self.token_file.is_none());
        if let Some(token) = own {
            return Ok(token.trim().into());
        }
        let path = self.token_file.clone().or(from_config);
        let path = needed(path, "--token-file, REPAVE_TOKEN_FILE or REPAVE_TOKEN")?;
        Ok(Secret::read(&path)?.reveal().to_owned())
    }
}

fn needed<T>(value: Option<T>, how: &str) -> Result<T, Failure> {
    let missing = || format!("which controller? give {how}, or write ~/.config/repave/config.toml");
    value.ok_or_else(|| Failure::Usage(missing()))
}

impl File {
    fn read() -> Result<Self, Failure> {
        let Some(path) = Self::path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            _ => output::read(&path)?,
        };
        let file: Self = toml::from_str(&text).map_err(|error| {
            Failure::Refused(format!("{} is not in order: {error}", path.display()))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |name: PathBuf| folder.join(name);
        Ok(Self { url: file.url, token_file: file.token_file.map(beside), ca: file.ca.map(beside) })
    }

    fn path() -> Option<PathBuf> {
        let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = given("XDG_CONFIG_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(given("HOME")?).join(".config")))?;
        Some(base.join("repave/config.toml"))
    }
}
