//! `repave image`: importing images into a library, and looking at what is there.

mod looking;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use repave_image_codec::{BootDescriptor, ImportOptions, Imported, Library, import, verify};
use repave_protocol::PublicKey;

use looking::Place;

use super::progress::ProgressLine;
use super::{Failure, print, print_json};
use crate::key_file;

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import a raw disk image with a GPT, or a raw partition image.
    Import(Import),
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
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The raw image: a file or a block device.
    source: PathBuf,
    /// Name of the image.
    #[arg(long)]
    name: String,
    /// Version; higher than any released before.
    #[arg(long)]
    version: u64,
    /// The image's boot.json: server type, boot, settings, reports.
    #[arg(long, value_name = "FILE")]
    boot: PathBuf,
    /// The image key's file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Output {
    /// The library: a folder with an OCI image layout. An import makes it if it is not there.
    #[arg(long, value_name = "DIR")]
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
        Command::Import(arguments) => run_import(&arguments),
        Command::List { place } => looking::list(&place),
        Command::Inspect { image, place } => looking::inspect(&image, &place),
        Command::Verify { image, public_keys, output } => run_verify(&image, &public_keys, &output),
    }
}

fn run_import(arguments: &Import) -> Result<(), Failure> {
    let key = key_file::read(&arguments.key)?;
    let descriptor = BootDescriptor::read(&arguments.boot)?;
    let library = Library::open_or_create(&arguments.output.library)?;
    let options = ImportOptions::new(&arguments.name, arguments.version);
    let mut line = ProgressLine::new("importing");
    let imported =
        import(&arguments.source, &descriptor, &options, &library, &key, &mut |progress| {
            line.show(progress)
        })?;
    drop(line);
    if arguments.output.json {
        return print_json(&imported);
    }
    print(&summary(&imported))
}

fn summary(Imported { reference, summary }: &Imported) -> String {
    let boot = if summary.firmware_bootable { "firmware-bootable" } else { "kexec-only" };
    format!(
        "{}:{} {boot}, {:.1} MiB in {} chunks: {} zero, {} new ({:.1} MiB, stored as {:.1}), {} reused; index {} bytes, {} packs\nmanifest sha256:{}",
        reference.name,
        reference.version,
        summary.image_bytes as f64 / MIB,
        summary.chunks,
        summary.zero_chunks,
        summary.new_chunks,
        summary.new_bytes as f64 / MIB,
        summary.stored_bytes as f64 / MIB,
        summary.reused_chunks,
        summary.index_bytes,
        summary.packs,
        reference.manifest
    )
}

fn run_verify(image: &ImageName, keys: &[PublicKey], output: &Output) -> Result<(), Failure> {
    let library = Library::open(&output.library)?;
    let reference = library.find(&image.name, image.version)?;
    let mut line = ProgressLine::new("verifying");
    let found = verify(&library, &reference, keys, &mut |progress| line.show(progress))?;
    drop(line);
    if output.json {
        return print_json(&found);
    }
    let signature = match found.signed_by {
        Some(key) => format!("signed by {key}"),
        None => "signature not checked (give --public-key)".into(),
    };
    print(&format!(
        "{}:{} is whole: {} stored of {} chunks read; {signature}",
        image.name, image.version, found.stored_chunks, found.chunks
    ))
}
