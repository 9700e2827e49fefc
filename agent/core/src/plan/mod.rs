//! The plan: which disk, which blocks, which files, and how to boot. Made of a verified directive,
//! a trusted image and what the disks hold; whatever does not fit is refused here, by name, before
//! a byte of the target changes.

mod alone;
mod heads;
mod tables;
mod twins;

use repave_image::{Architecture, Partition, Reports};
use repave_protocol::{BootMethod, Directive, DiskSelector, Generation, Guid, Purpose, Verified};
use thiserror::Error;

pub(crate) use self::alone::Place;
pub(crate) use self::heads::{Head, elsewhere, here};
pub(crate) use self::tables::Tables;
use crate::default_side::DefaultSide;
use crate::edges::{DeviceError, Disk, Volume};
use crate::gpt::{Entry, GptError, Rewrite, Table};
use crate::image::TrustedImage;
use crate::journal::{BootPlace, BootPlan, KexecPlan};
use crate::settings::{BadSettings, Rendered, ResidentConfig, render};

/// Partitions begin on multiples of this: every erase block and stripe that matters divides it.
const ALIGNMENT_BYTES: u64 = 1024 * 1024;

/// Why a purpose does not fit this server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// No disk is the one named.
    #[error("no disk has {wanted}; this server has {present}")]
    NoSuchDisk {
        /// The selector, in words.
        wanted: String,
        /// The disks, in words.
        present: String,
    },
    /// More than one disk is.
    #[error("{wanted} fits both {first} and {second}; name the disk by serial or WWN")]
    AmbiguousDisk {
        /// The selector, in words.
        wanted: String,
        /// One disk.
        first: String,
        /// Another.
        second: String,
    },
    /// Another processor.
    #[error("image is for {found}, this server is {own}")]
    OtherArchitecture {
        /// The image's.
        found: String,
        /// The server's.
        own: String,
    },
    /// Another block size.
    #[error("image was made for blocks of {found} bytes, {disk} has blocks of {own} bytes")]
    OtherBlockSize {
        /// The disk.
        disk: String,
        /// The image's.
        found: u32,
        /// The disk's.
        own: u32,
    },
    /// Not enough room.
    #[error("image needs {needed_bytes} bytes on {disk}, {free_bytes} are free for a target")]
    TooSmall {
        /// The disk.
        disk: String,
        /// What it takes, alignment included.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A GUID of the image is somewhere that is not the target.
    #[error(
        "partition GUID {guid} of the image is also on {disk} as {partition:?}; the firmware could boot the wrong one"
    )]
    DuplicateGuid {
        /// The GUID.
        guid: Guid,
        /// The other disk.
        disk: String,
        /// The other partition's name.
        partition: String,
    },
    /// A file system's UUID of the image is somewhere that is not the target.
    #[error(
        "file system {uuid} of the image is also on {disk} as {partition:?}; the target could mount the wrong one"
    )]
    DuplicateFileSystem {
        /// The UUID.
        uuid: String,
        /// The other disk.
        disk: String,
        /// The other partition's name.
        partition: String,
    },
    /// A partition that could not be looked into.
    #[error("partition could not be read")]
    Device(#[from] DeviceError),
    /// A partition table that cannot be used.
    #[error("partition table refused")]
    Gpt(#[from] GptError),
    /// Settings that the image does not take.
    #[error("settings refused")]
    Settings(#[from] BadSettings),
    /// kexec-only images must be asked for by name.
    #[error("image can be booted by kexec only, the directive asks for {method:?}")]
    KexecOnly {
        /// What was asked.
        method: BootMethod,
    },
    /// kexec was asked for and the image does not say how.
    #[error("the directive asks for kexec, the image names no kernel for it")]
    NoKexec,
}

/// Where one partition of the image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Size on the disk; a partition that grows has more than the image.
    pub size_bytes: u64,
    /// First chunk in the index.
    pub first_chunk: u64,
}

impl Extent {
    /// Its head, on this disk.
    pub(crate) const fn head(&self, disk: usize) -> Head {
        Head { disk, offset_bytes: self.offset_bytes, size_bytes: self.size_bytes }
    }
}

/// A purposing, decided. Private fields: only [`Plan::make`] makes one, and it needs the proof
/// that the directive was verified.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) generation: Generation,
    pub(crate) server_type: String,
    pub(crate) image: TrustedImage,
    pub(crate) disk: usize,
    pub(crate) extents: Vec<Extent>,
    pub(crate) rewrite: Option<Rewrite>,
    /// Heads to blank before those of the extents: what old targets had, other disks first, and
    /// ESPs first on the target's own.
    pub(crate) old_heads: Vec<Head>,
    /// Boot partitions that may be bootable without a seal, from the unsealing to the seal.
    pub(crate) unsealed: Vec<BootPlace>,
    /// Those that stay so, since their disk is away.
    pub(crate) away: Vec<BootPlace>,
    pub(crate) boot_partition: usize,
    pub(crate) boot: BootPlan,
    pub(crate) settings: Option<(Volume, Vec<Rendered>)>,
    pub(crate) reports: bool,
    pub(crate) watchdog_s: Option<u32>,
}

