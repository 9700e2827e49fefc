//! UEFI as far as booting goes: a map of variables, BootNext honoured once, BootOrder, the
//! removable-media path at last; and the ways in which real firmware disappoints.

use std::collections::BTreeMap;

use repave_core::edges::{Firmware, FirmwareError};
use repave_core::efi::{LoadOption, entry_name, numbers_from_bytes, numbers_to_bytes};
use repave_image::ESP_TYPE;
use repave_protocol::Guid;

use crate::check::{self, Step};
use crate::disk::Medium;
use crate::events::Fate;
use crate::faults::{Dice, Fault};
use crate::image::is_mountable_esp;
use crate::machine::Shared;
use repave_chance::Chance;

/// The ways in which a firmware disappoints.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// At power-on it removes entries that BootOrder lacks.
    pub drops_unordered_entries: bool,
    /// It accepts writes to and removals of these variables and forgets them.
    pub forgets: Vec<String>,
    /// There is no room for a variable that is new or grows.
    pub is_full: bool,
    /// Nothing can be written.
    pub is_read_only: bool,
}

/// Non-volatile variables.
#[derive(Clone, Debug, Default)]
pub struct Nvram {
    /// All variables of the global vendor.
    pub variables: BTreeMap<String, Vec<u8>>,
    /// How it disappoints.
    pub quirks: Quirks,
    /// Whether BootNext, or the one that the latest start went by, was to be removed and was kept.
    pub kept_next: bool,
    loader_partition: Option<Guid>,
}

/// What the firmware starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Number of the disk.
    pub disk: usize,
    /// The partition that held the EFI program.
    pub partition: Guid,
}

impl Nvram {
    /// With these variables.
    pub const fn new(variables: BTreeMap<String, Vec<u8>>, quirks: Quirks) -> Self {
        Self { variables, quirks, kept_next: false, loader_partition: None }
    }

    /// What firmware does to its variables before it looks at them; says whether it did anything.
    pub fn wake(
        &mut self,
        media: &[Medium],
        dice: &mut Dice,
        foreign: &BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let before = self.variables.clone();
        let is_ours = |name: &str| is_entry(name) && !foreign.contains_key(name);
        if dice.strikes(Fault::VariablesReset) {
            self.variables.retain(|name, _| foreign.contains_key(name));
        }
        let order = numbers_from_bytes(self.variable("BootOrder"));
        if dice.strikes(Fault::EntriesNotInOrderDropped) {
            let ordered: Vec<_> = order.iter().map(|&number| entry_name(number)).collect();
            self.variables.retain(|name, _| !is_ours(name) || ordered.contains(name));
        }
        if dice.strikes(Fault::EntriesUnresolvedDropped) {
            let resolves = |number: &u16| self.entry(*number, media).is_some();
            let (kept, lost): (Vec<u16>, Vec<u16>) = order.iter().partition(|n| resolves(n));
            let names: Vec<_> = lost.iter().map(|&number| entry_name(number)).collect();
            self.variables.retain(|name, _| !is_ours(name) || !names.contains(name));
            if !lost.is_empty() {
                self.variables.insert("BootOrder".into(), numbers_to_bytes(&kept));
            }
        }
        if dice.strikes(Fault::EntriesDuplicated) {
            self.duplicate(dice);
        }
        self.variables != before
    }

    /// An entry of BootOrder comes twice, the second under the lowest free number.
    fn duplicate(&mut self, dice: &mut Dice) {
        let mut order = numbers_from_bytes(self.variable("BootOrder"));
        let free = (0..).find(|number| !self.variables.contains_key(&entry_name(*number)));
        if let (Some(free), false) = (free, order.is_empty()) {
            let which = dice.shape().below(order.len() as u64) as usize;
            let value = self.variable(&entry_name(order[which])).to_vec();
            self.variables.insert(entry_name(free), value);
            order.push(free);
            self.variables.insert("BootOrder".into(), numbers_to_bytes(&order));
        }
    }

    /// Chooses what to start, as firmware does at every reset.
    pub fn start(&mut self, media: &[Medium], ignores_next: bool) -> Option<Started> {
        let order = numbers_from_bytes(self.variable("BootOrder"));
        if self.quirks.drops_unordered_entries {
            let ordered: Vec<_> = order.iter().map(|&number| entry_name(number)).collect();
            self.variables.retain(|name, _| !is_entry(name) || ordered.contains(name));
        }
        let next = numbers_from_bytes(self.variable("BootNext"));
        self.kept_next &= self.variables.remove("BootNext").is_some();
        let mut candidates = next.iter().take(if ignores_next { 0 } else { 1 }).chain(&order);
        let started = candidates
            .find_map(|&number| self.entry(number, media))
            .or_else(|| removable_media_path(media));
        self.loader_partition = started.map(|started| started.partition);
        started
    }

