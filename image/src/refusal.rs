//! Why an image is not believed: one name per lie, so that a status, a log and a test can say which
//! one it was. What a message of the wire is refused for is in the protocol crate.

use repave_protocol::{Refusal, Sha256};
use thiserror::Error;

/// Why a manifest is not one. The fault is the image's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestRefusal {
    /// Not the JSON that a manifest is.
    #[error("image manifest is not acceptable JSON")]
    Json(#[from] Refusal),
    /// It demands something that this version does not know.
    #[error("image manifest requires {name:?} to be understood, which this version does not")]
    UnknownCritical {
        /// The feature.
        name: String,
    },
    /// A text that does not have its form.
    #[error("{what} {text:?} does not have the form of one")]
    BadText {
        /// Which field.
        what: &'static str,
        /// What it holds.
        text: String,
    },
    /// A number that is none of those allowed.
    #[error("{what} is {found}, which is not {wanted}")]
    BadNumber {
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// What it may be.
        wanted: &'static str,
    },
    /// A list that is empty or too long.
    #[error("{what}: {found} of them, not 1 to {limit}")]
    BadCount {
        /// Which list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Two partitions share what must tell them apart.
    #[error("two partitions have the {what} {value}")]
    Duplicate {
        /// What they share.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A partition with an all-zero GUID, which GPT keeps for unused entries.
    #[error("partition {partition:?} has an all-zero {what}")]
    NilGuid {
        /// The partition.
        partition: String,
        /// Which GUID.
        what: &'static str,
    },
    /// A partition of no bytes, or of a part of a block.
    #[error(
        "partition {partition:?} has {size_bytes} bytes, not a multiple of the block of {block_bytes} bytes above zero"
    )]
    BadSize {
        /// The partition.
        partition: String,
        /// Its size.
        size_bytes: u64,
        /// The image's logical block.
        block_bytes: u32,
    },
    /// All partitions together are more than an image may have.
    #[error("the partitions up to {partition:?} exceed {limit_bytes} bytes")]
    TooLarge {
        /// The partition that goes beyond it.
        partition: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A partition's chunks do not begin where those before it end.
    #[error(
        "partition {partition:?} claims to begin at chunk {found}, the partitions before it end at {wanted}"
    )]
    BadFirstChunk {
        /// The partition.
        partition: String,
        /// What the manifest says.
        found: u64,
        /// What follows from the sizes.
        wanted: u64,
    },
    /// The index it names has another size than its partitions need.
    #[error("{what} is {found}, the partitions need {wanted}")]
    BadIndex {
        /// Which field.
        what: &'static str,
        /// What the manifest says.
        found: u64,
        /// What follows from the sizes.
        wanted: u64,
    },
    /// It looks like our own default side, which is never a target.
    #[error("partition {partition:?} belongs to a default image, which cannot be a target")]
    DefaultImage {
        /// The partition.
        partition: String,
    },
    /// It refers to a partition that it does not have.
    #[error("{what} names partition {partition:?}, which the image does not have")]
    NoSuchPartition {
        /// Who refers to it.
        what: &'static str,
        /// The name.
        partition: String,
    },
    /// An EFI path on a partition that no firmware can read.
    #[error("EFI path {efi_path:?} is on partition {partition:?}, which is not FAT")]
    NotFat {
        /// The path.
        efi_path: String,
        /// The partition.
        partition: String,
    },
    /// Neither the firmware nor kexec could start it.
    #[error("the image has neither an EFI path nor a kernel for kexec")]
    Unbootable,
    /// Settings for a partition without a file system that they could be written into.
    #[error("settings name partition {partition:?}, which holds no Linux file system")]
    NotConfigurable {
        /// The partition.
        partition: String,
    },
}

impl ManifestRefusal {
    /// The refusal's stable name, for statuses, counters and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(refusal) => refusal.code(),
            Self::UnknownCritical { .. } => "unknown-critical",
            Self::BadText { .. } => "bad-text",
            Self::BadNumber { .. } => "bad-number",
            Self::BadCount { .. } => "bad-count",
            Self::Duplicate { .. } => "duplicate",
            Self::NilGuid { .. } => "nil-guid",
            Self::BadSize { .. } => "bad-size",
            Self::TooLarge { .. } => "too-large",
            Self::BadFirstChunk { .. } => "bad-first-chunk",
            Self::BadIndex { .. } => "bad-index",
            Self::DefaultImage { .. } => "default-image",
            Self::NoSuchPartition { .. } => "no-such-partition",
            Self::NotFat { .. } => "not-fat",
            Self::Unbootable => "unbootable",
            Self::NotConfigurable { .. } => "not-configurable",
        }
    }
}

