//! Edges that tell what goes through them: each is put around another one, passes every call on,
//! and has a [`Witness`] see the call and how it ended as an [`Event`]. The agent and the simulator
//! put the same ones around theirs, so that their logs have one form. Nothing is decided here.

use crate::edges::{
    Configurator, Crew, DeviceError, Disk, Firmware, FirmwareError, Host, KexecImage, Logs, Power,
    PowerError, SettingsError, Volume, Watchdog, WatchdogError, Workers,
};
use crate::efi::entry_number;
use crate::event::{Call, Event};
use crate::settings::Rendered;
use crate::watchdog::Stretch;
use repave_protocol::{Guid, Inventory, Sha256, WatchdogReport};

/// Most variables whose values are remembered; of others every value is told whenever it is read.
const VARIABLES: usize = 64;

/// Sees events, and notes them with the time.
pub trait Witness {
    /// One event.
    fn saw(&self, event: Event);
}

/// Puts a witness to every disk; their numbers are their places.
pub fn disks<'a>(
    disks: impl IntoIterator<Item = Box<dyn Disk + 'a>>,
    witness: &'a dyn Witness,
) -> Vec<Box<dyn Disk + 'a>> {
    let around = |(number, disk)| Box::new(Around(disk, number, witness)) as Box<dyn Disk + 'a>;
    disks.into_iter().enumerate().map(around).collect()
}

/// A disk, its number, and who sees it.
struct Around<'a>(Box<dyn Disk + 'a>, usize, &'a dyn Witness);

impl Around<'_> {
    fn told<T>(&self, call: Call, outcome: Result<T, DeviceError>) -> Result<T, DeviceError> {
        let failure = outcome.as_ref().err().map(|error| error.reason.clone());
        self.2.saw(Event::Call(call, failure));
        outcome
    }
}

impl Disk for Around<'_> {
    fn facts(&self) -> &repave_protocol::Disk {
        self.0.facts()
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let outcome = self.0.read(offset_bytes, into);
        if outcome.is_ok() {
            return outcome;
        }
        let length_bytes = into.len() as u64;
        self.told(Call::Read { disk: self.1, offset_bytes, length_bytes }, outcome)
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let outcome = self.0.write(offset_bytes, bytes);
        let length_bytes = bytes.len() as u64;
        self.told(Call::Write { disk: self.1, offset_bytes, length_bytes }, outcome)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        let outcome = self.0.flush();
        self.told(Call::Flush { disk: self.1 }, outcome)
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        let outcome = self.0.reread_partitions();
        self.told(Call::Reread { disk: self.1 }, outcome)
    }
}

/// What is known of the firmware's variables, for as long as the agent lives.
#[derive(Debug, Default)]
pub struct Known {
    names: Option<String>,
    values: Vec<(String, Option<Vec<u8>>)>,
}

impl Known {
    /// Takes note of a value; whether it is news.
    fn learn(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        let has_room = self.values.len() < VARIABLES;
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) if known.as_deref() == value => return false,
            Some((_, known)) => *known = value.map(Into::into),
            None if has_room => {
                self.values.push((name.into(), value.map(Into::into)));
            }
            None => {}
        }
        true
    }
}

/// An edge, and who sees it.
pub struct Witnessed<'a, T: ?Sized> {
    /// The edge.
    pub edge: &'a mut T,
    /// Who sees what goes through it.
    pub witness: &'a dyn Witness,
}

/// The firmware, with what is known of it.
pub struct WitnessedFirmware<'a> {
    /// The firmware.
    pub edge: &'a mut dyn Firmware,
    /// What was read and written before.
    pub known: &'a mut Known,
    /// Who sees what goes through it.
    pub witness: &'a dyn Witness,
}

impl WitnessedFirmware<'_> {
    fn told<T>(&self, call: Call, outcome: Result<T, FirmwareError>) -> Result<T, FirmwareError> {
        let failure = outcome.as_ref().err().map(|error| error.reason.clone());
        self.witness.saw(Event::Call(call, failure));
        outcome
    }
}

