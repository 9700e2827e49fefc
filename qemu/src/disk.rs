//! A machine's disks: raw sparse files, and the device that shows one to the guest.
//!
//! A disk is named by its serial, as the agent names it. What is inside is not looked at.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom as SeekTo, seek};
use rustix::io::Errno;

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file of the disk, or of what it is copied from.
    #[error("cannot {action} the disk file {path}")]
    File {
        /// What was being done: `find`, `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// What the disk is attached with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk: `/dev/vda`.
    Virtio,
    /// NVMe: `/dev/nvme0n1`.
    Nvme,
    /// virtio-scsi: `/dev/sda`.
    Scsi,
    /// SATA: `/dev/sda`. QEMU's SATA disks have 512-byte blocks only.
    Ahci,
}

/// The logical block size that the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes.
    B512,
    /// 512 bytes, on a medium with blocks of 4,096 bytes: "512e".
    B512On4096,
    /// 4,096 bytes, "4Kn".
    B4096,
}

/// One disk. Its file outlives the machine: who made it removes it.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The raw file, absolute.
    pub(crate) path: PathBuf,
    pub(crate) serial: Option<String>,
    pub(crate) bus: Bus,
    pub(crate) block_size: BlockSize,
    pub(crate) boot_index: Option<u32>,
    pub(crate) write_log: Option<PathBuf>,
    pub(crate) faults: Vec<DiskFault>,
}

/// What a disk refuses to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// To read this sector of 512 bytes.
    Read(u64),
    /// To write this sector of 512 bytes; zeroes pass, since they come as another command.
    Write(u64),
    /// To flush its cache.
    Flush,
}

/// A disk that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFault {
    /// At what.
    pub refused: Refused,
    /// What the host's kernel would say, as in errno(3).
    pub errno: u32,
    /// Whether it fails the first time only, from each power-on anew.
    pub once: bool,
}

impl Disk {
    /// A new disk of `size_bytes` zeroes, replacing what was at `path`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn empty(path: impl AsRef<Path>, size_bytes: u64) -> Result<Self, DiskError> {
        let path = path.as_ref();
        create(path).and_then(|file| file.set_len(size_bytes)).map_err(failed("write", path))?;
        Self::existing(path)
    }

    /// A copy of `base` at `path` that is as sparse as `base` is, replacing what was there.
    ///
    /// # Errors
    /// One of the files cannot be read or written.
    pub fn copy(base: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<Self, DiskError> {
        let (base, path) = (base.as_ref(), path.as_ref());
        let base = File::open(base).map_err(failed("read", base))?;
        create(path).and_then(|file| copy_sparse(&base, &file)).map_err(failed("write", path))?;
        Self::existing(path)
    }

    /// The disk in a file that exists.
    ///
    /// # Errors
    /// There is no such file.
    pub fn existing(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        let path = path.as_ref();
        // Absolute, since QEMU runs in the machine's own folder.
        let path = fs::canonicalize(path).map_err(failed("find", path))?;
        Ok(Self {
            path,
            serial: None,
            bus: Bus::Virtio,
            block_size: BlockSize::B512,
            boot_index: None,
            write_log: None,
            faults: Vec::new(),
        })
    }

    /// The serial that the guest reads; at most [`Disk::SERIAL_MAX_BYTES`] of `[A-Za-z0-9._-]`.
    pub fn serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// What the disk is attached with; virtio-blk by default.
    pub fn bus(mut self, bus: Bus) -> Self {
        self.bus = bus;
        self
    }

    /// The logical block size, 512 by default. The file's bytes are the same either way.
    pub fn block_size(mut self, block_size: BlockSize) -> Self {
        self.block_size = block_size;
        self
    }

    /// Lets QEMU tell OVMF the place of this disk in the boot order. OVMF then rewrites BootOrder
    /// at every power-on, which real firmware does not do: leave it out where BootOrder matters.
    pub fn boot_index(mut self, boot_index: u32) -> Self {
        self.boot_index = Some(boot_index);
        self
    }

    /// Logs every write and flush into this file, an absolute path, from each power-on anew; see
    /// [`crate::write_log`].
    pub fn logged(mut self, write_log: impl Into<PathBuf>) -> Self {
        self.write_log = Some(write_log.into());
        self
    }

    /// Fails in this way, too; such a disk is not logged.
    pub fn failing(mut self, fault: DiskFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Bytes of a block that the guest sees.
    pub const fn block_bytes(&self) -> u64 {
        match self.block_size {
            BlockSize::B512 | BlockSize::B512On4096 => 512,
            BlockSize::B4096 => 4096,
        }
    }

    /// The raw file behind the disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The longest serial that every bus can show (virtio-blk's limit).
    pub const SERIAL_MAX_BYTES: usize = 20;
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError::File { action, path: path.to_owned(), source }
}

/// A file of its own, never one that a running machine still holds.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(path)
}

fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    let size_bytes = from.metadata()?.len();
    to.set_len(size_bytes)?;
    let mut offset_bytes = 0;
    while offset_bytes < size_bytes {
        let data_start = match seek(from, SeekTo::Data(offset_bytes)) {
            // No data up to the end.
            Err(Errno::NXIO) => break,
            result => result?,
        };
        let data_end = seek(from, SeekTo::Hole(data_start))?;
        let (mut source, mut sink) = (from, to);
        source.seek(SeekFrom::Start(data_start))?;
        sink.seek(SeekFrom::Start(data_start))?;
        io::copy(&mut io::Read::take(source, data_end - data_start), &mut sink)?;
        offset_bytes = data_end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_is_equal_and_sparse() {
        const SIZE_BYTES: u64 = 64 << 20;
        let dir = tempfile::tempdir().unwrap();
        let base = Disk::empty(dir.path().join("base"), SIZE_BYTES).unwrap();
        let file = File::options().write(true).open(base.path()).unwrap();
        for offset_bytes in [0, 20 << 20, SIZE_BYTES - 5] {
            file.write_all_at(b"bytes", offset_bytes).unwrap();
        }
        let copy = Disk::copy(base.path(), dir.path().join("copy")).unwrap();
        assert!(fs::read(base.path()).unwrap() == fs::read(copy.path()).unwrap());
        let allocated_bytes = fs::metadata(copy.path()).unwrap().blocks() * 512;
        assert!(allocated_bytes < 1 << 20, "{allocated_bytes}");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let check = |made: Result<Disk, DiskError>, expected| {
            assert_eq!(made.unwrap_err().to_string(), expected);
        };
        check(Disk::empty("/no/such/disk", 1), "cannot write the disk file /no/such/disk");
        check(
            Disk::copy("/no/such/base", dir.path().join("disk")),
            "cannot read the disk file /no/such/base",
        );
    }
}
