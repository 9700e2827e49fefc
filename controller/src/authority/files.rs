//! Reading and writing the state folder's files: private ones are their owner's only.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::AuthorityError;

const OWNER_ONLY: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Writes a new file; never over an old one.
pub(super) fn write_new(path: &Path, text: &str, is_private: bool) -> Result<(), AuthorityError> {
    let failed = |what| move |source| AuthorityError::File { what, path: path.into(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(if is_private { OWNER_ONLY } else { 0o644 });
    let mut file = options.open(path).map_err(failed("create"))?;
    file.write_all(text.as_bytes()).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))
}

/// Reads a text file.
pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File {
        what: "read",
        path: path.into(),
        source,
    })
}

/// Reads a text file that nobody else may read.
pub(super) fn read_private(path: &Path) -> Result<String, AuthorityError> {
    let metadata = fs::metadata(path).map_err(|source| AuthorityError::File {
        what: "look at",
        path: path.into(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(AuthorityError::Exposed { path: path.into(), mode });
    }
    read(path)
}
