//! Every limit of an image, in one place. What exceeds one is refused by name.

/// Largest image manifest (OCI config), in bytes.
pub const MANIFEST_BYTES: usize = 256 * 1024;
/// Largest OCI manifest, in bytes; with the most packs it takes about 160 KiB.
pub const OCI_MANIFEST_BYTES: usize = 1024 * 1024;
/// Largest `index.json` of a library, in bytes: some ten thousand images.
pub const LAYOUT_BYTES: usize = 4 * 1024 * 1024;
/// Largest root of a chunk index, in bytes: 32 TiB of pages of 4096 chunks of 256 KiB.
pub const INDEX_ROOT_BYTES: usize = 1024 * 1024 + 32;
/// Most chunks in one page of the index: an agent holds one or two pages of 224 KiB.
pub const PAGE_CHUNKS: u32 = 4096;
/// Smallest chunk, in bytes.
pub const CHUNK_BYTES_LEAST: u32 = 64 * 1024;
/// Largest chunk, in bytes.
pub const CHUNK_BYTES: u32 = 4 * 1024 * 1024;
/// Most packs that one image may refer to; an image that would need more is repacked.
pub const PACKS: usize = 1024;
/// Most bytes of all partitions together: 64 TiB.
pub const IMAGE_BYTES: u64 = 64 << 40;
/// Most partitions of an image.
pub const PARTITIONS: usize = 32;
/// Longest partition name, in UTF-16 code units (UEFI 2.10, 5.3.3: 36 with no terminator needed).
pub const PARTITION_NAME_UNITS: usize = 36;
/// Longest path of an EFI program, kernel or initrd, in bytes.
pub const PATH_BYTES: usize = 255;
/// Longest kernel command line or load options, in bytes (x86: COMMAND_LINE_SIZE is 2048).
pub const OPTIONS_BYTES: usize = 2047;
/// Most path prefixes in a settings policy.
pub const PREFIXES: usize = 64;
/// Longest file-system UUID as text, in bytes.
pub const UUID_BYTES: usize = 36;

/// Most bytes that one stored chunk of `chunk_bytes` may take: incompressible data grows by less
/// than this (zstd's own bound is 1/256 and some bytes).
pub const fn stored_bytes(chunk_bytes: u32) -> u32 {
    chunk_bytes + chunk_bytes / 128 + 512
}
