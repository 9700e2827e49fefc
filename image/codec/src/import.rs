//! From a disk or partition image to an image in a library. The source is looked at first and
//! refused where it would not boot; then it streams, a few megabytes at a time; the library lists
//! the image last, when every blob of it is on the disk. Equal inputs give equal images.

use std::io;
use std::path::Path;
use std::sync::Arc;

use repave_image::{
    Architecture, Chunk, ChunkPlace, Descriptor, ESP_TYPE, FileSystem, FileSystemKind,
    ImageManifest, IndexReference, LINUX_ROOT_TYPE, OciManifest, Partition, Role, ValidManifest,
    limits, root_bytes_of,
};
use repave_protocol::{ImageReference, ImageSignature, Sha256, SigningKey, seal};
use serde::Serialize;

use crate::chunk::{CHUNK_BYTES, Encoded, Encoder};
use crate::descriptor::BootDescriptor;
use crate::error::ImportError;
use crate::file_system;
use crate::index_writer::IndexWriter;
use crate::inside::Inside;
use crate::layout::{self, SourceLayout, SourcePartition};
use crate::library::Library;
use crate::packs::Packs;
use crate::parallel;
use crate::source::{FileSource, Source, Window};

/// A pack is closed when it reaches this size, or a part of the image that keeps their number in
/// its limit.
const PACK_BYTES: u64 = 64 * 1024 * 1024;
/// Chunks that one core works on before what it made is written.
const BATCH_CHUNKS_PER_CORE: usize = 32;
/// GPT attribute bit 59: the file system grows with its partition (UAPI group, Discoverable
/// Partitions Specification).
const GROW_ATTRIBUTE: u64 = 1 << 59;

/// What the operator decides about an image.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Name in the library.
    pub name: String,
    /// Version; higher than any released before.
    pub version: u64,
    /// Logical block size for a bare partition image, which does not say; a GPT does.
    pub bare_block_bytes: u32,
    /// Chunk size; [`CHUNK_BYTES`] unless measuring.
    pub chunk_bytes: u32,
}

impl ImportOptions {
    /// The usual options for an image of that name and version.
    pub fn new(name: &str, version: u64) -> Self {
        Self { name: name.into(), version, bare_block_bytes: 512, chunk_bytes: CHUNK_BYTES }
    }
}

/// How far a long job is, in plain bytes of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Done so far; zeroes that were passed over are done.
    pub done_bytes: u64,
    /// When all is done.
    pub total_bytes: u64,
}

impl Progress {
    /// When all chunks of an image before `chunk` are done.
    pub(crate) fn before(manifest: &ValidManifest, chunk: u64) -> Self {
        let total_bytes = manifest.size_bytes();
        let before = |place: ChunkPlace| {
            let partitions = &manifest.manifest().partitions[..place.partition];
            partitions.iter().map(|p| p.size_bytes).sum::<u64>() + place.offset_bytes
        };
        Self { done_bytes: manifest.place(chunk).map_or(total_bytes, before), total_bytes }
    }
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Bytes of all partitions.
    pub image_bytes: u64,
    /// Chunks of all partitions.
    pub chunks: u64,
    /// Chunks that are all zero.
    pub zero_chunks: u64,
    /// Chunks that the library, or the image itself, had already.
    pub reused_chunks: u64,
    /// Chunks that were stored.
    pub new_chunks: u64,
    /// Plain bytes of the chunks that were stored.
    pub new_bytes: u64,
    /// What they take in the library.
    pub stored_bytes: u64,
    /// Size of the whole chunk index.
    pub index_bytes: u64,
    /// Packs that the image refers to.
    pub packs: u64,
    /// Whether the firmware can start it, or only kexec.
    pub firmware_bootable: bool,
}

/// An image that the library now lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Its name, version and digest.
    pub reference: ImageReference,
    /// What was done for it.
    pub summary: Summary,
}

/// Imports the raw image at `path`.
pub fn import(
    path: &Path,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
    library: &Library,
    image_key: &SigningKey,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let source = FileSource::open(path).map_err(|source| ImportError::Io {
        what: "open",
        path: path.into(),
        source,
    })?;
    import_source(Arc::new(source), descriptor, options, library, image_key, progress)
}

