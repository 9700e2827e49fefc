//! `repave image`: importing images into a library, and looking at what is there.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use repave_image::{ImageManifest, Partition};
use repave_image_codec::{
    BootDescriptor, ImportOptions, Imported, Library, StoredImage, import, verify,
};
use repave_protocol::PublicKey;

use super::progress::ProgressLine;
use super::{Failure, print, print_json};
use crate::key_file;

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import a raw disk image with a GPT, or a raw partition image.
    Import(Import),
    /// List the images of a library.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show what an image is.
    Inspect {
        /// The image, as NAME:VERSION.
        image: ImageName,
        #[command(flatten)]
        output: Output,
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
        Command::List { output } => run_list(&output),
        Command::Inspect { image, output } => run_inspect(&image, &output),
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

fn run_list(output: &Output) -> Result<(), Failure> {
    let images = Library::open(&output.library)?.images()?;
    if output.json {
        return print_json(&images);
    }
    for image in images {
        print(&format!("{}:{} sha256:{}", image.name, image.version, image.manifest))?;
    }
    Ok(())
}

fn run_inspect(image: &ImageName, output: &Output) -> Result<(), Failure> {
    let stored = read(&output.library, image)?;
    let manifest = stored.manifest.manifest();
    if output.json {
        return print_json(manifest);
    }
    print(&heading(&stored, manifest))?;
    for partition in &manifest.partitions {
        print(&partition_line(partition))?;
    }
    Ok(())
}

fn heading(stored: &StoredImage, manifest: &ImageManifest) -> String {
    let boot = &manifest.boot;
    let how = match &boot.efi_path {
        Some(path) => format!("firmware starts {path} on {}", boot.partition),
        None => "kexec only".into(),
    };
    format!(
        "{}:{} for servers of type {}\nsha256:{}\n{how}\n{} chunks of {} KiB, blocks of {} bytes, {} packs",
        manifest.name,
        manifest.version,
        manifest.server_type,
        stored.reference.manifest,
        manifest.index.chunks,
        manifest.chunk_bytes / 1024,
        manifest.logical_block_bytes,
        stored.oci.packs.len(),
    )
}

fn partition_line(partition: &Partition) -> String {
    let file_system = match &partition.file_system {
        Some(found) => format!("{} {}", found.kind, found.uuid),
        None => "no file system known".into(),
    };
    format!(
        "  {:<20} {:>10.1} MiB  {}  {file_system}",
        partition.name,
        partition.size_bytes as f64 / MIB,
        partition.guid
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

fn read(library: &Path, image: &ImageName) -> Result<StoredImage, Failure> {
    let library = Library::open(library)?;
    Ok(library.read(&library.find(&image.name, image.version)?)?)
}
