//! Who may do what to a library at the same time. One process writes; any number read without a
//! lock, since files appear whole. Whoever needs blobs to stay for long keeps them, and whoever
//! throws blobs away waits for nobody: it is told that the library is busy.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use crate::error::LibraryError;
use crate::folder::failed;
use crate::library::Library;

/// A lock on a library, given up when dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Unlocked, not only closed: a process that this one has just forked may still hold a copy of
    /// the file, and the lock with it, until it becomes another program.
    fn drop(&mut self) {
        // Closing it unlocks it in the end, too.
        let _ = self.0.unlock();
    }
}

impl Library {
    /// Keeps all other processes from writing until the lock is dropped.
    pub(crate) fn lock(&self) -> Result<Lock, LibraryError> {
        // The folder is locked, not a file in it: files are replaced by renaming.
        self.locked(self.root().into(), File::try_lock)
    }

    /// Keeps every blob where it is until the lock is dropped; others may add some.
    pub(crate) fn keep_blobs(&self) -> Result<Lock, LibraryError> {
        self.locked(self.blobs(), File::try_lock_shared)
    }

    /// The right to throw blobs away, which nobody has while somebody keeps them.
    pub(crate) fn throw_away(&self) -> Result<Lock, LibraryError> {
        self.locked(self.blobs(), File::try_lock)
    }

    fn locked(
        &self,
        path: PathBuf,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Lock, LibraryError> {
        let folder = File::open(&path).map_err(|source| failed("open", &path, source))?;
        match lock(&folder) {
            Ok(()) => Ok(Lock(folder)),
            Err(TryLockError::WouldBlock) => Err(LibraryError::Busy { path: self.root().into() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_a_fork_left_behind_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::open_or_create(folder.path()).unwrap();
        let lock = library.lock().unwrap();
        assert!(matches!(library.lock(), Err(LibraryError::Busy { .. })));
        let forked = lock.0.try_clone().unwrap();
        drop(lock);
        library.lock().unwrap();
        drop(forked);
    }

    #[test]
    fn many_keep_blobs_while_nobody_throws_them_away() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::open_or_create(folder.path()).unwrap();
        let kept = [library.keep_blobs().unwrap(), library.keep_blobs().unwrap()];
        assert!(matches!(library.throw_away(), Err(LibraryError::Busy { .. })));
        let writing = library.lock().unwrap();
        drop(kept);
        let throwing = library.throw_away().unwrap();
        assert!(matches!(library.keep_blobs(), Err(LibraryError::Busy { .. })));
        drop((writing, throwing));
        library.keep_blobs().unwrap();
    }
}
