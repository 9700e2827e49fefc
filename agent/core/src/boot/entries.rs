//! The two boot entries. Reused in place, written only if different, made anew if the firmware
//! dropped them, and always read back: firmware has been seen to say yes and forget.

use repave_protocol::Guid;

use crate::edges::{Firmware, FirmwareError};
use crate::efi::{
    LoadOption, entry_name, entry_number, numbers_from_bytes, numbers_to_bytes, with_default_first,
};
use crate::gpt::Entry;

const DEFAULT_DESCRIPTION: &str = "Repave default";
const TARGET_DESCRIPTION: &str = "Repave target";
/// A path that no system's boot loader takes for its own; `\EFI\BOOT\BOOTX64.EFI` is the same program,
/// for a firmware that forgot the entry (docs/decisions/0021).
const DEFAULT_PATH: &str = r"\repave\default.efi";
pub(super) const BOOT_ORDER: &str = "BootOrder";
pub(super) const BOOT_NEXT: &str = "BootNext";

/// What a target's entry must say.
pub(super) struct TargetEntry {
    pub(super) number: u32,
    pub(super) first_lba: u64,
    pub(super) blocks: u64,
    pub(super) partition: Guid,
    pub(super) path: String,
    pub(super) options: String,
}

/// Default's own entry exists, and stands first; the target's, if there is one, last.
pub fn ensure_default(firmware: &mut dyn Firmware, default: &Entry) -> Result<(), FirmwareError> {
    let known = ours(firmware)?;
    let target = find(&known, TARGET_DESCRIPTION);
    put_default_first(firmware, &known, default, target)
}

/// The target's entry exists and says this; returns its number.
pub(super) fn ensure_target(
    firmware: &mut dyn Firmware,
    default: &Entry,
    target: TargetEntry,
) -> Result<u16, FirmwareError> {
    let option = LoadOption {
        description: TARGET_DESCRIPTION.into(),
        partition_number: target.number,
        first_lba: target.first_lba,
        blocks: target.blocks,
        partition: target.partition,
        path: target.path,
        options: target.options,
    };
    let known = ours(firmware)?;
    let number = ensure(firmware, &known, &option)?;
    put_default_first(firmware, &known, default, Some(number))?;
    Ok(number)
}

/// Writes default's entry and the order. Whatever else carries one of our descriptions goes: some
/// firmware copies entries, and one that could not be read was made a second time; unless they go
/// again, there is no room left one day.
fn put_default_first(
    firmware: &mut dyn Firmware,
    known: &[(u16, String)],
    default: &Entry,
    target: Option<u16>,
) -> Result<(), FirmwareError> {
    let option = LoadOption {
        description: DEFAULT_DESCRIPTION.into(),
        partition_number: 1,
        first_lba: default.first_lba,
        blocks: default.blocks(),
        partition: default.guid,
        path: DEFAULT_PATH.into(),
        options: String::new(),
    };
    let number = ensure(firmware, known, &option)?;
    let is_surplus = |other: &u16| *other != number && Some(*other) != target;
    let surplus: Vec<u16> = known.iter().map(|(n, _)| *n).filter(is_surplus).collect();
    ensure_order(firmware, (number, target), &surplus)?;
    for number in surplus {
        firmware.delete(&entry_name(number))?;
    }
    Ok(())
}

/// No BootNext leads into a target that is about to be written.
pub fn forget_target(firmware: &mut dyn Firmware) -> Result<(), FirmwareError> {
    let Some(next) = firmware.read(BOOT_NEXT)? else {
        return Ok(());
    };
    // A value without a number leads nowhere, and is somebody else's.
    let Some(number) = numbers_from_bytes(&next).first().copied() else {
        return Ok(());
    };
    // Where it leads must be known: an entry that cannot be read now may be read by the firmware.
    let entry = firmware.read(&entry_name(number))?.unwrap_or_default();
    if LoadOption::description_of(&entry).is_ok_and(|found| found == TARGET_DESCRIPTION) {
        clear_boot_next(firmware)?;
    }
    Ok(())
}

/// No BootNext at all: whatever starts next, the reset after it leads to the head of BootOrder.
pub(super) fn clear_boot_next(firmware: &mut dyn Firmware) -> Result<(), FirmwareError> {
    if firmware.read(BOOT_NEXT)?.is_none() {
        return Ok(());
    }
    firmware.delete(BOOT_NEXT)?;
    match firmware.read(BOOT_NEXT)? {
        None => Ok(()),
        Some(_) => Err(FirmwareError {
            name: BOOT_NEXT.into(),
            operation: "delete",
            reason: "the firmware accepted it and kept the variable".into(),
        }),
    }
}

/// Writes a variable unless it says so already, and believes only what it reads back.
pub(super) fn persist(
    firmware: &mut dyn Firmware,
    name: &str,
    value: &[u8],
) -> Result<(), FirmwareError> {
    if firmware.read(name)?.as_deref() == Some(value) {
        return Ok(());
    }
    write_and_compare(firmware, name, value)
}

/// BootNext leads to the entry of that number; or, after an error, nowhere, if the firmware can be made
/// to forget it: what was set here is not somebody else's, whether or not it can be read.
pub(super) fn set_boot_next(firmware: &mut dyn Firmware, number: u16) -> Result<(), FirmwareError> {
    let value = numbers_to_bytes(&[number]);
    if firmware.read(BOOT_NEXT)?.as_deref() == Some(&value) {
        return Ok(());
    }
    let outcome = write_and_compare(firmware, BOOT_NEXT, &value);
    if outcome.is_err()
        && let Err(error) = firmware.delete(BOOT_NEXT)
    {
        log::error!("{error}");
    }
    outcome
}

