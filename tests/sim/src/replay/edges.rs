//! The simulator's edges with a dump's answers: each call looks at the line ahead, fails if that
//! says so, and is made if not. Firmware and link are in files of their own.

use std::rc::Rc;

use repave_core::edges::{
    Configurator, DeviceError, Disk, Host, KexecImage, Logs, Power, PowerError, SettingsError,
    Volume, Watchdog, WatchdogError,
};
use repave_core::event::{Call, Event};
use repave_core::settings::Rendered;
use repave_core::watchdog::Stretch;
use repave_protocol::{Disk as Facts, Inventory, Sha256, WatchdogReport};

use super::script::{Fate, Script};
use crate::machine::Shared;
use crate::world::PATIENCE_MS as WORLD_PATIENCE_MS;

/// At either end of a disk, what is its table's.
const TABLE_BYTES: u64 = 64 * 1024;

/// An edge of a machine that follows a script.
pub(crate) struct Scripted<T: ?Sized> {
    pub(crate) script: Rc<Script>,
    pub(crate) machine: Shared,
    pub(crate) edge: Box<T>,
}

impl<T: ?Sized> Scripted<T> {
    /// Asks the script, unless power is gone already.
    pub(super) fn fate(&self, call: &Call) -> Fate {
        if self.machine.borrow().events.is_cut() {
            return Fate::Fails("power is gone".into());
        }
        self.script.fate(call)
    }

    /// Power goes while a call is under way.
    pub(super) fn cut(&self) {
        self.script.cut(&mut self.machine.borrow_mut());
    }
}

impl Scripted<dyn Disk> {
    fn failed(&self, operation: &'static str, at: (u64, usize), reason: String) -> DeviceError {
        let device = self.edge.facts().name.clone();
        let (offset_bytes, length_bytes) = (at.0, at.1 as u64);
        DeviceError { device, operation, offset_bytes, length_bytes, reason }
    }

    fn number(&self) -> usize {
        let machine = self.machine.borrow();
        let name = &self.edge.facts().name;
        machine.media.iter().position(|medium| medium.facts().name == *name).unwrap_or(0)
    }

    /// Makes a call that tells how it ended. One that was cut may have been made.
    fn made(
        &mut self,
        call: &Call,
        (operation, at): (&'static str, (u64, usize)),
        make: impl FnOnce(&mut dyn Disk) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        match self.fate(call) {
            Fate::Happens => make(self.edge.as_mut()),
            Fate::Fails(reason) => {
                let is_cut = self.machine.borrow().events.is_cut();
                match operation {
                    // Of several reads of the same place, a later one.
                    "read" if !is_cut && self.script.choose(2) == 1 => {
                        return make(self.edge.as_mut());
                    }
                    "write" if !is_cut && self.script.choose(2) == 1 => {
                        make(self.edge.as_mut())?;
                    }
                    "flush" if !is_cut && self.script.choose(2) == 1 => {
                        let number = self.number();
                        self.machine.borrow_mut().media[number].lose_cache();
                    }
                    _ => {}
                }
                Err(self.failed(operation, at, reason))
            }
            Fate::Cut => {
                if operation == "write" {
                    make(self.edge.as_mut())?;
                }
                self.cut();
                Err(self.failed(operation, at, "power is gone".into()))
            }
        }
    }
}

impl Scripted<dyn Disk> {
    /// A head is looked at before it is blanked, and is written only if it is not zero: what the
    /// field found there shows in what follows.
    fn find_head(&self, (offset_bytes, length_bytes): (u64, usize)) {
        let disk = self.number();
        let machine = &mut *self.machine.borrow_mut();
        let size_bytes = machine.media[disk].facts().size_bytes;
        let start_bytes = if disk == 0 { machine.watch.state.end } else { TABLE_BYTES };
        let end_bytes = offset_bytes + length_bytes as u64;
        if offset_bytes < start_bytes || end_bytes > size_bytes - TABLE_BYTES {
            return;
        }
        let write = Call::Write { disk, offset_bytes, length_bytes: length_bytes as u64 };
        let is_zero = match self.script.peek().as_deref() {
            Some(Event::Call(Call::Flush { disk: flushed }, _)) if *flushed == disk => true,
            Some(Event::Call(call, _)) if *call == write => false,
            _ => return,
        };
        let mut found = vec![0; length_bytes];
        machine.media[disk].read(offset_bytes, &mut found);
        if found.iter().all(|byte| *byte == 0) != is_zero {
            found.fill(0);
            found[0] = u8::from(!is_zero);
            machine.media[disk].hold(offset_bytes, &found);
        }
    }
}

impl Disk for Scripted<dyn Disk> {
    fn facts(&self) -> &Facts {
        self.edge.facts()
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let length_bytes = into.len() as u64;
        let call = Call::Read { disk: self.number(), offset_bytes, length_bytes };
        let at = (offset_bytes, into.len());
        self.find_head(at);
        self.made(&call, ("read", at), |disk| disk.read(offset_bytes, into))
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let length_bytes = bytes.len() as u64;
        let call = Call::Write { disk: self.number(), offset_bytes, length_bytes };
        let at = (offset_bytes, bytes.len());
        self.made(&call, ("write", at), |disk| disk.write(offset_bytes, bytes))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        let call = Call::Flush { disk: self.number() };
        self.made(&call, ("flush", (0, 0)), |disk| disk.flush())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        let call = Call::Reread { disk: self.number() };
        self.made(&call, ("reread", (0, 0)), |disk| disk.reread_partitions())
    }
}

impl Host for Scripted<dyn Host> {
    fn uptime_ms(&self) -> u64 {
        let before_ms = self.script.clock_ms();
        let now_ms = self.script.uptime_ms();
        // The world's own clock goes along, as far as its checks go by it.
        self.machine.borrow_mut().events.sleep((now_ms - before_ms).min(WORLD_PATIENCE_MS));
        now_ms
    }

