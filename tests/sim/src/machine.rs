//! One simulated server: everything that its edges share. Each effect passes through here, where
//! it is logged, may be cut or fail, and is followed by the checks of [`crate::check`].

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use repave_core::edges::{DeviceError, KexecImage, LinkError};
use repave_protocol::{Sha256, Side, Status};

use crate::check::{self, Step, Watch};
use crate::controller::{Controller, SourceFault};
use crate::disk::{Medium, Unflushed};
use crate::events::{Events, Fate};
use crate::faults::{Dice, Fault};
use crate::firmware::{Nvram, Started};
use crate::link::Outage;
use crate::stable::mountable;
use crate::wiped::is_ordered_wipe;
use repave_chance::Chance;

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
    /// Faults, and when they strike.
    pub dice: Dice,
    /// What a power cut does to writes that were not flushed.
    pub unflushed: Unflushed,
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
    /// How often power was lost.
    pub crashes: u64,
    /// When nobody can reach the controller.
    pub outage: Option<Outage>,
    /// Statuses that are still on their way.
    pub late: Vec<Status>,
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

/// Of every disk, between the table and what comes first: a write that goes astray harms nobody here.
const GAP: Range<u64> = 256 * 1024..512 * 1024;
/// At either end of a disk, what no write that goes astray comes near.
const TABLE_BYTES: u64 = 64 * 1024;

impl Machine {
    /// Logs an effect, and says what becomes of it.
    pub fn effect(&mut self, line: &str) -> Fate {
        self.strike();
        self.events.effect(line)
    }

    /// The same for what an event of the default side tells.
    pub fn effect_of_event(&mut self, line: &str) -> Fate {
        self.strike();
        match self.side {
            Side::Default => self.events.effect_of_event(line),
            Side::Target => self.events.effect(line),
        }
    }

    fn strike(&mut self) {
        if !self.events.is_cut() {
            if self.dice.strikes(Fault::PowerCut) {
                self.events.cut_at(self.events.effects());
            }
            if self.side == Side::Default && self.dice.strikes(Fault::AgentPanics) {
                self.events.panic_at(self.events.effects());
            }
        }
    }