/// What the planner is told about the server.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The default side.
    pub default: &'a DefaultSide,
    /// `amd64`, …
    pub architecture: &'a str,
    /// What the resident would be told, but for the generation.
    pub resident: &'a ResidentConfig,
    /// Boot partitions of targets that were written before, wherever they are.
    pub earlier: Vec<BootPlace>,
}

impl Plan {
    /// Decides everything, or says what does not fit.
    pub fn make(
        directive: &Verified<Directive>,
        purpose: &Purpose,
        image: TrustedImage,
        ground: &Ground<'_>,
        disks: &mut [Box<dyn Disk + '_>],
    ) -> Result<Self, PlanError> {
        let manifest = image.manifest().manifest();
        let generation = directive.message().generation;
        check_architecture(manifest.architecture, ground.architecture)?;
        let disk = match &purpose.disk {
            Some(selector) => select(selector, disks)?,
            None => ground.default.disk,
        };
        check_block_size(manifest.logical_block_bytes, disks[disk].as_ref())?;
        let on_default = disk == ground.default.disk;
        let kept = if on_default { 2 } else { 0 };
        let tables = Tables::read(disks);
        let table = match tables.of(disk) {
            Ok(table) => table.clone(),
            // A blank disk gets a table whose GUID is the image's own first partition's: stable,
            // so that the same plan twice writes the same bytes.
            Err(GptError::None { .. } | GptError::Foreign { .. }) if !on_default => {
                Table::create(disks[disk].as_mut(), manifest.partitions[0].guid)?
            }
            Err(error) => return Err(error.into()),
        };
        let entries = lay_out(&table, kept, &manifest.partitions, &disks[disk].facts().name)?;
        let own = (&entries[..kept], table.block_bytes);
        twins::check(disk, own, &manifest.partitions, &tables, disks)?;
        let extents = extents(&table, &entries[kept..], &manifest.partitions);
        let changed = table.entries != entries || !table.health.primary || !table.health.backup;
        let rewrite =
            changed.then(|| table.rewrite(table.disk_guid, &entries, kept)).transpose()?;
        let (mut old_heads, away) = elsewhere(&ground.earlier, disk, ground.default, &tables)?;
        old_heads.extend(here(&table, kept, disk));
        let (boot_partition, _) = image
            .manifest()
            .partition(&manifest.boot.partition)
            .unwrap_or((0, &manifest.partitions[0]));
        let boot = boot_plan(&image, purpose.boot, table.disk_guid)?;
        let mut unsealed = ground.earlier.clone();
        unsealed.extend(Some(boot.place()).filter(|place| !unsealed.contains(place)));
        let reports = manifest.reports == Reports::Resident;
        let resident = reports.then(|| ResidentConfig { generation, ..ground.resident.clone() });
        let files = render(&purpose.settings, manifest.settings.as_ref(), resident.as_ref())?;
        let settings = manifest.settings.as_ref().and_then(|policy| {
            let (number, partition) = image.manifest().partition(&policy.partition)?;
            Some((volume(disk, &extents[number], partition), files))
        });
        Ok(Self {
            generation,
            server_type: purpose.server_type.clone(),
            disk,
            extents,
            rewrite,
            old_heads,
            unsealed,
            away,
            boot_partition,
            boot,
            settings,
            reports,
            watchdog_s: purpose.settings.watchdog_s,
            image,
        })
    }

    /// Where a partition of the image has its head; `None` if there is no such partition.
    pub(crate) fn head_of(&self, partition: usize) -> Option<Head> {
        self.extents.get(partition).map(|extent| extent.head(self.disk))
    }

    /// The image's chunks whose bytes are lost when a head is blanked, whosever it is.
    pub(crate) fn chunks_under(&self, head: &Head) -> Vec<u64> {
        if head.disk != self.disk {
            return Vec::new();
        }
        head.chunks_under(&self.extents, self.image.manifest())
    }

    /// Bytes of the image.
    pub fn total_bytes(&self) -> u64 {
        self.image.manifest().size_bytes()
    }
}

fn check_architecture(found: Architecture, own: &str) -> Result<(), PlanError> {
    let name = match found {
        Architecture::Amd64 => "amd64",
    };
    if name == own {
        return Ok(());
    }
    Err(PlanError::OtherArchitecture { found: name.into(), own: own.into() })
}

fn check_block_size(found: u32, disk: &dyn Disk) -> Result<(), PlanError> {
    let facts = disk.facts();
    if found == facts.logical_block_bytes {
        return Ok(());
    }
    let (disk, own) = (facts.name.clone(), facts.logical_block_bytes);
    Err(PlanError::OtherBlockSize { disk, found, own })
}

/// The one disk that a selector fits.
pub(crate) fn select(
    selector: &DiskSelector,
    disks: &[Box<dyn Disk + '_>],
) -> Result<usize, PlanError> {
    let agrees = |wanted: &Option<String>, found: &Option<String>| {
        wanted.is_none() || wanted.as_deref() == found.as_deref()
    };
    let fits = |facts: &repave_protocol::Disk| {
        agrees(&selector.serial, &facts.serial)
            && agrees(&selector.wwn, &facts.wwn)
            && selector.size_bytes.is_none_or(|size| size == facts.size_bytes)
    };
    let mut found = (0..disks.len()).filter(|&number| fits(disks[number].facts()));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => Err(PlanError::AmbiguousDisk {
            wanted: selector_words(selector),
            first: disk_words(disks[first].facts()),
            second: disk_words(disks[second].facts()),
        }),
        (None, _) => Err(PlanError::NoSuchDisk {
            wanted: selector_words(selector),
            present: disks.iter().map(|d| disk_words(d.facts())).collect::<Vec<_>>().join("; "),
        }),
    }
}

fn selector_words(selector: &DiskSelector) -> String {
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} {v:?}"));
    let size = selector.size_bytes.map(|size| format!("size {size} bytes"));
    let words: Vec<_> = [text("serial", &selector.serial), text("WWN", &selector.wwn), size]
        .into_iter()
        .flatten()
        .collect();
    if words.is_empty() { "no identity at all".into() } else { words.join(" and ") }
}

