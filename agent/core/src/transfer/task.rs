//! One job of a transfer on its way, and what is said of it.

use repave_image::{Chunk, ChunkDigest};

use super::TransferError;
use crate::edges::{Completion, LinkError, Look, Seen, Work};
use crate::event::Outcome;
use crate::mirrors::Mirrors;

/// What is done with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Find out whether the disk holds it.
    Compare,
    /// Make the disk hold it.
    Fill,
    /// Have the disk keep it, and others.
    Flush,
    /// Find out whether the disk kept it.
    Audit,
}

/// One chunk on its way, or several of zeroes that lie behind each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) aim: Aim,
    pub(super) chunk: u64,
    pub(super) chunks: u64,
    pub(super) content: Chunk,
    pub(super) offset_bytes: u64,
    pub(super) length_bytes: u32,
    pub(super) attempts: u32,
    /// The source asked last.
    pub(super) source: Option<usize>,
}

impl Task {
    /// What was written in this run is known by its CRC-32; what somebody else left there is not.
    pub(super) fn read(&self) -> Work {
        let look = match (self.content, self.aim) {
            (Chunk::Zero, _) => Look::Zero,
            (Chunk::Stored(_), Aim::Audit) => Look::Crc32,
            (Chunk::Stored(_), _) => Look::Digest,
        };
        Work::Read { offset_bytes: self.offset_bytes, length_bytes: self.length_bytes, look }
    }

    /// What a completion says of it, for the field log.
    pub(super) fn outcome(&self, completion: &Completion) -> Option<Outcome> {
        let Ok(seen) = &completion.outcome else {
            return Outcome::of_failure(completion);
        };
        let same = |is_same| if is_same { Outcome::Same } else { Outcome::Other };
        Some(match (*seen, self.content) {
            (Seen::Fetched { digest }, Chunk::Stored(stored)) if digest == stored.digest => {
                Outcome::Fetched
            }
            (Seen::Fetched { .. }, _) => Outcome::Lied,
            (Seen::Wrote, _) => Outcome::Wrote,
            (Seen::Zeroed { written_bytes }, _) => Outcome::Zeroed(written_bytes),
            (Seen::Flushed, _) => Outcome::Flushed,
            (Seen::Digest(found), Chunk::Stored(stored)) => same(found == stored.digest),
            (Seen::Crc32(found), Chunk::Stored(stored)) => same(found == stored.crc32),
            (Seen::Zero(is_zero), Chunk::Zero) => same(is_zero),
            _ => Outcome::Other,
        })
    }

    /// A source served wrong bytes.
    pub(super) fn lie(
        &self,
        mirrors: &Mirrors,
        wanted: &ChunkDigest,
        found: &ChunkDigest,
    ) -> LinkError {
        let peer = self.source.and_then(|source| mirrors.url(source));
        let chunk = self.chunk;
        let reason = format!("served chunk {chunk} with BLAKE3 {found} instead of {wanted}");
        LinkError::lie(peer.map_or("", String::as_str), reason)
    }

    pub(super) const fn wrong(&self, found: String) -> TransferError {
        TransferError::ReadBack {
            chunk: self.chunk,
            offset_bytes: self.offset_bytes,
            length_bytes: self.length_bytes,
            found,
        }
    }
}
