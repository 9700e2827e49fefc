//! `repave key`: making signing keys, and telling their public halves.

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
    /// Print the public half of a key.
    Public {
        /// The key's file.
        file: PathBuf,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let key = match command {
        Command::Generate { out } => key_file::generate(&out)?,
        Command::Public { file } => key_file::read(&file)?,
    };
    print(&key.public().to_string())
}
