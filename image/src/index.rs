//! The chunk index: which bytes every chunk of an image has and where they are stored. A small root
//! names pages by digest; pages have entries of fixed size. A reader holds the root and a page or
//! two, however large the image; a page of zeroes only is named and not stored.
//!
//! All numbers are little-endian. The blob is the root, then the stored pages in order.
//!
//! ```text
//! root   0 "RPAVEIDX"  8 version u32 = 2  12 chunk_bytes u32  16 chunks u64
//!       24 page_chunks u32  28 pages u32  32 SHA-256 of each page, zero = all its chunks are zero
//! entry  0 BLAKE3 of the plain bytes  32 CRC-32 of them u32  36 pack u32  40 offset in pack u64
//!       48 stored bytes u32  52 encoding u32 (1 = one zstd frame); all zero = a chunk of zeroes
//! ```

use repave_protocol::Sha256;

use crate::digest::ChunkDigest;
use crate::limits;
use crate::oci::Descriptor;
use crate::refusal::IndexRefusal;
use crate::valid::ValidManifest;

const MAGIC: &[u8; 8] = b"RPAVEIDX";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;
const ENTRY_BYTES: usize = 56;
const ZERO_ENTRY: [u8; ENTRY_BYTES] = [0; ENTRY_BYTES];
const ZERO_PAGE: [u8; DIGEST_BYTES] = [0; DIGEST_BYTES];
/// One zstd frame (RFC 8878). Its plain length is not in the entry: the chunk's place decides it.
const ENCODING_ZSTD: u32 = 1;

/// What one chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Zeroes; nothing is stored.
    Zero,
    /// These bytes.
    Stored(StoredChunk),
}

/// A chunk that is not all zero, and where its one zstd frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// Of the plain bytes.
    pub digest: ChunkDigest,
    /// CRC-32 (IEEE) of the plain bytes, for the read-back.
    pub crc32: u32,
    /// Which of the image's packs, by place in the OCI manifest.
    pub pack: u32,
    /// Where its frame begins in that pack.
    pub offset_bytes: u64,
    /// Length of its frame.
    pub stored_bytes: u32,
}

/// Pages that `chunks` take.
pub const fn pages_of(chunks: u64, page_chunks: u32) -> u64 {
    chunks.div_ceil(page_chunks as u64)
}

/// Size of the root of an index of so many chunks.
pub const fn root_bytes_of(chunks: u64, page_chunks: u32) -> u64 {
    HEADER_BYTES as u64 + pages_of(chunks, page_chunks) * DIGEST_BYTES as u64
}

/// The index's root: the manifest's numbers again, and the digest of every page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRoot {
    chunk_bytes: u32,
    chunks: u64,
    page_chunks: u32,
    /// Digest, and how many stored pages come before it.
    pages: Vec<Option<(Sha256, u64)>>,
}

/// Where a page lies in the index blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageReference {
    /// From the blob's start.
    pub offset_bytes: u64,
    /// Its length.
    pub len_bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl IndexRoot {
    /// From the first `index.root_bytes` bytes of the index blob.
    pub fn parse(bytes: &[u8], manifest: &ValidManifest) -> Result<Self, IndexRefusal> {
        let manifest = manifest.manifest();
        let index = &manifest.index;
        pinned("root", bytes, index.root_bytes, index.root_sha256)?;
        let (header, digests) = bytes.split_at(HEADER_BYTES);
        if !header.starts_with(MAGIC) {
            return Err(IndexRefusal::BadMagic);
        }
        let version = u32_at(header, 8);
        if version != VERSION {
            return Err(IndexRefusal::OtherVersion { found: version, known: VERSION });
        }
        let pages = pages_of(index.chunks, index.page_chunks);
        let fields = [
            ("chunk size", u32_at(header, 12).into(), manifest.chunk_bytes.into()),
            ("chunks", u64_at(header, 16), index.chunks),
            ("page size", u32_at(header, 24).into(), index.page_chunks.into()),
            ("pages", u32_at(header, 28).into(), pages),
        ];
        for (what, found, wanted) in fields {
            if found != wanted {
                return Err(IndexRefusal::BadField { what, found, wanted });
            }
        }
        let mut stored = 0;
        let pages = digests.chunks_exact(DIGEST_BYTES).map(|digest| {
            let digest = array::<DIGEST_BYTES>(digest);
            (digest != ZERO_PAGE).then(|| {
                stored += 1;
                (Sha256::from_bytes(digest), stored - 1)
            })
        });
        Ok(Self {
            chunk_bytes: manifest.chunk_bytes,
            chunks: index.chunks,
            page_chunks: index.page_chunks,
            pages: pages.collect(),
        })
    }

    /// Pages of the index, stored or not.
    pub const fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// The page that has a chunk's entry.
    pub const fn page_of(&self, chunk: u64) -> u64 {
        chunk / self.page_chunks as u64
    }

    /// Where a page is stored; `None` if all its chunks are zero (or there is no such page).
    pub fn page(&self, page: u64) -> Option<PageReference> {
        let (sha256, before) = (*self.pages.get(usize::try_from(page).ok()?)?)?;
        let full_page_bytes = u64::from(self.page_chunks) * ENTRY_BYTES as u64;
        let root_bytes = root_bytes_of(self.chunks, self.page_chunks);
        Some(PageReference {
            offset_bytes: root_bytes + before * full_page_bytes,
            len_bytes: self.entries_of(page) * ENTRY_BYTES as u64,
            sha256,
        })
    }

    /// From a stored page's bytes. Every entry is checked against `packs`, the OCI manifest's.
    pub fn parse_page(
        &self,
        page: u64,
        bytes: Vec<u8>,
        packs: &[Descriptor],
    ) -> Result<IndexPage, IndexRefusal> {
        let reference = self.page(page).ok_or(IndexRefusal::NoSuchPage { page })?;
        let what = format!("page {page}");
        pinned(&what, &bytes, reference.len_bytes, reference.sha256)?;
        let first_chunk = page * u64::from(self.page_chunks);
        for (chunk, entry) in (first_chunk..).zip(bytes.chunks_exact(ENTRY_BYTES)) {
            if entry != ZERO_ENTRY {
                self.check_entry(chunk, entry, packs)?;
            }
        }
        Ok(IndexPage { first_chunk, bytes })
    }

    fn entries_of(&self, page: u64) -> u64 {
        let before = page * u64::from(self.page_chunks);
        u64::from(self.page_chunks).min(self.chunks - before)
    }

    fn check_entry(
        &self,
        chunk: u64,
        entry: &[u8],
        packs: &[Descriptor],
    ) -> Result<(), IndexRefusal> {
        let encoding = u32_at(entry, 52);
        if encoding != ENCODING_ZSTD {
            return Err(IndexRefusal::UnknownEncoding { chunk, encoding });
        }
        let stored = decode_entry(entry);
        let StoredChunk { pack, offset_bytes, stored_bytes, .. } = stored;
        let limit = limits::stored_bytes(self.chunk_bytes);
        if !(1..=limit).contains(&stored_bytes) {
            return Err(IndexRefusal::BadStoredBytes { chunk, stored_bytes, limit });
        }
        let Some(pack_bytes) = packs.get(pack as usize).map(|p| p.size_bytes) else {
            return Err(IndexRefusal::NoSuchPack { chunk, pack, packs: packs.len() });
        };
        let end = offset_bytes.checked_add(stored_bytes.into());
        if end.is_none_or(|end| end > pack_bytes) {
            return Err(IndexRefusal::OutsidePack {
                chunk,
                pack,
                offset_bytes,
                stored_bytes,
                pack_bytes,
            });
        }
        Ok(())
    }
}

