//! The image's manifest as it is written: the OCI artifact's config blob, JSON. It says what the
//! target's partitions are, how to boot it, and which settings it takes. These are wire types;
//! only a `ValidManifest` made from them may be acted on.

use std::fmt;

use repave_protocol::{Guid, Sha256};
use serde::{Deserialize, Serialize};

/// GPT type of an EFI system partition (UEFI 2.10, table 5.7).
pub const ESP_TYPE: Guid = Guid::from_disk_bytes([
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
]);
/// GPT type of a Linux root on x86-64 (UAPI group, Discoverable Partitions Specification).
pub const LINUX_ROOT_TYPE: Guid = Guid::from_disk_bytes([
    0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09,
]);

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// Features that the reader must understand or refuse the whole; version 1 knows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// Name in the library.
    pub name: String,
    /// Counts up with every release of the name.
    pub version: u64,
    /// What a server with this image is: `web`, `db`, …
    pub server_type: String,
    /// The processor it runs on.
    pub architecture: Architecture,
    /// Logical block size of the disk that its layout was made for: 512 or 4096.
    pub logical_block_bytes: u32,
    /// Size of every chunk but the last of a partition.
    pub chunk_bytes: u32,
    /// In the order in which they lie on the disk, and in the index.
    pub partitions: Vec<Partition>,
    /// How it is started.
    pub boot: Boot,
    /// What may be configured in it; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsPolicy>,
    /// Whether anything in it reports that it is up.
    pub reports: Reports,
    /// Its chunk index.
    pub index: IndexReference,
}

/// A processor architecture, by Debian's and OCI's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
}

/// One partition of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// GPT name; other parts of the manifest refer to it by this.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// GPT type.
    pub type_guid: Guid,
    /// The image's own unique partition GUID, kept so that `root=PARTUUID=` holds.
    pub guid: Guid,
    /// Size, a multiple of the logical block.
    pub size_bytes: u64,
    /// GPT attribute bits.
    pub attributes: u64,
    /// What is in it, where the importer knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<FileSystem>,
    /// Whether it may be given what is left of the disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grow: bool,
    /// Number of its first chunk in the index: the chunks of all partitions before it.
    pub first_chunk: u64,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// EFI system partition of the target.
    Esp,
    /// Root file system.
    Root,
    /// Anything else.
    Data,
}

/// A file system by kind and identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// Its kind.
    pub kind: FileSystemKind,
    /// Its UUID as Linux prints it (for FAT the volume id, `1A2B-3C4D`).
    pub uuid: String,
}

/// A file system that we recognise, by the name of the driver that mounts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystemKind {
    /// ext2, ext3 or ext4.
    Ext4,
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Vfat => "vfat",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        })
    }
}

/// How the target is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The partition whose head is written last: without it nothing here can be started.
    pub partition: String,
    /// EFI program on that partition, from its root, with backslashes; none if the image can
    /// only be started by kexec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efi_path: Option<String>,
    /// Load options of the boot entry.
    #[serde(default)]
    pub options: String,
    /// Its kernel, where it has one that can be started by kexec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kexec: Option<Kexec>,
}

/// A kernel to be started by kexec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kexec {
    /// The partition that holds it.
    pub partition: String,
    /// Path of the kernel in its file system.
    pub kernel: String,
    /// Path of the initrd in the same file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Kernel command line.
    #[serde(default)]
    pub options: String,
}

/// What a directive may configure in the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsPolicy {
    /// Who knows how.
    pub engine: SettingsEngine,
    /// The partition with the root to configure.
    pub partition: String,
    /// Folders below which files may be written, each with its slash at the end.
    pub prefixes: Vec<String>,
}

/// Who knows how to configure a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingsEngine {
    /// A Linux root with the usual files in /etc.
    Linux,
}

/// Whether anything in the target reports that it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reports {
    /// The resident agent does.
    Resident,
    /// Nothing does: done is having left for it.
    None,
}

/// What pins the chunk index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexReference {
    /// Size of the index's root, which the index blob begins with.
    pub root_bytes: u64,
    /// SHA-256 of the root; the root holds those of the pages, and they those of the chunks.
    pub root_sha256: Sha256,
    /// Chunks of all partitions.
    pub chunks: u64,
    /// Chunks in every page but the last.
    pub page_chunks: u32,
}

impl ImageManifest {
    /// The manifest's bytes. Equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers, lists and structs only: JSON can say all of them.
        serde_json::to_vec(self).expect("a manifest is always JSON")
    }
}
