//! Settings on a simulated file system: the last chunk of the root partition holds the files, one
//! after the other. It mounts only if the partition's head is there, and what it writes goes to
//! the disk like everything else, torn by a power cut like everything else.

use repave_core::edges::{Configurator, DeviceError, SettingsError, Volume};
use repave_core::settings::{Content, Rendered};

use crate::faults::Fault;
use crate::image::{SETTINGS_BYTES, is_mountable_root};
use crate::machine::{Machine, Shared};

const MAGIC: &[u8] = b"SIMFILES";

/// The core's way to files in a target.
#[derive(Debug)]
pub struct Files(pub Shared);

impl Configurator for Files {
    fn write(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        let machine = &mut *self.0.borrow_mut();
        mount(machine, volume)?;
        let at = volume.offset_bytes + files_offset_bytes(machine, volume);
        let region = encode(files);
        let mut put = region.clone();
        if machine.dice.strikes(Fault::SettingsOther) {
            let place = machine.dice.shape().below(SETTINGS_BYTES) as usize;
            put[place] ^= 1;
            machine.events.note("settings are written otherwise");
        }
        machine.write(volume.disk, at, &put).map_err(|error| failed("write", &error))?;
        machine.flush(volume.disk).map_err(|error| failed("sync", &error))?;
        machine.watch.configured = Some((volume.clone(), region));
        Ok(())
    }

    fn verify(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError> {
        let machine = &mut *self.0.borrow_mut();
        mount(machine, volume)?;
        let at = volume.offset_bytes + files_offset_bytes(machine, volume);
        let mut found = vec![0; SETTINGS_BYTES as usize];
        machine.read(volume.disk, at, &mut found).map_err(|error| failed("verify", &error))?;
        if found == encode(files) {
            return Ok(());
        }
        Err(error("verify", "found other files", false))
    }
}

fn mount(machine: &mut Machine, volume: &Volume) -> Result<(), SettingsError> {
    if machine.events.fails("settings mount") || machine.dice.strikes(Fault::SettingsFail) {
        machine.events.note("settings fail");
        let image_at_fault = machine.dice.shape().coin();
        return Err(error("mount", "the kernel says no", image_at_fault));
    }
    let mut head = vec![0; 4096];
    machine
        .read(volume.disk, volume.offset_bytes, &mut head)
        .map_err(|error| failed("mount", &error))?;
    if is_mountable_root(&head) && volume.file_system != "vfat" {
        return Ok(());
    }
    Err(error("mount", "no superblock", true))
}

/// The root's size is the image's; a root that grew has its files where they were.
fn files_offset_bytes(machine: &Machine, volume: &Volume) -> u64 {
    let partitions = machine.controller.images.values().flat_map(|i| &i.manifest.partitions);
    let size_bytes = partitions.into_iter().find(|p| p.guid == volume.guid).map(|p| p.size_bytes);
    size_bytes.unwrap_or(volume.size_bytes) - SETTINGS_BYTES
}

fn failed(operation: &'static str, device: &DeviceError) -> SettingsError {
    error(operation, &device.to_string(), false)
}

fn error(operation: &'static str, reason: &str, image_at_fault: bool) -> SettingsError {
    SettingsError { operation, path: "/".into(), reason: reason.into(), image_at_fault }
}

fn encode(files: &[Rendered]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let mut put = |part: &[u8]| {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part);
    };
    for file in files {
        put(file.path.as_bytes());
        put(&file.mode.to_le_bytes());
        match &file.content {
            Content::Bytes(content) => put(content),
            Content::Agent => put(b"the agent"),
            Content::Link(path) => put(path.as_bytes()),
        }
    }
    bytes.resize(SETTINGS_BYTES as usize, 0);
    bytes
}

/// The content of one file in a region of files.
pub fn file_in(region: &[u8], path: &str) -> Option<Vec<u8>> {
    let mut rest = region.strip_prefix(MAGIC)?;
    let mut take = || {
        let (length, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        (!part.is_empty()).then(|| part.to_vec())
    };
    loop {
        let (name, _mode, content) = (take()?, take()?, take()?);
        if name == path.as_bytes() {
            return Some(content);
        }
    }
}
