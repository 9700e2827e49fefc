//! A zeroed buffer whose first byte lies on a multiple of a given alignment, as O_DIRECT asks of
//! the memory that it reads into or writes from.
//!
//! It needs no unsafe code: a `Vec` that is one alignment too long has an aligned window in it,
//! and a `Vec` that nobody can grow never moves.

use std::ops::{Deref, DerefMut};

/// Zeroed bytes at an aligned address; it derefs to exactly the length that was asked for.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Makes a buffer of `len_bytes` zeroes whose address is a multiple of `align_bytes`.
    ///
    /// # Panics
    /// If `align_bytes` is not a power of two, or the two do not fit the address space together.
    pub fn new(len_bytes: usize, align_bytes: usize) -> Self {
        assert!(
            align_bytes.is_power_of_two(),
            "an alignment of {align_bytes} bytes is not a power of two"
        );
        let bytes = vec![0; len_bytes + align_bytes];
        let misalignment = bytes.as_ptr().addr() % align_bytes;
        let start = (align_bytes - misalignment) % align_bytes;
        Self { bytes, start, len: len_bytes }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedBuffer;

    #[test]
    fn is_zeroed_and_aligned_at_every_length() {
        for align_bytes in [1, 512, 4096, 65536] {
            for len_bytes in [0, 1, 511, 4096, 1 << 20] {
                let buffer = AlignedBuffer::new(len_bytes, align_bytes);
                assert_eq!(buffer.len(), len_bytes);
                assert_eq!(buffer.as_ptr().addr() % align_bytes, 0);
                assert!(buffer.iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn stays_aligned_when_moved() {
        let mut boxed = vec![AlignedBuffer::new(4096, 4096)];
        boxed[0].fill(7);
        boxed.reserve(100);
        let buffer = boxed.remove(0);
        assert_eq!(buffer.as_ptr().addr() % 4096, 0);
        assert!(buffer.iter().all(|byte| *byte == 7));
    }
}
