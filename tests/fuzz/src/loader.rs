//! What boot loader and firmware left in efivarfs, through the agent's own reader of its files: which
//! partition the loader says that it came from, and the variables beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use repave_agent::firmware::EfiVariables;
use repave_core::edges::Firmware;

use crate::input::Input;

const LOADER: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Reads the variables of a folder whose files are the input.
pub fn loader(data: &[u8]) {
    let mut input = Input::new(data);
    let folder = folder();
    let mut firmware = EfiVariables::new(folder);
    let value = match input.u8() % 3 {
        0 => input.rest().to_vec(),
        // As a loader writes it: attributes, then UTF-16.
        kind => {
            let text = String::from_utf8_lossy(input.rest());
            let end = (kind == 1).then_some(0);
            let units = text.encode_utf16().chain(end).flat_map(u16::to_le_bytes);
            [6, 0, 0, 0].into_iter().chain(units).collect()
        }
    };
    put(&folder.join(LOADER), &value);
    check_partition(&value, firmware.loader_partition().map(|guid| guid.to_string()));

    let name = String::from_utf8_lossy(input.bytes(16)).into_owned();
    check_variable(folder, &mut firmware, &name, &value);
}

/// The partition is what the text says, and nothing else is taken for one.
fn check_partition(value: &[u8], found: Option<String>) {
    let text = value.get(4..).and_then(|value| {
        let units: Vec<u16> =
            value.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok()
    });
    let text = text.map(|text| text.trim_end_matches('\0').to_ascii_lowercase());
    match found {
        Some(guid) => assert_eq!(text, Some(guid)),
        None => {
            let is_guid = |text: &str| {
                let groups: Vec<&str> = text.split('-').collect();
                let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
                groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
            };
            let is_odd = !value.len().is_multiple_of(2);
            assert!(is_odd || !text.is_some_and(|text| is_guid(&text)), "{value:?}");
        }
    }
}

/// A variable of any name is read as it is, or refused; none is outside the folder.
fn check_variable(folder: &Path, firmware: &mut EfiVariables, name: &str, value: &[u8]) {
    let plain = !name.is_empty() && !name.contains(['/', '\0']);
    if !plain {
        assert!(firmware.read(name).is_err(), "{name:?} is not a variable's name");
        return;
    }
    let path = folder.join(format!("{name}-{GLOBAL}"));
    put(&path, value);
    let read = firmware.read(name);
    match value {
        [] => {}
        [_, _, _, _, rest @ ..] => assert_eq!(read, Ok(Some(rest.to_vec()))),
        _ => assert!(read.is_err() || read == Ok(None), "{read:?}"),
    }
    let names = firmware.names().expect("the folder can be listed");
    assert_eq!(names.contains(&name.to_owned()), !value.is_empty(), "{names:?}");
    fs::remove_file(path).expect("it is there");
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the folder can be written");
}

/// A folder of this process, in memory where there is one.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let folder = parent.join(format!("repave-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the variables");
        folder
    })
}
