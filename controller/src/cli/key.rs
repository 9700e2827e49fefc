//! `repave key`: making signing keys.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, print};
use crate::key_file;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an Ed25519 key, write it to a new file that only its owner can read, and print the
    /// public half.
    Generate {
        /// The new file.
        #[arg(long)]
        out: PathBuf,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let Command::Generate { out } = command;
    print(&key_file::generate(&out)?.public().to_string())
}
