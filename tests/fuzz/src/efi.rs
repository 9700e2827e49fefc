//! Boot variables: load options with their device paths, boot orders, and what the agent makes of a
//! firmware that holds any of them.

use std::collections::BTreeMap;

use repave_core::boot::{ensure_default, forget_target};
use repave_core::default_side::DefaultSide;
use repave_core::edges::{Firmware, FirmwareError};
use repave_core::efi::{
    LoadOption, entry_name, numbers_from_bytes, numbers_to_bytes, with_default_first,
};
use repave_core::gpt::{Entry, Table};
use repave_protocol::Guid;

use crate::input::Input;
use crate::memory_disk::MemoryDisk;

const DEFAULT: &str = "Repave default";
const TARGET: &str = "Repave target";
/// Most variables of a firmware that is made here.
const VARIABLES: u8 = 24;

/// A load option, a boot order, or a firmware full of both.
pub fn efi(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 4 {
        0 => load_option(input.rest()),
        1 => made_option(input),
        2 => order(input),
        _ => firmware(input),
    }
}

/// What can be read can be written, and reads the same then.
fn load_option(bytes: &[u8]) {
    let description = LoadOption::description_of(bytes);
    let Ok(option) = LoadOption::from_bytes(bytes) else { return };
    assert_eq!(description.as_ref(), Ok(&option.description));
    check_round_trip(&option);
}

/// The same for one that is put together of its parts.
fn made_option(mut input: Input<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "");
    let option = LoadOption {
        partition_number: input.u32(),
        first_lba: input.u64(),
        blocks: input.u64(),
        partition: Guid::from_disk_bytes(input.array()),
        description: text(input.piece()),
        path: text(input.piece()),
        options: text(input.piece()),
    };
    // Nobody writes texts that are longer than what is read.
    let units = |text: &str| text.encode_utf16().count();
    if [&option.description, &option.path, &option.options].iter().all(|t| units(t) <= 4096) {
        check_round_trip(&option);
    }
    let bytes = option.to_bytes();
    let cut = usize::from(input.u16()) % bytes.len();
    load_option(&bytes[..cut]);
}

fn check_round_trip(option: &LoadOption) {
    let bytes = option.to_bytes();
    assert_eq!(LoadOption::from_bytes(&bytes).as_ref(), Ok(option));
    assert_eq!(LoadOption::description_of(&bytes).as_ref(), Ok(&option.description));
}

/// Default leads, the target trails, everybody else stays in its place.
fn order(mut input: Input<'_>) {
    let (default, target) = (input.u16(), Some(input.u16()).filter(|n| n % 8 != 0));
    let bytes = input.rest();
    let numbers = numbers_from_bytes(bytes);
    assert!(bytes.starts_with(&numbers_to_bytes(&numbers)));
    let ordered = with_default_first(&numbers, default, target);
    check_order(&numbers, &ordered, default, target);
    assert_eq!(with_default_first(&ordered, default, target), ordered, "a repeat changes nothing");
}

fn check_order(before: &[u16], after: &[u16], default: u16, target: Option<u16>) {
    assert_eq!(after.first(), Some(&default));
    let target = target.filter(|target| *target != default);
    if let Some(target) = target {
        assert_eq!(after.last(), Some(&target));
    }
    let foreign = |numbers: &[u16]| -> Vec<u16> {
        numbers.iter().copied().filter(|n| *n != default && Some(*n) != target).collect()
    };
    assert_eq!(foreign(after), foreign(before), "foreign entries stay as and where they are");
}

/// A firmware whose variables are in memory. It may refuse to read some.
#[derive(Clone, Debug, Default)]
struct Variables {
    values: BTreeMap<String, Vec<u8>>,
    unreadable: Option<String>,
    writes: usize,
}

impl Firmware for Variables {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        Ok(self.values.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        if self.unreadable.as_deref() == Some(name) {
            let reason = "cannot be read".into();
            return Err(FirmwareError { name: name.into(), operation: "read", reason });
        }
        Ok(self.values.get(name).cloned())
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        self.writes += 1;
        self.values.insert(name.into(), value.into());
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        self.writes += 1;
        self.values.remove(name);
        Ok(())
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        None
    }
}

