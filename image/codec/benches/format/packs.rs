//! Pack size: packs that an image refers to, requests that a fresh write takes, and what stays in the
//! library when the first image is gone but others still use a part of its packs. Chunks are put on
//! the shelf as an import does: each once, in the order of the image, new packs for each image.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use repave_image::{Chunk, ChunkDigest, Descriptor, StoredChunk};
use repave_protocol::Sha256;
use serde_json::json;
use zstd::bulk::Compressor;

use crate::images::{Raw, is_zero};
use crate::table::{Report, Row, mib};
use crate::{USUAL_CHUNK_BYTES, USUAL_LEVEL};

/// Most chunks that one request of the agent brings.
pub(crate) const RUN_CHUNKS: u64 = 8;

const PACK_BYTES: [u64; 5] = [4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30];
const USUAL_PACK_BYTES: u64 = 64 << 20;

/// Packs, and where each chunk is in them.
#[derive(Default)]
pub(crate) struct Shelf {
    packs: Vec<u64>,
    places: HashMap<ChunkDigest, StoredChunk>,
    /// The chunks of each image.
    images: Vec<Vec<Chunk>>,
}

/// A chunk that is not zero: its digest, its CRC-32 and the length of its frame.
type Frame = (ChunkDigest, u32, u32);

/// Returns the shelf with packs of the usual size.
pub(crate) fn measure(images: &[Raw], report: &mut Report) -> Result<Shelf> {
    let mut known = HashMap::new();
    let frames: Vec<Vec<Option<Frame>>> =
        images.iter().map(|image| frames(image, &mut known)).collect::<Result<_>>()?;
    let mut usual = Shelf::default();
    let mut rows = Vec::new();
    for pack_bytes in PACK_BYTES {
        let mut shelf = Shelf::default();
        for (image, frames) in images.iter().zip(&frames) {
            shelf.store(frames, pack_bytes);
            rows.push(shelf.row(image, pack_bytes));
        }
        if pack_bytes == USUAL_PACK_BYTES {
            usual = shelf;
        }
    }
    report.add("pack size", rows);
    Ok(usual)
}

fn frames(image: &Raw, known: &mut HashMap<ChunkDigest, Frame>) -> Result<Vec<Option<Frame>>> {
    let mut compressor = Compressor::new(USUAL_LEVEL)?;
    let mut frames = Vec::new();
    image.each_chunk(USUAL_CHUNK_BYTES, |_, bytes| {
        if is_zero(&bytes) {
            frames.push(None);
            return Ok(());
        }
        let digest = ChunkDigest::of(&bytes);
        let frame = match known.get(&digest) {
            Some(frame) => *frame,
            None => {
                let stored_bytes = compressor.compress(&bytes)?.len() as u32;
                (digest, crc32fast::hash(&bytes), stored_bytes)
            }
        };
        known.insert(digest, frame);
        frames.push(Some(frame));
        Ok(())
    })?;
    Ok(frames)
}

impl Shelf {
    /// The first image's chunks.
    pub(crate) fn first(&self) -> &[Chunk] {
        &self.images[0]
    }

    /// The packs, by length: what they hold is of no matter to an index.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        let sha256 = Sha256::of(b"");
        self.packs.iter().map(|&size_bytes| Descriptor { sha256, size_bytes }).collect()
    }

    fn store(&mut self, frames: &[Option<Frame>], pack_bytes: u64) {
        let mut is_open = false;
        let mut chunks = Vec::with_capacity(frames.len());
        for frame in frames {
            let Some((digest, crc32, stored_bytes)) = *frame else {
                chunks.push(Chunk::Zero);
                continue;
            };
            if !self.places.contains_key(&digest) {
                if !is_open {
                    self.packs.push(0);
                }
                let pack = self.packs.len() as u32 - 1;
                let size_bytes = &mut self.packs[pack as usize];
                let offset_bytes = *size_bytes;
                let place = StoredChunk { digest, crc32, pack, offset_bytes, stored_bytes };
                *size_bytes += u64::from(stored_bytes);
                is_open = *size_bytes < pack_bytes;
                self.places.insert(digest, place);
            }
            chunks.push(Chunk::Stored(self.places[&digest]));
        }
        self.images.push(chunks);
    }

    /// What is to be said of the image that was stored last.
    fn row(&self, image: &Raw, pack_bytes: u64) -> Row {
        let mut used: BTreeMap<u32, HashMap<u64, u32>> = BTreeMap::new();
        let (mut requests, mut run, mut last) = (0, 0, None);
        for chunk in self.images.last().into_iter().flatten() {
            let Chunk::Stored(chunk) = chunk else { continue };
            used.entry(chunk.pack).or_default().insert(chunk.offset_bytes, chunk.stored_bytes);
            let follows = last == Some((chunk.pack, chunk.offset_bytes)) && run < RUN_CHUNKS;
            run = if follows { run + 1 } else { 1 };
            requests += u64::from(run == 1);
            last = Some((chunk.pack, chunk.offset_bytes + u64::from(chunk.stored_bytes)));
        }
        let kept: u64 = used.keys().map(|pack| self.packs[*pack as usize]).sum();
        let live: u64 =
            used.values().flat_map(HashMap::values).map(|&bytes| u64::from(bytes)).sum();
        vec![
            ("pack MiB", json!(pack_bytes >> 20)),
            ("packs", json!(used.len())),
            ("requests", json!(requests)),
            ("kept MiB", json!(mib(kept))),
            ("of no use MiB", json!(mib(kept - live))),
            ("image", json!(image.name())),
        ]
    }
}
