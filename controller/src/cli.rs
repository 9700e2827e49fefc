//! The commands of `repave`: their arguments, what they print, and their exit codes. The work is
//! done below, in the library that the command is about.

mod image;
mod key;
mod progress;
mod simulate;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use repave_image_codec::{ImportError, LibraryError};
use thiserror::Error;

use crate::key_file::KeyFileError;
use crate::policy::PolicyError;

/// A command did what it should.
pub const EXIT_DONE: u8 = 0;
/// The operating system, a file or a key stood in the way.
pub const EXIT_FAILED: u8 = 1;
/// The command line was not understood.
pub const EXIT_USAGE: u8 = 2;
/// The source, the image, the library or the policy was looked at and refused.
pub const EXIT_REFUSED: u8 = 3;

/// Run a pool of servers whose purpose changes.
#[derive(Debug, Parser)]
#[command(
    name = "repave",
    version,
    after_help = "Exit codes: 0 done, 1 failed (a file, a key, the system), 2 usage, 3 refused (the source, the image, the library or the policy is not in order)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Signing keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Images and their library.
    #[command(subcommand)]
    Image(image::Command),
    /// Try a policy out on a simulated pool.
    Simulate(simulate::Simulate),
}

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
    /// A policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
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
    /// Says on standard error what went wrong, with everything that led to it.
    pub fn report(&self) -> ExitCode {
        let mut text = format!("repave: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        // Nobody is left to tell if standard error is gone, too.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(self.exit_code())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Key(_)
            | Self::Output(_)
            | Self::Policy(PolicyError::Io { .. })
            | Self::RulesBroken { .. }
            | Self::Import(ImportError::Io { .. } | ImportError::Read { .. })
            | Self::Import(ImportError::Library(
                LibraryError::Io { .. } | LibraryError::Busy { .. },
            ))
            | Self::Library(LibraryError::Io { .. } | LibraryError::Busy { .. }) => EXIT_FAILED,
            Self::Import(_) | Self::Library(_) | Self::Policy(_) => EXIT_REFUSED,
        }
    }
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Key(command) => key::run(command),
        Command::Image(command) => image::run(command),
        Command::Simulate(arguments) => simulate::run(&arguments),
    }
}

/// Prints a line to standard output.
fn print(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// Prints a value as indented JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(&text)
}
