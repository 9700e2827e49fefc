//! Whole disks: finding them and serving the core's reads and writes. Which of them is whose, and
//! what lies where, is the core's to decide; the bulk of a transfer goes through the crew.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use repave_core::edges::{DeviceError, Disk};
use rustix::io::Errno;

use crate::direct_file::DirectFile;
use crate::inventory;

/// How often the kernel is asked to read a partition table again while it says EBUSY.
const REREAD_ATTEMPTS: u32 = 20;
/// Between two attempts. Whoever holds a partition for a moment (a probe, a lazy unmount) is on
/// this machine and one of a kind, so that there is no herd for jitter to spread.
const REREAD_PAUSE: Duration = Duration::from_millis(100);

/// One open disk. Clones share the open file.
#[derive(Clone, Debug)]
pub struct OpenDisk {
    facts: repave_protocol::Disk,
    file: Arc<DirectFile>,
}

/// Opens every whole disk that `sys_root` (`/sys`) lists, by its name under `dev_root` (`/dev`).
/// One that cannot be opened is named in the log and left out.
pub fn discover(sys_root: &Path, dev_root: &Path) -> Vec<OpenDisk> {
    let mut disks = Vec::new();
    for facts in inventory::disks(sys_root) {
        let path = dev_root.join(&facts.name);
        match OpenDisk::open(facts, &path) {
            Ok(disk) => disks.push(disk),
            Err(error) => log::warn!("{error}; left out"),
        }
    }
    disks
}

impl OpenDisk {
    /// Opens the disk, or an image file, at `path`. Size and block size in `facts` become what
    /// the open device says.
    ///
    /// # Errors
    /// The system's own, with device and path.
    pub fn open(facts: repave_protocol::Disk, path: &Path) -> Result<Self, DeviceError> {
        DirectFile::open(&facts.name, path).map(|file| Self::of(facts, file))
    }

    /// The same, for as long as nobody else may use a block device.
    ///
    /// # Errors
    /// The system's own, with device and path; one that is mounted or held is said to be in use.
    pub fn open_alone(facts: repave_protocol::Disk, path: &Path) -> Result<Self, DeviceError> {
        DirectFile::open_alone(&facts.name, path).map(|file| Self::of(facts, file))
    }

    fn of(mut facts: repave_protocol::Disk, file: DirectFile) -> Self {
        facts.size_bytes = file.size_bytes();
        facts.logical_block_bytes = file.block_bytes();
        Self { facts, file: Arc::new(file) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.facts.name
    }

    pub(crate) fn file(&self) -> Arc<DirectFile> {
        Arc::clone(&self.file)
    }
}

impl Disk for OpenDisk {
    fn facts(&self) -> &repave_protocol::Disk {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.file.read(offset_bytes, into)
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.file.write(offset_bytes, bytes)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.file.flush()
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        // Nobody keeps a partition table of an image file.
        if !self.file.is_block_device() {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match repave_sys::reread_partitions(self.file.as_fd()) {
                Err(Errno::BUSY) if attempt < REREAD_ATTEMPTS => {
                    thread::sleep(REREAD_PAUSE);
                    attempt += 1;
                }
                result => {
                    return result.map_err(|error| {
                        let reason = format!("{error} (attempt {attempt} of {REREAD_ATTEMPTS})");
                        self.file.error("reread of the partition table", 0, 0, reason)
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use repave_core::edges::Disk;
    use rustix::fs::OFlags;

    use super::{OpenDisk, discover};
    use crate::loop_disk::LoopDisk;

    #[test]
    fn size_is_what_the_open_file_says_and_clones_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, [0; 8192]).unwrap();
        let facts = repave_protocol::Disk {
            name: "disk0".into(),
            serial: Some("S1".into()),
            size_bytes: 1,
            ..Default::default()
        };
        let mut disk = OpenDisk::open(facts, &path).unwrap();
        assert_eq!(disk.facts().size_bytes, 8192);
        assert_eq!(disk.facts().logical_block_bytes, 512);
        assert_eq!(disk.facts().serial.as_deref(), Some("S1"));
        assert_eq!(disk.reread_partitions(), Ok(()));
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        disk.clone().write(4096, &[7; 512]).unwrap();
        let mut back = [0; 512];
        disk.read(4096, &mut back).unwrap();
        assert_eq!(back, [7; 512]);
    }

    #[test]
    fn a_block_device_is_read_and_written_past_the_cache() {
        let empty = tempfile::tempdir().unwrap();
        let device = LoopDisk::new(empty.path());
        let mut disk = device.open();
        let flags = rustix::fs::fcntl_getfl(disk.file().as_fd()).unwrap();
        assert!(flags.contains(OFlags::DIRECT));
        let mut first = [0; 4096];
        disk.write(0, &[5; 4096]).unwrap();
        disk.flush().unwrap();
        disk.read(0, &mut first).unwrap();
        assert_eq!(first, [5; 4096]);
        assert!(disk.file().zero_out(512, 1024), "the kernel writes what the device cannot");
        disk.read(0, &mut first).unwrap();
        assert!(first[..512].iter().chain(&first[1536..]).all(|byte| *byte == 5));
        assert!(first[512..1536].iter().all(|byte| *byte == 0));
        // This one has no partitions to read again, and its kernel driver says so.
        let error = disk.reread_partitions().unwrap_err();
        assert!(error.reason.starts_with("Invalid argument"), "{error}");
    }

    #[test]
    fn disks_that_open_are_found_and_others_left_out() {
        let empty = tempfile::tempdir().unwrap();
        let device = LoopDisk::new(empty.path());
        device.describe("vdb", &[("size", 8)]);
        device.describe("vdb/device", &[]);
        let disks = discover(&device.sys_root(), &device.dev_root());
        let names: Vec<_> = disks.iter().map(OpenDisk::name).collect();
        assert_eq!(names, ["vda"]);
    }
}
