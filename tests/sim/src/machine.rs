//! One simulated server: everything that its edges share. Each effect passes through here, where
//! it is logged, may be cut or fail, and is followed by the checks of [`crate::check`].

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use repave_core::edges::{DeviceError, KexecImage};
use repave_protocol::Side;

use crate::chance::Chance;
use crate::check::{self, Step, Watch};
use crate::controller::Controller;
use crate::disk::Medium;
use crate::events::{Events, Fate};
use crate::firmware::Nvram;

/// A machine as its edges hold it.
pub type Shared = Rc<RefCell<Machine>>;

/// How a kernel was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By a reset.
    Reboot,
    /// Into another kernel.
    Kexec(KexecImage),
}

/// A server, its controller, and who watches both.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What happened, and the clock.
    pub events: Events,
    /// All chance.
    pub chance: Chance,
    /// Disks by number.
    pub media: Vec<Medium>,
    /// Firmware variables.
    pub nvram: Nvram,
    /// The controller.
    pub controller: Controller,
    /// What the checks remember.
    pub watch: Watch,
    /// Ways out that fail: `kexec load`, `kexec`, `reboot`.
    pub broken_power: Vec<&'static str>,
    /// Bytes of a disk that can be neither read nor written: disk, first, one past the last.
    pub bad_bytes: Option<(usize, Range<u64>)>,
    /// Bytes of a disk that cannot be read until they are written: disk, first, one past the last.
    pub unreadable: Option<(usize, Range<u64>)>,
    /// Whether the kernel holds on to the partitions it knows.
    pub holds_partitions: bool,
    /// The kernel that kexec would start.
    pub loaded: Option<KexecImage>,
    /// Seconds until the hardware watchdog resets a server that does not feed it; none: it is off.
    pub watchdog_s: Option<u32>,
    /// Whether the watchdog does not stop.
    pub is_watchdog_stuck: bool,
    /// The CA that the running system's link believes.
    pub trusted_ca: String,
    /// How the running kernel was left.
    pub exit: Option<Exit>,
    /// The side that runs.
    pub side: Side,
}

impl Machine {
    /// Reads from a disk's cache or medium.
    pub fn read(
        &mut self,
        disk: usize,
        offset_bytes: u64,
        into: &mut [u8],
    ) -> Result<(), DeviceError> {
        let medium = &self.media[disk];
        medium.check_request("read", offset_bytes, into.len())?;
        let range = (disk, offset_bytes, into.len());
        let is_bad = touches(&self.bad_bytes, range) || touches(&self.unreadable, range);
        if self.events.is_cut() || is_bad {
            return Err(medium.failed("read", (offset_bytes, into.len())));
        }
        medium.read(offset_bytes, into);
        Ok(())
    }

    /// Writes into a disk's cache.
    pub fn write(
        &mut self,
        disk: usize,
        offset_bytes: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.media[disk].check_request("write", offset_bytes, bytes.len())?;
        let range = (disk, offset_bytes, bytes.len());
        if touches(&self.unreadable, range) {
            self.unreadable = None;
        }
        if touches(&self.bad_bytes, range) {
            return Err(self.media[disk].failed("write", (offset_bytes, bytes.len())));
        }
        let line = format!("sim{disk} write {offset_bytes}+{}", bytes.len());
        let fate = self.events.effect(&line);
        if matches!(fate, Fate::Happens | Fate::InFlight) {
            self.media[disk].write(offset_bytes, bytes);
            check::after(
                self,
                &Step::Wrote { disk, offset_bytes, length_bytes: bytes.len() as u64 },
            );
        }
        match fate {
            Fate::Happens => Ok(()),
            _ => Err(self.media[disk].failed("write", (offset_bytes, bytes.len()))),
        }
    }

    /// Puts a disk's cache on stable storage.
    pub fn flush(&mut self, disk: usize) -> Result<(), DeviceError> {
        if self.events.effect(&format!("sim{disk} flush")) != Fate::Happens {
            return Err(self.media[disk].failed("flush", (0, 0)));
        }
        self.media[disk].flush();
        check::after(self, &Step::Flushed { disk });
        Ok(())
    }

    /// Makes the kernel take the partitions as they are on the disk now.
    pub fn reread_partitions(&mut self, disk: usize) -> Result<(), DeviceError> {
        if self.holds_partitions {
            return Err(self.media[disk].failed("reread", (0, 0)));
        }
        self.events.note(&format!("sim{disk} reread"));
        Ok(())
    }

    /// Loses power: caches are lost or torn, the running kernel is gone.
    pub fn crash(&mut self) {
        self.events.note("power is lost");
        for medium in &mut self.media {
            medium.crash(&mut self.chance);
        }
        self.exit = None;
        check::after(self, &Step::Crashed);
    }
}

/// Whether a request touches these bytes.
fn touches(
    bad: &Option<(usize, Range<u64>)>,
    (disk, offset_bytes, length_bytes): (usize, u64, usize),
) -> bool {
    let end = offset_bytes + length_bytes as u64;
    bad.as_ref()
        .is_some_and(|(bad, range)| *bad == disk && offset_bytes < range.end && end > range.start)
}
