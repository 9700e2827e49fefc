//! The one way from a manifest's bytes to a manifest that may be acted on, and the arithmetic that
//! is only safe on such a one: which chunk lies where. Whether it fits a certain disk is the
//! planner's question, not asked here.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use repave_protocol::strict_json;

use crate::default_side::{DEFAULT_PARTITION, STATE_PARTITION, STATE_TYPE};
use crate::index;
use crate::limits;
use crate::manifest::{Boot, FileSystemKind, ImageManifest, Kexec, Partition};
use crate::refusal::ManifestRefusal;
use crate::text;

/// A manifest that keeps every rule of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidManifest(ImageManifest);

/// Where a chunk lies in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Which partition, as an index into the manifest's list.
    pub partition: usize,
    /// Offset from the partition's start.
    pub offset_bytes: u64,
    /// Its length: the last chunk of a partition may be short.
    pub len_bytes: u32,
}

impl ValidManifest {
    /// From the config blob's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestRefusal> {
        Self::new(strict_json(bytes, limits::MANIFEST_BYTES)?)
    }

    /// From a manifest that was made here.
    pub fn new(manifest: ImageManifest) -> Result<Self, ManifestRefusal> {
        check_head(&manifest)?;
        check_identities(&manifest.partitions)?;
        let chunks = check_sizes(&manifest)?;
        check_index(&manifest, chunks)?;
        check_boot(&manifest)?;
        check_settings(&manifest)?;
        Ok(Self(manifest))
    }

    /// The manifest.
    pub const fn manifest(&self) -> &ImageManifest {
        &self.0
    }

    /// The partition of that GPT name, with its place in the list.
    pub fn partition(&self, name: &str) -> Option<(usize, &Partition)> {
        find(&self.0.partitions, name)
    }

    /// Bytes of all partitions.
    pub fn size_bytes(&self) -> u64 {
        self.0.partitions.iter().map(|p| p.size_bytes).sum()
    }

    /// Whether the firmware can start it; otherwise only kexec can.
    pub const fn firmware_bootable(&self) -> bool {
        self.0.boot.efi_path.is_some()
    }

    /// The chunks of one partition; `None` if there is no such partition.
    pub fn chunks_of(&self, partition: usize) -> Option<Range<u64>> {
        let partition = self.0.partitions.get(partition)?;
        let end = partition.first_chunk + chunks_in(partition.size_bytes, self.0.chunk_bytes);
        Some(partition.first_chunk..end)
    }

    /// Where a chunk lies; `None` beyond the last.
    pub fn place(&self, chunk: u64) -> Option<ChunkPlace> {
        if chunk >= self.0.index.chunks {
            return None;
        }
        let after = self.0.partitions.partition_point(|p| p.first_chunk <= chunk);
        let partition = after.checked_sub(1)?;
        let size_bytes = self.0.partitions[partition].size_bytes;
        let chunk_bytes = u64::from(self.0.chunk_bytes);
        let offset_bytes = (chunk - self.0.partitions[partition].first_chunk) * chunk_bytes;
        let len_bytes = chunk_bytes.min(size_bytes - offset_bytes) as u32;
        Some(ChunkPlace { partition, offset_bytes, len_bytes })
    }

    /// The chunk that holds a byte of a partition; `None` beyond its end.
    pub fn chunk_at(&self, partition: usize, offset_bytes: u64) -> Option<u64> {
        let partition = self.0.partitions.get(partition)?;
        (offset_bytes < partition.size_bytes)
            .then(|| partition.first_chunk + offset_bytes / u64::from(self.0.chunk_bytes))
    }
}

/// Chunks that `size_bytes` take.
fn chunks_in(size_bytes: u64, chunk_bytes: u32) -> u64 {
    size_bytes.div_ceil(u64::from(chunk_bytes))
}

fn find<'a>(partitions: &'a [Partition], name: &str) -> Option<(usize, &'a Partition)> {
    partitions.iter().enumerate().find(|(_, p)| p.name == name)
}

