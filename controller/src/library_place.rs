//! Where an image library is, as people write it: a folder, or the URL of a registry's repository
//! with the files that say who vouches for it and who we are to it.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use repave_image_codec::{Credentials, Registry, RegistryAccess, RegistryError, RegistryUrl};
use serde::Deserialize;
use thiserror::Error;

use crate::owner_only::{self, OpenError};

/// Largest CA or credentials file.
const FILE_BYTES: u64 = 1024 * 1024;

/// Where a library is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LibraryPlace {
    /// A folder with an OCI image layout.
    Folder(PathBuf),
    /// A repository of a registry.
    Registry(RegistryUrl),
}

impl FromStr for LibraryPlace {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        if RegistryUrl::is_meant(text) {
            return text.parse().map(Self::Registry);
        }
        Ok(Self::Folder(text.into()))
    }
}

impl TryFrom<String> for LibraryPlace {
    type Error = RegistryError;

    fn try_from(text: String) -> Result<Self, RegistryError> {
        text.parse()
    }
}

impl fmt::Display for LibraryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Registry(url) => url.fmt(f),
        }
    }
}

/// The files that belong to a registry.
#[derive(Clone, Debug, Default, Args)]
pub struct RegistryFiles {
    /// PEM file with the CA that vouches for the registry, in place of the web's CAs.
    #[arg(long, env = "REPAVE_REGISTRY_CA", value_name = "FILE")]
    pub registry_ca: Option<PathBuf>,
    /// Credentials for the registry, as `skopeo login --authfile FILE` writes them; only its owner
    /// may have access to the file.
    #[arg(long, env = "REPAVE_REGISTRY_AUTH", value_name = "FILE")]
    pub registry_auth: Option<PathBuf>,
}

/// Why a registry cannot be spoken to.
#[derive(Debug, Error)]
pub enum RegistryFileError {
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Others have access to the credentials.
    #[error(
        "credentials file {} has mode {mode:o}: others have access to it; change the password, or chmod 600 if nobody read it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What they hold is not in order.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl RegistryFiles {
    /// The registry at `url`, with what the files hold.
    pub fn open(&self, url: &RegistryUrl) -> Result<Registry, RegistryFileError> {
        let mut access = RegistryAccess::default();
        if let Some(path) = &self.registry_ca {
            let file = std::fs::File::open(path);
            let file = file.map_err(|source| failed("open", path, source))?;
            access.ca = Some(read(path, file)?);
        }
        if let Some(path) = &self.registry_auth {
            let file = owner_only::open(path).map_err(|error| match error {
                OpenError::Io { what, source } => failed(what, path, source),
                OpenError::Exposed { mode } => {
                    RegistryFileError::Exposed { path: path.into(), mode }
                }
            })?;
            access.credentials = Credentials::from_auth_file(&read(path, file)?, url)?;
        }
        Ok(Registry::new(url.clone(), access)?)
    }
}

fn read(path: &Path, file: impl Read) -> Result<Vec<u8>, RegistryFileError> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| failed("read", path, source))?;
    Ok(bytes)
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> RegistryFileError {
    RegistryFileError::Io { what, path: path.into(), source }
}
