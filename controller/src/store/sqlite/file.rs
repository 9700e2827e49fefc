//! The files around SQLite: the database readable by its owner only, a lock beside it that a
//! controller holds while it lives, and copies.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::SqlitePool;

use crate::store::error::StoreError;
use crate::store::limits;
use crate::store::place::Place;

const OWNER_ONLY: u32 = 0o600;
const FOLDER_OWNER_ONLY: u32 = 0o700;

/// Held: no other controller opens this database. The kernel drops it with the process, however
/// that ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Unlocked, not only closed: a process that this one has just forked may still hold a copy of
    /// the file, and the lock with it, until it becomes another program.
    fn drop(&mut self) {
        // Closing it unlocks it in the end, too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Makes folder and database if they are not there, and takes the lock.
pub(super) fn prepare(path: &Path) -> Result<Lock, StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(FOLDER_OWNER_ONLY).create(folder);
    made.map_err(failed("create", folder))?;
    let lock = lock(path)?;
    open_private(path, false)?;
    let narrowed = fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY));
    narrowed.map_err(failed("chmod", path))?;
    sync_folder(folder)?;
    Ok(lock)
}

/// Not on the database itself: closing any file descriptor of it would drop the locks that SQLite
/// holds there (POSIX: fcntl, F_SETLK).
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let beside = PathBuf::from(name);
    let file = open_private(&beside, false)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { path: path.into() }),
        Err(errno) => Err(failed("lock", &beside)(errno.into())),
    }
}

/// Writes a copy of the database, as it is at one moment, to a new file.
pub(super) async fn backup(pool: &SqlitePool, place: &Place, to: &Path) -> Result<(), StoreError> {
    // VACUUM INTO takes an empty file as it takes none, and leaves its mode alone.
    let file = open_private(to, true)?;
    let Some(name) = to.to_str() else {
        let _ = fs::remove_file(to);
        return Err(failed("name in SQL", to)(io::ErrorKind::InvalidFilename.into()));
    };
    let copy = sqlx::query("VACUUM INTO ?1").bind(name).execute(pool);
    let copied = place.within(limits::BACKUP, "back up", copy).await;
    if let Err(error) = copied {
        let _ = fs::remove_file(to);
        return Err(error);
    }
    file.sync_all().map_err(failed("sync", to))?;
    sync_folder(to.parent().unwrap_or(Path::new(".")))
}

fn open_private(path: &Path, new: bool) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(OWNER_ONLY);
    let options = if new { options.create_new(true) } else { options.create(true) };
    options.open(path).map_err(failed("create", path))
}

/// A new name is on the disk when its folder is.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed("sync", folder))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}
