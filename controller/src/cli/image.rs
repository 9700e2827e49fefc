//! `repave image`: images, and the library that keeps them. Each command is a file of its own.

mod gc;
mod import;
mod looking;
mod sign;
mod transfer;
mod verify;

use std::path::Path;
use std::str::FromStr;

use clap::{Args, Subcommand};
use repave_image_codec::{Images, Library, RegistryError};
use repave_protocol::PublicKey;

use super::Failure;
use crate::library_place::{LibraryPlace, RegistryFileError, RegistryFiles};

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import a disk or partition image into a library.
    Import(import::Import),
    /// List the images of the controller's library, or of another one.
    List {
        #[command(flatten)]
        place: looking::Place,
    },
    /// Show what an image of the controller's library is, or one of another library.
    Inspect {
        /// The image, as NAME:VERSION.
        image: ImageName,
        #[command(flatten)]
        place: looking::Place,
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
    /// Send an image from a folder to a registry.
    Push(transfer::Push),
    /// Fetch an image from a registry into a folder.
    Pull(transfer::Pull),
    /// List an image no longer. What only it needs stays until `repave image gc`.
    Remove {
        /// The image, as NAME:VERSION.
        image: ImageName,
        #[command(flatten)]
        place: Place,
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

/// Where the library is, and how results are printed.
#[derive(Debug, Args)]
pub(super) struct Output {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where the library is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The library: a folder with an OCI image layout, which an import or a pull makes if it is not
    /// there, or a registry's repository, https://HOST/REPOSITORY.
    #[arg(long, env = "REPAVE_LIBRARY", value_name = "DIR|URL")]
    library: LibraryPlace,
    #[command(flatten)]
    files: RegistryFiles,
}

impl Place {
    /// The library, to be read.
    fn images(&self) -> Result<Box<dyn Images>, Failure> {
        open(&self.library, &self.files)
    }

    /// The folder that something is done in, which a registry does not do.
    fn folder(&self, what: &'static str, way_out: &'static str) -> Result<&Path, Failure> {
        match &self.library {
            LibraryPlace::Folder(path) => Ok(path),
            LibraryPlace::Registry(_) => {
                Err(RegistryFileError::from(RegistryError::FolderOnly { what, way_out }).into())
            }
        }
    }
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
        Command::Remove { image, place } => remove(&image, &place),
        Command::Push(arguments) => transfer::push(&arguments),
        Command::Pull(arguments) => transfer::pull(&arguments),
        Command::Gc { dry_run, output } => gc::run(dry_run, &output),
    }
}

/// A library, to be read.
fn open(place: &LibraryPlace, files: &RegistryFiles) -> Result<Box<dyn Images>, Failure> {
    Ok(match place {
        LibraryPlace::Folder(path) => Box::new(Library::open(path)?),
        LibraryPlace::Registry(url) => Box::new(files.open(url)?),
    })
}

fn remove(image: &ImageName, place: &Place) -> Result<(), Failure> {
    match &place.library {
        LibraryPlace::Folder(path) => Library::open(path)?.remove(&image.name, image.version)?,
        LibraryPlace::Registry(url) => {
            place.files.open(url)?.remove(&image.name, image.version)?;
        }
    }
    Ok(())
}
