//! Power of a virtual machine under QEMU, over its monitor socket; for the machines of our tests.
//!
//! QEMU's monitor protocol (docs/interop/qmp-spec) is a line of JSON each way. The client of the
//! `qemu` crate stands on a floor above this one and is made for one end of a socket pair; here a
//! socket in the file system is opened for one order and closed again. `quit` is never sent: a
//! machine that is off is one that waits at its reset vector, as after `-S`, and its process lives.

mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::wire::Wire;
use super::config::Method;
use super::error::limit_of;
use super::{BootSource, Off, Power, PowerError, PowerState};

/// QEMU is on this machine and answers at once, unless it hangs or has another client.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QmpConfig {
    /// Where its monitor listens (`-qmp unix:PATH,server=on,wait=off`). It has one client at a
    /// time.
    pub socket: PathBuf,
    /// How long one order may take.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

impl Method for QmpConfig {
    fn open(&self, _server: &str) -> Result<Box<dyn Power>, PowerError> {
        let limit = limit_of(self.timeout_ms, MAX_TIMEOUT)?;
        Ok(Box::new(Qmp { socket: self.socket.clone(), limit }))
    }
}

#[derive(Debug)]
struct Qmp {
    socket: PathBuf,
    limit: Duration,
}

impl Qmp {
    fn connect(&self) -> Result<Wire, PowerError> {
        Wire::connect(&self.socket, self.limit)
    }
}

/// What QEMU's RunState means (qapi/run-state.json).
fn state_of(status: &str) -> Option<PowerState> {
    match status {
        // A machine that crashed has its power on, as hardware would.
        "running" | "suspended" | "internal-error" | "io-error" | "watchdog" | "guest-panicked" => {
            Some(PowerState::On)
        }
        "prelaunch" | "preconfig" | "shutdown" => Some(PowerState::Off),
        "paused" | "debug" | "inmigrate" | "postmigrate" | "finish-migrate" | "save-vm"
        | "restore-vm" | "colo" => Some(PowerState::Paused),
        _ => None,
    }
}

fn status(wire: &mut Wire) -> Result<(PowerState, bool), PowerError> {
    let answer = wire.execute("query-status")?;
    let status = answer["status"].as_str().unwrap_or_default();
    let state = state_of(status).ok_or_else(|| wire.malformed("RunState", status))?;
    Ok((state, status == "running"))
}

/// Puts the machine to its reset vector. It runs on from there if it ran.
fn reset(wire: &mut Wire) -> Result<(), PowerError> {
    wire.execute("system_reset")?;
    // The answer comes before the deed, and until then `cont` may be refused.
    wire.wait_event("RESET")
}

fn start(wire: &mut Wire) -> Result<(), PowerError> {
    reset(wire)?;
    let (_, runs) = status(wire)?;
    if runs { Ok(()) } else { wire.execute("cont").map(drop) }
}

impl Power for Qmp {
    fn status(&self) -> Result<PowerState, PowerError> {
        Ok(status(&mut self.connect()?)?.0)
    }

    fn on(&self) -> Result<(), PowerError> {
        let mut wire = self.connect()?;
        match status(&mut wire)?.0 {
            PowerState::Off => start(&mut wire),
            PowerState::Paused => wire.execute("cont").map(drop),
            _ => Ok(()),
        }
    }

    fn off(&self, how: Off) -> Result<(), PowerError> {
        let mut wire = self.connect()?;
        match (status(&mut wire)?.0, how) {
            (PowerState::Off, _) => Ok(()),
            (_, Off::Graceful) => wire.execute("system_powerdown").map(drop),
            (_, Off::Forced) => {
                wire.execute("stop")?;
                reset(&mut wire)
            }
        }
    }

    fn cycle(&self) -> Result<(), PowerError> {
        start(&mut self.connect()?)
    }

    fn boot_once(&self, source: &BootSource) -> Result<(), PowerError> {
        Err(PowerError::NotOffered {
            place: self.socket.display().to_string(),
            order: format!("boot once from {source}"),
            offered: "no boot source: QEMU has it on its command line".into(),
        })
    }
}