fn check_head(manifest: &ImageManifest) -> Result<(), ManifestRefusal> {
    if let Some(name) = manifest.crit.first() {
        return Err(ManifestRefusal::UnknownCritical { name: name.clone() });
    }
    good(text::is_name, "image name", &manifest.name)?;
    good(text::is_name, "server type", &manifest.server_type)?;
    let number = |good, what, found: u32, wanted| match good {
        true => Ok(()),
        false => Err(ManifestRefusal::BadNumber { what, found: found.into(), wanted }),
    };
    let block = manifest.logical_block_bytes;
    number(matches!(block, 512 | 4096), "logical block", block, "512 or 4096 bytes")?;
    let chunk = manifest.chunk_bytes;
    let sizes = limits::CHUNK_BYTES_LEAST..=limits::CHUNK_BYTES;
    number(
        chunk.is_power_of_two() && sizes.contains(&chunk),
        "chunk",
        chunk,
        "a power of two from 64 KiB to 4 MiB",
    )?;
    let page = manifest.index.page_chunks;
    number((1..=limits::PAGE_CHUNKS).contains(&page), "index page", page, "1 to 4096 chunks")?;
    count("partitions", manifest.partitions.len(), limits::PARTITIONS)
}

fn check_identities(partitions: &[Partition]) -> Result<(), ManifestRefusal> {
    for partition in partitions {
        let name = || partition.name.clone();
        good(text::is_partition_name, "partition name", &partition.name)?;
        let own = [DEFAULT_PARTITION, STATE_PARTITION];
        if own.contains(&partition.name.as_str()) || partition.type_guid == STATE_TYPE {
            return Err(ManifestRefusal::DefaultImage { partition: name() });
        }
        for (what, guid) in [("GUID", partition.guid), ("type GUID", partition.type_guid)] {
            if guid.is_nil() {
                return Err(ManifestRefusal::NilGuid { partition: name(), what });
            }
        }
        if let Some(file_system) = &partition.file_system {
            let what = "file-system UUID";
            good(text::is_file_system_uuid, what, &file_system.uuid)?;
        }
    }
    let file_systems = partitions.iter().filter_map(|p| p.file_system.as_ref());
    distinct("name", partitions.iter().map(|p| p.name.clone()))?;
    distinct("GUID", partitions.iter().map(|p| p.guid.to_string()))?;
    distinct("file-system UUID", file_systems.map(|f| f.uuid.to_ascii_lowercase()))
}

/// Checks sizes and positions; returns the chunks of all partitions.
fn check_sizes(manifest: &ImageManifest) -> Result<u64, ManifestRefusal> {
    let mut chunks = 0;
    let mut total_bytes: u64 = 0;
    for partition in &manifest.partitions {
        let name = || partition.name.clone();
        let size_bytes = partition.size_bytes;
        if size_bytes == 0 || size_bytes % u64::from(manifest.logical_block_bytes) != 0 {
            return Err(ManifestRefusal::BadSize {
                partition: name(),
                size_bytes,
                block_bytes: manifest.logical_block_bytes,
            });
        }
        total_bytes = total_bytes.saturating_add(size_bytes);
        if total_bytes > limits::IMAGE_BYTES {
            return Err(ManifestRefusal::TooLarge {
                partition: name(),
                limit_bytes: limits::IMAGE_BYTES,
            });
        }
        if partition.first_chunk != chunks {
            return Err(ManifestRefusal::BadFirstChunk {
                partition: name(),
                found: partition.first_chunk,
                wanted: chunks,
            });
        }
        chunks += chunks_in(size_bytes, manifest.chunk_bytes);
    }
    Ok(chunks)
}

