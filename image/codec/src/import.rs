//! From a disk or partition image to an image in a library. The source is looked at first and
//! refused where it would not boot; then it streams, a few megabytes at a time; the library lists
//! the image last, when every blob of it is on the disk. Equal inputs give equal images.

use std::path::Path;
use std::sync::Arc;

use repave_image::{Chunk, ChunkPlace, Descriptor, ImageManifest, ValidManifest, limits};
use repave_protocol::{ImageReference, SigningKey};
use serde::Serialize;

use crate::chunk::CHUNK_BYTES;
use crate::chunk_writer::ChunkWriter;
use crate::descriptor::BootDescriptor;
use crate::error::{ImportError, LibraryError};
use crate::examine::examine;
use crate::index_writer::IndexWriter;
use crate::library::Library;
use crate::open::{UNPACKED_BYTES, open_source};
use crate::packs::Packs;
use crate::publish::publish;
use crate::reading::Images;
use crate::repack::{PackRule, Written, repack};
use crate::source::Source;

/// A pack is closed when it reaches this size, or a part of the image that keeps their number in
/// its limit.
const PACK_BYTES: u64 = 64 * 1024 * 1024;
/// With half of the limit for full packs, this leaves a margin. An agent asks for parts of packs, so
/// many small ones cost it requests.
const SPARE_PACKS: usize = 128;

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
    /// Size at which a pack is closed; larger for an image that would have too many of them.
    pub pack_bytes: u64,
    /// Packs that the image may have above those that its bytes would fill, before it is repacked.
    pub spare_packs: usize,
}

impl ImportOptions {
    /// The usual options for an image of that name and version.
    pub fn new(name: &str, version: u64) -> Self {
        Self {
            name: name.into(),
            version,
            bare_block_bytes: 512,
            chunk_bytes: CHUNK_BYTES,
            pack_bytes: PACK_BYTES,
            spare_packs: SPARE_PACKS,
        }
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
    /// Plain bytes of those.
    pub reused_bytes: u64,
    /// Chunks that were stored.
    pub new_chunks: u64,
    /// Plain bytes of the chunks that were stored.
    pub new_bytes: u64,
    /// What they take in the library.
    pub stored_bytes: u64,
    /// Bytes of the image that take no room: zeroes, what was there already, and what compression
    /// took away.
    pub saved_bytes: u64,
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

/// Imports the image at `path`, in whatever format it is.
pub fn import(
    path: &Path,
    descriptor: &BootDescriptor,
    options: &ImportOptions,
    library: &Library,
    image_key: &SigningKey,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let source = open_source(path, library.root(), UNPACKED_BYTES, &mut |_| {})?;
    import_source(source, descriptor, options, library, image_key, progress)
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
    library.folder().clear_leftovers()?;
    let rule = PackRule {
        pack_bytes: options.pack_bytes.max(draft.size_bytes() / (limits::PACKS as u64 / 2)),
        spare_packs: options.spare_packs,
    };
    let mut writer = ChunkWriter {
        source: &source,
        starts: &starts,
        packs: known_packs(library, rule.pack_bytes)?,
        index: IndexWriter::new(library.folder(), draft.manifest())?,
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
    let (index, reference) = index.finish()?;
    let manifest =
        ValidManifest::new(ImageManifest { index: reference, ..draft.manifest().clone() })?;
    let written = repack(library, Written { manifest, index, packs }, rule)?;
    summary.index_bytes = written.index.size_bytes;
    summary.packs = written.packs.len() as u64;
    summary.saved_bytes = summary.image_bytes.saturating_sub(summary.stored_bytes);
    let reference = publish(library, written, image_key)?;
    Ok(Imported { reference, summary })
}

/// Every chunk that the library's images hold, so that none is stored twice.
fn known_packs(library: &Library, pack_bytes: u64) -> Result<Packs, LibraryError> {
    let mut packs = Packs::new(library.folder().clone(), pack_bytes);
    let mut images = library.images()?;
    // The newest first: of a chunk that was repacked the copy in the fuller pack is taken.
    images.reverse();
    for reference in images {
        let image = library.read(&reference)?;
        let descriptors = image.oci.packs.iter();
        // A pack that is not there, or was cut, is not built upon.
        let whole = |pack: &&Descriptor| library.open_blob(pack).is_ok();
        let places: Vec<Option<u32>> =
            descriptors.map(|p| Some(p).filter(whole).map(|pack| packs.add_pack(*pack))).collect();
        for page in 0..image.index.pages() {
            let Some(page) = library.index_page(&image, page)? else {
                continue;
            };
            let chunks = (page.first_chunk()..).map_while(|chunk| page.chunk(chunk));
            for chunk in chunks {
                let Chunk::Stored(stored) = chunk else {
                    continue;
                };
                if let Some(place) = places[stored.pack as usize] {
                    packs.add_chunk(&stored, place);
                }
            }
        }
    }
    Ok(packs)
}
