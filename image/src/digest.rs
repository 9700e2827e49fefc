//! What a chunk is known by. BLAKE3, since the agent hashes every byte that it writes (decision 0024);
//! blobs are known by SHA-256, as OCI has it.

use std::fmt;

use repave_protocol::to_hex;

/// BLAKE3, 256 bits, of a chunk's plain bytes. Comparison is by bytes; it is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkDigest([u8; ChunkDigest::BYTES]);

impl ChunkDigest {
    /// Its length.
    pub const BYTES: usize = 32;

    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkDigest;

    #[test]
    fn known_answers() {
        // The reference test vectors of BLAKE3: bytes that count from 0 to 250 again and again, of no
        // length, of one chunk of the hash's own tree, and of enough of them for every SIMD path.
        let digest = |length: usize| {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            ChunkDigest::of(&bytes).to_string()
        };
        for (length, expected) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ] {
            assert_eq!(digest(length), expected, "{length} bytes");
        }
    }
}
