//! Each version of an image leaves a pack with what was new in it, so that in time an image refers
//! to many packs of which it uses little. When they are too many, the image's chunks of those that
//! it uses least are copied, each checked, into new packs. Old packs and older versions stay.

use std::collections::HashMap;

use repave_image::{
    Chunk, ChunkDigest, Descriptor, IndexPage, IndexReference, IndexRoot, StoredChunk,
    ValidManifest,
};

use crate::error::LibraryError;
use crate::index_writer::IndexWriter;
use crate::library::Library;
use crate::packs::Packs;
use crate::reading::Images;
use crate::verify::read_chunk;

/// An image that is written but for its config, signature and OCI manifest.
pub(crate) struct Written {
    /// Its manifest.
    pub(crate) manifest: ValidManifest,
    /// Its chunk index.
    pub(crate) index: Descriptor,
    /// Its packs, by number.
    pub(crate) packs: Vec<Descriptor>,
}

/// When packs are too many, and how large new ones are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackRule {
    /// A new pack is closed when it reaches this size.
    pub(crate) pack_bytes: u64,
    /// Packs that an image may have above those that its bytes would fill.
    pub(crate) spare_packs: usize,
}

impl PackRule {
    /// Which packs are dissolved, by number, if the image uses so many bytes of each.
    fn dissolved(&self, used_bytes: &[u64]) -> Vec<bool> {
        let fill = |bytes: u64| bytes.div_ceil(self.pack_bytes.max(1)) as usize;
        let full = fill(used_bytes.iter().sum());
        let mut dissolved = vec![false; used_bytes.len()];
        if used_bytes.len() <= full + self.spare_packs {
            return dissolved;
        }
        // A quarter, so that the next versions need not be repacked at once again.
        let wanted = full + self.spare_packs / 4;
        let mut by_use: Vec<usize> = (0..used_bytes.len()).collect();
        by_use.sort_by_key(|&pack| used_bytes[pack]);
        let (mut kept, mut moved_bytes) = (used_bytes.len(), 0);
        for pack in by_use {
            if kept + fill(moved_bytes) <= wanted {
                break;
            }
            dissolved[pack] = true;
            kept -= 1;
            moved_bytes += used_bytes[pack];
        }
        dissolved
    }
}

/// The image with fewer packs, or as it was where they are not too many.
pub(crate) fn repack(
    library: &Library,
    image: Written,
    rule: PackRule,
) -> Result<Written, LibraryError> {
    let old = Old::read(library, &image)?;
    let mut used_bytes = vec![0; image.packs.len()];
    for (_, chunk) in old.chunks.values() {
        used_bytes[chunk.pack as usize] += u64::from(chunk.stored_bytes);
    }
    let dissolved = rule.dissolved(&used_bytes);
    if !dissolved.contains(&true) {
        return Ok(image);
    }
    let packs = old.packs(library, &image, &dissolved, rule)?;
    let (index, packs, reference) = old.index(library, &image, packs)?;
    let mut manifest = image.manifest.manifest().clone();
    manifest.index = reference;
    let manifest = ValidManifest::new(manifest)
        .map_err(|source| LibraryError::Manifest { image: title(&image), source })?;
    Ok(Written { manifest, index, packs })
}

/// The index of the image as it was written first.
struct Old {
    root: IndexRoot,
    /// Each chunk once, with the first place in the image that has it.
    chunks: HashMap<ChunkDigest, (u64, StoredChunk)>,
}

impl Old {
    fn read(library: &Library, image: &Written) -> Result<Self, LibraryError> {
        let root_bytes = image.manifest.manifest().index.root_bytes;
        let bytes = library.blob_part(&image.index, 0, root_bytes)?;
        let root = IndexRoot::parse(&bytes, &image.manifest)
            .map_err(|source| LibraryError::Index { image: title(image), source })?;
        let mut old = Self { root, chunks: HashMap::new() };
        for number in 0..old.root.pages() {
            let Some(page) = old.page(library, image, number)? else {
                continue;
            };
            for chunk in page.first_chunk().. {
                match page.chunk(chunk) {
                    None => break,
                    Some(Chunk::Zero) => {}
                    Some(Chunk::Stored(stored)) => {
                        old.chunks.entry(stored.digest).or_insert((chunk, stored));
                    }
                }
            }
        }
        Ok(old)
    }

