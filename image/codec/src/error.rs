//! What can go wrong with a source and with a library. Each says which file, partition or chunk,
//! and where the operator can do something about it, what.

use std::io;
use std::path::PathBuf;

use repave_image::{FileSystemKind, IndexRefusal, ManifestRefusal, OciRefusal};
use repave_protocol::{Refusal, Sha256};
use thiserror::Error;

use crate::registry::RegistryError;

/// Why a source did not become an image.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The operating system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A read of the source failed half-way.
    #[error("cannot read {len_bytes} bytes at {offset_bytes} of the source")]
    Read {
        /// Where.
        offset_bytes: u64,
        /// How much.
        len_bytes: u64,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A packed source that does not unpack.
    #[error("the source is not whole {packing} data")]
    Unpack {
        /// How it is packed.
        packing: &'static str,
        /// The decoder's words.
        source: io::Error,
    },
    /// A source that unfolds to more than it may.
    #[error(
        "the source unfolds to more than {limit_bytes} bytes: if that is meant, give --unpacked-limit"
    )]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Packed data in packed data.
    #[error("the source is packed more than once: unpack it once first")]
    PackedTwice,
    /// A qcow2 that is not converted.
    #[error("the source is a qcow2 image that is refused: {reason}")]
    Qcow2 {
        /// Why, and the way out.
        reason: String,
    },
    /// The program that reads qcow2 does not run.
    #[error(
        "cannot run qemu-img, which reads qcow2: install qemu-utils, or convert the source to raw"
    )]
    QemuImg {
        /// The operating system's answer.
        source: io::Error,
    },
    /// The boot descriptor is not one.
    #[error("boot descriptor {path} is refused")]
    Descriptor {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
    /// Neither a GPT disk nor a file system that we know.
    #[error("the source has neither a GPT nor an ext4, FAT, XFS or Btrfs file system")]
    UnknownSource,
    /// The source is shorter than it says itself.
    #[error("the source ends at {found_bytes} bytes, {what} at {wanted_bytes}: it is truncated")]
    Truncated {
        /// What ends beyond it.
        what: String,
        /// Size of the source.
        found_bytes: u64,
        /// Where that ends.
        wanted_bytes: u64,
    },
    /// The partition table contradicts itself.
    #[error("the source's GPT is not usable: {reason}")]
    BadGpt {
        /// How.
        reason: String,
    },
    /// A file system that is larger than its partition.
    #[error(
        "the {kind} file system on {partition:?} has {file_system_bytes} bytes, its partition {partition_bytes}: it is truncated"
    )]
    FileSystemLarger {
        /// The partition.
        partition: String,
        /// The file system.
        kind: FileSystemKind,
        /// Its own size.
        file_system_bytes: u64,
        /// The partition's.
        partition_bytes: u64,
    },
    /// A file system that was not unmounted.
    #[error(
        "the {kind} file system on {partition:?} needs journal recovery: mount and unmount it (or run its fsck), then import again"
    )]
    NeedsRecovery {
        /// The partition.
        partition: String,
        /// The file system.
        kind: FileSystemKind,
    },
    /// A file that the boot descriptor names is not there.
    #[error("{what} {path:?} is not on partition {partition:?}")]
    MissingFile {
        /// Which one.
        what: &'static str,
        /// Its path.
        path: String,
        /// The partition.
        partition: String,
    },
    /// A file system in which we cannot look for a file.
    #[error(
        "cannot look for {what} {path:?} on partition {partition:?}: put it on a FAT or ext4 file system"
    )]
    CannotLook {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: String,
        /// The partition.
        partition: String,
    },
    /// The file system broke while looking for a file.
    #[error("cannot read {path:?} on partition {partition:?}: {reason}")]
    BadFileSystem {
        /// The file.
        path: String,
        /// The partition.
        partition: String,
        /// The file-system library's words.
        reason: String,
    },
    /// What the firmware should start is no program for it.
    #[error("{path:?} on partition {partition:?} is not an EFI program for x86-64: {reason}")]
    NotAnEfiProgram {
        /// The file.
        path: String,
        /// The partition.
        partition: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No program where firmware looks, and no kernel where distributions link it.
    #[error(
        "the source has neither \\\\EFI\\\\BOOT\\\\BOOTX64.EFI on a FAT nor /vmlinuz or /boot/vmlinuz on an ext4 partition: say how it is started with --boot"
    )]
    NothingToBoot,
    /// What was read does not make an image.
    #[error("the image is refused")]
    Manifest(#[from] ManifestRefusal),
    /// It would need more packs than an image may have.
    #[error("the image refers to {found} packs, more than {limit}: repack the library")]
    TooManyPacks {
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A released version is never changed.
    #[error(
        "image {name}:{version} is in the library already with manifest {found}, this one has {new}: give it a higher version"
    )]
    VersionExists {
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// In the library.
        found: Sha256,
        /// Of this import.
        new: Sha256,
    },
    /// The library failed.
    #[error("the image library failed")]
    Library(#[from] LibraryError),
}

