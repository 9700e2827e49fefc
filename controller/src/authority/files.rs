//! Reading and writing the state folder's files: private ones are their owner's only.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::AuthorityError;
use crate::owner_only::{self, OpenError};

const OWNER_ONLY: u32 = 0o600;

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
    let failed = |what, source| AuthorityError::File { what, path: path.into(), source };
    let mut file = owner_only::open(path).map_err(|error| match error {
        OpenError::Io { what, source } => failed(what, source),
        OpenError::Exposed { mode } => AuthorityError::Exposed { path: path.into(), mode },
    })?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|source| failed("read", source))?;
    Ok(text)
}
