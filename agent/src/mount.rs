//! A volume's block device and its mount. The mount is never attached to a path: it lives in a
//! descriptor, so that nothing else can reach it, no directory is needed, and it is gone when the
//! descriptor is closed, even by a panic. What is done below the root is its callers' affair.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use repave_core::edges::Volume;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use thiserror::Error;

use crate::disk::OpenDisk;

/// The unit of `start` and `size` in sysfs, whatever the disk's own block size.
const SYSFS_SECTOR_BYTES: u64 = 512;
/// File systems whose volumes are mounted; the kernel's other ones are not for images to try.
const FILE_SYSTEMS: [&str; 4] = ["ext4", "xfs", "btrfs", "vfat"];
/// Most bytes of the kernel's own explanation of a failed mount.
const EXPLANATION_BYTES: usize = 512;
/// How often a lookup is repeated that a rename elsewhere on the machine disturbed.
const LOOKUP_ATTEMPTS: u32 = 128;
/// Links may lead anywhere, but never out of the root, and never through procfs' magic ones.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A volume was not mounted.
#[derive(Debug, Error)]
pub(crate) enum MountError {
    #[error("there is no disk number {number}")]
    NoDisk { number: usize },
    #[error("the kernel knows no partition of {size_bytes} bytes at byte {offset_bytes} of {disk}")]
    NoPartition { disk: String, offset_bytes: u64, size_bytes: u64 },
    #[error("{name:?} is not a file system that is mounted here")]
    FileSystem { name: String },
    #[error("{operation} {node}: {error}{explanation}")]
    System { operation: &'static str, node: String, error: Errno, explanation: String },
}

impl MountError {
    /// Whether the image's bytes are to blame, and neither the device nor this system.
    pub(crate) fn blames_image(&self) -> bool {
        match self {
            Self::NoDisk { .. } | Self::NoPartition { .. } => false,
            Self::FileSystem { .. } => true,
            Self::System { operation, error, .. } => *operation == "mount" && blames_image(*error),
        }
    }
}

/// Whether a broken or hostile file system can be the reason of `error`. What it cannot be: a
/// device that fails, memory or descriptors that run out, a device that somebody else holds.
pub(crate) fn blames_image(error: Errno) -> bool {
    let ours = [Errno::IO, Errno::NXIO, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::BUSY];
    !ours.contains(&error)
}

/// Finds and mounts volumes of the server's disks.
#[derive(Clone, Debug)]
pub struct Mounter {
    disks: Vec<OpenDisk>,
    sys_root: PathBuf,
    dev_root: PathBuf,
}

/// Whether a mount may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// The root directory of a mounted volume; dropping it unmounts.
#[derive(Debug)]
pub(crate) struct Mounted(OwnedFd);

impl Mounter {
    /// A mounter for `disks`, in the order in which the core counts them. Partitions are looked
    /// up below `sys_root` (`/sys`), their nodes below `dev_root` (`/dev`).
    pub fn new(disks: Vec<OpenDisk>, sys_root: &Path, dev_root: &Path) -> Self {
        Self { disks, sys_root: sys_root.into(), dev_root: dev_root.into() }
    }

    /// Mounts the volume, nodev, nosuid and noexec, reading nothing that was cached before.
    pub(crate) fn mount(&self, volume: &Volume, access: Access) -> Result<Mounted, MountError> {
        let file_system = &*volume.file_system;
        if !FILE_SYSTEMS.contains(&file_system) {
            return Err(MountError::FileSystem { name: file_system.into() });
        }
        let node = self.node(volume)?;
        drop_cache(&node)?;
        let context = rustix::mount::fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|error| system("mount", &node, error))?;
        mount_node(&context, file_system, &node, access).map(Mounted).map_err(|error| {
            let explanation = explanation(&context);
            MountError::System { operation: "mount", node: text(&node), error, explanation }
        })
    }

    /// Writes back and forgets what is cached of the volume's device. Whole only when nobody has
    /// it mounted.
    pub(crate) fn drop_cache(&self, volume: &Volume) -> Result<(), MountError> {
        drop_cache(&self.node(volume)?)
    }

    /// The kernel's node for the partition that lies exactly where the volume does.
    fn node(&self, volume: &Volume) -> Result<PathBuf, MountError> {
        let Some(disk) = self.disks.get(volume.disk) else {
            return Err(MountError::NoDisk { number: volume.disk });
        };
        let directory = self.sys_root.join("block").join(disk.name());
        let wanted =
            [volume.offset_bytes, volume.size_bytes].map(|bytes| bytes / SYSFS_SECTOR_BYTES);
        // A disk that is gone has no directory, and so no partition either.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let attribute = |name| sysfs_number(&entry.path().join(name));
            if attribute("partition").is_some()
                && ["start", "size"].map(attribute) == wanted.map(Some)
            {
                return Ok(self.dev_root.join(entry.file_name()));
            }
        }
        Err(MountError::NoPartition {
            disk: disk.name().into(),
            offset_bytes: volume.offset_bytes,
            size_bytes: volume.size_bytes,
        })
    }
}

impl AsFd for Mounted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens `path` with `root` as the root of everything, links included.
pub(crate) fn open_in_root(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let open = || rustix::fs::openat2(root, path, flags, Mode::empty(), IN_ROOT);
    let mut result = open();
    for _ in 1..LOOKUP_ATTEMPTS {
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
        result = open();
    }
    result
}

fn mount_node(
    context: &OwnedFd,
    file_system: &str,
    node: &Path,
    access: Access,
) -> rustix::io::Result<OwnedFd> {
    let context = context.as_fd();
    rustix::mount::fsconfig_set_string(context, "source", node)?;
    if file_system == "ext4" {
        // Else the superblock decides, and one that says `panic` takes the kernel along.
        rustix::mount::fsconfig_set_string(context, "errors", "remount-ro")?;
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if access == Access::ReadOnly {
        rustix::mount::fsconfig_set_flag(context, "ro")?;
        // Read-only alone still replays a journal, which writes.
        match file_system {
            "ext4" => rustix::mount::fsconfig_set_flag(context, "noload")?,
            "xfs" => rustix::mount::fsconfig_set_flag(context, "norecovery")?,
            _ => {}
        }
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// What the kernel has to say about a mount that failed, as it stands in the context's own log.
fn explanation(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut line = [0; EXPLANATION_BYTES];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        if length == 0 || text.len() + length > EXPLANATION_BYTES {
            break;
        }
        text.push_str("; ");
        text.push_str(String::from_utf8_lossy(&line[..length]).trim_end());
    }
    text
}

fn drop_cache(node: &Path) -> Result<(), MountError> {
    let open = File::open(node).map_err(|error| {
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        system("open", node, error)
    })?;
    repave_sys::flush_buffers(&open).map_err(|error| system("drop the cache of", node, error))
}

fn system(operation: &'static str, node: &Path, error: Errno) -> MountError {
    MountError::System { operation, node: text(node), error, explanation: String::new() }
}

fn text(node: &Path) -> String {
    node.display().to_string()
}

fn sysfs_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