fn disk_words(facts: &repave_protocol::Disk) -> String {
    let serial = facts.serial.as_deref().unwrap_or("none");
    format!("{} (serial {serial:?}, {} bytes)", facts.name, facts.size_bytes)
}

/// The kept entries, then the image's partitions one after the other.
fn lay_out(
    table: &Table,
    kept: usize,
    partitions: &[Partition],
    disk: &str,
) -> Result<Vec<Entry>, PlanError> {
    let align = ALIGNMENT_BYTES / table.block_bytes;
    let mut entries = table.entries[..kept].to_vec();
    let after_kept = entries.iter().map(|entry| entry.last_lba + 1).max().unwrap_or(0);
    let start_lba = after_kept.max(table.first_usable_lba()).next_multiple_of(align);
    let end_lba = table.last_usable_lba() + 1;
    let mut next_lba = start_lba;
    for (number, partition) in (kept as u32 + 1..).zip(partitions) {
        let blocks = partition.size_bytes / table.block_bytes;
        entries.push(Entry {
            number,
            type_guid: partition.type_guid,
            guid: partition.guid,
            first_lba: next_lba,
            last_lba: next_lba + blocks - 1,
            attributes: partition.attributes,
            name: partition.name.clone(),
        });
        next_lba = (next_lba + blocks).next_multiple_of(align);
    }
    let needed_lba = entries.last().map_or(start_lba, |entry| entry.last_lba + 1);
    if needed_lba > end_lba {
        return Err(PlanError::TooSmall {
            disk: disk.into(),
            needed_bytes: (needed_lba - start_lba) * table.block_bytes,
            free_bytes: end_lba.saturating_sub(start_lba) * table.block_bytes,
        });
    }
    // Only the last partition has room behind it to grow into.
    if let (Some(last), Some(true)) = (entries.last_mut(), partitions.last().map(|p| p.grow)) {
        last.last_lba = last.last_lba.max(end_lba / align * align - 1);
    }
    Ok(entries)
}

