//! What the daemon is told: flags, then environment, then a TOML file, then defaults, in this order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use repave_protocol::{PoolId, PublicKey};
use serde::Deserialize;
use time::OffsetDateTime;

use super::chores;
use crate::authority::Authority;
use crate::library_place::{LibraryPlace, RegistryFiles};

/// Run a pool's management controller.
#[derive(Debug, Parser)]
#[command(
    name = "repave-controller",
    version,
    after_help = "Each option can also stand in the configuration file, under its name with '_' for '-' (a list where it may be given several times), or in the environment."
)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make keys, certificate and a first admin token in a new state folder, and say what to sign.
    Init(Flags),
    /// Serve.
    Run(Flags),
}

/// Options of the daemon.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flags {
    /// TOML file with these options.
    #[arg(long, env = "REPAVE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Folder for keys, certificates and the embedded database.
    #[arg(long, env = "REPAVE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// The pool that is controlled.
    #[arg(long, env = "REPAVE_POOL")]
    pool: Option<PoolId>,
    /// A DNS name or address by which servers and operators call this controller; the first one
    /// stands in URLs that servers are given. May be given several times.
    #[arg(long = "name", env = "REPAVE_NAMES", value_delimiter = ',', value_name = "NAME")]
    #[serde(alias = "name")]
    names: Vec<String>,
    /// Where to listen for servers and operators.
    #[arg(long, env = "REPAVE_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to serve the image library over plain HTTP as well; servers check every chunk.
    #[arg(long, env = "REPAVE_BLOB_LISTEN", value_name = "ADDRESS:PORT")]
    blob_listen: Option<SocketAddr>,
    /// The image library: a folder with an OCI image layout, made where there is none, or a
    /// registry's repository, https://HOST/REPOSITORY.
    #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR|URL")]
    library: Option<LibraryPlace>,
    /// PEM file with the CA that vouches for the registry, in place of the web's CAs.
    #[arg(long, env = "REPAVE_REGISTRY_CA", value_name = "FILE")]
    registry_ca: Option<PathBuf>,
    /// Credentials for the registry, as `skopeo login --authfile FILE` writes them; only its owner
    /// may have access to the file.
    #[arg(long, env = "REPAVE_REGISTRY_AUTH", value_name = "FILE")]
    registry_auth: Option<PathBuf>,
    /// Base URL from which servers fetch images, best first, in place of this controller's own. May
    /// be given several times.
    #[arg(long = "source", env = "REPAVE_SOURCES", value_delimiter = ',', value_name = "URL")]
    #[serde(alias = "source")]
    sources: Vec<String>,
    /// Public half of the root key, which signs trust documents.
    #[arg(long, env = "REPAVE_ROOT_KEY", value_name = "HEX")]
    root_key: Option<PublicKey>,
    /// PostgreSQL in place of the embedded database: postgres://user@host/name. A password belongs
    /// into the environment or the file, not on the command line.
    #[arg(long, env = "REPAVE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Servers that nobody invited may wait for approval.
    #[arg(long, env = "REPAVE_OPEN_ENROLMENT")]
    open_enrolment: bool,
    /// Servers' power may be reached by programs, which run as this daemon's user; whoever has an
    /// admin's token says which.
    #[arg(long, env = "REPAVE_POWER_COMMANDS")]
    power_commands: bool,
    /// How long a status without news is held, in milliseconds [default: 30000].
    #[arg(long, env = "REPAVE_POLL_MS", value_name = "MS")]
    poll_ms: Option<u64>,
    /// After how long a server without news reports again, in milliseconds [default: 1000].
    #[arg(long, env = "REPAVE_WAIT_MS", value_name = "MS")]
    wait_ms: Option<u64>,
    /// Between two rounds of the balancer, in milliseconds [default: 2000].
    #[arg(long, env = "REPAVE_TICK_MS", value_name = "MS")]
    tick_ms: Option<u64>,
    /// How long events are kept, in days [default: 90].
    #[arg(long, env = "REPAVE_KEEP_DAYS", value_name = "DAYS")]
    keep_days: Option<u64>,
    /// Requests that one client address may make in a second, 0 for any number [default: 1000].
    #[arg(long, env = "REPAVE_RATE_PER_S", value_name = "NUMBER")]
    rate_per_s: Option<u32>,
    /// Log as JSON, one object a line.
    #[arg(long, env = "REPAVE_LOG_JSON")]
    log_json: bool,
}

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub struct Run {
    /// State folder.
    pub state: PathBuf,
    /// Pool.
    pub pool: PoolId,
    /// Names of this controller.
    pub names: Vec<String>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it serves blobs over plain HTTP.
    pub blob_listen: Option<SocketAddr>,
    /// Image library.
    pub library: LibraryPlace,
    /// What belongs to it if it is in a registry.
    pub registry: RegistryFiles,
    /// URLs for images, if not its own.
    pub other_sources: Vec<String>,
    /// Root key.
    pub root_key: PublicKey,
    /// PostgreSQL.
    pub database_url: Option<String>,
    /// Whether servers that nobody invited may wait for approval.
    pub open_enrolment: bool,
    /// Whether servers' power may be reached by programs.
    pub power_commands: bool,
    /// How long a status without news is held, in milliseconds.
    pub poll_ms: u64,
    /// After how long a server without news reports again, in milliseconds.
    pub wait_ms: u64,
    /// Between two rounds of the balancer, in milliseconds.
    pub tick_ms: u64,
    /// How long events are kept, in days.
    pub keep_days: u64,
    /// Most requests of one client address in a second; 0 is no limit.
    pub rate_per_s: u32,
}