    /// Reads from a disk's cache or medium.
    pub fn read(
        &mut self,
        disk: usize,
        offset_bytes: u64,
        into: &mut [u8],
    ) -> Result<(), DeviceError> {
        let rots = self.begin_read(disk, (offset_bytes, into.len()))?;
        self.media[disk].read(offset_bytes, into);
        if let Some(bit) = rots {
            into[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    /// Reads as well, and says whether all of it is zero. A bit that rots is taken to be one of many.
    pub fn read_zero(
        &mut self,
        disk: usize,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<bool, DeviceError> {
        let rots = self.begin_read(disk, (offset_bytes, length_bytes))?;
        let range = offset_bytes..offset_bytes + length_bytes as u64;
        Ok(rots.is_none() && self.media[disk].is_zero(range))
    }

    /// What goes wrong with a read, and the bit that comes out otherwise.
    fn begin_read(&mut self, disk: usize, at: (u64, usize)) -> Result<Option<usize>, DeviceError> {
        let (offset_bytes, length_bytes) = at;
        self.media[disk].check_request("read", offset_bytes, length_bytes)?;
        let refused = self.events.fails(&format!("sim{disk} read {offset_bytes}+{length_bytes}"))
            || touches(&self.unreadable, (disk, offset_bytes, length_bytes));
        let is_bad = refused || touches(&self.bad_bytes, (disk, offset_bytes, length_bytes));
        if self.events.is_cut() || is_bad || self.dice.strikes(Fault::DiskReadFails) {
            return Err(self.media[disk].failed("read", at));
        }
        if !self.dice.strikes(Fault::DiskReadRots) {
            return Ok(None);
        }
        let bit = self.dice.shape().below(length_bytes as u64 * 8) as usize;
        self.events.note(&format!("sim{disk} read {offset_bytes}+{length_bytes}: bit {bit} rots"));
        Ok(Some(bit))
    }

    /// Writes into a disk's cache.
    pub fn write(
        &mut self,
        disk: usize,
        offset_bytes: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let at = (offset_bytes, bytes.len());
        self.media[disk].check_request("write", offset_bytes, bytes.len())?;
        if touches(&self.unreadable, (disk, offset_bytes, bytes.len())) {
            self.unreadable = None;
        }
        if touches(&self.bad_bytes, (disk, offset_bytes, bytes.len())) {
            return Err(self.media[disk].failed("write", at));
        }
        let line = format!("sim{disk} write {offset_bytes}+{}", bytes.len());
        let fate = self.effect(&line);
        if !matches!(fate, Fate::Happens | Fate::InFlight) {
            return Err(self.media[disk].failed("write", at));
        }
        let fails = self.dice.strikes(Fault::DiskWriteFails);
        if fails {
            self.events.note(&format!("{line}: fails in part"));
            self.media[disk].write_some(offset_bytes, bytes, self.dice.shape());
        } else if self.events.strays() || self.dice.strikes(Fault::DiskWriteMisdirected) {
            let (astray, count) = self.astray(disk, at);
            self.events.note(&format!("{line}: goes to {astray}"));
            self.media[disk].write_astray(astray, &bytes[..count]);
        } else {
            self.media[disk].write(offset_bytes, bytes);
        }
        let length_bytes = bytes.len() as u64;
        check::after(self, &Step::Wrote { disk, offset_bytes, length_bytes });
        match fate {
            Fate::Happens if !fails => Ok(()),
            _ => Err(self.media[disk].failed("write", at)),
        }
    }

    /// Where a write goes that does not go where it was told, and how much of it: a chunk to any other
    /// place of the target while that cannot be booted, everything else to where nothing is.
    fn astray(&mut self, disk: usize, (offset_bytes, length_bytes): (u64, usize)) -> (u64, usize) {
        let start = if disk == 0 { self.watch.state.end } else { GAP.end * 2 };
        let end = self.media[disk].facts().size_bytes - TABLE_BYTES;
        let is_chunk = self.side == Side::Default && offset_bytes >= start && offset_bytes < end;
        let room = if is_chunk && check::is_open(self) {
            self.watch.excuse();
            start..end
        } else if is_chunk && is_wiping(self) {
            start..end
        } else {
            GAP
        };
        let block_bytes = u64::from(self.media[disk].facts().logical_block_bytes);
        let count = (length_bytes as u64).min(room.end - room.start);
        let places = (room.end - room.start - count) / block_bytes;
        (room.start + self.dice.shape().below(places.max(1)) * block_bytes, count as usize)
    }

    /// Puts a disk's cache on stable storage.
    pub fn flush(&mut self, disk: usize) -> Result<(), DeviceError> {
        let line = format!("sim{disk} flush");
        if self.effect(&line) != Fate::Happens {
            return Err(self.media[disk].failed("flush", (0, 0)));
        }
        if self.dice.strikes(Fault::DiskFlushFails) {
            let loses = self.dice.shape().coin();
            self.events.note(&format!("{line}: fails, cache lost: {loses}"));
            if loses {
                self.media[disk].lose_cache();
            }
            return Err(self.media[disk].failed("flush", (0, 0)));
        }
        self.media[disk].flush();
        check::after(self, &Step::Flushed { disk });
        Ok(())
    }

    /// Makes the kernel take the partitions as they are on the disk now.
    pub fn reread_partitions(&mut self, disk: usize) -> Result<(), DeviceError> {
        let line = format!("sim{disk} reread");
        let refused = self.holds_partitions || self.events.fails(&line);
        if refused || self.dice.strikes(Fault::DiskRereadFails) {
            return Err(self.media[disk].failed("reread", (0, 0)));
        }
        Ok(())
    }

    /// Loses power: caches are lost or torn, the running kernel is gone.
    pub fn crash(&mut self) {
        self.events.note("power is lost");
        self.crashes += 1;
        for medium in &mut self.media {
            medium.crash(self.unflushed, &mut self.chance);
        }
        self.exit = None;
        check::after(self, &Step::Crashed);
    }

    /// Power is there, again or still: a reset does not lose what a disk has in its cache; a power
    /// cut has done so already.
    pub fn power_on(&mut self) {
        self.events.power_on();
        if self.dice.strikes(Fault::ClockJumps) {
            let uptime_ms = self.dice.shape().draw() >> 16;
            self.events.set_uptime(uptime_ms);
        }
        // What takes a rack's power often takes its controller with it.
        Outage::strike(self);
        for disk in 0..self.media.len() {
            self.media[disk].flush();
            check::after(self, &Step::Flushed { disk });
        }
        (self.loaded, self.watchdog_s) = (None, None);
    }

    /// The firmware chooses what to start.
    pub fn start(&mut self) -> Option<Started> {
        if self.nvram.wake(&self.media, &mut self.dice, &self.watch.foreign) {
            self.events.note("the firmware has changed its variables");
            self.watch.forget_order();
        }
        let ignores = self.dice.strikes(Fault::BootNextIgnored);
        let started = self.nvram.start(&self.media, ignores);
        self.events.note(&format!("power on: {started:?}"));
        started
    }

    /// A part of a blob, as a source gives it.
    pub fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        part: (u64, Option<usize>),
    ) -> Result<Vec<u8>, LinkError> {
        let fail = |reason: &str| Err(LinkError::trouble(source, reason.into()));
        if self.events.is_cut() {
            return fail("power is gone");
        }
        if self.events.fails(&format!("blob at {} from {source}", part.0)) {
            return fail("connection reset");
        }
        let faults = [
            (Fault::SourceMissing, SourceFault::Missing),
            (Fault::SourceCorrupt, SourceFault::Corrupt),
            (Fault::SourceShort, SourceFault::Short),
            (Fault::SourceLong, SourceFault::Long),
            (Fault::SourceElsewhere, SourceFault::Elsewhere),
        ];
        let mut struck = faults.into_iter().filter(|(fault, _)| self.dice.strikes(*fault));
        let struck = struck.next().map(|(_, fault)| fault);
        if let Some(fault) = struck {
            self.events.note(&format!("blob at {} from {source}: {fault:?}", part.0));
        }
        self.controller.blob(source, blob, part, struck)
    }
}

/// Whether a target is being made zero, and nothing of it can be booted.
fn is_wiping(machine: &Machine) -> bool {
    let record = machine.watch.record.as_ref();
    record.is_some_and(|record| is_ordered_wipe(machine, record))
        && mountable(machine).next().is_none()
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
