//! Private keys in files: 64 hexadecimal digits of an Ed25519 seed (RFC 8032, 5.1.5) and a newline,
//! readable by their owner only. A key is never written over and never read where others could.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use repave_protocol::SigningKey;
use rustix::rand::{GetRandomFlags, getrandom};
use thiserror::Error;

use crate::owner_only::{self, OpenError};

const SEED_BYTES: usize = 32;
/// The digits and a newline; whatever is longer is no key.
const FILE_BYTES: u64 = SEED_BYTES as u64 * 2 + 1;
const OWNER_ONLY: u32 = 0o600;

/// Why a key was not made or not taken.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {what} key file {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// There is something under that name.
    #[error("{path} exists already: a key is never overwritten; choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it or write it.
    #[error(
        "key file {path} has mode {mode:o}: others have access to it; make a new key, or chmod 600 if nobody read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("{path} is not a key file: it should be 64 hexadecimal digits and a newline")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

/// Makes a key from the kernel's random numbers and writes it to a new file.
pub fn generate(path: &Path) -> Result<SigningKey, KeyFileError> {
    let failed = |what| move |source| KeyFileError::Io { what, path: path.into(), source };
    let mut seed = [0; SEED_BYTES];
    let filled = getrandom(&mut seed, GetRandomFlags::empty()).map_err(io::Error::from);
    if filled.map_err(failed("draw random numbers for"))? != SEED_BYTES {
        return Err(failed("draw random numbers for")(io::ErrorKind::UnexpectedEof.into()));
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists { path: path.into() });
        }
        opened => opened.map_err(failed("create"))?,
    };
    let text: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{text}").map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    Ok(SigningKey::from_seed(&seed))
}

/// Reads a key that [`generate`] wrote.
pub fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
    let failed = |what| move |source| KeyFileError::Io { what, path: path.into(), source };
    let file = owner_only::open(path).map_err(|error| match error {
        OpenError::Io { what, source } => failed(what)(source),
        OpenError::Exposed { mode } => KeyFileError::Exposed { path: path.into(), mode },
    })?;
    let mut text = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut text).map_err(failed("read"))?;
    let seed = seed_of(&text).ok_or_else(|| KeyFileError::NotAKey { path: path.into() })?;
    Ok(SigningKey::from_seed(&seed))
}

fn seed_of(text: &[u8]) -> Option<[u8; SEED_BYTES]> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.len() != SEED_BYTES * 2 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut seed = [0; SEED_BYTES];
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_read_back_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.key");
        let key = generate(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().public(), key.public());
        assert!(matches!(generate(&path), Err(KeyFileError::Exists { .. })));
        assert_eq!(read(&path).unwrap().public(), key.public());
        let other = generate(&folder.path().join("other.key")).unwrap();
        assert_ne!(other.public(), key.public());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.key");
        generate(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(read(&path), Err(KeyFileError::Exposed { mode: found, .. }) if found == mode)
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = "0f".repeat(32);
        assert_eq!(seed_of(good.as_bytes()), Some([15; 32]));
        assert_eq!(seed_of(format!("{good}\n").as_bytes()), Some([15; 32]));
        for text in ["", &good[1..], &"xy".repeat(32), &format!("{good}\n\n"), &format!("{good}0f")]
        {
            assert_eq!(seed_of(text.as_bytes()), None, "{text:?}");
        }
    }
}