/// One page whose entries have all been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPage {
    first_chunk: u64,
    bytes: Vec<u8>,
}

impl IndexPage {
    /// Number of its first chunk.
    pub const fn first_chunk(&self) -> u64 {
        self.first_chunk
    }

    /// What a chunk of the image holds; `None` if its entry is on another page.
    pub fn chunk(&self, chunk: u64) -> Option<Chunk> {
        let place = usize::try_from(chunk.checked_sub(self.first_chunk)?).ok()?;
        let entry = self.bytes.chunks_exact(ENTRY_BYTES).nth(place)?;
        Some(if entry == ZERO_ENTRY { Chunk::Zero } else { Chunk::Stored(decode_entry(entry)) })
    }
}

/// Bytes of a page; `None` if all its chunks are zero and it is not stored.
pub fn encode_page(chunks: &[Chunk]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; chunks.len() * ENTRY_BYTES];
    let mut stored = false;
    for (entry, chunk) in bytes.chunks_exact_mut(ENTRY_BYTES).zip(chunks) {
        if let Chunk::Stored(chunk) = chunk {
            encode_entry(chunk, entry);
            stored = true;
        }
    }
    stored.then_some(bytes)
}

/// Bytes of the root of an index with these page digests, `None` for a page that is not stored.
pub fn encode_root(
    chunk_bytes: u32,
    chunks: u64,
    page_chunks: u32,
    pages: &[Option<Sha256>],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + pages.len() * DIGEST_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&chunk_bytes.to_le_bytes());
    bytes.extend_from_slice(&chunks.to_le_bytes());
    bytes.extend_from_slice(&page_chunks.to_le_bytes());
    bytes.extend_from_slice(&(pages.len() as u32).to_le_bytes());
    for page in pages {
        bytes.extend_from_slice(page.as_ref().map_or(&ZERO_PAGE, |page| page.as_bytes()));
    }
    bytes
}

fn encode_entry(chunk: &StoredChunk, entry: &mut [u8]) {
    entry[..32].copy_from_slice(chunk.digest.as_bytes());
    entry[32..36].copy_from_slice(&chunk.crc32.to_le_bytes());
    entry[36..40].copy_from_slice(&chunk.pack.to_le_bytes());
    entry[40..48].copy_from_slice(&chunk.offset_bytes.to_le_bytes());
    entry[48..52].copy_from_slice(&chunk.stored_bytes.to_le_bytes());
    entry[52..].copy_from_slice(&ENCODING_ZSTD.to_le_bytes());
}

fn decode_entry(entry: &[u8]) -> StoredChunk {
    StoredChunk {
        digest: ChunkDigest::from_bytes(array(&entry[..32])),
        crc32: u32_at(entry, 32),
        pack: u32_at(entry, 36),
        offset_bytes: u64_at(entry, 40),
        stored_bytes: u32_at(entry, 48),
    }
}

/// Refuses bytes of another length or digest than pinned; the length first, so that nobody hashes
/// more than was promised.
fn pinned(what: &str, bytes: &[u8], len_bytes: u64, sha256: Sha256) -> Result<(), IndexRefusal> {
    let found = bytes.len() as u64;
    if found != len_bytes {
        return Err(IndexRefusal::BadLength { what: what.into(), found, wanted: len_bytes });
    }
    let found = Sha256::of(bytes);
    if found != sha256 {
        return Err(IndexRefusal::BadDigest { what: what.into(), found, wanted: sha256 });
    }
    Ok(())
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(&bytes[at..]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(&bytes[at..]))
}
