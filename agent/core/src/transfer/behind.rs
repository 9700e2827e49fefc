//! Reading back behind the writing. What was written is flushed in stretches, and while the next one
//! is written, the last is read past the cache and compared. What was right counts as held, as if it
//! had been right before; whatever was not read back is left to the audit that follows the writing.

use std::collections::VecDeque;

use repave_image::{Chunk, IndexReference};
use repave_protocol::Disk;

/// Longest stretch. Shorter ones would make a disk flush for its own sake.
const STRETCH_MOST_BYTES: u64 = 64 << 20;
/// Fewest stretches of an image; one would be an audit that follows the writing.
const STRETCHES_LEAST: u64 = 4;
/// Most stretches that wait to be flushed. Where reading falls further behind, what is written is left
/// to the audit: the list must not grow with the image.
const WAITING_MOST: u64 = 4;
/// The part of the buffers that read; the others go on fetching and writing.
const READERS_SHARE: usize = 4;

/// Whether a disk can read while it writes without losing more than is won: no arm has to go from
/// one place to the other. A virtual disk calls itself rotational whatever it lies on.
pub fn reads_behind(disk: &Disk) -> bool {
    !disk.rotational || disk.bus == "virtio"
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Have the disk keep what was written, this chunk and others.
    Flush(u64),
    /// Read this chunk back, which should hold this.
    Read(u64, Chunk),
}

/// Chunks that lie behind each other and hold the same.
#[derive(Clone, Copy, Debug)]
struct Piece {
    chunk: u64,
    chunks: u64,
    content: Chunk,
}

/// What was written and not yet read back.
#[derive(Debug)]
pub(super) struct Behind {
    stretch_chunks: u64,
    written: Vec<Piece>,
    written_chunks: u64,
    flushed: VecDeque<Piece>,
    is_flushing: bool,
    /// How many reads are under way.
    reading: usize,
}

impl Behind {
    pub(super) fn new(index: &IndexReference, chunk_bytes: u32) -> Self {
        let most = STRETCH_MOST_BYTES / u64::from(chunk_bytes);
        Self {
            stretch_chunks: most.min(index.chunks / STRETCHES_LEAST).max(1),
            written: Vec::new(),
            written_chunks: 0,
            flushed: VecDeque::new(),
            is_flushing: false,
            reading: 0,
        }
    }

    /// Chunks were written.
    pub(super) fn wrote(&mut self, chunk: u64, chunks: u64, content: Chunk) {
        if self.written_chunks < WAITING_MOST * self.stretch_chunks {
            self.written_chunks += chunks;
            self.written.push(Piece { chunk, chunks, content });
        }
    }

    /// What is to be done before more is written, with so many buffers in all.
    pub(super) fn next(&mut self, slots: usize) -> Option<Step> {
        if self.is_flushing {
            return None;
        }
        if let Some(piece) = self.flushed.front_mut() {
            if self.reading >= (slots / READERS_SHARE).max(1) {
                return None;
            }
            let step = Step::Read(piece.chunk, piece.content);
            (piece.chunk, piece.chunks) = (piece.chunk + 1, piece.chunks - 1);
            if piece.chunks == 0 {
                self.flushed.pop_front();
            }
            self.reading += 1;
            return Some(step);
        }
        if self.written_chunks < self.stretch_chunks {
            return None;
        }
        self.flushed = std::mem::take(&mut self.written).into();
        self.written_chunks = 0;
        self.is_flushing = true;
        self.flushed.front().map(|piece| Step::Flush(piece.chunk))
    }

    /// The disk keeps what was written before it was asked.
    pub(super) const fn keeps(&mut self) {
        self.is_flushing = false;
    }

    /// A read has ended.
    pub(super) const fn has_read(&mut self) {
        self.reading -= 1;
    }
}

#[cfg(test)]
mod tests {
    use repave_image::{Chunk, IndexReference};
    use repave_protocol::{Disk, Sha256};

    use super::{Behind, STRETCH_MOST_BYTES, Step, WAITING_MOST, reads_behind};

    const CHUNK_BYTES: u32 = 256 << 10;

    fn of_chunks(chunks: u64) -> Behind {
        let root_sha256 = Sha256::of(b"");
        let index = IndexReference { root_bytes: 0, root_sha256, chunks, page_chunks: 8 };
        Behind::new(&index, CHUNK_BYTES)
    }

    #[test]
    fn a_stretch_is_flushed_before_it_is_read_a_chunk_at_a_time() {
        let mut behind = of_chunks(16);
        behind.wrote(3, 3, Chunk::Zero);
        assert_eq!(behind.next(8), None, "a stretch has a quarter of the chunks");
        behind.wrote(9, 1, Chunk::Zero);
        assert_eq!(behind.next(8), Some(Step::Flush(3)));
        assert_eq!(behind.next(8), None, "it is not flushed yet");
        behind.keeps();
        assert_eq!(behind.next(8), Some(Step::Read(3, Chunk::Zero)));
        assert_eq!(behind.next(8), Some(Step::Read(4, Chunk::Zero)));
        assert_eq!(behind.next(8), None, "a quarter of the buffers read");
        behind.has_read();
        assert_eq!(behind.next(8), Some(Step::Read(5, Chunk::Zero)));
        behind.has_read();
        assert_eq!(behind.next(8), Some(Step::Read(9, Chunk::Zero)));
        behind.has_read();
        assert_eq!(behind.next(8), None, "nothing else was written");
    }

    #[test]
    fn what_waits_has_a_limit() {
        let chunks = 1 << 20;
        let stretch_chunks = STRETCH_MOST_BYTES / u64::from(CHUNK_BYTES);
        let mut behind = of_chunks(chunks);
        (0..chunks).for_each(|chunk| behind.wrote(chunk, 1, Chunk::Zero));
        assert_eq!(behind.written.len() as u64, WAITING_MOST * stretch_chunks);
        assert_eq!(behind.next(8), Some(Step::Flush(0)));
        behind.wrote(7, 1, Chunk::Zero);
        assert_eq!(behind.written.len(), 1, "there is room again");
    }

    #[test]
    fn what_turns_is_read_afterwards() {
        let disk = |rotational, bus: &str| Disk { rotational, bus: bus.into(), ..Disk::default() };
        assert!(reads_behind(&disk(false, "nvme")));
        assert!(reads_behind(&disk(true, "virtio")));
        assert!(!reads_behind(&disk(true, "ata")));
    }
}
