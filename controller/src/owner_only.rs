//! Files that nobody but their owner may touch: the one check of permissions, for signing keys and
//! for the passwords of other machines.
//!
//! A [`Secret`] comes from a file and goes into a request. It has no `Display`, is not serialised,
//! and its `Debug` is a word.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

const OTHERS: u32 = 0o077;
/// The longest secret; what is longer is some other file.
const MAX_SECRET_BYTES: u64 = 1024;

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io { what: &'static str, source: io::Error },
    Exposed { mode: u32 },
}

/// Opens `path` for reading unless others have access to it. The open file is what is looked at,
/// not the name, which could come to mean another file in between.
pub(crate) fn open(path: &Path) -> Result<File, OpenError> {
    let failed = |what| move |source| OpenError::Io { what, source };
    let file = File::open(path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("look at"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 { Err(OpenError::Exposed { mode }) } else { Ok(file) }
}

/// Writes `path` so that nobody but its owner ever could read it; what was there is replaced.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("new");
    // One that a cut left behind may have been made by somebody with another mode.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

/// Why a secret was not taken.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The operating system refused.
    #[error("cannot {what} password file {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Others may read it or write it.
    #[error(
        "password file {path} has mode {mode:o}: others have access to it; change the password, or chmod 600 if nobody read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a secret.
    #[error("{path} is not a password file: it should be one line of at most 1024 bytes of text")]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
}

/// One line of text that must not be seen.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Reads a secret: one line, whose end is not a part of it.
    ///
    /// # Errors
    /// [`SecretError`], which names the file and never what is in it.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |what| move |source| SecretError::Io { what, path: path.into(), source };
        let file = open(path).map_err(|error| match error {
            OpenError::Io { what, source } => failed(what)(source),
            OpenError::Exposed { mode } => SecretError::Exposed { path: path.into(), mode },
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
        secret_of(bytes).ok_or_else(|| SecretError::NotASecret { path: path.into() })
    }

    /// The text, for the one request that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn secret_of(bytes: Vec<u8>) -> Option<Secret> {
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return None;
    }
    let text = String::from_utf8(bytes).ok()?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let whole = !line.is_empty() && !line.contains(char::is_control);
    whole.then(|| Secret(line.to_owned()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_secret_is_read_from_a_file_of_its_owner_only_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bmc.password");
        assert!(matches!(Secret::read(&path), Err(SecretError::Io { what: "open", .. })));
        fs::write(&path, "open sesame\n").unwrap();
        for mode in [0o644, 0o640, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Secret::read(&path).unwrap_err();
            assert!(matches!(error, SecretError::Exposed { mode: found, .. } if found == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = Secret::read(&path).unwrap();
        assert_eq!(secret.reveal(), "open sesame");
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            let found = secret_of(bytes.to_vec());
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{bytes:?}");
        };
        check(b"s", Some("s"));
        check(b" s \n", Some(" s "));
        check(b"", None);
        check(b"\n", None);
        check(b"one\ntwo\n", None);
        check(b"tab\there", None);
        check(b"\xff\xfe", None);
        check(&[b'x'; 1025], None);
    }
}
