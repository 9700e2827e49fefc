//! Hardware watchdogs of the running kernel: found in sysfs, since opening one starts it; fed by a
//! thread of its own for as long as the core's present stretch may take. Which one, for how long,
//! and when it is stopped is the core's ([`repave_core::watchdog`]).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use repave_core::edges::{Watchdog, WatchdogError};
use repave_core::watchdog::{Candidate, KNOWN, Stretch, Vigil, choose};
use repave_protocol::{Guard, WatchdogReport};

use crate::host::uptime_ms;

/// A few times within the shortest time-out that a target may have.
const FEED_EVERY: Duration = Duration::from_secs(5);
/// `WDIOF_CARDRESET` of linux/watchdog.h: the last reset was the watchdog's.
const CARD_RESET: u32 = 0x20;

/// The watchdog that was chosen, and what is known of it.
pub(crate) struct HardwareWatchdog {
    shared: Arc<Mutex<Shared>>,
    chosen: Option<Chosen>,
    expired: bool,
}

/// Where the chosen one is.
struct Chosen {
    identity: String,
    attributes: PathBuf,
    device: PathBuf,
}

/// What the feeding thread shares.
#[derive(Default)]
struct Shared {
    /// Open as long as it is armed.
    file: Option<File>,
    timeout_s: u32,
    vigil: Vigil,
    /// Why it is not armed.
    reason: String,
    /// Whether it was said that it is fed no more.
    starves: bool,
}

impl HardwareWatchdog {
    /// Chooses one of those below `sys` (`/sys`), whose devices are in `dev`, and starts the thread
    /// that feeds it. It is not armed yet.
    pub(crate) fn new(sys: &Path, dev: &Path) -> Self {
        let found = find(sys);
        let mut shared = Shared::default();
        let mut chosen = None;
        match choose(&found) {
            Ok(Candidate { number, identity, .. }) => {
                chosen = Some(Chosen {
                    identity: identity.clone(),
                    attributes: attributes(sys, *number),
                    device: dev.join(format!("watchdog{number}")),
                });
            }
            Err(reason) => {
                log::info!("{reason}");
                shared.reason = reason.into();
            }
        }
        let shared = Arc::new(Mutex::new(shared));
        if chosen.is_some() {
            let fed = Arc::clone(&shared);
            let spawned = thread::Builder::new().name("feeder".into()).spawn(move || {
                loop {
                    lock(&fed).feed(uptime_ms());
                    thread::sleep(FEED_EVERY);
                }
            });
            if let Err(error) = spawned {
                log::error!("no thread to feed the watchdog: {error}");
                lock(&shared).reason = format!("no thread to feed it: {error}");
                chosen = None;
            }
        }
        let expired = found.iter().any(|candidate| candidate.expired);
        if expired {
            log::warn!("a watchdog reset this server before it started");
        }
        Self { shared, chosen, expired }
    }

    fn open(&self, chosen: &Chosen) -> Result<File, WatchdogError> {
        let opened = File::options().write(true).open(&chosen.device);
        opened.map_err(|error| chosen.failed("open", error.to_string()))
    }
}

impl Watchdog for HardwareWatchdog {
    fn report(&self) -> WatchdogReport {
        let shared = lock(&self.shared);
        let guard = match (&self.chosen, &shared.file) {
            (Some(chosen), Some(_)) => {
                Guard::Armed { device: chosen.identity.clone(), timeout_s: shared.timeout_s }
            }
            _ => Guard::NotArmed { reason: shared.reason.clone() },
        };
        WatchdogReport { guard, expired: self.expired }
    }

    fn begin(&mut self, stretch: Stretch) {
        lock(&self.shared).vigil.begin(stretch, uptime_ms());
    }

