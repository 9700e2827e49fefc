//! Chunks and index of one image, written while its source streams by, a few megabytes at a time.

use std::io;
use std::sync::Arc;

use repave_image::{Chunk, ChunkDigest, ValidManifest};

use crate::chunk::{Encoded, Encoder};
use crate::error::ImportError;
use crate::examine::unreadable;
use crate::import::{Progress, Summary};
use crate::index_writer::IndexWriter;
use crate::packs::Packs;
use crate::parallel;
use crate::source::Source;

/// Chunks that one core works on before what it made is written.
const BATCH_CHUNKS_PER_CORE: usize = 32;

/// Writes an image's chunks and index while the source streams by.
pub(crate) struct ChunkWriter<'a> {
    pub(crate) source: &'a Arc<dyn Source>,
    /// Where each partition begins in the source.
    pub(crate) starts: &'a [u64],
    pub(crate) packs: Packs,
    pub(crate) index: IndexWriter,
    pub(crate) summary: Summary,
}

impl ChunkWriter<'_> {
    /// Everything, from the first chunk to the last.
    pub(crate) fn write_all(
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
            encoder.encode(&plain, |digest| packs.holds(digest))
        });
        for (encoded, &(offset_bytes, len)) in encoded.into_iter().zip(places) {
            let encoded = encoded.map_err(|e| unreadable(offset_bytes, len.into(), e))?;
            self.write_chunk(encoded, len)?;
        }
        Ok(())
    }

    fn write_chunk(&mut self, encoded: Encoded, len_bytes: u32) -> Result<(), ImportError> {
        let digest = match encoded {
            Encoded::Zero => return self.push_zeroes(1),
            Encoded::Known(digest) => self.reused(digest, len_bytes),
            // Its twin was in the same batch.
            Encoded::New { digest, .. } if self.packs.holds(&digest) => {
                self.reused(digest, len_bytes)
            }
            Encoded::New { digest, crc32, frame } => {
                self.packs.store(digest, crc32, &frame)?;
                self.summary.new_chunks += 1;
                self.summary.new_bytes += u64::from(len_bytes);
                self.summary.stored_bytes += frame.len() as u64;
                digest
            }
        };
        Ok(self.index.push(self.packs.entry(&digest))?)
    }

    fn reused(&mut self, digest: ChunkDigest, len_bytes: u32) -> ChunkDigest {
        self.summary.reused_chunks += 1;
        self.summary.reused_bytes += u64::from(len_bytes);
        digest
    }
}