fn write_and_compare(
    firmware: &mut dyn Firmware,
    name: &str,
    value: &[u8],
) -> Result<(), FirmwareError> {
    firmware.write(name, value)?;
    match firmware.read(name)? {
        Some(found) if found == value => Ok(()),
        found => Err(FirmwareError {
            name: name.into(),
            operation: "write",
            reason: format!(
                "the firmware accepted {} bytes and kept {}",
                value.len(),
                found.map_or("nothing".into(), |found| format!("{} others", found.len()))
            ),
        }),
    }
}

/// Numbers and descriptions of the `Boot####` variables that carry one of our two descriptions,
/// lowest number first. What else is in them does not matter: it is written anew.
fn ours(firmware: &mut dyn Firmware) -> Result<Vec<(u16, String)>, FirmwareError> {
    let mut found = Vec::new();
    for name in firmware.names()? {
        let Some(number) = entry_number(&name) else {
            continue;
        };
        // A variable that cannot be read is somebody else's, or will be seen as missing.
        let value = firmware.read(&name).ok().flatten().unwrap_or_default();
        if let Ok(description) = LoadOption::description_of(&value)
            && [DEFAULT_DESCRIPTION, TARGET_DESCRIPTION].contains(&description.as_str())
        {
            found.push((number, description));
        }
    }
    found.sort();
    Ok(found)
}

fn find(known: &[(u16, String)], wanted: &str) -> Option<u16> {
    known.iter().find(|(_, description)| description == wanted).map(|(number, _)| *number)
}

fn ensure(
    firmware: &mut dyn Firmware,
    known: &[(u16, String)],
    option: &LoadOption,
) -> Result<u16, FirmwareError> {
    let number = match find(known, &option.description) {
        Some(number) => number,
        None => free_number(firmware)?,
    };
    persist(firmware, &entry_name(number), &option.to_bytes())?;
    Ok(number)
}

/// The lowest number that no variable uses.
fn free_number(firmware: &mut dyn Firmware) -> Result<u16, FirmwareError> {
    let names = firmware.names()?;
    let taken = |number: &u16| names.contains(&entry_name(*number));
    (0..=u16::MAX).find(|number| !taken(number)).ok_or_else(|| FirmwareError {
        name: "Boot####".into(),
        operation: "write",
        reason: "all 65,536 numbers are taken".into(),
    })
}

fn ensure_order(
    firmware: &mut dyn Firmware,
    (default, target): (u16, Option<u16>),
    surplus: &[u16],
) -> Result<(), FirmwareError> {
    let mut order = numbers_from_bytes(&firmware.read(BOOT_ORDER)?.unwrap_or_default());
    order.retain(|number| !surplus.contains(number));
    let wanted = with_default_first(&order, default, target);
    persist(firmware, BOOT_ORDER, &numbers_to_bytes(&wanted))
}

#[cfg(test)]
mod tests {
    use super::super::variables::Variables;
    use super::*;

    fn target() -> Vec<u8> {
        LoadOption {
            description: TARGET_DESCRIPTION.into(),
            partition_number: 3,
            first_lba: 1,
            blocks: 1,
            partition: Guid::from_disk_bytes([1; 16]),
            path: r"\x.efi".into(),
            options: String::new(),
        }
        .to_bytes()
    }

    #[test]
    fn a_variable_with_another_name_is_no_boot_entry() {
        let check = |name: &str, expected: &[u16]| {
            let mut firmware = Variables::of([(name.to_owned(), target())]);
            let numbers: Vec<u16> =
                ours(&mut firmware).unwrap().into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, expected, "{name}");
        };
        check("Boot00AB", &[0xab]);
        for name in ["Boot00ab", "Boot+0AB", "BootAB", "Boot000AB", "BootOrder", "00AB"] {
            check(name, &[]);
        }
    }

    /// Seed 128320 of the simulator: it stayed, and led a server that was ordered to stay into its target.
    #[test]
    fn a_boot_next_that_cannot_be_read_once_it_is_set_goes_again() {
        let mut firmware = Variables { blinds: true, ..Variables::default() };
        assert!(set_boot_next(&mut firmware, 5).is_err());
        assert!(!firmware.values.contains_key(BOOT_NEXT));
        let foreign = (BOOT_NEXT.to_owned(), vec![7, 0]);
        let mut firmware = Variables::of([foreign]);
        firmware.unreadable = Some(BOOT_NEXT.into());
        assert!(set_boot_next(&mut firmware, 5).is_err());
        assert!(firmware.values.contains_key(BOOT_NEXT), "it was not set here");
    }

    #[test]
    fn only_a_boot_next_that_leads_into_the_target_is_forgotten() {
        let check = |entry: Option<u16>, next: &[u8], is_forgotten| {
            let mut firmware = Variables::of([(BOOT_NEXT.to_owned(), next.to_vec())]);
            firmware.values.extend(entry.map(|number| (entry_name(number), target())));
            forget_target(&mut firmware).unwrap();
            assert_eq!(
                !firmware.values.contains_key(BOOT_NEXT),
                is_forgotten,
                "{entry:?} {next:?}"
            );
        };
        check(Some(5), &[5, 0], true);
        check(Some(5), &[6, 0], false);
        check(None, &[5, 0], false);
        check(Some(5), &[], false);
        check(None, &[], false);
        check(None, &[5], false);
    }

    #[test]
    fn a_boot_next_whose_entry_cannot_be_read_is_not_taken_for_somebody_elses() {
        let values = [(BOOT_NEXT.to_owned(), vec![5, 0]), (entry_name(5), target())];
        let mut firmware = Variables::of(values);
        firmware.unreadable = Some(entry_name(5));
        assert!(forget_target(&mut firmware).is_err());
    }
}
