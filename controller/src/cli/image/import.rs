//! `repave image import`: from a disk image to an image in a library, and what that took.

use std::path::PathBuf;

use clap::Args;
use repave_image_codec::{BootDescriptor, ImportOptions, Imported, Library, import};

use super::{MIB, Output};
use crate::cli::progress::ProgressLine;
use crate::cli::{Failure, print, print_json};
use crate::key_file;

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
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

pub(super) fn run(arguments: &Import) -> Result<(), Failure> {
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
        "{}:{} {boot}, {:.1} MiB in {} chunks: {} zero, {} new ({:.1} MiB, stored as {:.1}), {} reused ({:.1} MiB); {:.1} MiB saved, index {} bytes, {} packs\nmanifest sha256:{}",
        reference.name,
        reference.version,
        summary.image_bytes as f64 / MIB,
        summary.chunks,
        summary.zero_chunks,
        summary.new_chunks,
        summary.new_bytes as f64 / MIB,
        summary.stored_bytes as f64 / MIB,
        summary.reused_chunks,
        summary.reused_bytes as f64 / MIB,
        summary.saved_bytes as f64 / MIB,
        summary.index_bytes,
        summary.packs,
        reference.manifest
    )
}
