//! The end of an import: the image is signed and listed, when every blob of it is on the disk.

use repave_image::{Chunk, IndexPage, OciManifest, StoredChunk, limits};
use repave_protocol::{ImageReference, SigningKey, seal};

use crate::error::{ImportError, LibraryError};
use crate::library::Library;
use crate::reading::{Images, StoredImage};
use crate::repack::Written;
use crate::sign::signature_of;

/// Signs the image and lists it. A second import of the same bytes changes nothing; one of other
/// bytes under a released version is refused.
pub(crate) fn publish(
    library: &Library,
    written: Written,
    image_key: &SigningKey,
) -> Result<ImageReference, ImportError> {
    let found = written.packs.len();
    if found > limits::PACKS {
        return Err(ImportError::TooManyPacks { found, limit: limits::PACKS });
    }
    let manifest = written.manifest.manifest();
    let config = library.add_blob(&manifest.to_bytes())?;
    let unsigned =
        OciManifest { config, index: written.index, signature: config, packs: written.packs };
    let signature = signature_of(&manifest.name, manifest.version, &unsigned);
    let signature = library.add_blob(&seal(&signature, image_key))?;
    let oci = OciManifest { signature, ..unsigned };
    let oci = library.add_blob(&oci.to_bytes())?;
    let new = oci.sha256;
    let (name, version) = (manifest.name.clone(), manifest.version);
    let reference = ImageReference { name: name.clone(), version, manifest: new };
    let Ok(found) = library.find(&name, version) else {
        library.list(&reference, oci.size_bytes)?;
        return Ok(reference);
    };
    let images = [library.read(&found)?, library.read(&reference)?];
    if found == reference || same_content(library, &images)? {
        return Ok(found);
    }
    Err(ImportError::VersionExists { name, version, found: found.manifest, new })
}

/// Whether two images say and hold the same, wherever the library keeps their chunks.
fn same_content(library: &Library, images: &[StoredImage; 2]) -> Result<bool, LibraryError> {
    let [one, other] = images.each_ref().map(|image| {
        let mut manifest = image.manifest.manifest().clone();
        manifest.index.root_sha256 = images[0].manifest.manifest().index.root_sha256;
        manifest
    });
    if one != other {
        return Ok(false);
    }
    for number in 0..images[0].index.pages() {
        let pages =
            [library.index_page(&images[0], number)?, library.index_page(&images[1], number)?];
        let same = match &pages {
            [None, None] => true,
            [Some(one), Some(other)] => same_chunks(one, other),
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_chunks(one: &IndexPage, other: &IndexPage) -> bool {
    let digest = |chunk: Option<Chunk>| {
        chunk.map(|chunk| match chunk {
            Chunk::Zero => None,
            Chunk::Stored(StoredChunk { digest, .. }) => Some(digest),
        })
    };
    (one.first_chunk()..)
        .map(|chunk| (digest(one.chunk(chunk)), digest(other.chunk(chunk))))
        .take_while(|pair| *pair != (None, None))
        .all(|(one, other)| one == other)
}
