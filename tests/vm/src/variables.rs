//! The boot variables of a machine that is off or on, read from its variable store: what the
//! firmware has, not what the agent believes. EDK II's layout of authenticated variables
//! (MdeModulePkg/Include/Guid/VariableFormat.h); other firmware keeps them elsewhere.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Length of a variable store's header, after the firmware volume's.
const STORE_HEADER_BYTES: usize = 28;
/// Length of a variable's header, before its name and its data.
const HEADER_BYTES: usize = 60;
const START_ID: [u8; 2] = [0xaa, 0x55];
/// Added, and neither deleted nor being replaced: the flash's bits only ever fall.
const STATE_VALID: u8 = 0x3f;
/// Begun, and not yet said to have a whole header.
const STATE_TORN: u8 = 0xff;

/// `VAR_ADDED` with the bits of `VAR_IN_DELETED_TRANSITION` and `VAR_DELETED` fallen.
const STATE_DELETED: u8 = 0x3c;

/// Every valid variable, by name. Names of different vendors do not collide in what is asked here.
#[derive(Clone, Debug)]
pub struct Variables(Vec<Variable>);

#[derive(Clone, Debug)]
struct Variable {
    name: String,
    value: Vec<u8>,
    /// Where its header is in the store.
    offset_bytes: usize,
}

impl Variables {
    /// Reads a variable store.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(store: &Path) -> Result<Self> {
        let bytes = fs::read(store).with_context(|| format!("cannot read {}", store.display()))?;
        Ok(Self(parse(&bytes).unwrap_or_default()))
    }

    /// Deletes the boot entries that `BootOrder` lacks, as some firmware does at each power-on, and
    /// gives their descriptions. The machine is off.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn delete_unordered(store: &Path) -> Result<Vec<String>> {
        let known = Self::read(store)?;
        let order: Vec<u16> = numbers(known.get("BootOrder").unwrap_or_default()).collect();
        let file = File::options().write(true).open(store)?;
        let mut deleted = Vec::new();
        for variable in &known.0 {
            let Some(number) = entry_number(&variable.name) else { continue };
            if !order.contains(&number) {
                deleted.push(known.description(number));
                file.write_all_at(&[STATE_DELETED], variable.offset_bytes as u64 + 2)?;
            }
        }
        Ok(deleted)
    }

    /// How many variables say what is booted, and the bytes of their values. The firmware has others of
    /// its own, which come and go: a cache of the paths that it has found (`HDDP`) among them.
    pub fn size(&self) -> [usize; 2] {
        let lengths = self.0.iter().filter(|variable| variable.name.starts_with("Boot"));
        let lengths: Vec<usize> = lengths.map(|variable| variable.value.len()).collect();
        [lengths.len(), lengths.iter().sum()]
    }

    /// The descriptions of all boot entries, sorted; also of those that `BootOrder` lacks.
    pub fn boot_entries(&self) -> Vec<String> {
        let numbers = self.0.iter().filter_map(|variable| entry_number(&variable.name));
        let mut descriptions: Vec<String> = numbers.map(|n| self.description(n)).collect();
        descriptions.sort();
        descriptions
    }

    /// `BootNext`, if it is set.
    pub fn boot_next(&self) -> Option<u16> {
        numbers(self.get("BootNext")?).next()
    }

    /// The descriptions of the boot entries, in `BootOrder`'s order.
    pub fn boot_order(&self) -> Vec<String> {
        let order = numbers(self.get("BootOrder").unwrap_or_default());
        order.map(|number| self.description(number)).collect()
    }

    /// An EFI_LOAD_OPTION's description follows 4 bytes of attributes and 2 of a length, and ends
    /// with a zero (UEFI 2.10, 3.1.3).
    fn description(&self, number: u16) -> String {
        let option = self.get(&format!("Boot{number:04X}")).unwrap_or_default();
        utf16(option.get(6..).unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|variable| variable.name == name);
        found.map(|variable| variable.value.as_slice())
    }
}