    fn arm(&mut self, timeout_s: u32) -> Result<(), WatchdogError> {
        let Some(chosen) = &self.chosen else {
            return Ok(());
        };
        let mut shared = lock(&self.shared);
        if shared.file.is_none() {
            shared.file = Some(self.open(chosen).inspect_err(|error| {
                shared.reason = cut(&error.reason);
            })?);
        }
        if let Some(file) = &shared.file {
            let set = repave_sys::set_watchdog_timeout(file, timeout_s);
            let set = set.map_err(|error| chosen.failed("set time-out", error.to_string()))?;
            shared.timeout_s = set;
            log::info!("watchdog {} is armed, {set} s", chosen.identity);
        }
        shared.feed(uptime_ms());
        Ok(())
    }

    fn disarm(&mut self, reason: &'static str) -> Result<(), WatchdogError> {
        let Some(chosen) = &self.chosen else {
            return Ok(());
        };
        let mut shared = lock(&self.shared);
        shared.reason = reason.into();
        let Some(file) = shared.file.take() else {
            return Ok(());
        };
        let said = magic_close(file);
        if said.is_ok() && text(&chosen.attributes, "state") != "active" {
            log::info!("watchdog {} is not armed: {reason}", chosen.identity);
            return Ok(());
        }
        // It runs on, so it is fed on.
        shared.file = Some(self.open(chosen)?);
        let why = said.err().map_or("it stays active".into(), |error| error.to_string());
        Err(chosen.failed("stop", why))
    }
}

impl Chosen {
    fn failed(&self, operation: &'static str, reason: String) -> WatchdogError {
        WatchdogError { device: self.identity.clone(), operation, reason }
    }
}

impl Shared {
    fn feed(&mut self, now_ms: u64) {
        let Some(file) = &mut self.file else {
            return;
        };
        let feeds = self.vigil.feeds(now_ms);
        if feeds {
            if let Err(error) = file.write_all(b"\0") {
                log::error!("the watchdog could not be fed: {error}");
            }
        } else if !self.starves {
            let stretch = self.vigil.stretch();
            log::error!("no progress in {stretch:?}: the watchdog is not fed and will reset");
        }
        self.starves = !feeds;
    }
}

/// The letter that makes closing stop it.
fn magic_close(mut file: File) -> std::io::Result<()> {
    file.write_all(b"V")
}

/// What a target's own system has armed, by what its kernel says of it.
pub(crate) fn seen(sys: &Path) -> WatchdogReport {
    let found = find(sys);
    let expired = found.iter().any(|candidate| candidate.expired);
    let armed = found.iter().find(|candidate| {
        KNOWN.contains(&&*candidate.identity)
            && text(&attributes(sys, candidate.number), "state") == "active"
    });
    let guard = match armed {
        Some(Candidate { number, identity, .. }) => Guard::Armed {
            device: identity.clone(),
            timeout_s: text(&attributes(sys, *number), "timeout").parse().unwrap_or(0),
        },
        None => Guard::NotArmed { reason: "the target has none open that is known".into() },
    };
    WatchdogReport { guard, expired }
}

/// All watchdogs that sysfs tells of (Documentation/ABI/testing/sysfs-class-watchdog).
fn find(sys: &Path) -> Vec<Candidate> {
    let entries = fs::read_dir(sys.join("class/watchdog")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| {
        entry.file_name().to_str()?.strip_prefix("watchdog")?.parse::<u32>().ok()
    });
    let candidate = |number| {
        let attributes = attributes(sys, number);
        let status: u32 = text(&attributes, "bootstatus").parse().unwrap_or(0);
        Candidate {
            number,
            identity: cut(&text(&attributes, "identity")),
            no_way_out: text(&attributes, "nowayout") == "1",
            expired: status & CARD_RESET != 0,
        }
    };
    let mut found: Vec<_> = numbers.map(candidate).collect();
    found.sort_by_key(|candidate| candidate.number);
    found
}

fn attributes(sys: &Path, number: u32) -> PathBuf {
    sys.join(format!("class/watchdog/watchdog{number}"))
}

fn text(attributes: &Path, name: &str) -> String {
    fs::read_to_string(attributes.join(name)).unwrap_or_default().trim().into()
}

/// At most what a status may carry.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(repave_protocol::limits::INVENTORY_TEXT_BYTES)].into()
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
