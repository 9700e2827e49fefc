//! What an image is: its manifest, its paged chunk index, and the OCI artifact that carries both,
//! as pure values with their bytes, their validation and their limits.
//!
//! No I/O and no compression: who reads and inflates is the agent, who builds is
//! `repave-image-codec`. Everything parsed here is hostile input, also when it is signed.

mod default_side;
mod digest;
mod file_system;
mod index;
mod layout;
pub mod limits;
mod manifest;
mod oci;
mod refusal;
mod text;
mod valid;

pub use default_side::{DEFAULT_PARTITION, STATE_PARTITION, STATE_TYPE};
pub use digest::ChunkDigest;
pub use file_system::{SUPERBLOCK_HEAD_BYTES, Superblock};
pub use index::{Chunk, IndexPage, IndexRoot, PageReference, StoredChunk};
pub use index::{encode_page, encode_root, pages_of, root_bytes_of};
pub use layout::{Layout, OCI_LAYOUT_FILE, marks_layout};
pub use manifest::{
    Architecture, Boot, ESP_TYPE, FileSystem, FileSystemKind, ImageManifest, IndexReference, Kexec,
    LINUX_ROOT_TYPE, Partition, Reports, Role, SettingsEngine, SettingsPolicy,
};
pub use oci::{
    ARTIFACT_TYPE, CONFIG_TYPE, Descriptor, INDEX_TYPE, MANIFEST_TYPE, OciManifest, PACK_TYPE,
    SIGNATURE_TYPE, blob_path, parse_digest,
};
pub use refusal::{IndexRefusal, ManifestRefusal, OciRefusal};
pub use text::is_name;
pub use valid::{ChunkPlace, ValidManifest};
