//! One blob on its way into a library: written to a file of no name that counts, then synced, and
//! only then given the name that its digest is. A cut leaves either the whole blob or none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use repave_image::{Descriptor, blob_path};
use repave_protocol::Digester;
use tempfile::NamedTempFile;

use crate::error::LibraryError;

/// A blob that is being written.
pub(crate) struct BlobWriter {
    root: PathBuf,
    file: NamedTempFile,
    digester: Digester,
    size_bytes: u64,
}

impl BlobWriter {
    /// Begins a blob in the library at `root`.
    pub(crate) fn new(root: &Path) -> Result<Self, LibraryError> {
        Ok(Self {
            root: root.into(),
            file: scratch(root)?,
            digester: Digester::new(),
            size_bytes: 0,
        })
    }

    /// Appends `bytes`.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), LibraryError> {
        self.file.write_all(bytes).map_err(|source| failed("write", self.file.path(), source))?;
        self.digester.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes appended so far.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives the blob its name. A blob of the same bytes that is there already is as good.
    pub(crate) fn finish(self) -> Result<Descriptor, LibraryError> {
        let descriptor = Descriptor { sha256: self.digester.finish(), size_bytes: self.size_bytes };
        place(self.file, &self.root.join(blob_path(&descriptor.sha256)))?;
        Ok(descriptor)
    }
}

/// A file below the library's folder, on the same file system, that goes away unless it is placed.
pub(crate) fn scratch(root: &Path) -> Result<NamedTempFile, LibraryError> {
    let folder = root.join("incoming");
    fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
    NamedTempFile::new_in(&folder).map_err(|source| failed("create a file in", &folder, source))
}

/// Syncs `file`, renames it to `path`, and syncs the folder, so that the name survives a cut.
pub(crate) fn place(file: NamedTempFile, path: &Path) -> Result<(), LibraryError> {
    readable_by_all(file.as_file()).map_err(|e| failed("set the mode of", file.path(), e))?;
    sync(file.as_file(), file.path())?;
    file.persist(path).map_err(|error| failed("rename a file to", path, error.error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    sync(&File::open(folder).map_err(|e| failed("open", folder, e))?, folder)
}

fn sync(file: &File, path: &Path) -> Result<(), LibraryError> {
    file.sync_all().map_err(|source| failed("sync", path, source))
}

/// Temporary files are private; a library may be served by another user's process.
fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// The error that names what was tried on which file.
pub(crate) fn failed(what: &'static str, path: &Path, source: io::Error) -> LibraryError {
    LibraryError::Io { what, path: path.into(), source }
}
