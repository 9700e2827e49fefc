//! `EFI_LOAD_OPTION` (UEFI 2.10, 3.1.3) for a file on a GPT partition: a hard-drive node (10.3.5.1)
//! and a file-path node (10.3.5.4). Options of other shapes are foreign; they are never parsed
//! further and never edited.

use repave_protocol::Guid;
use thiserror::Error;

const ACTIVE: u32 = 1;
const MEDIA: u8 = 0x04;
const HARD_DRIVE: u8 = 0x01;
const HARD_DRIVE_BYTES: usize = 42;
const FILE_PATH: u8 = 0x04;
const END: [u8; 4] = [0x7f, 0xff, 0x04, 0x00];
const FORMAT_GPT: u8 = 2;
const SIGNATURE_GUID: u8 = 2;
/// Longest description, path or option text that we write or read, in UTF-16 units.
const TEXT_UNITS: usize = 4096;

/// A boot entry that starts an EFI program from a GPT partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOption {
    /// What the firmware's menu shows.
    pub description: String,
    /// Number of the partition, from 1.
    pub partition_number: u32,
    /// First block of the partition.
    pub first_lba: u64,
    /// Blocks of the partition.
    pub blocks: u64,
    /// GUID of the partition.
    pub partition: Guid,
    /// Path of the program, with backslashes.
    pub path: String,
    /// Text handed to the program; for a Linux EFI stub, its command line.
    pub options: String,
}

/// A load option that is damaged or not of our shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a load option for a file on a GPT partition: {reason}")]
pub struct BadLoadOption {
    reason: &'static str,
}

impl LoadOption {
    /// The variable's value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(HARD_DRIVE_BYTES + 64);
        node(&mut path, HARD_DRIVE, HARD_DRIVE_BYTES);
        path.extend(self.partition_number.to_le_bytes());
        path.extend(self.first_lba.to_le_bytes());
        path.extend(self.blocks.to_le_bytes());
        path.extend(self.partition.as_disk_bytes());
        path.extend([FORMAT_GPT, SIGNATURE_GUID]);
        let file = utf16(&self.path, true);
        node(&mut path, FILE_PATH, 4 + file.len());
        path.extend(file);
        path.extend(END);

        let mut bytes = ACTIVE.to_le_bytes().to_vec();
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.extend(utf16(&self.description, true));
        bytes.extend(path);
        if !self.options.is_empty() {
            bytes.extend(utf16(&self.options, true));
        }
        bytes
    }

    /// The description alone, whatever the rest holds: firmware and tools rewrite device paths,
    /// attributes and options of entries, but not what they are called.
    pub fn description_of(bytes: &[u8]) -> Result<String, BadLoadOption> {
        let mut rest = bytes;
        let _attributes: [u8; 4] = take(&mut rest)?;
        let _path_bytes: [u8; 2] = take(&mut rest)?;
        take_text(&mut rest)
    }

    /// Reads a variable's value; trailing bytes are the options.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadLoadOption> {
        let mut rest = bytes;
        let attributes = u32::from_le_bytes(take(&mut rest)?);
        if attributes & ACTIVE == 0 {
            return Err(BadLoadOption { reason: "inactive" });
        }
        let path_bytes = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let description = take_text(&mut rest)?;
        let (mut path, options) = rest
            .split_at_checked(path_bytes)
            .ok_or(BadLoadOption { reason: "device path runs past the end" })?;

        if take(&mut path)? != [MEDIA, HARD_DRIVE]
            || take(&mut path)? != [HARD_DRIVE_BYTES as u8, 0]
        {
            return Err(BadLoadOption { reason: "does not begin with a hard-drive node" });
        }
        let partition_number = u32::from_le_bytes(take(&mut path)?);
        let first_lba = u64::from_le_bytes(take(&mut path)?);
        let blocks = u64::from_le_bytes(take(&mut path)?);
        let partition = Guid::from_disk_bytes(take(&mut path)?);
        if take(&mut path)? != [FORMAT_GPT, SIGNATURE_GUID] {
            return Err(BadLoadOption { reason: "partition is not named by GUID" });
        }
        if take(&mut path)? != [MEDIA, FILE_PATH] {
            return Err(BadLoadOption { reason: "no file path follows the partition" });
        }
        let _length: [u8; 2] = take(&mut path)?;
        let file = take_text(&mut path)?;
        if path != END {
            return Err(BadLoadOption { reason: "device path does not end after the file" });
        }
        let options = text(options).ok_or(BadLoadOption { reason: "options are not text" })?;
        if options.encode_utf16().count() > TEXT_UNITS {
            return Err(BadLoadOption { reason: "text is too long" });
        }
        Ok(Self {
            description,
            partition_number,
            first_lba,
            blocks,
            partition,
            path: file,
            options,
        })
    }
}

