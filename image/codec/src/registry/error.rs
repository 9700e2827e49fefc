//! What can go wrong with a registry. Each says which registry and repository, and the status that
//! was answered.

use repave_protocol::Sha256;
use thiserror::Error;

/// Why a registry did not do what it was asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Not a registry's URL.
    #[error("{text:?} is no registry's URL, https://HOST[:PORT]/REPOSITORY: {reason}")]
    BadUrl {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The credentials file.
    #[error("the credentials file is not in order: {reason}")]
    BadAuthFile {
        /// What is wrong.
        reason: String,
    },
    /// The CA's file.
    #[error("the registry's CA file holds no certificate")]
    NoCertificate,
    /// No answer, after every attempt.
    #[error("registry {registry} does not answer, after {attempts} attempts: {reason}")]
    Unreachable {
        /// The registry's repository.
        registry: String,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met.
        reason: String,
    },
    /// 401 or 403.
    #[error(
        "registry {registry} does not let us {what} (status {status}): name a file with credentials for it by --registry-auth, as skopeo login makes it"
    )]
    Denied {
        /// The registry's repository.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        status: u16,
    },
    /// Another status than was expected.
    #[error("registry {registry} cannot {what} (status {status}{words})")]
    Status {
        /// The registry's repository.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        status: u16,
        /// Its words.
        words: String,
    },
    /// No image of that name and version.
    #[error("registry {registry} has no image {name}:{version} (tag {name}-{version})")]
    NoSuchImage {
        /// The registry's repository.
        registry: String,
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
    },
    /// A released version is never changed.
    #[error(
        "registry {registry} has another image {name}:{version} already, with manifest {found}: give this one a higher version"
    )]
    VersionExists {
        /// The registry's repository.
        registry: String,
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// In the registry.
        found: Sha256,
    },
    /// An answer that breaks the protocol or its own promises.
    #[error("registry {registry}: the answer to {what} is not usable: {reason}")]
    BadAnswer {
        /// The registry's repository.
        registry: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that only a folder does.
    #[error("{what} is done in a folder, not in a registry: {way_out}")]
    FolderOnly {
        /// What was asked for.
        what: &'static str,
        /// How to get there.
        way_out: &'static str,
    },
}