fn check_index(manifest: &ImageManifest, chunks: u64) -> Result<(), ManifestRefusal> {
    let index = &manifest.index;
    let equal = |what, found, wanted| match found == wanted {
        true => Ok(()),
        false => Err(ManifestRefusal::BadIndex { what, found, wanted }),
    };
    equal("chunks of the index", index.chunks, chunks)?;
    let root_bytes = index::root_bytes_of(chunks, index.page_chunks);
    equal("size of the index's root", index.root_bytes, root_bytes)?;
    if root_bytes > limits::INDEX_ROOT_BYTES as u64 {
        return Err(ManifestRefusal::BadNumber {
            what: "size of the index's root",
            found: root_bytes,
            wanted: "within its limit: take larger chunks or pages",
        });
    }
    Ok(())
}

fn check_boot(manifest: &ImageManifest) -> Result<(), ManifestRefusal> {
    let boot: &Boot = &manifest.boot;
    let partition = named(manifest, "boot", &boot.partition)?;
    good(text::is_options, "boot options", &boot.options)?;
    if let Some(efi_path) = &boot.efi_path {
        good(text::is_efi_path, "EFI path", efi_path)?;
        let kind = partition.file_system.as_ref().map(|f| f.kind);
        if kind != Some(FileSystemKind::Vfat) {
            return Err(ManifestRefusal::NotFat {
                efi_path: efi_path.clone(),
                partition: partition.name.clone(),
            });
        }
    }
    match &boot.kexec {
        Some(kexec) => check_kexec(manifest, kexec),
        None if boot.efi_path.is_none() => Err(ManifestRefusal::Unbootable),
        None => Ok(()),
    }
}

fn check_kexec(manifest: &ImageManifest, kexec: &Kexec) -> Result<(), ManifestRefusal> {
    named(manifest, "kexec", &kexec.partition)?;
    good(text::is_options, "kexec options", &kexec.options)?;
    good(text::is_file_path, "kernel path", &kexec.kernel)?;
    match &kexec.initrd {
        Some(initrd) => good(text::is_file_path, "initrd path", initrd),
        None => Ok(()),
    }
}

fn check_settings(manifest: &ImageManifest) -> Result<(), ManifestRefusal> {
    let Some(policy) = &manifest.settings else {
        return Ok(());
    };
    let partition = named(manifest, "settings", &policy.partition)?;
    let kind = partition.file_system.as_ref().map(|f| f.kind);
    if matches!(kind, None | Some(FileSystemKind::Vfat)) {
        return Err(ManifestRefusal::NotConfigurable { partition: partition.name.clone() });
    }
    count("settings prefixes", policy.prefixes.len(), limits::PREFIXES)?;
    for prefix in &policy.prefixes {
        good(text::is_prefix, "settings prefix", prefix)?;
    }
    Ok(())
}

fn named<'a>(
    manifest: &'a ImageManifest,
    what: &'static str,
    name: &str,
) -> Result<&'a Partition, ManifestRefusal> {
    match find(&manifest.partitions, name) {
        Some((_, partition)) => Ok(partition),
        None => Err(ManifestRefusal::NoSuchPartition { what, partition: name.into() }),
    }
}

fn good(is: fn(&str) -> bool, what: &'static str, text: &str) -> Result<(), ManifestRefusal> {
    if is(text) {
        return Ok(());
    }
    Err(ManifestRefusal::BadText { what, text: text.chars().take(limits::PATH_BYTES).collect() })
}

fn count(what: &'static str, found: usize, limit: usize) -> Result<(), ManifestRefusal> {
    if (1..=limit).contains(&found) {
        Ok(())
    } else {
        Err(ManifestRefusal::BadCount { what, found, limit })
    }
}

fn distinct<T: Hash + Eq + ToString>(
    what: &'static str,
    values: impl Iterator<Item = T>,
) -> Result<(), ManifestRefusal> {
    let mut seen = HashSet::new();
    for value in values {
        if seen.contains(&value) {
            let value = value.to_string();
            return Err(ManifestRefusal::Duplicate { what, value });
        }
        seen.insert(value);
    }
    Ok(())
}
