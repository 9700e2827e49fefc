//! Which partitions a source has: those of its GPT, or itself if it is a bare file system. Reads
//! only; what is in the partitions is `file_system`'s question.

use std::sync::Arc;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use repave_image::{ESP_TYPE, LINUX_ROOT_TYPE, limits};
use repave_protocol::{Guid, Sha256};

use crate::error::ImportError;
use crate::source::{Source, Window};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// UEFI 2.10, table 5.5: offsets in the header at LBA 1.
const ALTERNATE_LBA_AT: usize = 32;
const ENTRIES_AT: usize = 80;
const ENTRY_BYTES_AT: usize = 84;
/// The only entry size in the field, and the only one that the GPT library takes: it asserts.
const ENTRY_BYTES: u32 = 128;
/// Most entries of a partition array that are read; the usual number is 128.
const ENTRIES: u32 = 1024;

/// A partition of the source.
pub(crate) struct SourcePartition {
    pub(crate) name: String,
    pub(crate) type_guid: Guid,
    pub(crate) guid: Guid,
    pub(crate) attributes: u64,
    pub(crate) start_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// What a source is made of.
pub(crate) struct SourceLayout {
    pub(crate) logical_block_bytes: u32,
    /// In the order in which they lie in the source.
    pub(crate) partitions: Vec<SourcePartition>,
}

/// The layout of a GPT disk image; `None` if the source has no GPT.
pub(crate) fn read_gpt(source: &Arc<dyn Source>) -> Result<Option<SourceLayout>, ImportError> {
    for (block, block_bytes) in
        [(LogicalBlockSize::Lb512, 512_u32), (LogicalBlockSize::Lb4096, 4096)]
    {
        let mut header = [0; 92];
        let offset_bytes = u64::from(block_bytes);
        if source.size_bytes() < offset_bytes + header.len() as u64 {
            break;
        }
        read_at(source, &mut header, offset_bytes)?;
        if header.starts_with(SIGNATURE) {
            let window = whole_disk(source, &header, block_bytes)?;
            return read_partitions(window, block, block_bytes).map(Some);
        }
    }
    Ok(None)
}

/// The layout of a source that is one file system. Its GUID follows from the names, so that the
/// next version of the image has the same one.
pub(crate) fn bare(
    size_bytes: u64,
    logical_block_bytes: u32,
    image: &str,
    partition: &str,
    is_fat: bool,
) -> SourceLayout {
    let digest = Sha256::of(format!("repave partition GUID\n{image}\n{partition}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    SourceLayout {
        logical_block_bytes,
        partitions: vec![SourcePartition {
            name: partition.into(),
            type_guid: if is_fat { ESP_TYPE } else { LINUX_ROOT_TYPE },
            guid: Guid::from_random(bytes),
            attributes: 0,
            start_bytes: 0,
            size_bytes,
        }],
    }
}

/// The part of the source that its GPT calls the disk, once the header is known to be one that the
/// GPT library can be trusted with.
fn whole_disk(
    source: &Arc<dyn Source>,
    header: &[u8],
    block_bytes: u32,
) -> Result<Window, ImportError> {
    let entry_bytes = u32_at(header, ENTRY_BYTES_AT);
    let entries = u32_at(header, ENTRIES_AT);
    if entry_bytes != ENTRY_BYTES || entries > ENTRIES {
        return Err(ImportError::BadGpt {
            reason: format!(
                "{entries} entries of {entry_bytes} bytes, not at most {ENTRIES} of {ENTRY_BYTES}"
            ),
        });
    }
    let mut last_lba = [0; 8];
    last_lba.copy_from_slice(&header[ALTERNATE_LBA_AT..][..8]);
    let disk_bytes = u64::from_le_bytes(last_lba)
        .checked_add(1)
        .and_then(|blocks| blocks.checked_mul(block_bytes.into()))
        .unwrap_or(u64::MAX);
    within_source(source, "its backup GPT", disk_bytes)?;
    Ok(Window::new(source, 0, disk_bytes))
}

fn read_partitions(
    disk: Window,
    block: LogicalBlockSize,
    block_bytes: u32,
) -> Result<SourceLayout, ImportError> {
    let bad = |reason: String| ImportError::BadGpt { reason };
    let disk_bytes = disk.size_bytes();
    let gpt = GptConfig::new()
        .logical_block_size(block)
        .only_valid_headers(true)
        .open_from_device(disk)
        .map_err(|error| bad(error.to_string()))?;
    let mut partitions = Vec::new();
    for (number, entry) in gpt.partitions().iter().filter(|(_, entry)| entry.is_used()) {
        let name = entry.name.clone();
        if name.is_empty() {
            return Err(bad(format!(
                "partition {number} has no name, by which an image's parts are told apart; give it one: sgdisk --change-name={number}:NAME"
            )));
        }
        let span = (|| {
            let size_bytes = entry.bytes_len(block).ok()?;
            let start_bytes = entry.bytes_start(block).ok()?;
            let end = start_bytes.checked_add(size_bytes)?;
            (end <= disk_bytes).then_some((start_bytes, size_bytes))
        })();
        let Some((start_bytes, size_bytes)) = span else {
            return Err(bad(format!("partition {name:?} ends beyond the disk")));
        };
        partitions.push(SourcePartition {
            name,
            type_guid: Guid::from_disk_bytes(entry.part_type_guid.guid.to_bytes_le()),
            guid: Guid::from_disk_bytes(entry.part_guid.to_bytes_le()),
            attributes: entry.flags,
            start_bytes,
            size_bytes,
        });
    }
    if partitions.len() > limits::PARTITIONS {
        return Err(bad(format!(
            "{} partitions, more than {}",
            partitions.len(),
            limits::PARTITIONS
        )));
    }
    partitions.sort_by_key(|partition| partition.start_bytes);
    for pair in partitions.windows(2) {
        if pair[0].start_bytes + pair[0].size_bytes > pair[1].start_bytes {
            return Err(bad(format!(
                "partitions {:?} and {:?} overlap",
                pair[0].name, pair[1].name
            )));
        }
    }
    Ok(SourceLayout { logical_block_bytes: block_bytes, partitions })
}

fn within_source(
    source: &Arc<dyn Source>,
    what: &str,
    wanted_bytes: u64,
) -> Result<(), ImportError> {
    let found_bytes = source.size_bytes();
    if wanted_bytes <= found_bytes {
        return Ok(());
    }
    Err(ImportError::Truncated { what: what.into(), found_bytes, wanted_bytes })
}

fn read_at(
    source: &Arc<dyn Source>,
    buffer: &mut [u8],
    offset_bytes: u64,
) -> Result<(), ImportError> {
    let len_bytes = buffer.len() as u64;
    source.read_exact_at(buffer, offset_bytes).map_err(|source| ImportError::Read {
        offset_bytes,
        len_bytes,
        source,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}