impl Flags {
    /// Whether to log as JSON.
    pub const fn log_json(&self) -> bool {
        self.log_json
    }

    /// With the configuration file beneath.
    pub fn with_file(self) -> Result<Self> {
        let Some(path) = &self.config else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read configuration {}", path.display()))?;
        let file: Self = toml::from_str(&text)
            .with_context(|| format!("configuration {} is not in order", path.display()))?;
        let either = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Ok(Self {
            config: None,
            state: self.state.or(file.state),
            pool: self.pool.or(file.pool),
            names: either(self.names, file.names),
            listen: self.listen.or(file.listen),
            blob_listen: self.blob_listen.or(file.blob_listen),
            library: self.library.or(file.library),
            registry_ca: self.registry_ca.or(file.registry_ca),
            registry_auth: self.registry_auth.or(file.registry_auth),
            sources: either(self.sources, file.sources),
            root_key: self.root_key.or(file.root_key),
            database_url: self.database_url.or(file.database_url),
            open_enrolment: self.open_enrolment || file.open_enrolment,
            power_commands: self.power_commands || file.power_commands,
            poll_ms: self.poll_ms.or(file.poll_ms),
            wait_ms: self.wait_ms.or(file.wait_ms),
            tick_ms: self.tick_ms.or(file.tick_ms),
            keep_days: self.keep_days.or(file.keep_days),
            rate_per_s: self.rate_per_s.or(file.rate_per_s),
            log_json: self.log_json || file.log_json,
        })
    }

    /// What the daemon runs with, or what is missing.
    pub fn run(self) -> Result<Run> {
        let state = needed(self.state, "--state")?;
        if self.names.is_empty() {
            bail!("--name is missing: the name or address by which servers call this controller");
        }
        Ok(Run {
            pool: needed(self.pool, "--pool")?,
            names: self.names,
            listen: self.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8443))),
            blob_listen: self.blob_listen,
            library: self.library.unwrap_or_else(|| LibraryPlace::Folder(state.join("library"))),
            registry: RegistryFiles {
                registry_ca: self.registry_ca,
                registry_auth: self.registry_auth,
            },
            other_sources: self.sources,
            root_key: needed(self.root_key, "--root-key")?,
            database_url: self.database_url,
            open_enrolment: self.open_enrolment,
            power_commands: self.power_commands,
            poll_ms: self.poll_ms.unwrap_or(30_000),
            wait_ms: self.wait_ms.unwrap_or(1_000),
            tick_ms: self.tick_ms.unwrap_or(2_000),
            keep_days: self.keep_days.unwrap_or(90),
            rate_per_s: self.rate_per_s.unwrap_or(1_000),
            state,
        })
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T> {
    value.with_context(|| format!("{name} is missing; see --help, or give --config FILE"))
}

impl Run {
    /// Where servers fetch images from.
    pub(super) fn sources(&self) -> Vec<String> {
        if !self.other_sources.is_empty() {
            return self.other_sources.clone();
        }
        let name = self.names.first().map(String::as_str).unwrap_or_default();
        let host = match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => name.into(),
        };
        let plain = self.blob_listen.map(|at| format!("http://{host}:{}/library", at.port()));
        let own = format!("https://{host}:{}/library", self.listen.port());
        plain.into_iter().chain([own]).collect()
    }

    pub(super) const fn chores(&self) -> chores::Plan {
        chores::Plan { tick: Duration::from_millis(self.tick_ms), keep_days: self.keep_days }
    }
}

/// What a new state folder holds, for the operator to go on with.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// Public directive key, for the trust document.
    pub directive_key: PublicKey,
    /// The CA's certificate, for the trust document.
    pub ca: PathBuf,
}

/// Makes keys and certificate, if they are not there yet.
pub fn initialise(flags: Flags) -> Result<Initialised> {
    let state = needed(flags.state, "--state")?;
    std::fs::create_dir_all(&state)
        .with_context(|| format!("cannot make state folder {}", state.display()))?;
    private(&state)?;
    let authority = Authority::open_or_create(&state, &flags.names, OffsetDateTime::now_utc())?;
    let directive_key = authority.directive_keys()[0];
    Ok(Initialised { directive_key, ca: state.join("ca.pem") })
}

/// The state folder is its owner's only.
fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot change the mode of {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_names_of_the_flags_and_flags_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("controller.toml");
        let key = "0f".repeat(32);
        let text = format!(
            "state = '/var/lib/repave'\npool = 'demo'\nname = ['a', 'b']\nroot_key = '{key}'\npoll_ms = 7"
        );
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path.clone()), poll_ms: Some(9), ..Flags::default() };
        let run = flags.with_file().unwrap().run().unwrap();
        assert_eq!((run.names.as_slice(), run.poll_ms), (["a".into(), "b".into()].as_slice(), 9));
        assert_eq!(run.sources(), ["https://a:8443/library"]);
        std::fs::write(&path, "colour = 1").unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let error = format!("{:#}", flags.with_file().unwrap_err());
        assert!(error.contains("unknown field `colour`"), "{error}");
    }
}