/// Why an index is not the one that its manifest promises. The fault is the image's or, for a
/// digest, the source's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IndexRefusal {
    /// Too short or too long.
    #[error("{what} of the chunk index has {found} bytes instead of {wanted}")]
    BadLength {
        /// Root or which page.
        what: String,
        /// Its size.
        found: u64,
        /// What it must be.
        wanted: u64,
    },
    /// Other bytes than those pinned.
    #[error("{what} of the chunk index has SHA-256 {found} instead of {wanted}")]
    BadDigest {
        /// Root or which page.
        what: String,
        /// Of the bytes at hand.
        found: Sha256,
        /// As pinned.
        wanted: Sha256,
    },
    /// Not an index.
    #[error("the chunk index does not begin with its magic")]
    BadMagic,
    /// Made for another release.
    #[error(
        "chunk index of version {found}, and this release knows {known}: import the image again"
    )]
    OtherVersion {
        /// Its version.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// A field of the root that contradicts the manifest.
    #[error("chunk index has {what} {found} instead of {wanted}")]
    BadField {
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u64,
        /// What it must hold.
        wanted: u64,
    },
    /// No such page, or one that is not stored.
    #[error("the chunk index stores no page {page}")]
    NoSuchPage {
        /// The page.
        page: u64,
    },
    /// An entry names a pack that the image does not have.
    #[error("chunk {chunk} is in pack {pack}, the image has {packs} packs")]
    NoSuchPack {
        /// The chunk.
        chunk: u64,
        /// The pack it names.
        pack: u32,
        /// How many there are.
        packs: usize,
    },
    /// An entry names bytes outside its pack.
    #[error(
        "chunk {chunk} takes {stored_bytes} bytes at {offset_bytes} of pack {pack}, which has {pack_bytes}"
    )]
    OutsidePack {
        /// The chunk.
        chunk: u64,
        /// The pack.
        pack: u32,
        /// Where it begins.
        offset_bytes: u64,
        /// How much it takes.
        stored_bytes: u32,
        /// The pack's size.
        pack_bytes: u64,
    },
    /// An entry of no stored bytes, or of more than a chunk can need.
    #[error("chunk {chunk} takes {stored_bytes} stored bytes, not 1 to {limit}")]
    BadStoredBytes {
        /// The chunk.
        chunk: u64,
        /// What the entry says.
        stored_bytes: u32,
        /// The limit.
        limit: u32,
    },
    /// An encoding of a later version.
    #[error("chunk {chunk} has the unknown encoding {encoding}")]
    UnknownEncoding {
        /// The chunk.
        chunk: u64,
        /// What the entry says.
        encoding: u32,
    },
}

impl IndexRefusal {
    /// The refusal's stable name, for statuses, counters and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadLength { .. } => "index-length",
            Self::BadDigest { .. } => "index-digest",
            Self::BadMagic => "index-magic",
            Self::OtherVersion { .. } => "index-version",
            Self::BadField { .. } => "index-field",
            Self::NoSuchPage { .. } => "no-such-page",
            Self::NoSuchPack { .. } => "no-such-pack",
            Self::OutsidePack { .. } => "outside-pack",
            Self::BadStoredBytes { .. } => "stored-bytes",
            Self::UnknownEncoding { .. } => "unknown-encoding",
        }
    }
}

/// Why an artifact is not an image. The fault is the image's or its source's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OciRefusal {
    /// Not the JSON that it should be.
    #[error("OCI document is not acceptable JSON")]
    Json(#[from] Refusal),
    /// Another schema than 2.
    #[error("OCI document has schema version {found} instead of 2")]
    BadSchema {
        /// What it says.
        found: u32,
    },
    /// Something else where a certain media type belongs.
    #[error("{what} has media type {found:?} instead of {wanted:?}")]
    BadMediaType {
        /// Which part.
        what: String,
        /// What it says.
        found: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// A digest of another form or algorithm.
    #[error("{what} has digest {found:?}, which is not sha256: and 64 hexadecimal digits")]
    BadDigest {
        /// Which part.
        what: String,
        /// What it says.
        found: String,
    },
    /// Layers are missing.
    #[error("image has {found} layers; it needs an index and a signature")]
    TooFewLayers {
        /// How many it has.
        found: usize,
    },
    /// More packs than allowed.
    #[error("image has {found} packs, more than {limit}")]
    TooManyPacks {
        /// How many it has.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A blob larger than its kind may be.
    #[error("{what} has {found} bytes, more than {limit}")]
    TooLarge {
        /// Which part.
        what: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

impl OciRefusal {
    /// The refusal's stable name, for statuses, counters and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(refusal) => refusal.code(),
            Self::BadSchema { .. } => "oci-schema",
            Self::BadMediaType { .. } => "oci-media-type",
            Self::BadDigest { .. } => "oci-digest",
            Self::TooFewLayers { .. } => "oci-layers",
            Self::TooManyPacks { .. } => "oci-packs",
            Self::TooLarge { .. } => "oci-size",
        }
    }
}
