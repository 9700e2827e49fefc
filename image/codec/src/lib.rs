//! Building images and keeping them: from a disk image to chunks, packs, index, manifest and
//! signature in a library, and reading every byte of it back. Runs on the operator's machine.
//!
//! What an image is stands in `repave-image`; writing one to a disk is the agent's.

mod blob;
mod chunk;
mod chunk_writer;
mod descriptor;
mod error;
mod examine;
mod file_system;
mod folder;
mod found;
mod gc;
mod import;
mod index_writer;
mod inside;
mod layout;
mod library;
mod lock;
mod open;
mod packs;
mod parallel;
mod publish;
mod qcow2;
mod reading;
mod registry;
mod repack;
mod sign;
mod source;
mod unpack;
mod verify;
mod xfs_log;

pub use chunk::{CHUNK_BYTES, decode_chunk};
pub use descriptor::BootDescriptor;
pub use error::{ImportError, LibraryError};
pub use folder::Steps;
pub use found::find_boot;
pub use gc::Collected;
pub use import::{ImportOptions, Imported, Progress, Summary, import, import_source};
pub use library::Library;
pub use lock::Lock;
pub use open::{UNPACKED_BYTES, open_source};
pub use reading::{Images, StoredImage};
pub use registry::{
    Credentials, Fetched, Registry, RegistryAccess, RegistryError, RegistryUrl, Transferred,
};
pub use source::{FileSource, Source};
pub use verify::{Verification, verify};