    fn page(
        &self,
        library: &Library,
        image: &Written,
        number: u64,
    ) -> Result<Option<IndexPage>, LibraryError> {
        let Some(place) = self.root.page(number) else {
            return Ok(None);
        };
        let bytes = library.blob_part(&image.index, place.offset_bytes, place.len_bytes)?;
        let page = self.root.parse_page(number, bytes, &image.packs);
        page.map(Some).map_err(|source| LibraryError::Index { image: title(image), source })
    }

    /// All chunks where they will be: in the packs that stay, or copied into new ones.
    fn packs(
        &self,
        library: &Library,
        image: &Written,
        dissolved: &[bool],
        rule: PackRule,
    ) -> Result<Packs, LibraryError> {
        let mut packs = Packs::new(library.folder().clone(), rule.pack_bytes);
        let mut places = Vec::new();
        for (pack, is_dissolved) in image.packs.iter().zip(dissolved) {
            places.push(if *is_dissolved { None } else { Some(packs.add_pack(*pack)) });
        }
        let mut moved = Vec::new();
        for (chunk, stored) in self.chunks.values() {
            match places[stored.pack as usize] {
                Some(place) => packs.add_chunk(stored, place),
                None => moved.push((*chunk, *stored)),
            }
        }
        // As they lie in the old packs, which is much as they lie in the image.
        moved.sort_unstable_by_key(|(_, stored)| (stored.pack, stored.offset_bytes));
        for (chunk, stored) in moved {
            let pack = &image.packs[stored.pack as usize];
            let frame = read_chunk(library, &image.manifest, pack, chunk, &stored)?;
            packs.store(stored.digest, stored.crc32, &frame)?;
        }
        Ok(packs)
    }

    /// The index anew, with the chunks where they are now.
    fn index(
        &self,
        library: &Library,
        image: &Written,
        mut packs: Packs,
    ) -> Result<(Descriptor, Vec<Descriptor>, IndexReference), LibraryError> {
        let manifest = image.manifest.manifest();
        let mut index = IndexWriter::new(library.folder(), manifest)?;
        let page_chunks = u64::from(manifest.index.page_chunks);
        for number in 0..self.root.pages() {
            let page = self.page(library, image, number)?;
            let first = number * page_chunks;
            for chunk in first..manifest.index.chunks.min(first + page_chunks) {
                let content = page.as_ref().and_then(|page| page.chunk(chunk));
                index.push(match content {
                    Some(Chunk::Stored(stored)) => packs.entry(&stored.digest),
                    _ => Chunk::Zero,
                })?;
            }
        }
        let packs = packs.finish()?;
        let (index, reference) = index.finish()?;
        Ok((index, packs, reference))
    }
}

fn title(image: &Written) -> String {
    let manifest = image.manifest.manifest();
    format!("{}:{}", manifest.name, manifest.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(used_bytes: &[u64], expected: &[usize]) {
        let rule = PackRule { pack_bytes: 100, spare_packs: 4 };
        let dissolved = rule.dissolved(used_bytes);
        let found: Vec<usize> = (0..used_bytes.len()).filter(|&pack| dissolved[pack]).collect();
        assert_eq!(found, expected, "{used_bytes:?}");
    }

    #[test]
    fn the_least_used_packs_are_dissolved_and_no_more_than_needed() {
        check(&[], &[]);
        check(&[100, 100, 100], &[]);
        check(&[100, 5, 5, 5, 5], &[]);
        // 125 bytes would fill two; with four spare that is six, so one more is too many.
        check(&[100, 5, 5, 5, 5, 5], &[]);
        check(&[100, 5, 5, 5, 5, 4, 1], &[1, 2, 3, 5, 6]);
        check(&[1, 1, 1, 1, 1, 1, 1, 1], &[0, 1, 2, 3, 4, 5, 6]);
    }
}