fn node(path: &mut Vec<u8>, sub_type: u8, length: usize) {
    path.extend([MEDIA, sub_type]);
    path.extend((length as u16).to_le_bytes());
}

fn utf16(text: &str, end: bool) -> Vec<u8> {
    text.encode_utf16()
        .take(TEXT_UNITS)
        .chain(end.then_some(0))
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadLoadOption> {
    let (first, others) =
        rest.split_first_chunk().ok_or(BadLoadOption { reason: "ends too early" })?;
    *rest = others;
    Ok(*first)
}

fn take_text(rest: &mut &[u8]) -> Result<String, BadLoadOption> {
    let mut units = Vec::new();
    loop {
        match u16::from_le_bytes(take(rest)?) {
            0 => break,
            _ if units.len() == TEXT_UNITS => {
                return Err(BadLoadOption { reason: "text is too long" });
            }
            unit => units.push(unit),
        }
    }
    String::from_utf16(&units).map_err(|_| BadLoadOption { reason: "text is not UTF-16" })
}

fn text(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    bytes.len().is_multiple_of(2).then(|| String::from_utf16(&units[..length]).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> LoadOption {
        LoadOption {
            description: "Repave target".into(),
            partition_number: 3,
            first_lba: 0x4_1000,
            blocks: 0x2_0000,
            partition: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".parse().unwrap(),
            path: r"\vmlinuz.efi".into(),
            options: r"root=PARTUUID=1 initrd=\initrd.img".into(),
        }
    }

    #[test]
    fn survives_the_round_trip() {
        let bytes = example().to_bytes();
        assert_eq!(LoadOption::from_bytes(&bytes), Ok(example()));
        assert_eq!(bytes[..6], [1, 0, 0, 0, 76, 0], "attributes and device path length");
    }

    #[test]
    fn an_entry_is_known_by_its_name_whatever_became_of_the_rest() {
        let mut inactive = example().to_bytes();
        inactive[0] = 0;
        assert!(LoadOption::from_bytes(&inactive).is_err());
        let mut expanded = example().to_bytes();
        let path_at = 6 + 2 * ("Repave target".len() + 1);
        expanded
            .splice(path_at..path_at, [0x02, 0x01, 0x0c, 0x00, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0]);
        for bytes in [inactive, expanded] {
            assert_eq!(LoadOption::description_of(&bytes).as_deref(), Ok("Repave target"));
        }
        assert!(LoadOption::description_of(&example().to_bytes()[..9]).is_err());
    }

    #[test]
    fn options_that_could_not_be_written_again_are_refused() {
        let options = |units| LoadOption { options: "x".repeat(units), ..example() };
        let fits = options(TEXT_UNITS);
        assert_eq!(LoadOption::from_bytes(&fits.to_bytes()).as_ref(), Ok(&fits));
        let mut long = fits.to_bytes();
        let end = long.len() - 2;
        long.splice(end..end, *b"x\0");
        assert_eq!(
            LoadOption::from_bytes(&long),
            Err(BadLoadOption { reason: "text is too long" })
        );
    }

    #[test]
    fn every_truncation_is_refused_or_loses_only_options() {
        let whole = example();
        let bytes = whole.to_bytes();
        let options_at = LoadOption { options: String::new(), ..whole.clone() }.to_bytes().len();
        for end in 0..bytes.len() {
            match LoadOption::from_bytes(&bytes[..end]) {
                Err(_) => {}
                Ok(short) => {
                    assert!(end >= options_at, "accepted at {end}");
                    assert!(whole.options.starts_with(&short.options));
                }
            }
        }
    }
}
