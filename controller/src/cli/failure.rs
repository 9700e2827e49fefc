//! Why a command failed, how that is said, and the exit code that says it to programs.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use repave_image_codec::{ImportError, LibraryError, RegistryError};
use repave_protocol::Refusal;
use thiserror::Error;

use super::client::ClientError;
use crate::key_file::KeyFileError;
use crate::library_place::RegistryFileError;
use crate::owner_only::SecretError;
use crate::policy::PolicyError;

/// A command did what it should.
pub const EXIT_DONE: u8 = 0;
/// The operating system, a file, a key or the network stood in the way.
pub const EXIT_FAILED: u8 = 1;
/// The command line was not understood.
pub const EXIT_USAGE: u8 = 2;
/// The source, the image, the library or the policy was looked at and refused, or the controller
/// refused what was asked of it.
pub const EXIT_REFUSED: u8 = 3;
/// The controller has no such thing.
pub const EXIT_NOT_FOUND: u8 = 4;
/// The operator ended a command that goes on until then: 128 and SIGINT's number.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The same for people, below every `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (a file, a key, the network, \
    the system), 2 usage, 3 refused (the source, the image, the library or the policy is not in \
    order, or the controller says no), 4 not found, 130 interrupted.";

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// An import.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A library.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A registry's files or its URL.
    #[error(transparent)]
    RegistryFile(#[from] RegistryFileError),
    /// A policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A trust document that servers would refuse.
    #[error("servers would refuse this trust document")]
    Trust(#[from] Refusal),
    /// The controller, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The operator's token.
    #[error("token refused")]
    Token(#[from] SecretError),
    /// The command line, looked at as a whole.
    #[error("{0}")]
    Usage(String),
    /// Something that was given is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// A file.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The balancer broke its own rules in a simulation.
    #[error(
        "{breaches} times a rule of the balancer was broken; this is a fault of repave, please report it with the policy and the seed"
    )]
    RulesBroken {
        /// How often.
        breaches: u64,
    },
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Says on standard error what went wrong, with everything that led to it. Where whoever read
    /// our output has read enough, there is nothing to say.
    pub fn report(&self) -> ExitCode {
        if !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            let mut text = format!("repave: {self}");
            let mut cause = self.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            // Nobody is left to tell if standard error is gone, too.
            let _ = writeln!(io::stderr(), "{text}");
        }
        ExitCode::from(self.exit_code())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Usage(_) => EXIT_USAGE,
            Self::Token(SecretError::Io { .. }) => EXIT_FAILED,
            Self::Token(_) => EXIT_REFUSED,
            Self::Key(_)
            | Self::Output(_)
            | Self::File { .. }
            | Self::Policy(PolicyError::Io { .. })
            | Self::RulesBroken { .. }
            | Self::Import(
                ImportError::Io { .. } | ImportError::Read { .. } | ImportError::QemuImg { .. },
            )
            | Self::RegistryFile(RegistryFileError::Io { .. })
            | Self::Import(ImportError::Library(
                LibraryError::Io { .. } | LibraryError::Busy { .. },
            ))
            | Self::Library(
                LibraryError::Io { .. }
                | LibraryError::Busy { .. }
                | LibraryError::Registry(RegistryError::Unreachable { .. }),
            ) => EXIT_FAILED,
            Self::Import(_)
            | Self::Library(_)
            | Self::RegistryFile(_)
            | Self::Policy(_)
            | Self::Trust(_)
            | Self::Refused(_) => EXIT_REFUSED,
        }
    }
}
