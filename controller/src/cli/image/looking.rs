//! Looking at images: those of a folder or a registry, or of the controller's library. What is printed is
//! the same for both, but for the channels, which only the controller knows.

use clap::Args;
use repave_image::{ImageManifest, Partition};
use repave_image_codec::Images;

use super::{ImageName, MIB};
use crate::cli::client::segment;
use crate::cli::remote::Remote;
use crate::cli::table::{Table, width};
use crate::cli::{Failure, print, print_json};
use crate::control::{ImageDetail, ImageInfo};
use crate::library_place::{LibraryPlace, RegistryFiles};

/// Where the images are.
#[derive(Debug, Args)]
pub(in crate::cli) struct Place {
    /// A library: a folder with an OCI image layout, or a registry's repository,
    /// https://HOST/REPOSITORY. Without it the controller is asked for its library.
    #[arg(long, value_name = "DIR|URL")]
    library: Option<LibraryPlace>,
    #[command(flatten)]
    files: RegistryFiles,
    #[command(flatten)]
    remote: Remote,
}

impl Place {
    /// The library, if it is not the controller's.
    fn images(&self) -> Result<Option<Box<dyn Images>>, Failure> {
        self.library.as_ref().map(|library| super::open(library, &self.files)).transpose()
    }
}

pub(super) fn list(place: &Place) -> Result<(), Failure> {
    let images = match place.images()? {
        Some(library) => {
            let images = library.images()?;
            let info = |image: repave_protocol::ImageReference| ImageInfo {
                name: image.name,
                version: image.version,
                manifest: image.manifest.to_string(),
                channels: Vec::new(),
            };
            images.into_iter().map(info).collect()
        }
        None => place.remote.client()?.fetch::<Vec<ImageInfo>>("/v1/images")?,
    };
    if place.remote.json {
        return print_json(&images);
    }
    let mut table = Table::new(&["IMAGE", "CHANNELS", "MANIFEST"]);
    for ImageInfo { name, version, manifest, channels } in images {
        let channels = if channels.is_empty() { "-".into() } else { channels.join(" ") };
        table.row([format!("{name}:{version}"), channels, format!("sha256:{manifest}")]);
    }
    print(&table.text(width()))
}

pub(super) fn inspect(image: &ImageName, place: &Place) -> Result<(), Failure> {
    let ImageDetail { digest, packs, claimed_keys, image } = match place.images()? {
        Some(library) => ImageDetail::of(&*library, &library.find(&image.name, image.version)?)?,
        None => {
            let path = format!("/v1/images/{}/{}", segment(&image.name), image.version);
            place.remote.client()?.fetch(&path)?
        }
    };
    if place.remote.json {
        return print_json(&image);
    }
    print(&heading(&image, &digest, packs))?;
    for key in claimed_keys {
        print(&format!("signature by {key} (not checked: see repave image verify)"))?;
    }
    for partition in &image.partitions {
        print(&partition_line(partition))?;
    }
    Ok(())
}

fn heading(manifest: &ImageManifest, digest: &str, packs: usize) -> String {
    let boot = &manifest.boot;
    let how = match &boot.efi_path {
        Some(path) => format!("firmware starts {path} on {}", boot.partition),
        None => "kexec only".into(),
    };
    format!(
        "{}:{} for servers of type {}\nsha256:{digest}\n{how}\n{} chunks of {} KiB, blocks of {} bytes, {packs} packs",
        manifest.name,
        manifest.version,
        manifest.server_type,
        manifest.index.chunks,
        manifest.chunk_bytes / 1024,
        manifest.logical_block_bytes,
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
