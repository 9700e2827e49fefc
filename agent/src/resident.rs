//! The resident: the same binary inside a running target. It reads the configuration that the
//! settings left, finds the state partition, and then lives the core's resident.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use log::{error, info};
use repave_core::boot::{WayHome, default_partition};
use repave_core::edges::{Host, Power, PowerError};
use repave_core::resident::{Resident, Surroundings, find_journal};
use repave_core::settings::{RESIDENT_CONFIG, ResidentConfig};
use repave_core::trust;
use repave_protocol::{Load, Nonce, ServerId};
use rustix::process::{Pid, Signal, kill_process};

use crate::disk;
use crate::firmware::{EFI_VARIABLES, EfiVariables};
use crate::watchdog;
use crate::world;

/// How long the target has to shut down by itself before the kernel is told to reset.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(120);
/// How long the caches have to reach the disk before that reset.
const SYNC_GRACE: Duration = Duration::from_secs(10);
/// Pause before another try after a failure that is not one of the link.
const PAUSE: Duration = Duration::from_secs(10);

/// Reports until the server is on its way home; for ever, since whoever gives up here strands the
/// server in its target.
pub(crate) fn run() {
    loop {
        match stay() {
            Ok(()) => return,
            Err(error) => error!("{error:#} (again in {} s)", PAUSE.as_secs()),
        }
        std::thread::sleep(PAUSE);
    }
}

fn stay() -> Result<()> {
    let bytes =
        fs::read(RESIDENT_CONFIG).with_context(|| format!("cannot read {RESIDENT_CONFIG}"))?;
    let config: ResidentConfig =
        serde_json::from_slice(&bytes).with_context(|| format!("{RESIDENT_CONFIG} is damaged"))?;
    let open = disk::discover(Path::new("/sys"), Path::new("/dev"));
    let mut disks = world::boxed(&open);
    let found = find_journal(&config, &mut disks).map_err(|f| anyhow::anyhow!(f.chain()))?;
    let Some((place, journal)) = found else {
        bail!("no disk holds a journal in state partition {}", config.state_partition);
    };
    let default = default_partition(&config, &mut disks);
    let kept = journal.record().trust.clone().unwrap_or_default();
    let candidates = std::iter::once(kept.as_bytes());
    let (trust, _) = trust::newest(candidates, config.root_key, &config.pool)
        .context("trust document of the journal")?;
    let server = ServerId::of(&journal.device_key().public());
    let mut link = world::link(&config.controllers, server, &trust.message().ca_pem)?;
    let mut host = world::host();
    let boot = Nonce::from_random(host.entropy());
    let disk = disks[place.disk].as_mut();
    if let Some(default) = &default {
        // A target's root can write there, and what it spoils may never come home to tell.
        let block_bytes = u64::from(disk.facts().logical_block_bytes);
        world::watch_default(&mut host, &open[place.disk], block_bytes, default);
    }
    let mut resident = Resident::arrive(config, trust, (place, &journal), disk, boot)
        .map_err(|failure| anyhow::anyhow!(failure.chain()))?;
    info!("resident of server {server}");
    // Nothing else of the disks is needed any more; the target may want to do what it likes with them.
    drop(disks);
    drop(open);
    let mut cpu_time = CpuTime::default();
    let mut load = || load(&mut cpu_time);
    let mut firmware = EfiVariables::new(Path::new(EFI_VARIABLES));
    // A target that was not started by UEFI, or does without its variables, cannot change them.
    let home = default.filter(|_| firmware.is_there());
    let home = home.map(|default| WayHome::new(&mut firmware, default));
    let mut around = Surroundings {
        link: &mut link,
        power: &mut Shutdown,
        host: &mut host,
        load: &mut load,
        watchdog: &mut || watchdog::seen(Path::new("/sys")),
        home,
    };
    resident.stay(&mut around);
    Ok(())
}

/// The way home from a running target: its own init shuts it down, so that a database is closed
/// and not cut; only if that takes too long the kernel resets.
struct Shutdown;

