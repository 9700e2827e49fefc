//! The target of a world: what is started, what it writes itself, and a round of its resident.

use std::rc::Rc;

use repave_core::boot::WayHome;
use repave_core::edges::Watchdog;
use repave_core::efi::{numbers_from_bytes, numbers_to_bytes};
use repave_core::resident::{Resident, Surroundings, find_journal};
use repave_core::settings::{RESIDENT_CONFIG, ResidentConfig};
use repave_core::trust;
use repave_image::Reports;
use repave_protocol::{Guid, Load, Nonce, Side, strict_json};

use super::{PAUSE_MS, Place, TargetConduct, World};
use crate::check::{self, Step};
use crate::disk::{Drive, Medium};
use crate::faults::Fault;
use crate::firmware::{Started, Variables};
use crate::host::Clock;
use crate::image::Image;
use crate::machine::Machine;
use crate::power::Switch;
use crate::stable::find;
use crate::watchdog::Timer;

/// The boot entry that a target's own system makes.
pub(crate) const STRANGER: &[u8] = b"another system's boot loader";
/// Where in the data partition a target keeps its row.
const ROW_OFFSET_BYTES: u64 = 8192;

impl World {
    pub(super) fn start_target(&mut self, Started { disk, partition }: Started) -> Place {
        let machine = &mut *self.machine.borrow_mut();
        machine.side = Side::Target;
        machine.events.note(&format!("target starts from {partition}"));
        check::after(machine, &Step::Boots { partition });
        let feeder = machine.watch.record.as_ref().and_then(|r| r.seal.as_ref()?.watchdog_s);
        if machine.watchdog_s.is_some() && machine.watchdog_s != feeder {
            machine.watch.violated("I8", "a target that does not feed the watchdog runs with it");
        }
        if self.spec.conduct == TargetConduct::Panics || machine.dice.strikes(Fault::TargetPanics) {
            machine.events.note("target panics");
            return Place::Off;
        }
        let hangs = self.spec.conduct == TargetConduct::Hangs;
        if hangs || machine.dice.strikes(Fault::TargetHangs) {
            machine.events.note("target hangs");
            if machine.watchdog_s.is_some() {
                machine.events.note("the watchdog resets");
                return Place::Off;
            }
            return Place::Dark;
        }
        Place::Arriving { disk, boot: partition }
    }

    /// The target's own boot: a row in its database, then its resident.
    pub(super) fn arrive(&self, disk: usize, boot: Guid) -> Place {
        let again = Place::Arriving { disk, boot };
        let image = {
            let machine = self.machine.borrow();
            let mut images = machine.controller.images.values();
            let sealed = machine.watch.record.as_ref().and_then(|r| r.seal.as_ref());
            images.find(|i| Some(i.reference.manifest) == sealed.map(|s| s.manifest)).cloned()
        };
        let Some(image) = image else {
            self.machine.borrow_mut().watch.violated("I8", "a target without a seal runs");
            return Place::Off;
        };
        self.write_row(&image);
        let is_dark = image.manifest.reports == Reports::None;
        reorder(&mut self.machine.borrow_mut(), is_dark);
        if is_dark {
            return Place::Dark;
        }
        let config = self.target_file(&image, RESIDENT_CONFIG);
        let config = config.and_then(|bytes| strict_json::<ResidentConfig>(&bytes, 1 << 16).ok());
        let Some(config) = config else {
            let machine = &mut *self.machine.borrow_mut();
            // A write that the disk put elsewhere after the seal is beyond all that was read back.
            if !machine.media.iter().any(Medium::has_lied) {
                machine.watch.violated("I3", "no resident in a running target");
            }
            machine.events.note("no resident here");
            return Place::Dark;
        };
        let mut disks = Drive::all(&self.machine);
        let Ok(Some((place, journal))) = find_journal(&config, &mut disks) else {
            self.pause(PAUSE_MS);
            return again;
        };
        let kept = journal.record().trust.clone().unwrap_or_default();
        let kept = std::iter::once(kept.as_bytes());
        let (trust, _) = trust::newest(kept, config.root_key, &config.pool)
            .expect("the default side kept a good one");
        self.machine.borrow_mut().trusted_ca.clone_from(&trust.message().ca_pem);
        let nonce = Nonce::from_random(self.machine.borrow_mut().chance.bytes());
        let drive = disks[place.disk].as_mut();
        let resident = Resident::arrive(config, trust, (place, &journal), drive, nonce);
        resident.map_or(again, |resident| Place::Target(Box::new(resident)))
    }

