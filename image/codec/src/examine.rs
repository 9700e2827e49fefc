//! Looking at a source before anything of it is stored: its partitions, their file systems, and
//! whether what is to be started is there. Reads heads and a few files, never the chunks.

use std::io;
use std::sync::Arc;

use repave_image::{
    Architecture, ESP_TYPE, FileSystem, FileSystemKind, ImageManifest, IndexReference,
    LINUX_ROOT_TYPE, Partition, Role, ValidManifest, limits, root_bytes_of,
};
use repave_protocol::Sha256;

use crate::descriptor::BootDescriptor;
use crate::error::ImportError;
use crate::file_system;
use crate::import::ImportOptions;
use crate::inside::Inside;
use crate::layout::{self, SourceLayout, SourcePartition};
use crate::source::{Source, Window};

/// GPT attribute bit 59: the file system grows with its partition (UAPI group, Discoverable
/// Partitions Specification).
const GROW_ATTRIBUTE: u64 = 1 << 59;

/// Looks at the source without reading its chunks: a manifest that is complete but for the digest
/// of the index, and where each partition begins in the source.
pub(crate) fn examine(
    source: &Arc<dyn Source>,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
) -> Result<(ValidManifest, Vec<u64>), ImportError> {
    let layout = source_layout(source, &descriptor.boot.partition, options)?;
    let mut partitions = Vec::new();
    let mut chunks = 0;
    for partition in &layout.partitions {
        let window = window(source, partition);
        let file_system = file_system_on(&window, partition)?;
        partitions.push(Partition {
            name: partition.name.clone(),
            role: role(partition, descriptor),
            type_guid: partition.type_guid,
            guid: partition.guid,
            size_bytes: partition.size_bytes,
            attributes: partition.attributes,
            file_system,
            grow: partition.attributes & GROW_ATTRIBUTE != 0,
            first_chunk: chunks,
        });
        chunks += partition.size_bytes.div_ceil(options.chunk_bytes.max(1).into());
    }
    let draft = ValidManifest::new(ImageManifest {
        crit: Vec::new(),
        name: options.name.clone(),
        version: options.version,
        server_type: descriptor.server_type.clone(),
        architecture: Architecture::Amd64,
        logical_block_bytes: layout.logical_block_bytes,
        chunk_bytes: options.chunk_bytes,
        partitions,
        boot: descriptor.boot.clone(),
        settings: descriptor.settings.clone(),
        reports: descriptor.reports,
        index: IndexReference {
            root_bytes: root_bytes_of(chunks, limits::PAGE_CHUNKS),
            root_sha256: Sha256::from_bytes([0; 32]),
            chunks,
            page_chunks: limits::PAGE_CHUNKS,
        },
    })?;
    look_inside(source, &layout, &draft)?;
    let starts = layout.partitions.iter().map(|p| p.start_bytes).collect();
    Ok((draft, starts))
}

/// The partitions of a source; one of that name if it is a bare file system.
pub(crate) fn source_layout(
    source: &Arc<dyn Source>,
    bare_name: &str,
    options: &ImportOptions,
) -> Result<SourceLayout, ImportError> {
    if let Some(layout) = layout::read_gpt(source)? {
        return Ok(layout);
    }
    let size_bytes = source.size_bytes();
    let whole = Window::new(source, 0, size_bytes);
    let found = file_system::detect(&whole).map_err(|error| unreadable(0, size_bytes, error))?;
    let found = found.ok_or(ImportError::UnknownSource)?;
    Ok(layout::bare(
        size_bytes,
        options.bare_block_bytes,
        &options.name,
        bare_name,
        found.file_system.kind == FileSystemKind::Vfat,
    ))
}

/// A partition of the source.
pub(crate) fn window(source: &Arc<dyn Source>, partition: &SourcePartition) -> Window {
    Window::new(source, partition.start_bytes, partition.size_bytes)
}

fn role(partition: &SourcePartition, descriptor: &BootDescriptor) -> Role {
    let settings = descriptor.settings.as_ref();
    if partition.type_guid == ESP_TYPE {
        Role::Esp
    } else if partition.type_guid == LINUX_ROOT_TYPE
        || settings.is_some_and(|settings| settings.partition == partition.name)
    {
        Role::Root
    } else {
        Role::Data
    }
}

fn file_system_on(
    window: &Window,
    partition: &SourcePartition,
) -> Result<Option<FileSystem>, ImportError> {
    let found = file_system::detect(window)
        .map_err(|error| unreadable(partition.start_bytes, partition.size_bytes, error))?;
    let Some(found) = found else {
        return Ok(None);
    };
    let kind = found.file_system.kind;
    if found.size_bytes > partition.size_bytes {
        return Err(ImportError::FileSystemLarger {
            partition: partition.name.clone(),
            kind,
            file_system_bytes: found.size_bytes,
            partition_bytes: partition.size_bytes,
        });
    }
    if found.needs_recovery {
        return Err(ImportError::NeedsRecovery { partition: partition.name.clone(), kind });
    }
    Ok(Some(found.file_system))
}

/// Checks that what is to be started is there. The names have been found valid before.
fn look_inside(
    source: &Arc<dyn Source>,
    layout: &SourceLayout,
    draft: &ValidManifest,
) -> Result<(), ImportError> {
    let look = |name: &str, check: &dyn Fn(Inside<'_>) -> Result<(), ImportError>| {
        let Some((place, partition)) = draft.partition(name) else {
            return Ok(());
        };
        check(Inside {
            window: &window(source, &layout.partitions[place]),
            name,
            kind: partition.file_system.as_ref().map(|found| found.kind),
        })
    };
    let boot = &draft.manifest().boot;
    if let Some(efi_path) = &boot.efi_path {
        look(&boot.partition, &|inside| inside.check_efi_program(efi_path))?;
    }
    if let Some(kexec) = &boot.kexec {
        look(&kexec.partition, &|inside| {
            inside.check_file("kernel", &kexec.kernel)?;
            match &kexec.initrd {
                Some(initrd) => inside.check_file("initrd", initrd),
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// A read of the source that failed.
pub(crate) fn unreadable(offset_bytes: u64, len_bytes: u64, source: io::Error) -> ImportError {
    ImportError::Read { offset_bytes, len_bytes, source }
}