    fn variable(&self, name: &str) -> &[u8] {
        self.variables.get(name).map_or(&[], |value| value)
    }

    /// The partition GUID that `Boot####` starts from, if it is an entry of that kind.
    pub fn partition_of(&self, number: u16) -> Option<Guid> {
        let option = LoadOption::from_bytes(self.variable(&entry_name(number))).ok()?;
        Some(option.partition)
    }

    /// The partition that BootNext leads to.
    pub fn next_partition(&self) -> Option<Guid> {
        let next = numbers_from_bytes(self.variable("BootNext"));
        self.partition_of(*next.first()?)
    }

    fn entry(&self, number: u16, media: &[Medium]) -> Option<Started> {
        let partition = self.partition_of(number)?;
        bootable(media, |entry| entry.guid == partition)
    }

    /// Writes or removes, as `fate` and the quirks have it.
    fn change(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
        fate: Fate,
        (chance, dice): (&mut Chance, &mut Dice),
    ) -> Result<(), FirmwareError> {
        let operation = if value.is_some() { "write" } else { "delete" };
        let fail = |reason: &str| {
            Err(FirmwareError { name: name.into(), operation, reason: reason.into() })
        };
        match fate {
            Fate::Gone => return fail("power is gone"),
            Fate::Fails => return fail("EIO"),
            Fate::Happens if dice.strikes(Fault::VariableWriteFails) => return fail("EIO"),
            Fate::InFlight if chance.coin() => return fail("power was cut before it"),
            Fate::InFlight | Fate::Happens => {}
        }
        let grows = value.is_some_and(|value| value.len() > self.variable(name).len());
        if self.quirks.is_read_only || dice.strikes(Fault::NvramReadOnly) {
            return fail("EROFS");
        }
        if grows && (self.quirks.is_full || dice.strikes(Fault::NvramFull)) {
            return fail("ENOSPC");
        }
        let forgets = self.quirks.forgets.iter().any(|forgotten| forgotten == name);
        let is_kept = forgets || dice.strikes(Fault::VariableNotPersisted);
        if name == "BootNext" {
            self.kept_next = is_kept && value.is_none();
        }
        if !is_kept {
            match value {
                Some(value) => self.variables.insert(name.into(), value.into()),
                None => self.variables.remove(name),
            };
        }
        if fate == Fate::InFlight { fail("power was cut after it") } else { Ok(()) }
    }
}

fn is_entry(name: &str) -> bool {
    name.len() == 8 && name.starts_with("Boot0")
}

/// `\EFI\BOOT\BOOTX64.EFI` on the first EFI system partition that has one.
fn removable_media_path(media: &[Medium]) -> Option<Started> {
    bootable(media, |entry| entry.type_guid == ESP_TYPE)
}

fn bootable(media: &[Medium], fits: impl Fn(&repave_core::gpt::Entry) -> bool) -> Option<Started> {
    media.iter().enumerate().find_map(|(disk, medium)| {
        let table = medium.durable_table()?;
        let at = |lba| lba * table.block_bytes;
        let head = |lba| medium.durable_bytes(at(lba)..at(lba + 1));
        let mut entries = table.entries.iter();
        let entry =
            entries.find(|entry| fits(entry) && is_mountable_esp(&head(entry.first_lba)))?;
        Some(Started { disk, partition: entry.guid })
    })
}

/// The core's way to the variables.
#[derive(Debug)]
pub struct Variables(pub Shared);

impl Variables {
    fn change(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), FirmwareError> {
        let machine = &mut *self.0.borrow_mut();
        let words = value.map_or("delete".into(), |value| format!("write {} bytes", value.len()));
        let fate = machine.effect_of_event(&format!("firmware {name}: {words}"));
        let luck = (&mut machine.chance, &mut machine.dice);
        let outcome = machine.nvram.change(name, value, fate, luck);
        check::after(machine, &Step::Variable { name });
        outcome
    }
}

impl Variables {
    fn look(&self, operation: &'static str, name: &str) -> Result<(), FirmwareError> {
        let machine = &mut *self.0.borrow_mut();
        let refused = machine.events.fails(&format!("firmware {operation} {name}"));
        if machine.events.is_cut() || refused || machine.dice.strikes(Fault::VariableReadFails) {
            return Err(FirmwareError { name: name.into(), operation, reason: "EIO".into() });
        }
        Ok(())
    }
}

impl Firmware for Variables {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        self.look("list", "Boot####")?;
        Ok(self.0.borrow().nvram.variables.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        self.look("read", name)?;
        Ok(self.0.borrow().nvram.variables.get(name).cloned())
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        self.change(name, Some(value))
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        self.change(name, None)
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        self.0.borrow().nvram.loader_partition
    }
}
