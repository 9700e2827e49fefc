//! The stub for use by hand: serves a scenario until it is ended, and prints what happens, one
//! line of JSON for each event.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use repave_controller_stub::{Authority, AuthoritySpec, Event, Scenario, Stub, StubSpec};
use repave_protocol::PoolId;
use serde_json::json;

const USAGE: &str = "\
usage: repave-controller-stub --state DIR [--listen ADDRESS:PORT] [--name NAME]... [--pool NAME]
                              [--library DIR] [--scenario FILE]

  --state     keeps the seed of all keys; agent.json and trust.json for a disk are written here
  --listen    default 127.0.0.1:8443
  --name      a name or address that servers call it by, best first; default 127.0.0.1
  --pool      default demo
  --library   an OCI image layout to serve
  --scenario  JSON: enrolments, script, faults
";

/// How long a wait for news may be; it is then waited again.
const QUIET: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let stub = start(&options)?;
    say(&json!({ "event": "listening", "url": stub.url() }))?;
    let mut seen = 0;
    loop {
        let news = stub.events_after(seen, QUIET);
        seen += news.len();
        for event in &news {
            let mut line = serde_json::to_value(event)?;
            if let Event::Status { index, .. } = event {
                line["standing"] = serde_json::to_value(&stub.records()[*index].status.standing)?;
            }
            say(&line)?;
        }
    }
}

fn say(line: &serde_json::Value) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

struct Options {
    state: PathBuf,
    listen: SocketAddr,
    names: Vec<String>,
    pool: PoolId,
    library: Option<PathBuf>,
    scenario: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            state: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            names: Vec::new(),
            pool: "demo".parse()?,
            library: None,
            scenario: None,
        };
        while let Some(name) = arguments.next() {
            let Some(value) = arguments.next() else {
                bail!("{name} needs a value\n{USAGE}");
            };
            match name.as_str() {
                "--state" => options.state = value.into(),
                "--listen" => options.listen = value.parse().context(value)?,
                "--name" => options.names.push(value),
                "--pool" => options.pool = value.parse()?,
                "--library" => options.library = Some(value.into()),
                "--scenario" => options.scenario = Some(value.into()),
                _ => bail!("unknown option {name}\n{USAGE}"),
            }
        }
        if options.state.as_os_str().is_empty() {
            bail!("--state is missing\n{USAGE}");
        }
        if options.names.is_empty() {
            options.names.push("127.0.0.1".into());
        }
        Ok(options)
    }
}

fn start(options: &Options) -> Result<Stub> {
    fs::create_dir_all(&options.state).with_context(|| options.state.display().to_string())?;
    let authority = Arc::new(Authority::generate(AuthoritySpec {
        names: options.names.clone(),
        ..AuthoritySpec::new(seed(&options.state.join("seed"))?, &[])
    })?);
    let scenario = match &options.scenario {
        Some(path) => Scenario::load(path)?,
        None => Scenario::default(),
    };
    let stub = Stub::start(StubSpec {
        listen: options.listen,
        authority: authority.clone(),
        pool: options.pool.clone(),
        library: options.library.clone(),
        scenario,
    })?;
    let config = authority.agent_config(&options.pool, &[stub.url()], None);
    let trust = authority.trust_document(&options.pool);
    for (name, bytes) in [("agent.json", config), ("trust.json", trust)] {
        let path = options.state.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(stub)
}

/// The seed kept in `path`, drawn now if there is none.
fn seed(path: &Path) -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    let named = || path.display().to_string();
    match File::open(path) {
        Ok(mut file) => file.read_exact(&mut seed).with_context(named)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::open("/dev/urandom")?.read_exact(&mut seed)?;
            let mut private = OpenOptions::new();
            let mut file =
                private.write(true).create_new(true).mode(0o600).open(path).with_context(named)?;
            file.write_all(&seed).with_context(named)?;
        }
        Err(error) => return Err(error).with_context(named),
    }
    Ok(seed)
}