/// Why a library cannot be used, or what is broken in it.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// It is in a registry, which did not do what it was asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The operating system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The folder is no OCI image layout.
    #[error("{path} is not an OCI image layout: it has no file oci-layout of version 1.0.0")]
    NotALayout {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else is writing into it, or needs its blobs to stay.
    #[error("library {path} is in use by another process: wait for it")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The list of images is refused.
    #[error("index.json of library {path} is refused")]
    Layout {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: OciRefusal,
    },
    /// Its list of images was not read yet.
    #[error("the list of images in {library} was not read yet: look at the log for why")]
    NotListedYet {
        /// Where it is.
        library: String,
    },
    /// A released version is never changed.
    #[error("library {path} has another image {name}:{version} already, with manifest {found}")]
    VersionExists {
        /// The folder.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// In the library.
        found: Sha256,
    },
    /// No image of that name and version.
    #[error("library {path} has no image {name}:{version}")]
    NoSuchImage {
        /// The folder.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
    },
    /// Something is listed that cannot be read, so nobody knows what it needs.
    #[error(
        "{path} is listed but is not a manifest ({reason}): nothing is thrown away before it is repaired or no longer listed"
    )]
    NotAManifest {
        /// Its blob.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More signatures than a reader takes.
    #[error(
        "the image would have {found} signatures, more than {limit}: sign it anew with one key alone"
    )]
    TooManySignatures {
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A blob is larger or smaller than it should be.
    #[error("blob {sha256} has {found_bytes} bytes instead of {wanted_bytes}")]
    BlobSize {
        /// The blob.
        sha256: Sha256,
        /// Its size.
        found_bytes: u64,
        /// What it should be.
        wanted_bytes: u64,
    },
    /// A blob has other bytes than its name says.
    #[error("blob {wanted} holds bytes of digest {found}")]
    BlobDigest {
        /// Its name.
        wanted: Sha256,
        /// What it holds.
        found: Sha256,
    },
    /// The OCI manifest is refused.
    #[error("OCI manifest of image {image} is refused")]
    Oci {
        /// The image.
        image: String,
        /// Why.
        source: OciRefusal,
    },
    /// The image's manifest is refused.
    #[error("manifest of image {image} is refused")]
    Manifest {
        /// The image.
        image: String,
        /// Why.
        source: ManifestRefusal,
    },
    /// The manifest is of another image than the library says.
    #[error("image {image} is listed under that name, its manifest says {found}")]
    OtherImage {
        /// As listed.
        image: String,
        /// As its manifest says.
        found: String,
    },
    /// The chunk index is refused.
    #[error("chunk index of image {image} is refused")]
    Index {
        /// The image.
        image: String,
        /// Why.
        source: IndexRefusal,
    },
    /// The signature is refused.
    #[error("signature of image {image} is refused")]
    Signature {
        /// The image.
        image: String,
        /// Why.
        source: Refusal,
    },
    /// A chunk is not what the index says.
    #[error(
        "image {image}: chunk {chunk} (partition {partition:?}, offset {offset_bytes}, in pack {pack}) is damaged: {reason}"
    )]
    BadChunk {
        /// The image.
        image: String,
        /// Its number.
        chunk: u64,
        /// Its partition.
        partition: String,
        /// Its place in the partition.
        offset_bytes: u64,
        /// The blob that holds it.
        pack: Sha256,
        /// What is wrong with it.
        reason: String,
    },
}
