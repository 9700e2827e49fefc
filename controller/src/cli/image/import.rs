//! `repave image import`: from a disk image to an image in a library, and what that took.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use repave_image_codec::{
    BootDescriptor, ImportOptions, Imported, Library, Source, UNPACKED_BYTES, find_boot,
    import_source, open_source,
};

use super::{MIB, Output};
use crate::cli::progress::ProgressLine;
use crate::cli::{Failure, print, print_json};
use crate::key_file;

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The image: a file or a block device; a disk with a GPT or one file system, raw or qcow2, and
    /// either packed with gzip, xz, zstd or bzip2. Which it is, is found out.
    source: PathBuf,
    /// Name of the image.
    #[arg(long)]
    name: String,
    /// Version; higher than any released before.
    #[arg(long)]
    version: u64,
    /// The image's boot.json: server type, boot, settings, reports. Without one, what can be
    /// started is looked for, and nothing is configured.
    #[arg(long, value_name = "FILE", required_unless_present = "server_type")]
    boot: Option<PathBuf>,
    /// What a server with the image is, in place of what boot.json says.
    #[arg(long = "type", value_name = "TYPE")]
    server_type: Option<String>,
    /// Largest size that a packed source or a qcow2 may unfold to, in GiB.
    #[arg(long, value_name = "GIB", default_value_t = UNPACKED_BYTES >> 30)]
    unpacked_limit: u64,
    /// The image key's file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(arguments: &Import) -> Result<(), Failure> {
    let key = key_file::read(&arguments.key)?;
    let library = {
        let way_out = "import into a folder, then push";
        Library::open_or_create(arguments.output.place.folder("an import", way_out)?)?
    };
    let options = ImportOptions::new(&arguments.name, arguments.version);
    let source = open(arguments, &library)?;
    let descriptor = describe(arguments, &source, &options)?;
    let mut line = ProgressLine::new("importing");
    let imported = import_source(source, &descriptor, &options, &library, &key, &mut |progress| {
        line.show(progress)
    })?;
    drop(line);
    if arguments.output.json {
        return print_json(&imported);
    }
    print(&summary(&imported))
}

fn open(arguments: &Import, library: &Library) -> Result<Arc<dyn Source>, Failure> {
    let mut line = ProgressLine::new("unpacking");
    let limit_bytes = arguments.unpacked_limit.saturating_mul(1 << 30);
    Ok(open_source(&arguments.source, library.root(), limit_bytes, &mut |progress| {
        line.show(progress)
    })?)
}

fn describe(
    arguments: &Import,
    source: &Arc<dyn Source>,
    options: &ImportOptions,
) -> Result<BootDescriptor, Failure> {
    let server_type = arguments.server_type.as_deref();
    let mut descriptor = match &arguments.boot {
        Some(path) => BootDescriptor::read(path)?,
        None => return Ok(find_boot(source, server_type.unwrap_or_default(), options)?),
    };
    if let Some(server_type) = server_type {
        descriptor.server_type = server_type.into();
    }
    Ok(descriptor)
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