/// Imports from any source.
pub fn import_source(
    source: Arc<dyn Source>,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
    library: &Library,
    image_key: &SigningKey,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let (draft, starts) = examine(&source, descriptor, options)?;
    let _lock = library.lock()?;
    let mut writer = ChunkWriter {
        source: &source,
        starts: &starts,
        packs: known_packs(library, &draft)?,
        index: IndexWriter::new(library.root(), draft.manifest())?,
        summary: Summary {
            image_bytes: draft.size_bytes(),
            chunks: draft.manifest().index.chunks,
            firmware_bootable: draft.firmware_bootable(),
            ..Summary::default()
        },
    };
    writer.write_all(&draft, progress)?;
    let ChunkWriter { packs, index, mut summary, .. } = writer;
    let packs = packs.finish()?;
    let (index, index_reference) = index.finish()?;
    summary.index_bytes = index.size_bytes;
    summary.packs = packs.len() as u64;
    let manifest =
        ValidManifest::new(ImageManifest { index: index_reference, ..draft.manifest().clone() })?;
    let reference = publish(library, &manifest, index, packs, image_key)?;
    Ok(Imported { reference, summary })
}

/// Looks at the source without reading its chunks: a manifest that is complete but for the digest
/// of the index, and where each partition begins in the source.
fn examine(
    source: &Arc<dyn Source>,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
) -> Result<(ValidManifest, Vec<u64>), ImportError> {
    let layout = match layout::read_gpt(source)? {
        Some(layout) => layout,
        None => bare_layout(source, descriptor, options)?,
    };
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

fn bare_layout(
    source: &Arc<dyn Source>,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
) -> Result<SourceLayout, ImportError> {
    let size_bytes = source.size_bytes();
    let whole = Window::new(source, 0, size_bytes);
    let found = file_system::detect(&whole).map_err(|error| unreadable(0, size_bytes, error))?;
    let found = found.ok_or(ImportError::UnknownSource)?;
    Ok(layout::bare(
        size_bytes,
        options.bare_block_bytes,
        &options.name,
        &descriptor.boot.partition,
        found.file_system.kind == FileSystemKind::Vfat,
    ))
}

fn window(source: &Arc<dyn Source>, partition: &SourcePartition) -> Window {
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

/// Every chunk that the library's images hold, so that none is stored twice.
fn known_packs(library: &Library, draft: &ValidManifest) -> Result<Packs, ImportError> {
    let pack_bytes = PACK_BYTES.max(draft.size_bytes() / (limits::PACKS as u64 / 2));
    let mut packs = Packs::new(library.root().into(), pack_bytes);
    for reference in library.images()? {
        let image = library.read(&reference)?;
        let descriptors = image.oci.packs.iter();
        let places: Vec<u32> = descriptors.map(|pack| packs.add_pack(*pack)).collect();
        for page in 0..image.index.pages() {
            let Some(page) = library.index_page(&image, page)? else {
                continue;
            };
            let chunks = (page.first_chunk()..).map_while(|chunk| page.chunk(chunk));
            for chunk in chunks {
                if let Chunk::Stored(stored) = chunk {
                    packs.add_chunk(&stored, places[stored.pack as usize]);
                }
            }
        }
    }
    Ok(packs)
}

/// Writes an image's chunks and index while the source streams by.
struct ChunkWriter<'a> {
    source: &'a Arc<dyn Source>,
    starts: &'a [u64],
    packs: Packs,
    index: IndexWriter,
    summary: Summary,
}

impl ChunkWriter<'_> {
    fn write_all(
        &mut self,
        draft: &ValidManifest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ImportError> {
        let total = draft.manifest().index.chunks;
        let batch_chunks = BATCH_CHUNKS_PER_CORE * parallel::cores();
        let mut chunk = 0;
        while chunk < total {
            let mut batch = Vec::with_capacity(batch_chunks);
            while chunk < total && batch.len() < batch_chunks {
                let skipped = self.zero_chunks(draft, chunk)?;
                if skipped > 0 {
                    // Zeroes come after the chunks of the batch, so these must go first.
                    self.write_batch(&std::mem::take(&mut batch))?;
                    self.push_zeroes(skipped)?;
                    chunk += skipped;
                } else if let Some(place) = draft.place(chunk) {
                    let start_bytes = self.starts[place.partition];
                    batch.push((start_bytes + place.offset_bytes, place.len_bytes));
                    chunk += 1;
                }
            }
            self.write_batch(&batch)?;
            progress(Progress::before(draft, chunk));
        }
        Ok(())
    }

    /// How many chunks from this one on lie in a hole of the source.
    fn zero_chunks(&self, draft: &ValidManifest, chunk: u64) -> Result<u64, ImportError> {
        let Some(place) = draft.place(chunk) else {
            return Ok(0);
        };
        let partition = &draft.manifest().partitions[place.partition];
        let start_bytes = self.starts[place.partition];
        let from = start_bytes + place.offset_bytes;
        let end = start_bytes + partition.size_bytes;
        let data = self
            .source
            .next_data(from)
            .map_err(|error| unreadable(from, end - from, error))?
            .unwrap_or(end);
        let chunk_bytes = u64::from(draft.manifest().chunk_bytes);
        Ok(if data >= end {
            (end - from).div_ceil(chunk_bytes)
        } else {
            (data - from) / chunk_bytes
        })
    }

    fn push_zeroes(&mut self, chunks: u64) -> Result<(), ImportError> {
        for _ in 0..chunks {
            self.index.push(Chunk::Zero)?;
        }
        self.summary.zero_chunks += chunks;
        Ok(())
    }

    /// Reads and encodes these places of the source on all cores, then writes what is new in order.
    fn write_batch(&mut self, places: &[(u64, u32)]) -> Result<(), ImportError> {
        let (source, packs) = (self.source, &self.packs);
        let encoded = parallel::map(places, Encoder::new, |encoder, &(offset_bytes, len)| {
            let mut plain = vec![0; len as usize];
            source.read_exact_at(&mut plain, offset_bytes)?;
            let encoder = encoder.as_mut().map_err(|error| io::Error::from(error.kind()))?;
            encoder.encode(&plain, |sha256| packs.holds(sha256))
        });
        for (encoded, &(offset_bytes, len)) in encoded.into_iter().zip(places) {
            let encoded = encoded.map_err(|e| unreadable(offset_bytes, len.into(), e))?;
            self.write_chunk(encoded, len)?;
        }
        Ok(())
    }

    fn write_chunk(&mut self, encoded: Encoded, len_bytes: u32) -> Result<(), ImportError> {
        let sha256 = match encoded {
            Encoded::Zero => return self.push_zeroes(1),
            Encoded::Known(sha256) => {
                self.summary.reused_chunks += 1;
                sha256
            }
            // Its twin was in the same batch.
            Encoded::New { sha256, .. } if self.packs.holds(&sha256) => {
                self.summary.reused_chunks += 1;
                sha256
            }
            Encoded::New { sha256, crc32, frame } => {
                self.packs.store(sha256, crc32, &frame)?;
                self.summary.new_chunks += 1;
                self.summary.new_bytes += u64::from(len_bytes);
                self.summary.stored_bytes += frame.len() as u64;
                sha256
            }
        };
        self.index.push(self.packs.entry(&sha256))?;
        let found = self.packs.used();
        if found > limits::PACKS {
            return Err(ImportError::TooManyPacks { found, limit: limits::PACKS });
        }
        Ok(())
    }
}

/// Signs the image and lists it. A second import of the same bytes changes nothing; one of other
/// bytes under a released version is refused.
fn publish(
    library: &Library,
    manifest: &ValidManifest,
    index: Descriptor,
    packs: Vec<Descriptor>,
    image_key: &SigningKey,
) -> Result<ImageReference, ImportError> {
    let config = library.add_blob(&manifest.manifest().to_bytes())?;
    let ImageManifest { name, version, .. } = manifest.manifest().clone();
    let signature = ImageSignature {
        crit: Vec::new(),
        name: name.clone(),
        version,
        config: config.sha256,
        index: index.sha256,
    };
    let oci = OciManifest {
        config,
        index,
        signature: library.add_blob(&seal(&signature, image_key))?,
        packs,
    };
    let manifest = Descriptor::of(&oci.to_bytes());
    let reference = ImageReference { name: name.clone(), version, manifest: manifest.sha256 };
    if let Ok(found) = library.find(&name, version) {
        if found == reference {
            return Ok(reference);
        }
        return Err(ImportError::VersionExists {
            name,
            version,
            found: found.manifest,
            new: reference.manifest,
        });
    }
    library.add_blob(&oci.to_bytes())?;
    library.list(&reference, manifest.size_bytes)?;
    Ok(reference)
}

fn unreadable(offset_bytes: u64, len_bytes: u64, source: io::Error) -> ImportError {
    ImportError::Read { offset_bytes, len_bytes, source }
}
