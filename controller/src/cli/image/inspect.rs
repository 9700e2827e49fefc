//! `repave image inspect`: what one image of a library is.

use std::path::Path;

use repave_image::{ImageManifest, Partition};
use repave_image_codec::{Library, StoredImage};

use super::{ImageName, MIB, Output};
use crate::cli::{Failure, print, print_json};

pub(super) fn run(image: &ImageName, output: &Output) -> Result<(), Failure> {
    let stored = read(&output.library, image)?;
    let manifest = stored.manifest.manifest();
    if output.json {
        return print_json(manifest);
    }
    print(&heading(&stored, manifest))?;
    for key in Library::open(&output.library)?.claimed_keys(&stored)? {
        print(&format!("signature by {key} (not checked: see repave image verify)"))?;
    }
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

fn read(library: &Path, image: &ImageName) -> Result<StoredImage, Failure> {
    let library = Library::open(library)?;
    Ok(library.read(&library.find(&image.name, image.version)?)?)
}
