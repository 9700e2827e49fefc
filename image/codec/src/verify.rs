//! Reads every byte of an image in a library back and compares it with the image's own digests.

use repave_image::{Chunk, ChunkDigest, Descriptor, StoredChunk, ValidManifest};
use repave_protocol::{ImageReference, PublicKey};
use serde::Serialize;

use crate::chunk::decode_chunk;
use crate::error::LibraryError;
use crate::import::Progress;
use crate::parallel;
use crate::reading::Images;

/// What was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The key that vouches for the image; `None` if no keys were given to compare with.
    pub signed_by: Option<PublicKey>,
    /// Chunks of the image.
    pub chunks: u64,
    /// Chunks that are not all zero; each was read, inflated and hashed.
    pub stored_chunks: u64,
}

/// Verifies an image: its signature if `keys` are given, its index, and every chunk. The first
/// damage found is the error, and says where it is.
pub fn verify(
    library: &(impl Images + ?Sized),
    reference: &ImageReference,
    keys: &[PublicKey],
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, LibraryError> {
    let _kept = library.keep()?;
    let image = library.read(reference)?;
    let signed_by = match keys {
        [] => None,
        keys => Some(library.check_signature(&image, keys)?),
    };
    let mut stored_chunks = 0;
    for page in 0..image.index.pages() {
        let Some(index_page) = library.index_page(&image, page)? else {
            continue;
        };
        let chunks = index_page.first_chunk()..image.manifest.manifest().index.chunks;
        let stored: Vec<_> = chunks
            .map_while(|chunk| Some((chunk, index_page.chunk(chunk)?)))
            .filter_map(|(chunk, content)| match content {
                Chunk::Zero => None,
                Chunk::Stored(stored) => Some((chunk, stored)),
            })
            .collect();
        stored_chunks += stored.len() as u64;
        let checked = parallel::map(
            &stored,
            || (),
            |(), (chunk, stored)| {
                let pack = &image.oci.packs[stored.pack as usize];
                read_chunk(library, &image.manifest, pack, *chunk, stored).map(|_| ())
            },
        );
        checked.into_iter().collect::<Result<(), _>>()?;
        let after = stored.last().map_or(0, |(chunk, _)| chunk + 1);
        progress(Progress::before(&image.manifest, after));
    }
    Ok(Verification { signed_by, chunks: image.manifest.manifest().index.chunks, stored_chunks })
}

/// Reads one chunk's frame and compares what it holds with its entry.
pub(crate) fn read_chunk(
    library: &(impl Images + ?Sized),
    manifest: &ValidManifest,
    pack: &Descriptor,
    chunk: u64,
    stored: &StoredChunk,
) -> Result<Vec<u8>, LibraryError> {
    let place = manifest.place(chunk);
    let bad = |reason: String| LibraryError::BadChunk {
        image: format!("{}:{}", manifest.manifest().name, manifest.manifest().version),
        chunk,
        partition: place.map_or_else(String::new, |place| {
            manifest.manifest().partitions[place.partition].name.clone()
        }),
        offset_bytes: place.map_or(0, |place| place.offset_bytes),
        pack: pack.sha256,
        reason,
    };
    let len_bytes = place.map_or(0, |place| place.len_bytes);
    let frame = library.blob_part(pack, stored.offset_bytes, stored.stored_bytes.into())?;
    let mut plain = vec![0; len_bytes as usize];
    decode_chunk(&frame, &mut plain).map_err(|error| bad(error.to_string()))?;
    let digest = ChunkDigest::of(&plain);
    if digest != stored.digest {
        return Err(bad(format!("its BLAKE3 is {digest} instead of {}", stored.digest)));
    }
    let crc32 = crc32fast::hash(&plain);
    if crc32 != stored.crc32 {
        return Err(bad(format!("its CRC-32 is {crc32:08x} instead of {:08x}", stored.crc32)));
    }
    Ok(frame)
}