/// Coming home puts default's entry first, touches nothing foreign, and has nothing to do then.
fn firmware(mut input: Input<'_>) {
    let mut before = Variables::default();
    for _ in 0..input.u8() % VARIABLES {
        let (name, value) = variable(&mut input);
        before.values.insert(name, value);
    }
    before.unreadable = Some(input.u8()).filter(|n| n % 4 == 1).map(|n| entry_name(n.into()));
    let default = default_side();
    let mut after = before.clone();
    let known = number_of(&before, DEFAULT);
    let target = number_of(&before, TARGET);
    if ensure_default(&mut after, &default.default).is_err() {
        return;
    }
    after.writes = 0;
    let own = number_of(&after, DEFAULT).expect("default has an entry");
    let order_of = |firmware: &Variables| {
        numbers_from_bytes(firmware.values.get("BootOrder").map_or(&[][..], Vec::as_slice))
    };
    let whole_order = before.values.get("BootOrder").map_or(0, Vec::len) / 2;
    assert_eq!(order_of(&before).len(), whole_order, "no entry of the order is lost");
    // A second entry with one of our descriptions goes, and so does its place in the order.
    let kept = [Some(own), target];
    let is_surplus = |n: u16| is_ours(&before, &entry_name(n)) && !kept.contains(&Some(n));
    let wanted: Vec<u16> = order_of(&before).into_iter().filter(|n| !is_surplus(*n)).collect();
    check_order(&wanted, &order_of(&after), own, target);
    let written = LoadOption::from_bytes(&after.values[&entry_name(own)]).expect("a load option");
    assert_eq!(written.partition, default.default.guid);
    assert!(known.is_none_or(|known| known == own), "an entry is used again in its place");
    let kept = target.map(entry_name);
    for (name, value) in &before.values {
        let found = after.values.get(name);
        match is_ours(&before, name) {
            _ if *name == entry_name(own) || name == "BootOrder" => {}
            true if kept.as_ref() != Some(name) => assert_eq!(found, None, "{name} is surplus"),
            _ => assert_eq!(found, Some(value), "{name} is foreign, or the target's"),
        }
    }
    assert!(after.values.len() <= before.values.len() + 2, "an entry and the order at most");
    ensure_default(&mut after, &default.default).expect("once more");
    assert_eq!(after.writes, 0, "a repeat writes nothing");
    check_forgotten(&mut after, target);
}

/// Only a BootNext that leads into the target goes.
fn check_forgotten(firmware: &mut Variables, target: Option<u16>) {
    let next = firmware.values.get("BootNext").cloned();
    if forget_target(firmware).is_err() {
        return;
    }
    let number = next.as_deref().and_then(|value| numbers_from_bytes(value).first().copied());
    match number {
        Some(number) if Some(number) == target => {
            assert!(!firmware.values.contains_key("BootNext"));
        }
        _ => assert_eq!(firmware.values.get("BootNext"), next.as_ref()),
    }
}

/// Whether it is an entry with one of our descriptions, as far as can be read.
fn is_ours(firmware: &Variables, name: &str) -> bool {
    let readable = firmware.unreadable.as_deref() != Some(name);
    let is_entry = name.strip_prefix("Boot").is_some_and(|digits| {
        digits.len() == 4 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    });
    let value = firmware.values.get(name).filter(|_| readable && is_entry);
    let description = value.and_then(|value| LoadOption::description_of(value).ok());
    description.is_some_and(|found| [DEFAULT, TARGET].contains(&found.as_str()))
}

/// The lowest number of an entry with this description that can be read.
fn number_of(firmware: &Variables, description: &str) -> Option<u16> {
    let numbers = (0..=u16::MAX).filter(|number| {
        let name = entry_name(*number);
        let readable = firmware.unreadable.as_ref() != Some(&name);
        let value = firmware.values.get(&name).filter(|_| readable);
        value.is_some_and(|value| LoadOption::description_of(value).as_deref() == Ok(description))
    });
    numbers.min()
}

fn variable(input: &mut Input<'_>) -> (String, Vec<u8>) {
    let kind = input.u8();
    let name = match kind % 8 {
        0 => "BootOrder".into(),
        1 => "BootNext".into(),
        2 => String::from_utf8_lossy(input.bytes(8)).into_owned(),
        3 => format!("Boot{:04x}", input.u16()),
        _ => entry_name(input.u8().into()),
    };
    let value = match kind >> 4 {
        0..8 => {
            let repeats = usize::from(input.u8() % 4) * 300 + 1;
            input.piece().repeat(repeats)
        }
        part => {
            let text = [DEFAULT, TARGET, "ubuntu", "Repave defaulty"][usize::from(part % 4)];
            let mut bytes = vec![u8::from(part & 4 == 0), 0, 0, 0, input.u8(), 0];
            bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
            bytes.extend(input.piece());
            bytes
        }
    };
    (name, value)
}

fn default_side() -> DefaultSide {
    let mut disk = MemoryDisk::new(512, 1 << 20);
    let guid = |byte| Guid::from_disk_bytes([byte; 16]);
    let table = Table::create(&mut disk, guid(1)).expect("there is room");
    let entry = |number, byte, name: &str| Entry {
        number,
        type_guid: guid(8),
        guid: guid(byte),
        first_lba: 2048 * u64::from(number),
        last_lba: 2048 * u64::from(number) + 1023,
        attributes: 0,
        name: name.into(),
    };
    let (default, state) = (entry(1, 2, "repave-default"), entry(2, 3, "repave-state"));
    DefaultSide { disk: 0, table, default, state }
}
