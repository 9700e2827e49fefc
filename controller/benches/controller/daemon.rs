//! The real daemon, as a child process, and what the kernel says of it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::pool::Pool;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// Linux's USER_HZ, on every architecture that we run on.
const TICKS_PER_S: f64 = 100.0;
const LOOK: Duration = Duration::from_millis(20);

/// A running `repave-controller run`.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
}

impl Daemon {
    /// Starts it on a pool; its log goes into the pool's folder.
    pub(crate) fn start(pool: &Pool, arguments: &[&str]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::options().append(true).create(true).open(pool.folder.join("daemon.log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_repave-controller"))
            .arg("run")
            .arg("--state")
            .arg(pool.state())
            .arg("--library")
            .arg(pool.library())
            .args(["--pool", pool.name.as_str(), "--name", "127.0.0.1"])
            .args(["--root-key", &pool.root_key.to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            // All servers of this pool call from one address.
            .args(["--rate-per-s", "0"])
            .args(arguments)
            // Why a connection ended is a matter of debugging, and here it is asked for.
            .env("REPAVE_LOG", "info,repave_controller::daemon=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut daemon = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended: {status}; see {}/daemon.log", pool.folder.display());
            }
            if began.elapsed() > START {
                bail!("the daemon does not listen");
            }
            std::thread::sleep(LOOK);
        }
        Ok(daemon)
    }

    /// Bytes of memory that are resident.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Seconds of CPU that it has used.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        cpu_s(&self.child.id().to_string())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A kill, and not a request to end: it must be able to bear that, and connections that
        // are still open would make it wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of CPU that a process has used, its user's and the kernel's for it (proc(5), stat).
pub(crate) fn cpu_s(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / TICKS_PER_S)
}

/// The machine's load average over the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("an empty loadavg")?.parse()?)
}