impl Firmware for WitnessedFirmware<'_> {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        let names = match self.edge.names() {
            Ok(names) => names,
            failed => return self.told(Call::List, failed),
        };
        let mut entries = String::new();
        for name in names.iter().filter(|name| entry_number(name).is_some()) {
            if !entries.is_empty() {
                entries.push(' ');
            }
            entries.push_str(name);
        }
        if self.known.names.as_ref() != Some(&entries) {
            self.known.names = Some(entries.clone());
            self.witness.saw(Event::Names(entries));
        }
        Ok(names)
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        let value = match self.edge.read(name) {
            Ok(value) => value,
            failed => return self.told(Call::Get { name: name.into() }, failed),
        };
        if self.known.learn(name, value.as_deref()) {
            self.witness.saw(Event::Found(name.into(), value.clone()));
        }
        Ok(value)
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        let outcome = self.edge.write(name, value);
        if outcome.is_ok() {
            self.known.learn(name, Some(value));
        }
        self.told(Call::Set { name: name.into(), value: value.into() }, outcome)
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        let outcome = self.edge.delete(name);
        if outcome.is_ok() {
            self.known.learn(name, None);
        }
        self.told(Call::Delete { name: name.into() }, outcome)
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        let partition = self.edge.loader_partition();
        self.witness.saw(Event::Loader(partition));
        partition
    }
}

impl Host for Witnessed<'_, dyn Host + '_> {
    fn uptime_ms(&self) -> u64 {
        self.edge.uptime_ms()
    }

    fn sleep(&mut self, duration_ms: u64) {
        self.edge.sleep(duration_ms);
    }

    fn entropy(&mut self) -> [u8; 32] {
        self.edge.entropy()
    }

    fn draw(&mut self) -> [u8; 16] {
        let drawn = self.edge.draw();
        self.witness.saw(Event::Drew(drawn));
        drawn
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

    fn saw(&mut self, event: Event) {
        self.witness.saw(event);
    }
}

impl Crew for Witnessed<'_, dyn Crew + '_> {
    fn start(&mut self, disk: usize, chunk_bytes: u32) -> Result<Box<dyn Workers>, DeviceError> {
        let started = self.edge.start(disk, chunk_bytes);
        let slots = started.as_ref().map_or(0, |workers| workers.slots());
        let failure = started.as_ref().err().map(|error| error.reason.clone());
        self.witness.saw(Event::Call(Call::Workers { disk, chunk_bytes, slots }, failure));
        started
    }
}

impl Witnessed<'_, dyn Configurator + '_> {
    fn told(&self, call: Call, outcome: Result<(), SettingsError>) -> Result<(), SettingsError> {
        let words = |error: &SettingsError| {
            let blame = if error.image_at_fault { "image" } else { "device" };
            format!("{blame}: {}: {}: {}", error.operation, error.path, error.reason)
        };
        self.witness.saw(Event::Call(call, outcome.as_ref().err().map(words)));
        outcome
    }
}

impl Configurator for Witnessed<'_, dyn Configurator + '_> {
    fn write(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        let outcome = self.edge.write(volume, files);
        self.told(Call::Configure, outcome)
    }

    fn verify(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        let outcome = self.edge.verify(volume, files);
        self.told(Call::Verify, outcome)
    }
}

impl Witnessed<'_, dyn Power + '_> {
    /// What does not come back is told before; that it came back, after.
    fn left(&self, call: Call, outcome: Result<(), PowerError>) -> Result<(), PowerError> {
        if let Err(error) = &outcome {
            self.witness.saw(Event::Call(call, Some(error.reason.clone())));
        }
        outcome
    }
}

impl Power for Witnessed<'_, dyn Power + '_> {
    fn load(&mut self, image: &KexecImage) -> Result<(), PowerError> {
        let outcome = self.edge.load(image);
        let failure = outcome.as_ref().err().map(|error| error.reason.clone());
        self.witness.saw(Event::Call(Call::Load, failure));
        outcome
    }

    fn kexec(&mut self) -> Result<(), PowerError> {
        self.witness.saw(Event::Call(Call::Kexec, None));
        let outcome = self.edge.kexec();
        self.left(Call::Kexec, outcome)
    }

    fn reboot(&mut self) -> Result<(), PowerError> {
        self.witness.saw(Event::Call(Call::Reboot, None));
        let outcome = self.edge.reboot();
        self.left(Call::Reboot, outcome)
    }
}

impl Watchdog for Witnessed<'_, dyn Watchdog + '_> {
    fn report(&self) -> WatchdogReport {
        self.edge.report()
    }

    fn begin(&mut self, stretch: Stretch) {
        self.edge.begin(stretch);
    }

    fn arm(&mut self, timeout_s: u32) -> Result<(), WatchdogError> {
        let outcome = self.edge.arm(timeout_s);
        let failure = outcome.as_ref().err().map(ToString::to_string);
        self.witness.saw(Event::Call(Call::Arm { timeout_s }, failure));
        outcome
    }

    fn disarm(&mut self, reason: &'static str) -> Result<(), WatchdogError> {
        let outcome = self.edge.disarm(reason);
        let failure = outcome.as_ref().err().map(ToString::to_string);
        self.witness.saw(Event::Call(Call::Disarm, failure));
        outcome
    }
}