    /// A block in the middle of the data partition counts the target's starts.
    fn write_row(&self, image: &Image) {
        let machine = &mut *self.machine.borrow_mut();
        let Some((disk, at, _)) = find(machine, image.manifest.partitions[2].guid) else {
            return;
        };
        let at = at + ROW_OFFSET_BYTES;
        let mut row = vec![0; 4096];
        if machine.read(disk, at, &mut row).is_err() {
            return;
        }
        if !row[1..].starts_with(b"row") {
            row[..4].copy_from_slice(b"\0row");
        }
        row[0] = row[0].wrapping_add(1);
        machine.watch.own_writes.push((disk, at, row.clone()));
        if machine.write(disk, at, &row).and_then(|()| machine.flush(disk)).is_err() {
            machine.events.note("the row was not written");
        }
    }

    /// The row that the target of this image keeps.
    pub fn row(&self, image: &Image) -> Option<Vec<u8>> {
        let machine = self.machine.borrow();
        let (disk, at, _) = find(&machine, image.manifest.partitions[2].guid)?;
        let at = at + ROW_OFFSET_BYTES;
        Some(machine.media[disk].durable_bytes(at..at + 4))
    }

    pub(super) fn report(&self, mut resident: Box<Resident>) -> Place {
        let timer = Timer(Rc::clone(&self.machine));
        let table = self.machine.borrow().media[0].durable_table();
        let default = table.and_then(|table| table.entries.first().cloned());
        let mut firmware = Variables(Rc::clone(&self.machine));
        let mut around = Surroundings {
            link: &mut self.line(self.server()),
            power: &mut Switch(Rc::clone(&self.machine)),
            host: &mut Clock(Rc::clone(&self.machine)),
            load: &mut Load::default,
            watchdog: &mut || timer.report(),
            home: default.map(|default| WayHome::new(&mut firmware, default)),
        };
        match resident.round(&mut around) {
            Ok(None) => return Place::Off,
            Ok(Some(pause_ms)) => self.pause(pause_ms),
            Err(failure) => {
                let line = format!("resident failed: {}", failure.chain());
                self.machine.borrow_mut().events.note(&line);
                self.pause(PAUSE_MS);
            }
        }
        Place::Target(resident)
    }
}

/// What the boot loader's package of a target's own system does to the boot order. One without a
/// resident does not put itself first: nothing on the server would ever lead home again.
fn reorder(machine: &mut Machine, is_dark: bool) {
    let itself_first = !is_dark && machine.dice.strikes(Fault::TargetReordersItselfFirst);
    if !itself_first && !machine.dice.strikes(Fault::TargetReorders) {
        return;
    }
    let order = machine.nvram.variables.get("BootOrder").map_or(&[][..], |value| value);
    let mut order = numbers_from_bytes(order);
    if let (true, Some(last)) = (itself_first, order.pop()) {
        order.insert(0, last);
    } else {
        // An entry of its own, which leads nowhere, and the others as they were.
        order.insert(0, 0xf0);
        machine.nvram.variables.insert("Boot00F0".into(), STRANGER.to_vec());
    }
    machine.events.note(&format!("target sets BootOrder to {order:x?}"));
    machine.nvram.variables.insert("BootOrder".into(), numbers_to_bytes(&order));
    machine.watch.forget_order();
}