/// The number of a boot entry, by its variable's name.
fn entry_number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("Boot").filter(|digits| digits.len() == 4)?;
    u16::from_str_radix(digits, 16).ok()
}

fn parse(bytes: &[u8]) -> Option<Vec<Variable>> {
    let volume_header_bytes = usize::from(u16::from_le_bytes(*bytes.get(48..)?.first_chunk()?));
    let mut at = volume_header_bytes + STORE_HEADER_BYTES;
    let mut found = Vec::new();
    while bytes.get(at..at + 2) == Some(&START_ID) {
        let header = bytes.get(at..at + HEADER_BYTES)?;
        let length = |at: usize| -> Option<usize> {
            Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?) as usize)
        };
        // A header that the power failed in: EDK II takes it for one without name and data, and
        // goes on behind it.
        let torn = header[2] == STATE_TORN;
        let (name_bytes, data_bytes) = if torn { (0, 0) } else { (length(36)?, length(40)?) };
        let name_at = at + HEADER_BYTES;
        let data_at = name_at + name_bytes;
        if header[2] == STATE_VALID {
            let name = utf16(bytes.get(name_at..data_at)?);
            let value = bytes.get(data_at..data_at + data_bytes)?.to_vec();
            found.push(Variable { name, value, offset_bytes: at });
        }
        at = (data_at + data_bytes).next_multiple_of(4);
    }
    Some(found)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// Text up to its zero.
fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = numbers(bytes).take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variable as the flash holds it.
    fn variable(state: u8, name: &str, data: &[u8]) -> Vec<u8> {
        let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&START_ID);
        bytes[2] = state;
        bytes[36..40].copy_from_slice(&(name.len() as u32).to_le_bytes());
        bytes[40..44].copy_from_slice(&(data.len() as u32).to_le_bytes());
        bytes.extend(name);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        bytes
    }

    /// A boot entry with this description.
    fn option(description: &str) -> Vec<u8> {
        let units = description.encode_utf16().chain([0, 7]);
        [0; 6].into_iter().chain(units.flat_map(u16::to_le_bytes)).collect()
    }

    #[test]
    fn what_was_deleted_is_not_there() {
        let mut store = vec![0; 72 + STORE_HEADER_BYTES];
        store[48] = 72;
        store.extend(variable(0x3d, "BootNext", &[9, 0]));
        store.extend(variable(STATE_VALID, "Odd", &[1]));
        store.extend(&variable(STATE_TORN, "Torn", &[1; 40])[..HEADER_BYTES]);
        store.extend(variable(STATE_VALID, "BootOrder", &[0x0a, 0]));
        store.extend(variable(STATE_VALID, "Boot000A", &option("Disk")));
        store.extend([0xff; 64]);
        let variables = Variables(parse(&store).unwrap());
        assert_eq!(variables.boot_next(), None);
        assert_eq!(variables.boot_order(), ["Disk"]);
        store[72 + STORE_HEADER_BYTES + 2] = STATE_VALID;
        assert_eq!(Variables(parse(&store).unwrap()).boot_next(), Some(9));
    }

    #[test]
    fn entries_that_the_order_lacks_go_and_nothing_else() -> Result<()> {
        let mut store = vec![0; 72 + STORE_HEADER_BYTES];
        store[48] = 72;
        store.extend(variable(STATE_VALID, "Boot0001", &option("Lost")));
        store.extend(variable(STATE_VALID, "BootOrder", &[2, 0]));
        store.extend(variable(STATE_VALID, "Boot0002", &option("Kept")));
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), &store)?;
        assert_eq!(Variables::read(file.path())?.boot_entries(), ["Kept", "Lost"]);
        assert_eq!(Variables::delete_unordered(file.path())?, ["Lost"]);
        let variables = Variables::read(file.path())?;
        assert_eq!(variables.boot_entries(), ["Kept"]);
        assert_eq!(variables.size(), [2, 2 + option("Kept").len()]);
        assert_eq!(Variables::delete_unordered(file.path())?, [""; 0]);
        Ok(())
    }
}