fn extents(table: &Table, entries: &[Entry], partitions: &[Partition]) -> Vec<Extent> {
    let places = entries.iter().zip(partitions);
    let extent = |(entry, partition): (&Entry, &Partition)| Extent {
        offset_bytes: entry.first_lba * table.block_bytes,
        size_bytes: entry.blocks() * table.block_bytes,
        first_chunk: partition.first_chunk,
    };
    places.map(extent).collect()
}

fn volume(disk: usize, extent: &Extent, partition: &Partition) -> Volume {
    Volume {
        disk,
        guid: partition.guid,
        offset_bytes: extent.offset_bytes,
        size_bytes: extent.size_bytes,
        file_system: file_system_of(partition),
    }
}

fn file_system_of(partition: &Partition) -> String {
    use repave_image::FileSystemKind::{Btrfs, Ext4, Vfat, Xfs};
    let name = match partition.file_system.as_ref().map(|found| found.kind) {
        Some(Ext4) => "ext4",
        Some(Xfs) => "xfs",
        Some(Btrfs) => "btrfs",
        Some(Vfat) => "vfat",
        None => "",
    };
    name.into()
}

fn boot_plan(image: &TrustedImage, method: BootMethod, disk: Guid) -> Result<BootPlan, PlanError> {
    let manifest = image.manifest().manifest();
    let boot = &manifest.boot;
    if boot.efi_path.is_none() && method != BootMethod::Kexec {
        return Err(PlanError::KexecOnly { method });
    }
    if boot.kexec.is_none() && method == BootMethod::Kexec {
        return Err(PlanError::NoKexec);
    }
    let partition_of = |name: &str| {
        manifest.partitions.iter().find(|p| p.name == name).unwrap_or(&manifest.partitions[0])
    };
    let kexec = boot.kexec.as_ref().map(|kexec| {
        let partition = partition_of(&kexec.partition);
        KexecPlan {
            partition: partition.guid,
            file_system: file_system_of(partition),
            kernel: kexec.kernel.clone(),
            initrd: kexec.initrd.clone(),
            options: kexec.options.clone(),
        }
    });
    Ok(BootPlan {
        method,
        disk,
        partition: partition_of(&boot.partition).guid,
        efi_path: boot.efi_path.clone(),
        options: boot.options.clone(),
        kexec,
    })
}
