//! One chunk from plain to stored bytes and back. Where it goes and where it came from is not
//! known here.

use std::io;

use repave_image::{ChunkDigest, limits};
use zstd::bulk::{Compressor, Decompressor};

/// Size of the chunks that the importer makes.
pub const CHUNK_BYTES: u32 = 256 * 1024;
/// zstd's own default; its frames inflate at the same speed as those of higher levels.
const LEVEL: i32 = 3;

/// What became of a chunk's plain bytes.
pub(crate) enum Encoded {
    /// They are all zero.
    Zero,
    /// They are in the library already.
    Known(ChunkDigest),
    /// One zstd frame.
    New {
        /// Of the plain bytes.
        digest: ChunkDigest,
        /// Of the plain bytes.
        crc32: u32,
        /// The frame.
        frame: Vec<u8>,
    },
}

/// Encodes chunks, one after the other; each thread has its own.
pub(crate) struct Encoder(Compressor<'static>);

impl Encoder {
    pub(crate) fn new() -> io::Result<Self> {
        Compressor::new(LEVEL).map(Self)
    }

    /// Encodes `plain`, unless it is all zero or `known` says that it need not.
    pub(crate) fn encode(
        &mut self,
        plain: &[u8],
        known: impl Fn(&ChunkDigest) -> bool,
    ) -> io::Result<Encoded> {
        if is_zero(plain) {
            return Ok(Encoded::Zero);
        }
        let digest = ChunkDigest::of(plain);
        if known(&digest) {
            return Ok(Encoded::Known(digest));
        }
        let frame = self.0.compress(plain)?;
        debug_assert!(frame.len() as u64 <= u64::from(limits::stored_bytes(limits::CHUNK_BYTES)));
        Ok(Encoded::New { digest, crc32: crc32fast::hash(plain), frame })
    }
}

/// Inflates one stored chunk into exactly `plain.len()` bytes; a frame of fewer or more is an
/// error. Whether they are the right bytes is for their digest to say.
pub fn decode_chunk(stored: &[u8], plain: &mut [u8]) -> io::Result<()> {
    let found = Decompressor::new()?.decompress_to_buffer(stored, plain)?;
    if found == plain.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("frame inflates to {found} bytes instead of {}", plain.len()),
    ))
}

/// Whether all bytes are zero, by the kilobyte: comparing two pieces of memory is what every
/// machine does best.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 1024] = [0; 1024];
    bytes.chunks(ZEROES.len()).all(|part| *part == ZEROES[..part.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(plain: &[u8]) -> Encoded {
        Encoder::new().unwrap().encode(plain, |_| false).unwrap()
    }

    #[test]
    fn back_and_forth_and_not_a_byte_more() {
        let plain: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let Encoded::New { digest, crc32, frame } = encode(&plain) else {
            panic!("these bytes are neither zero nor known");
        };
        assert_eq!(digest, ChunkDigest::of(&plain));
        assert_eq!(crc32, crc32fast::hash(&plain));
        let mut out = vec![0; plain.len()];
        decode_chunk(&frame, &mut out).unwrap();
        assert_eq!(out, plain);
        decode_chunk(&frame, &mut vec![0; plain.len() - 1]).unwrap_err();
        decode_chunk(&frame, &mut vec![0; plain.len() + 1]).unwrap_err();
        decode_chunk(&frame[..frame.len() - 1], &mut out).unwrap_err();
    }

    #[test]
    fn one_bit_is_not_zero() {
        let mut plain = vec![0; 5000];
        assert!(matches!(encode(&plain), Encoded::Zero));
        for at in [0, 1023, 1024, 4999] {
            plain[at] = 0x80;
            assert!(matches!(encode(&plain), Encoded::New { .. }), "{at}");
            plain[at] = 0;
        }
    }
}
