//! An image library in a folder: an OCI image layout (image-spec 1.1) whose blobs appear whole or
//! not at all, and whose list of images changes last and at once. One process writes at a time;
//! readers need no lock.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use repave_image::{Descriptor, Layout, OCI_LAYOUT_FILE, blob_path, limits, marks_layout};
use repave_protocol::{ImageReference, Sha256};

use crate::blob::BlobWriter;
use crate::error::LibraryError;
use crate::folder::{Folder, INCOMING, Steps, failed};
use crate::lock::Lock;
use crate::reading::Images;

/// Where blobs are, below the library's folder.
const BLOBS: &str = "blobs/sha256";
/// The list of images.
const LIST: &str = "index.json";
/// The file that makes a folder an OCI image layout.
const MARKER: &str = "oci-layout";

/// A library in a folder.
#[derive(Clone, Debug)]
pub struct Library {
    folder: Folder,
}

impl Library {
    /// Opens the library in folder `root`.
    pub fn open(root: &Path) -> Result<Self, LibraryError> {
        Self::open_watched(root, Steps::default())
    }

    /// The same, telling `steps` of each change to come.
    pub fn open_watched(root: &Path, steps: Steps) -> Result<Self, LibraryError> {
        match fs::read(root.join(MARKER)) {
            Ok(bytes) if marks_layout(&bytes) => {
                Ok(Self { folder: Folder::new(root.into(), steps) })
            }
            _ => Err(LibraryError::NotALayout { path: root.into() }),
        }
    }

    /// Opens the library in folder `root`, or makes an empty one where there is nothing yet.
    pub fn open_or_create(root: &Path) -> Result<Self, LibraryError> {
        Self::open_or_create_watched(root, Steps::default())
    }

    /// The same, telling `steps` of each change to come.
    pub fn open_or_create_watched(root: &Path, steps: Steps) -> Result<Self, LibraryError> {
        if !root.join(MARKER).exists() {
            let library = Self { folder: Folder::new(root.into(), steps.clone()) };
            library.create()?;
        }
        Self::open_watched(root, steps)
    }

    /// Makes an empty library of a folder that is empty, or in which this was begun and cut.
    fn create(&self) -> Result<(), LibraryError> {
        fs::create_dir_all(self.root()).map_err(|e| failed("create", self.root(), e))?;
        let _lock = self.lock()?;
        let empty = Layout::empty().to_bytes();
        let entries = fs::read_dir(self.root()).map_err(|e| failed("read", self.root(), e))?;
        for entry in entries {
            let path = entry.map_err(|e| failed("read", self.root(), e))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_ours = match name {
                "blobs" | INCOMING => true,
                LIST => fs::read(&path).is_ok_and(|bytes| bytes == empty),
                _ => false,
            };
            if !is_ours {
                // Somebody else's files, or a library that another process has just made.
                return Ok(());
            }
        }
        fs::create_dir_all(self.blobs()).map_err(|e| failed("create", &self.blobs(), e))?;
        self.replace(LIST, &empty)?;
        self.replace(MARKER, OCI_LAYOUT_FILE)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.folder.root()
    }

    /// The folder of its blobs.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.join(BLOBS)
    }

    /// Its folder, as it is written to.
    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Lists an image no longer. Its blobs stay until they are collected.
    pub fn remove(&self, name: &str, version: u64) -> Result<(), LibraryError> {
        let _lock = self.lock()?;
        let mut layout = self.layout()?;
        if layout.unlist(name, version) {
            return self.replace(LIST, &layout.to_bytes());
        }
        Err(self.no_such_image(name, version))
    }

    fn no_such_image(&self, name: &str, version: u64) -> LibraryError {
        LibraryError::NoSuchImage { path: self.root().into(), name: name.into(), version }
    }

    /// Opens a blob of the size that its descriptor says.
    pub(crate) fn open_blob(&self, blob: &Descriptor) -> Result<File, LibraryError> {
        let path = self.folder.join(blob_path(&blob.sha256));
        let file = File::open(&path).map_err(|source| failed("open", &path, source))?;
        let found = file.metadata().map_err(|source| failed("look at", &path, source))?;
        if found.len() == blob.size_bytes {
            return Ok(file);
        }
        Err(LibraryError::BlobSize {
            sha256: blob.sha256,
            found_bytes: found.len(),
            wanted_bytes: blob.size_bytes,
        })
    }

    /// Writes a blob of bytes that are in memory.
    pub(crate) fn add_blob(&self, bytes: &[u8]) -> Result<Descriptor, LibraryError> {
        let mut blob = BlobWriter::new(&self.folder)?;
        blob.append(bytes)?;
        blob.finish()
    }

    /// Lists an image, in place of one of the same name and version.
    pub(crate) fn list(
        &self,
        image: &ImageReference,
        manifest_bytes: u64,
    ) -> Result<(), LibraryError> {
        let mut layout = self.layout()?;
        layout.list(image, manifest_bytes);
        self.replace(LIST, &layout.to_bytes())
    }

    pub(crate) fn layout(&self) -> Result<Layout, LibraryError> {
        let path = self.folder.join(LIST);
        let file = File::open(&path).map_err(|source| failed("open", &path, source))?;
        let mut bytes = Vec::new();
        file.take(limits::LAYOUT_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| failed("read", &path, source))?;
        Layout::parse(&bytes)
            .map_err(|source| LibraryError::Layout { path: self.root().into(), source })
    }

    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LibraryError> {
        let mut file = self.folder.scratch()?;
        file.write_all(bytes).map_err(|source| failed("write", file.path(), source))?;
        self.folder.place(file, &self.folder.join(name))
    }
}

impl Images for Library {
    fn manifest_bytes(&self, sha256: &Sha256) -> Result<Vec<u8>, LibraryError> {
        self.small_blob(sha256, limits::OCI_MANIFEST_BYTES)
    }

    fn keep(&self) -> Result<Option<Lock>, LibraryError> {
        self.keep_blobs().map(Some)
    }

    fn images(&self) -> Result<Vec<ImageReference>, LibraryError> {
        Ok(self.layout()?.images().collect())
    }

    fn find(&self, name: &str, version: u64) -> Result<ImageReference, LibraryError> {
        let found = self.layout()?.find(name, version);
        found.ok_or_else(|| self.no_such_image(name, version))
    }

    fn small_blob(&self, sha256: &Sha256, limit: usize) -> Result<Vec<u8>, LibraryError> {
        let path = self.folder.join(blob_path(sha256));
        let file = File::open(&path).map_err(|source| failed("open", &path, source))?;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| failed("read", &path, source))?;
        let found = Sha256::of(&bytes);
        if found == *sha256 {
            return Ok(bytes);
        }
        Err(LibraryError::BlobDigest { wanted: *sha256, found })
    }

    fn blob_part(
        &self,
        blob: &Descriptor,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<Vec<u8>, LibraryError> {
        let file = self.open_blob(blob)?;
        let mut bytes = vec![0; len_bytes as usize];
        file.read_exact_at(&mut bytes, offset_bytes)
            .map_err(|source| failed("read", &self.folder.join(blob_path(&blob.sha256)), source))?;
        Ok(bytes)
    }
}
