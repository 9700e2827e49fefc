//! Where stored chunks are: in the packs that the library has already, or in new ones that are
//! being written. Each chunk is kept once, whichever image it came with; an image numbers the
//! packs that it uses in the order of their first use.

use std::collections::HashMap;

use repave_image::{Chunk, ChunkDigest, Descriptor, StoredChunk};

use crate::blob::BlobWriter;
use crate::error::LibraryError;
use crate::folder::Folder;

/// A stored chunk, in a pack by its place in [`Packs::packs`]. About 60 bytes of memory for each
/// chunk that the library holds.
#[derive(Clone, Copy)]
struct Frame {
    pack: u32,
    crc32: u32,
    offset_bytes: u64,
    stored_bytes: u32,
}

/// A pack, written or being written, and its number in the image.
struct Pack {
    descriptor: Option<Descriptor>,
    number: Option<u32>,
}

/// The packs of a library, seen by one import.
pub(crate) struct Packs {
    folder: Folder,
    target_bytes: u64,
    frames: HashMap<ChunkDigest, Frame>,
    packs: Vec<Pack>,
    /// Packs that the image uses, by number.
    used: Vec<u32>,
    /// The pack being written; always the last of `packs`.
    open: Option<BlobWriter>,
}

impl Packs {
    /// No packs yet. New ones are closed when they reach `target_bytes`.
    pub(crate) fn new(folder: Folder, target_bytes: u64) -> Self {
        Self {
            folder,
            target_bytes,
            frames: HashMap::new(),
            packs: Vec::new(),
            used: Vec::new(),
            open: None,
        }
    }

    /// Takes note of a pack that the library has; returns its place.
    pub(crate) fn add_pack(&mut self, descriptor: Descriptor) -> u32 {
        let same = |pack: &Pack| pack.descriptor == Some(descriptor);
        if let Some(place) = self.packs.iter().position(same) {
            return place as u32;
        }
        self.packs.push(Pack { descriptor: Some(descriptor), number: None });
        self.packs.len() as u32 - 1
    }

    /// Takes note of a chunk in the pack at `place`. The first one known of the same bytes stays.
    pub(crate) fn add_chunk(&mut self, chunk: &StoredChunk, place: u32) {
        self.frames.entry(chunk.digest).or_insert(Frame {
            pack: place,
            crc32: chunk.crc32,
            offset_bytes: chunk.offset_bytes,
            stored_bytes: chunk.stored_bytes,
        });
    }

    /// Whether a chunk is stored already.
    pub(crate) fn holds(&self, digest: &ChunkDigest) -> bool {
        self.frames.contains_key(digest)
    }

    /// The index entry of a chunk that [`Packs::holds`].
    pub(crate) fn entry(&mut self, digest: &ChunkDigest) -> Chunk {
        let frame = *self.frames.get(digest).expect("only asked for chunks held");
        Chunk::Stored(StoredChunk {
            digest: *digest,
            crc32: frame.crc32,
            pack: self.number(frame.pack),
            offset_bytes: frame.offset_bytes,
            stored_bytes: frame.stored_bytes,
        })
    }

    /// Stores a chunk's frame.
    pub(crate) fn store(
        &mut self,
        digest: ChunkDigest,
        crc32: u32,
        frame: &[u8],
    ) -> Result<(), LibraryError> {
        let mut pack = match self.open.take() {
            Some(pack) => pack,
            None => self.begin()?,
        };
        let offset_bytes = pack.size_bytes();
        pack.append(frame)?;
        let place = self.packs.len() as u32 - 1;
        if pack.size_bytes() < self.target_bytes {
            self.open = Some(pack);
        } else {
            self.close(pack)?;
        }
        self.frames.insert(
            digest,
            Frame { pack: place, crc32, offset_bytes, stored_bytes: frame.len() as u32 },
        );
        Ok(())
    }

    /// Closes the last pack; returns those that the image uses, by number.
    pub(crate) fn finish(mut self) -> Result<Vec<Descriptor>, LibraryError> {
        if let Some(pack) = self.open.take() {
            self.close(pack)?;
        }
        let used = self.used.iter();
        Ok(used.filter_map(|&place| self.packs[place as usize].descriptor).collect())
    }

    fn begin(&mut self) -> Result<BlobWriter, LibraryError> {
        let pack = BlobWriter::new(&self.folder)?;
        self.packs.push(Pack { descriptor: None, number: None });
        Ok(pack)
    }

    fn close(&mut self, pack: BlobWriter) -> Result<(), LibraryError> {
        let descriptor = pack.finish()?;
        if let Some(last) = self.packs.last_mut() {
            last.descriptor = Some(descriptor);
        }
        Ok(())
    }

    fn number(&mut self, place: u32) -> u32 {
        let pack = &mut self.packs[place as usize];
        *pack.number.get_or_insert_with(|| {
            self.used.push(place);
            self.used.len() as u32 - 1
        })
    }
}
