//! `repave image`: images, and the library that keeps them. Each command is a file of its own.

mod gc;
mod import;
mod looking;
mod sign;
mod verify;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use repave_image_codec::Library;
use repave_protocol::PublicKey;

use super::Failure;
use looking::Place;

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import a disk or partition image into a library.
    Import(import::Import),
    /// List the images of the controller's library, or of a local one.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show what an image of the controller's library is, or one of a local library.
    Inspect {
        /// The image, as NAME:VERSION.
        image: ImageName,
        #[command(flatten)]
        place: Place,
    },
    /// Read every byte of an image back and compare it with its digests.
    Verify {
        /// The image, as NAME:VERSION.
        image: ImageName,
        /// Public key that must have signed the image; may be given several times. Without one
        /// the signature is not checked.
        #[arg(long = "public-key", value_name = "HEX")]
        public_keys: Vec<PublicKey>,
        #[command(flatten)]
        output: Output,
    },
    /// Sign an image of a library with a further key, or with another key alone.
    Sign(sign::Sign),
    /// List an image no longer. What only it needs stays until `repave image gc`.
    Remove {
        /// The image, as NAME:VERSION.
        image: ImageName,
        /// The library: a folder with an OCI image layout.
        #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR")]
        library: PathBuf,
    },
    /// Throw away what no listed image needs, and what imports that were killed left.
    Gc {
        /// Only say what would be thrown away.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct Output {
    /// The library: a folder with an OCI image layout. An import makes it if it is not there.
    #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR")]
    library: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An image as people write it.
#[derive(Clone, Debug)]
pub(super) struct ImageName {
    name: String,
    version: u64,
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once(':').and_then(|(name, version)| Some((name, version.parse().ok()?)));
        let (name, version) = parts.ok_or("an image is NAME:VERSION, such as web:1")?;
        Ok(Self { name: name.into(), version })
    }
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Import(arguments) => import::run(&arguments),
        Command::List { place } => looking::list(&place),
        Command::Inspect { image, place } => looking::inspect(&image, &place),
        Command::Verify { image, public_keys, output } => {
            verify::run(&image, &public_keys, &output)
        }
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Remove { image, library } => {
            Ok(Library::open(&library)?.remove(&image.name, image.version)?)
        }
        Command::Gc { dry_run, output } => gc::run(dry_run, &output),
    }
}
