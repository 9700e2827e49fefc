//! Why a transfer was given up.

use thiserror::Error;

use crate::edges::{DeviceError, LinkError, Seen};
use crate::image::ImageError;

/// Why a transfer was given up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// No source gave a chunk, or none the right one.
    #[error("chunk {chunk} could not be had in {attempts} attempts over {sources} sources")]
    Unavailable {
        /// The chunk.
        chunk: u64,
        /// Attempts made.
        attempts: u32,
        /// Sources that the directive named.
        sources: usize,
        /// What the last one did.
        #[source]
        last: LinkError,
    },
    /// The disk failed.
    #[error("target disk failed")]
    Device(#[from] DeviceError),
    /// The disk took the bytes and gave back others.
    #[error(
        "{length_bytes} bytes at byte {offset_bytes} of the target disk read back wrong (chunk {chunk}: {found})"
    )]
    ReadBack {
        /// The chunk.
        chunk: u64,
        /// Where on the disk.
        offset_bytes: u64,
        /// How much.
        length_bytes: u32,
        /// What was read, in words.
        found: String,
    },
    /// An index page could not be had.
    #[error("chunk index failed")]
    Index(#[from] ImageError),
    /// The index and the manifest disagree about a chunk; both were checked, so the fault is ours.
    #[error("chunk {chunk} has no place in the image or its index")]
    NoPlace {
        /// The chunk.
        chunk: u64,
    },
    /// A worker answered something that was not asked.
    #[error("worker answered {seen:?} out of turn for chunk {chunk}")]
    OutOfTurn {
        /// The chunk.
        chunk: u64,
        /// The answer.
        seen: Seen,
    },
}
