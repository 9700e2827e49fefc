//! Twins of the target: partitions elsewhere that carry a GUID or a file system's UUID of the image.
//! The firmware or the target could take one for the other, so they refuse. A disk whose table is
//! for others than us may hide one, and refuses too; a disk without a table is not looked into.

use repave_image::{Partition, SUPERBLOCK_HEAD_BYTES, Superblock};

use super::{PlanError, Tables};
use crate::edges::{DeviceError, Disk};
use crate::gpt::{Entry, GptError};

/// Looks at every other disk, and at the entries that the target's disk keeps.
pub(super) fn check(
    target: usize,
    (kept, block_bytes): (&[Entry], u64),
    image: &[Partition],
    tables: &Tables,
    disks: &mut [Box<dyn Disk + '_>],
) -> Result<(), PlanError> {
    for (number, disk) in disks.iter_mut().enumerate() {
        if number == target {
            check_entries(disk.as_mut(), block_bytes, kept, image)?;
            continue;
        }
        match tables.of(number) {
            Ok(table) => check_entries(disk.as_mut(), table.block_bytes, &table.entries, image)?,
            Err(GptError::None { .. } | GptError::TooSmall { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn check_entries(
    disk: &mut dyn Disk,
    block_bytes: u64,
    entries: &[Entry],
    image: &[Partition],
) -> Result<(), PlanError> {
    for entry in entries {
        if image.iter().any(|partition| partition.guid == entry.guid) {
            return Err(PlanError::DuplicateGuid {
                guid: entry.guid,
                disk: disk.facts().name.clone(),
                partition: entry.name.clone(),
            });
        }
        let Some(uuid) = file_system_uuid(disk, block_bytes, entry)? else {
            continue;
        };
        let mut uuids = image.iter().filter_map(|p| Some(&p.file_system.as_ref()?.uuid));
        if uuids.any(|own| own.eq_ignore_ascii_case(&uuid)) {
            return Err(PlanError::DuplicateFileSystem {
                uuid,
                disk: disk.facts().name.clone(),
                partition: entry.name.clone(),
            });
        }
    }
    Ok(())
}

fn file_system_uuid(
    disk: &mut dyn Disk,
    block_bytes: u64,
    entry: &Entry,
) -> Result<Option<String>, DeviceError> {
    let size_bytes = entry.blocks().saturating_mul(block_bytes);
    let mut head = vec![0; size_bytes.min(SUPERBLOCK_HEAD_BYTES as u64) as usize];
    disk.read(entry.first_lba * block_bytes, &mut head)?;
    Ok(Superblock::find(&head).map(|found| found.file_system.uuid))
}
