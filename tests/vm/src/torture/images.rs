//! The images that servers are purposed to while their power is cut: a first one, another version of
//! it with the same layout, and one with another layout.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use repave_chance::Chance;
use repave_protocol::Guid;
use repave_qemu::disk::Disk;

use crate::made::{TargetImage, run};
use crate::raw_disk::RawDisk;

const MIB: u64 = 1 << 20;
/// Sizes of tiny's partitions in the other layout, in MiB; they are 8 and 24 in its own.
const WIDE_MIB: [u64; 2] = [16, 40];
/// What the second version has more than the first: enough for several chunks.
const NEWS_BYTES: usize = 2 << 20;

/// Images, and how large a disk has to be for them.
#[derive(Clone, Debug)]
pub struct Images {
    /// What the server becomes first.
    pub first: TargetImage,
    /// Another version of it, if there is one.
    pub second: Option<TargetImage>,
    /// One with another layout.
    pub other: TargetImage,
    /// Size of the disk.
    pub disk_mib: u64,
}

impl Images {
    /// Three of the tiny target; those that are made here lie in `folder`.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn tiny(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let first = TargetImage::build("tiny")?;
        let second = newer(&first, &folder.join("second.raw"))?;
        let other = wider(&first, &folder.join("other.raw"))?;
        Ok(Self { first, second: Some(second), other, disk_mib: 256 })
    }

    /// Two Debians: a web server and a database.
    ///
    /// # Errors
    /// One cannot be built.
    pub fn debian() -> Result<Self> {
        let (first, other) = (TargetImage::build("web")?, TargetImage::build("db")?);
        Ok(Self { first, second: None, other, disk_mib: 1024 })
    }
}

/// The same with a large file more in its root file system.
fn newer(image: &TargetImage, path: &Path) -> Result<TargetImage> {
    Disk::copy(&image.disk, path)?;
    let news = path.with_extension("news");
    let mut chance = Chance::new(2);
    let bytes: Vec<u8> = (0..NEWS_BYTES / 8).flat_map(|_| chance.draw().to_le_bytes()).collect();
    fs::write(&news, bytes)?;
    let disk = RawDisk::open(path)?;
    let root = disk.place_of(disk.guids()?[2])?.context("tiny has a root")?;
    let file_system = format!("{}?offset={}", path.display(), root.start);
    let write = format!("write {} /etc/news", news.display());
    run(Command::new("debugfs").args(["-w", "-R", &write, &file_system]))?;
    Ok(TargetImage { disk: path.into(), descriptor: image.descriptor.clone() })
}

/// The same with larger partitions; the file systems in them stay as they are.
fn wider(image: &TargetImage, path: &Path) -> Result<TargetImage> {
    let narrow = RawDisk::open(&image.disk)?;
    let [disk_guid, esp, root] = narrow.guids()?[..] else {
        anyhow::bail!("tiny has two partitions");
    };
    let [esp_mib, root_mib] = WIDE_MIB;
    let file = File::create(path)?;
    file.set_len((2 + esp_mib + root_mib) * MIB)?;
    let layout = format!(
        "label: gpt\nlabel-id: {disk_guid}\n\
         start=1MiB, size={esp_mib}MiB, type=uefi, uuid={esp}, name=tiny-esp\n\
         start={}MiB, size={root_mib}MiB, type=linux-root-x86-64, uuid={root}, name=tiny-root\n",
        1 + esp_mib
    );
    let script = path.with_extension("sfdisk");
    fs::write(&script, layout)?;
    run(Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(path)
        .stdin(File::open(&script)?))?;
    let wide = RawDisk::open(path)?;
    for guid in [esp, root] {
        copy_partition((&image.disk, &narrow), (&file, &wide), guid)?;
    }
    Ok(TargetImage { disk: path.into(), descriptor: image.descriptor.clone() })
}

fn copy_partition(
    (from, narrow): (&PathBuf, &RawDisk),
    (to, wide): (&File, &RawDisk),
    guid: Guid,
) -> Result<()> {
    let what = "a partition of tiny";
    let (source, sink) =
        (narrow.place_of(guid)?.context(what)?, wide.place_of(guid)?.context(what)?);
    let mut bytes = vec![0; (source.end - source.start) as usize];
    File::open(from)?.read_exact_at(&mut bytes, source.start)?;
    to.write_all_at(&bytes, sink.start)?;
    Ok(())
}
