//! How large a pool one controller bears: simulated servers with keys, signatures and TLS
//! connections of their own against the real daemon on SQLite, durable commits and all. Generator
//! and controller share the machine; what each takes of it is printed. See docs/decisions/0012.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "controller/daemon.rs"]
mod daemon;
#[path = "controller/load.rs"]
mod load;
#[path = "controller/pool.rs"]
mod pool;
#[path = "controller/report.rs"]
mod report;
#[path = "controller/rounds.rs"]
mod rounds;
#[path = "controller/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use daemon::{Daemon, load_average};
use load::{Plan, closed_loop, held, spread};
use pool::Pool;
use report::{Bar, Report, median, rate};
use server::{Server, Wire};

const MIB: f64 = 1024.0 * 1024.0;
/// Every server reports once in it.
const PERIOD: Duration = Duration::from_secs(15);
/// Descriptors that a process needs besides its connections.
const OWN_DESCRIPTORS: u64 = 100;
/// How long a daemon is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(5);

/// A bench of the controller.
#[derive(Parser)]
struct Options {
    /// Servers of the pool.
    #[arg(long, default_value_t = 20_000)]
    servers: usize,
    /// Seconds of one window.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Windows of each measurement.
    #[arg(long, default_value_t = 3)]
    windows: usize,
    /// Servers that report without a pause in the closed loop.
    #[arg(long, default_value_t = 1_000)]
    busy: usize,
    /// Leave out what is not named; one of spread, closed, held, idle, rounds.
    #[arg(long = "only", value_name = "PART")]
    only: Vec<String>,
    /// Folder for the database and the report, on the disk that is to be measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../build/bench-controller"))]
    folder: PathBuf,
    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn does(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }

    fn plan(&self) -> Plan {
        Plan { windows: self.windows, window: Duration::from_secs(self.seconds) }
    }
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    std::fs::create_dir_all(&options.folder)?;
    options.folder = options.folder.canonicalize()?;
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options, &mut report))?;
    if options.does("rounds") {
        for round in rounds::all() {
            let (servers, types) = (rounds::SERVERS, rounds::TYPES);
            let (name, moves) = (round.name, round.moves);
            let load = load_average()?;
            let name = format!("balance {servers} of {types} types, {name}, {moves} moves");
            report.add(format!("{name}, max"), (round.worst_ms(), "ms"), None, load);
            report.add(name, (round.median_ms(), "ms"), Some(Bar::AtMost(50.0)), load);
        }
    }
    report.write(&options.folder.join("report.json"))
}

async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let connected = options.servers.min(descriptors()? as usize);
    report.note(format!(
        "{} servers in the database, {connected} of them connected; {} windows of {} s, medians; \
         generator and controller share {} cores, load average {:.1} before",
        options.servers,
        options.windows,
        options.seconds,
        std::thread::available_parallelism()?,
        load_average()?
    ));
    if connected < options.servers {
        report.note(format!(
            "the hard limit on open files keeps the others out; those that are connected report \
             more often, so that the rate is that of {} servers",
            options.servers
        ));
    }
    if options.does("idle") {
        idle(&fresh(&options.folder)?, report).await?;
    }
    if !options.does("spread") && !options.does("closed") && !options.does("held") {
        return Ok(());
    }
    let pool = fresh(&options.folder)?;
    let mut devices = pool.fill(options.servers).await?;
    devices.iter_mut().for_each(server::Device::reboot);
    devices.truncate(connected);
    let servers = devices.into_iter().map(Server::new).collect();
    let servers = reporting(options, &pool, servers, report).await?;
    if options.does("held") {
        holding(&pool, servers, report).await?;
    }
    Ok(())
}

fn fresh(folder: &Path) -> Result<Pool> {
    let folder = folder.join("pool");
    pool::fresh(&folder)?;
    Pool::empty(folder)
}

/// A daemon that nobody calls.
async fn idle(pool: &Pool, report: &mut Report) -> Result<()> {
    let daemon = Daemon::start(pool, &[])?;
    tokio::time::sleep(SETTLE).await;
    let rss = daemon.rss_bytes()? as f64 / MIB;
    report.add("idle: resident", (rss, "MiB"), Some(Bar::AtMost(40.0)), load_average()?);
    Ok(())
}

/// Statuses that are answered at once (`--poll-ms 0`), each after its durable commit.
async fn reporting(
    options: &Options,
    pool: &Pool,
    mut servers: Vec<Server>,
    report: &mut Report,
) -> Result<Vec<Server>> {
    let daemon = Daemon::start(pool, &["--poll-ms", "0", "--wait-ms", "15000"])?;
    let wire = wire(pool, &daemon)?;
    let connected = servers.len();
    let period = PERIOD.mul_f64(connected as f64 / options.servers as f64);
    let mut windows;
    let plan = options.plan();
    let plan = if options.does("spread") { plan } else { Plan { windows: 0, ..plan } };
    (servers, windows) = spread(servers, &wire, &daemon, period, plan).await?;
    if options.does("spread") {
        let name = format!("{} servers every 15 s", options.servers);
        report.windows(&name, &windows, Some(Bar::AtMost(50.0)));
        let load = median(windows.iter().map(|window| window.load_average));
        report.add(format!("{name}: answers"), (rate(&windows), "/s"), None, load);
        let rss = median(windows.iter().map(|window| window.rss_bytes as f64 / MIB));
        report.add(format!("{name}: resident"), (rss, "MiB"), resident(connected), load);
    }
    if options.does("closed") {
        (servers, windows) =
            closed_loop(servers, options.busy, &wire, &daemon, options.plan()).await?;
        let load = median(windows.iter().map(|window| window.load_average));
        let bar = Some(Bar::AtLeast(3000.0));
        report.add("closed loop: answers", (rate(&windows), "/s"), bar, load);
        report.windows("closed loop", &windows, None);
    }
    Ok(servers)
}

/// Statuses that are held, one for every server.
async fn holding(pool: &Pool, mut servers: Vec<Server>, report: &mut Report) -> Result<()> {
    servers.iter_mut().for_each(Server::cut);
    let connected = servers.len();
    let daemon = Daemon::start(pool, &["--poll-ms", "600000"])?;
    let wire = wire(pool, &daemon)?;
    let rss = held(servers, &wire, &daemon, PERIOD, SETTLE).await? as f64 / MIB;
    let name = format!("{connected} statuses held: resident");
    report.add(name, (rss, "MiB"), resident(connected), load_average()?);
    Ok(())
}

/// 40 MiB and 32 KiB for each connection.
fn resident(connected: usize) -> Option<Bar> {
    Some(Bar::AtMost(40.0 + connected as f64 * 32.0 / 1024.0))
}

fn wire(pool: &Pool, daemon: &Daemon) -> Result<Arc<Wire>> {
    Ok(Arc::new(Wire::new(daemon.port, &pool.ca_pem, pool.directive_keys.clone())?))
}

/// As many connections as one process may have here; the daemon inherits the limit.
fn descriptors() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.maximum.unwrap_or(u64::MAX).saturating_sub(OWN_DESCRIPTORS))
}
