//! For tests only: a real disk with one real partition, made of an image file and two of the
//! kernel's loop devices, since a loop device gets no partition nodes of its own on every kernel.
//! A directory stands in for `/dev`, another for `/sys`. It needs root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use repave_core::edges::Volume;
use repave_protocol::Guid;

use crate::disk::OpenDisk;
use crate::mount::Mounter;

const DISK_BYTES: u64 = 32 * 1024 * 1024;
const OFFSET_BYTES: u64 = 1024 * 1024;
const SIZE_BYTES: u64 = 24 * 1024 * 1024;

/// Of the tests of this process one at a time mounts or begins a child: the child has a copy of every
/// descriptor until it executes its program, and a mount that lives in one would outlast its end.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk `vda` with an ext4 file system in `vda1`.
pub(crate) struct LoopDisk {
    directory: tempfile::TempDir,
    loops: Vec<PathBuf>,
    _alone: MutexGuard<'static, ()>,
}

impl LoopDisk {
    /// Makes it, with the files below `content` in its file system.
    pub(crate) fn new(content: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Self { directory, loops: Vec::new(), _alone: alone() };
        let image = disk.path("image");
        fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        for (name, offset_bytes, size_bytes) in
            [("vda", 0, DISK_BYTES), ("vda1", OFFSET_BYTES, SIZE_BYTES)]
        {
            let (offset, size) = (offset_bytes.to_string(), size_bytes.to_string());
            let node = run(Command::new("losetup")
                .args(["--find", "--show", "--offset", &offset, "--sizelimit", &size])
                .arg(&image));
            fs::create_dir_all(disk.path("dev")).unwrap();
            symlink(&node, disk.path("dev").join(name)).unwrap();
            disk.loops.push(node.into());
        }
        disk.describe("vda", &[("size", DISK_BYTES / 512)]);
        let (start, size) = (OFFSET_BYTES / 512, SIZE_BYTES / 512);
        disk.describe("vda/vda1", &[("partition", 1), ("start", start), ("size", size)]);
        fs::create_dir(disk.path("sys/block/vda/device")).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(content).arg(disk.path("dev/vda1")));
        disk
    }

    /// Gives a device attributes in the directory that stands in for `/sys`.
    pub(crate) fn describe(&self, device: &str, attributes: &[(&str, u64)]) {
        let folder = self.sys_root().join("block").join(device);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in attributes {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
    }

    pub(crate) fn sys_root(&self) -> PathBuf {
        self.path("sys")
    }

    pub(crate) fn dev_root(&self) -> PathBuf {
        self.path("dev")
    }

    /// The disk, open.
    pub(crate) fn open(&self) -> OpenDisk {
        let facts = repave_protocol::Disk { name: "vda".into(), ..Default::default() };
        OpenDisk::open(facts, &self.path("dev/vda")).unwrap()
    }

    /// A mounter that knows the disk as number 0.
    pub(crate) fn mounter(&self) -> Mounter {
        Mounter::new(vec![self.open()], &self.sys_root(), &self.dev_root())
    }

    /// Its one partition.
    pub(crate) fn volume(&self) -> Volume {
        Volume {
            disk: 0,
            guid: Guid::from_random([1; 16]),
            offset_bytes: OFFSET_BYTES,
            size_bytes: SIZE_BYTES,
            file_system: "ext4".into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        for node in &self.loops {
            run(Command::new("losetup").arg("--detach").arg(node));
        }
    }
}

/// Output of a command that succeeded.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (text, error) =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).into();
    assert!(output.status.success(), "{command:?} (needs root): {error}");
    text.trim_end().into()
}
