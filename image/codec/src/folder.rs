//! The library's folder as it is written to: files of no name that counts, given their name when
//! they are whole and synced, and removed. A cut leaves each file whole or absent; what it leaves
//! in `incoming` is nobody's, and the next writer clears it away.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::LibraryError;

/// Where files are written before they have their name.
pub(crate) const INCOMING: &str = "incoming";

/// Told before every change that a cut could part from the next one. The tests cut there.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl Steps {
    /// Calls `step` with the name of every step.
    pub fn new(step: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(step)))
    }

    fn at(&self, name: &'static str) {
        if let Some(step) = &self.0 {
            step(name);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}

/// A library's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    steps: Steps,
}

impl Folder {
    pub(crate) const fn new(root: PathBuf, steps: Steps) -> Self {
        Self { root, steps }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// A file on the library's file system that goes away unless it is placed.
    pub(crate) fn scratch(&self) -> Result<NamedTempFile, LibraryError> {
        let folder = self.join(INCOMING);
        fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        self.steps.at("begin a file");
        NamedTempFile::new_in(&folder).map_err(|source| failed("create a file in", &folder, source))
    }

    /// Syncs `file`, renames it to `path`, and syncs the folder, so that the name survives a cut.
    pub(crate) fn place(&self, file: NamedTempFile, path: &Path) -> Result<(), LibraryError> {
        readable_by_all(file.as_file()).map_err(|e| failed("set the mode of", file.path(), e))?;
        self.steps.at("sync a file");
        sync(file.as_file(), file.path())?;
        self.steps.at("give a file its name");
        file.persist(path).map_err(|error| failed("rename a file to", path, error.error))?;
        self.steps.at("sync a file's folder");
        self.sync_folder(path.parent().unwrap_or(&self.root))
    }

    /// Removes a file of the library.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), LibraryError> {
        self.steps.at("remove a file");
        fs::remove_file(path).map_err(|source| failed("remove", path, source))
    }

    /// Makes the names in a folder survive a cut.
    pub(crate) fn sync_folder(&self, folder: &Path) -> Result<(), LibraryError> {
        sync(&File::open(folder).map_err(|e| failed("open", folder, e))?, folder)
    }

    /// Files that a killed writer left, with their sizes. Whoever asks holds the write lock, so
    /// nobody is writing them.
    pub(crate) fn leftovers(&self) -> Result<Vec<(PathBuf, u64)>, LibraryError> {
        files(&self.join(INCOMING))
    }

    /// Removes those.
    pub(crate) fn clear_leftovers(&self) -> Result<(), LibraryError> {
        self.leftovers()?.iter().try_for_each(|(path, _)| self.remove(path))
    }
}

/// The files of a folder with their sizes, in the order of their names; none where there is no
/// folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, LibraryError> {
    let read = |source| failed("read folder", folder, source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        let metadata = entry.metadata().map_err(read)?;
        if metadata.is_file() {
            files.push((entry.path(), metadata.len()));
        }
    }
    files.sort();
    Ok(files)
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