impl Power for Shutdown {
    fn load(&mut self, _: &repave_core::edges::KexecImage) -> Result<(), PowerError> {
        Err(not_here("kexec load"))
    }

    fn kexec(&mut self) -> Result<(), PowerError> {
        Err(not_here("kexec"))
    }

    fn reboot(&mut self) -> Result<(), PowerError> {
        let failed = |reason: String| PowerError { operation: "reboot", reason };
        if Path::new("/run/systemd/system").exists() {
            // Not waited for: what hangs must not keep the reset below from coming.
            let asked = Command::new("systemctl").arg("reboot").spawn();
            info!("systemctl reboot: {:?}", asked.map(|child| child.id()));
        } else {
            // sysvinit's and busybox's convention for "reboot".
            kill_process(Pid::INIT, Signal::TERM).map_err(|error| failed(error.to_string()))?;
        }
        std::thread::sleep(SHUTDOWN_GRACE);
        error!("the target did not shut down in {} s: resetting", SHUTDOWN_GRACE.as_secs());
        // In a thread of its own, since it may never come back.
        let _ = std::thread::Builder::new().spawn(rustix::fs::sync);
        std::thread::sleep(SYNC_GRACE);
        rustix::system::reboot(rustix::system::RebootCommand::Restart)
            .map_err(|error| failed(error.to_string()))
    }
}

fn not_here(operation: &'static str) -> PowerError {
    PowerError { operation, reason: "a target does not leave in this way".into() }
}

/// How much time the CPUs have had, and how much of it they worked (proc(5), `/proc/stat`).
#[derive(Clone, Copy, Default)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    /// Until now; nothing where the kernel does not say.
    fn now() -> Self {
        Self::of(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// Of the first line: user, nice, system, idle, iowait, irq, softirq, steal; guest time is in
    /// user time already.
    fn of(stat: &str) -> Self {
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let times = line.unwrap_or_default().split_whitespace().take(8);
        let times: Vec<u64> = times.map_while(|time| time.parse().ok()).collect();
        let all: u64 = times.iter().sum();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        Self { busy: all - idle, all }
    }

    /// The share of the time since `before` that was worked, in thousandths.
    fn busy_milli_since(self, before: Self) -> u64 {
        let busy = self.busy.saturating_sub(before.busy);
        let all = self.all.saturating_sub(before.all);
        (busy * 1000).checked_div(all).unwrap_or(0).min(1000)
    }
}

/// How busy the target is, and was since `last`; zero where the kernel does not say.
fn load(last: &mut CpuTime) -> Load {
    let now = CpuTime::now();
    let busy_milli = now.busy_milli_since(std::mem::replace(last, now));
    let milli = fs::read_to_string("/proc/loadavg").ok().and_then(|text| {
        let one_minute: f64 = text.split(' ').next()?.parse().ok()?;
        Some((one_minute * 1000.0) as u64)
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kibibytes.unwrap_or(0_u64) * 1024
    };
    let memory_bytes = field("MemTotal:");
    Load {
        load_milli: milli.unwrap_or(0),
        busy_milli,
        cpus: std::thread::available_parallelism().map_or(0, |count| count.get() as u32),
        memory_used_bytes: memory_bytes.saturating_sub(field("MemAvailable:")),
        memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::CpuTime;

    #[test]
    fn the_busy_share_is_of_the_time_between_two_looks() {
        let check = |before, now, expected| {
            let found = CpuTime::of(now).busy_milli_since(CpuTime::of(before));
            assert_eq!(found, expected, "{now}");
        };
        let boot = "cpu  100 0 100 700 100 0 0 0 5 5\ncpu0 1 2 3\n";
        check("", boot, 200);
        check(boot, "cpu  175 0 100 720 100 0 0 5 9 9\n", 800);
        check(boot, boot, 0);
        // A counter that goes back, and a file that is none.
        check(boot, "cpu  10 0 10 70 10 0 0 0 0 0\n", 0);
        check(boot, "gpu 1", 0);
    }
}
