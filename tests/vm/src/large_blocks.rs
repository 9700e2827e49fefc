//! A target image for disks with blocks of 4,096 bytes, made of one for 512: the same partitions,
//! with their files in file systems made anew, since a kernel mounts neither FAT nor ext4 with blocks
//! smaller than its disk's. The table is the core's work; what it is worth, the firmware says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use repave_core::edges::{DeviceError, Disk};
use repave_core::gpt::{Entry, Table};
use repave_image::{ESP_TYPE, LINUX_ROOT_TYPE};
use repave_protocol::{Disk as Facts, Guid};

use crate::made::{TargetImage, run};
use crate::raw_disk::RawDisk;

const MIB: u64 = 1 << 20;
const BLOCK_BYTES: u64 = 4096;
/// Sizes of the partitions. FAT16 has at least 4,085 clusters, and a cluster at least one block.
const ESP_MIB: u64 = 20;
const ROOT_MIB: u64 = 24;
/// Where they begin; the last MiB is the backup table's.
const ESP_AT: u64 = MIB;
const ROOT_AT: u64 = (1 + ESP_MIB) * MIB;

impl TargetImage {
    /// The same for a disk with blocks of 4,096 bytes, made in `folder`. Only `tiny` is known to be
    /// of this shape: an ESP and a root.
    ///
    /// # Errors
    /// A tool fails, or the image is of another shape.
    pub fn with_large_blocks(&self, folder: &Path) -> Result<Self> {
        let small = RawDisk::open(&self.disk)?;
        let [disk_guid, esp, root] = small.guids()?[..] else {
            anyhow::bail!("an image with other partitions than an ESP and a root");
        };
        let trees = ["esp", "root"].map(|name| folder.join(format!("large-{name}")));
        for tree in &trees {
            fs::create_dir(tree)?;
        }
        let [esp_tree, root_tree] = &trees;
        let start = |guid| -> Result<u64> {
            Ok(small.place_of(guid)?.context("a partition that was just there")?.start)
        };
        let source = self.disk.display();
        run(Command::new("mcopy")
            .args(["-s", "-i", &format!("{source}@@{}", start(esp)?), "::/*"])
            .arg(esp_tree))?;
        run(Command::new("debugfs").args([
            "-R",
            &format!("rdump / {}", root_tree.display()),
            &format!("{source}?offset={}", start(root)?),
        ]))?;
        let disk = folder.join("large-blocks.raw");
        lay_out(&disk, disk_guid, [esp, root])?;
        fill(&disk, esp_tree, root_tree)?;
        Ok(Self { disk, descriptor: self.descriptor.clone() })
    }
}

/// An empty disk with the partitions that tiny has.
fn lay_out(path: &Path, disk_guid: Guid, [esp, root]: [Guid; 2]) -> Result<()> {
    let file = File::options().create_new(true).read(true).write(true).open(path)?;
    let size_bytes = (2 + ESP_MIB + ROOT_MIB) * MIB;
    file.set_len(size_bytes)?;
    let facts = Facts { size_bytes, logical_block_bytes: BLOCK_BYTES as u32, ..Facts::default() };
    let mut disk = Medium { facts, file };
    let entry = |number, name: &str, (type_guid, guid), start: u64, size_mib: u64| Entry {
        number,
        type_guid,
        guid,
        first_lba: start / BLOCK_BYTES,
        last_lba: (start + size_mib * MIB) / BLOCK_BYTES - 1,
        attributes: 0,
        name: name.into(),
    };
    let entries = [
        entry(1, "tiny-esp", (ESP_TYPE, esp), ESP_AT, ESP_MIB),
        entry(2, "tiny-root", (LINUX_ROOT_TYPE, root), ROOT_AT, ROOT_MIB),
    ];
    let table = Table::create(&mut disk, disk_guid)?;
    table.rewrite(disk_guid, &entries, 0)?.write(&mut disk)?;
    Ok(())
}

fn fill(disk: &Path, esp_tree: &Path, root_tree: &Path) -> Result<()> {
    let offset = format!("--offset={}", ESP_AT / BLOCK_BYTES);
    run(Command::new("/sbin/mkfs.vfat")
        .args(["--invariant", "-F", "16", "-S", "4096", "-s", "1", "-n", "ESP", &offset])
        .arg(disk)
        .arg((ESP_MIB * MIB / 1024).to_string()))?;
    let files = fs::read_dir(esp_tree)?.map(|entry| Ok(entry?.path()));
    run(Command::new("mcopy")
        .args(["-s", "-i", &format!("{}@@{ESP_AT}", disk.display())])
        .args(files.collect::<Result<Vec<_>>>()?)
        .arg("::/"))?;
    let extended =
        format!("offset={ROOT_AT},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0");
    run(Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-b", "4096", "-m", "0", "-J", "size=8", "-E", &extended, "-d"])
        .arg(root_tree)
        .arg(disk)
        .arg(format!("{ROOT_MIB}M")))
}

/// An image file as the core sees a disk.
struct Medium {
    facts: Facts,
    file: File,
}

impl Medium {
    fn failed(
        &self,
        operation: &'static str,
        outcome: std::io::Result<()>,
    ) -> Result<(), DeviceError> {
        outcome.map_err(|error| DeviceError {
            device: self.facts.name.clone(),
            operation,
            offset_bytes: 0,
            length_bytes: 0,
            reason: error.to_string(),
        })
    }
}

impl Disk for Medium {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.failed("read", self.file.read_exact_at(into, offset_bytes))
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.failed("write", self.file.write_all_at(bytes, offset_bytes))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