    fn sleep(&mut self, duration_ms: u64) {
        self.edge.sleep(duration_ms);
    }

    fn entropy(&mut self) -> [u8; 32] {
        self.edge.entropy()
    }

    fn draw(&mut self) -> [u8; 16] {
        match self.script.peek().as_deref() {
            Some(Event::Drew(drawn)) => *drawn,
            _ => self.edge.draw(),
        }
    }

    fn inventory(&mut self) -> Inventory {
        self.edge.inventory()
    }

    fn has_other_disks(&mut self) -> bool {
        self.edge.has_other_disks()
    }

    fn default_partition(&mut self, wait_ms: u64) -> Option<Sha256> {
        self.edge.default_partition(wait_ms)
    }

    fn logs(&mut self) -> Logs {
        self.edge.logs()
    }
}

impl Scripted<dyn Configurator> {
    fn made(
        &mut self,
        call: &Call,
        make: impl FnOnce(&mut dyn Configurator) -> Result<(), SettingsError>,
    ) -> Result<(), SettingsError> {
        let words = match self.fate(call) {
            Fate::Happens => return make(self.edge.as_mut()),
            Fate::Fails(words) => words,
            Fate::Cut => {
                self.cut();
                "device: mount: /: power is gone".into()
            }
        };
        let [blame, operation, path, reason] = parts(&words);
        let image_at_fault = blame == "image";
        Err(SettingsError {
            operation: kept(operation),
            path: path.into(),
            reason: reason.into(),
            image_at_fault,
        })
    }
}

impl Configurator for Scripted<dyn Configurator> {
    fn write(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        self.made(&Call::Configure, |edge| edge.write(volume, files))
    }

    fn verify(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        self.made(&Call::Verify, |edge| edge.verify(volume, files))
    }
}

impl Scripted<dyn Power> {
    fn made(
        &mut self,
        (call, operation): (&Call, &'static str),
        make: impl FnOnce(&mut dyn Power) -> Result<(), PowerError>,
    ) -> Result<(), PowerError> {
        let reason = match self.fate(call) {
            Fate::Fails(reason) => reason,
            // That it is about to be made was told before; what follows is another boot.
            Fate::Cut if *call != Call::Load => return make(self.edge.as_mut()),
            Fate::Cut => {
                self.cut();
                "power is gone".into()
            }
            Fate::Happens => return make(self.edge.as_mut()),
        };
        Err(PowerError { operation, reason })
    }
}

impl Power for Scripted<dyn Power> {
    fn load(&mut self, image: &KexecImage) -> Result<(), PowerError> {
        self.made((&Call::Load, "kexec load"), |power| power.load(image))
    }

    fn kexec(&mut self) -> Result<(), PowerError> {
        self.made((&Call::Kexec, "kexec"), |power| power.kexec())
    }

    fn reboot(&mut self) -> Result<(), PowerError> {
        self.made((&Call::Reboot, "reboot"), |power| power.reboot())
    }
}

impl Scripted<dyn Watchdog> {
    fn made(
        &mut self,
        call: &Call,
        make: impl FnOnce(&mut dyn Watchdog) -> Result<(), WatchdogError>,
    ) -> Result<(), WatchdogError> {
        let words = match self.fate(call) {
            Fate::Happens => return make(self.edge.as_mut()),
            Fate::Fails(words) => words,
            Fate::Cut => {
                self.cut();
                "watchdog: stop: power is gone".into()
            }
        };
        let [device, operation, reason] = parts(&words);
        Err(WatchdogError {
            device: device.into(),
            operation: kept(operation),
            reason: reason.into(),
        })
    }
}

impl Watchdog for Scripted<dyn Watchdog> {
    fn report(&self) -> WatchdogReport {
        self.edge.report()
    }

    fn begin(&mut self, stretch: Stretch) {
        self.edge.begin(stretch);
    }

    fn arm(&mut self, timeout_s: u32) -> Result<(), WatchdogError> {
        self.made(&Call::Arm { timeout_s }, |watchdog| watchdog.arm(timeout_s))
    }

    fn disarm(&mut self, reason: &'static str) -> Result<(), WatchdogError> {
        self.made(&Call::Disarm, |watchdog| watchdog.disarm(reason))
    }
}

/// The parts of an error's words; what is missing is empty.
fn parts<const COUNT: usize>(words: &str) -> [&str; COUNT] {
    let mut parts = words.splitn(COUNT, ": ");
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Errors name their operation for as long as the program runs. A dump is read once.
fn kept(operation: &str) -> &'static str {
    Box::leak(operation.to_owned().into_boxed_str())
}
