//! One open disk, or an image file in its place, read and written past the page cache in whole
//! blocks. It is shared: its calls name their offset, so any number of threads may use the one
//! open file, and nobody opens a name twice that the kernel may meanwhile have given to another
//! disk. What the bytes mean is not known here.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use repave_core::edges::DeviceError;
use repave_sys::AlignedBuffer;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

/// Address alignment of buffers for O_DIRECT: a page satisfies every driver.
pub(crate) const ALIGNMENT_BYTES: usize = 4096;
/// Largest piece that goes through a bounce buffer when the caller's own is not aligned.
const BOUNCE_BYTES: usize = 1024 * 1024;
/// Block size of an image file; a file has none of its own.
const FILE_BLOCK_BYTES: u32 = 512;

/// An open disk or image file.
#[derive(Debug)]
pub(crate) struct DirectFile {
    name: String,
    file: File,
    is_block_device: bool,
    block_bytes: u32,
    optimal_bytes: u32,
    size_bytes: u64,
}

impl DirectFile {
    /// Opens the disk at `path` with O_DIRECT, under the name that people use for it. A file
    /// system that refuses O_DIRECT gets a buffered file, and the log says so.
    pub(crate) fn open(name: &str, path: &Path) -> Result<Self, DeviceError> {
        Self::open_with(name, path, OFlags::empty())
    }

    /// The same with O_EXCL, which claims a block device: it fails if the device or a part of it is
    /// mounted, or claimed by another program, by RAID, or by the device mapper (open(2)).
    pub(crate) fn open_alone(name: &str, path: &Path) -> Result<Self, DeviceError> {
        Self::open_with(name, path, OFlags::EXCL)
    }

    fn open_with(name: &str, path: &Path, flags: OFlags) -> Result<Self, DeviceError> {
        Self::open_inner(name, path, flags).map_err(|error| {
            let held = error.raw_os_error() == Some(Errno::BUSY.raw_os_error());
            let why = if held { ": it is mounted, or something else holds it" } else { "" };
            DeviceError {
                device: name.into(),
                operation: "open",
                offset_bytes: 0,
                length_bytes: 0,
                reason: format!("{}: {error}{why}", path.display()),
            }
        })
    }

    fn open_inner(name: &str, path: &Path, flags: OFlags) -> io::Result<Self> {
        // Without O_CREAT the meaning of O_EXCL is left open for anything but block devices.
        let is_block_device = std::fs::metadata(path)?.file_type().is_block_device();
        let flags = if is_block_device { flags } else { OFlags::empty() };
        let mut options = File::options();
        options.read(true).write(true).custom_flags(flags.bits() as i32);
        let direct =
            options.clone().custom_flags((flags | OFlags::DIRECT).bits() as i32).open(path);
        let file = match direct {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                log::warn!("{name}: no O_DIRECT here; reads may come from the page cache");
                options.open(path)?
            }
            direct => direct?,
        };
        let is_block_device = file.metadata()?.file_type().is_block_device();
        let (block_bytes, optimal_bytes) = match is_block_device {
            true => (repave_sys::logical_block_bytes(&file)?, repave_sys::optimal_bytes(&file)?),
            false => (FILE_BLOCK_BYTES, 0),
        };
        let size_bytes = repave_sys::size_bytes(&file)?;
        let name = name.into();
        Ok(Self { name, file, is_block_device, block_bytes, optimal_bytes, size_bytes })
    }

    pub(crate) fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    pub(crate) fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// What the device likes to be written at least at a time; 0 if it does not mind.
    pub(crate) fn optimal_bytes(&self) -> u32 {
        self.optimal_bytes
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `into` from `offset_bytes`, or says how much of it was read.
    pub(crate) fn read(&self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.check_blocks("read", offset_bytes, into.len())?;
        if is_aligned(into) {
            return self.read_aligned(offset_bytes, into);
        }
        let mut bounce = AlignedBuffer::new(into.len().min(BOUNCE_BYTES), ALIGNMENT_BYTES);
        let mut offset_bytes = offset_bytes;
        for piece in into.chunks_mut(BOUNCE_BYTES) {
            let bounce = &mut bounce[..piece.len()];
            self.read_aligned(offset_bytes, bounce)?;
            piece.copy_from_slice(bounce);
            offset_bytes += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset_bytes`, or says how much of it was written.
    pub(crate) fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.check_blocks("write", offset_bytes, bytes.len())?;
        if is_aligned(bytes) {
            return self.write_aligned(offset_bytes, bytes);
        }
        let mut bounce = AlignedBuffer::new(bytes.len().min(BOUNCE_BYTES), ALIGNMENT_BYTES);
        let mut offset_bytes = offset_bytes;
        for piece in bytes.chunks(BOUNCE_BYTES) {
            let bounce = &mut bounce[..piece.len()];
            bounce.copy_from_slice(piece);
            self.write_aligned(offset_bytes, bounce)?;
            offset_bytes += piece.len() as u64;
        }
        Ok(())
    }

    /// Fills aligned pieces that lie behind one another with one call, and says whether all of them
    /// were. Why not, [`DirectFile::read`] says of each.
    pub(crate) fn read_together(&self, offset_bytes: u64, pieces: &mut [IoSliceMut<'_>]) -> bool {
        let length_bytes = pieces.iter().map(|piece| piece.len()).sum();
        rustix::io::preadv(&self.file, pieces, offset_bytes) == Ok(length_bytes)
    }

    /// Writes aligned pieces that lie behind one another with one call. Says whether all of them were:
    /// a write that comes back short is not continued here.
    pub(crate) fn write_together(
        &self,
        offset_bytes: u64,
        pieces: &[IoSlice<'_>],
    ) -> Result<bool, DeviceError> {
        let length_bytes = pieces.iter().map(|piece| piece.len()).sum();
        match rustix::io::pwritev(&self.file, pieces, offset_bytes) {
            Ok(written) => Ok(written == length_bytes),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(self.error("write", offset_bytes, length_bytes, error.to_string())),
        }
    }

    /// Makes a range zero without moving zeroes, where the device or the file system can; says
    /// whether that was done. Durable only after a flush, like a write.
    pub(crate) fn zero_out(&self, offset_bytes: u64, length_bytes: usize) -> bool {
        let length_bytes = length_bytes as u64;
        match self.is_block_device {
            true => repave_sys::zero_out(&self.file, offset_bytes, length_bytes).is_ok(),
            false => {
                let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
                let end = offset_bytes.checked_add(length_bytes);
                end.is_some_and(|end| end <= self.size_bytes)
                    && fallocate(&self.file, flags, offset_bytes, length_bytes).is_ok()
            }
        }
    }

    /// Returns once everything written before is on stable storage; for a block device the
    /// kernel turns this into a flush of the device's own cache.
    pub(crate) fn flush(&self) -> Result<(), DeviceError> {
        self.file.sync_data().map_err(|error| self.error("flush", 0, 0, error.to_string()))
    }

    pub(crate) fn error(
        &self,
        operation: &'static str,
        offset_bytes: u64,
        length_bytes: usize,
        reason: String,
    ) -> DeviceError {
        DeviceError {
            device: self.name.clone(),
            operation,
            offset_bytes,
            length_bytes: length_bytes as u64,
            reason,
        }
    }

    /// The kernel would say no more than EINVAL.
    fn check_blocks(
        &self,
        operation: &'static str,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<(), DeviceError> {
        let block_bytes = u64::from(self.block_bytes);
        let whole = offset_bytes.is_multiple_of(block_bytes)
            && (length_bytes as u64).is_multiple_of(block_bytes);
        if whole {
            return Ok(());
        }
        let reason = format!("not whole blocks of {block_bytes} bytes");
        Err(self.error(operation, offset_bytes, length_bytes, reason))
    }

    fn read_aligned(&self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let length_bytes = into.len();
        transfer(offset_bytes, length_bytes, |at, done| self.file.read_at(&mut into[done..], at))
            .map_err(|reason| self.error("read", offset_bytes, length_bytes, reason))
    }

    fn write_aligned(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        transfer(offset_bytes, bytes.len(), |at, done| self.file.write_at(&bytes[done..], at))
            .map_err(|reason| self.error("write", offset_bytes, bytes.len(), reason))
    }
}

impl AsFd for DirectFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Calls `step` with the offset and the number of bytes done until all are. A short transfer is
/// continued, since the next call either moves the rest or names the reason that stopped the
/// first; one that moves nothing is the end of the device.
fn transfer(
    offset_bytes: u64,
    length_bytes: usize,
    mut step: impl FnMut(u64, usize) -> io::Result<usize>,
) -> Result<(), String> {
    let mut done = 0;
    while done < length_bytes {
        match step(offset_bytes + done as u64, done) {
            Ok(0) => return Err(format!("ended after {done} of {length_bytes} bytes")),
            Ok(moved) => done += moved,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("{error} after {done} of {length_bytes} bytes")),
        }
    }
    Ok(())
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::{BOUNCE_BYTES, DirectFile, transfer};

    fn image(bytes: &[u8]) -> (tempfile::NamedTempFile, DirectFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let direct = DirectFile::open("disk0", file.path()).unwrap();
        (file, direct)
    }

    #[test]
    fn what_was_written_is_read_at_any_memory_alignment() {
        let length_bytes = BOUNCE_BYTES + 512;
        let (_file, direct) = image(&vec![0; length_bytes + 1024]);
        let pattern: Vec<u8> = (0..length_bytes + 1).map(|at| (at % 251) as u8).collect();
        for misalignment in [0, 1] {
            let bytes = &pattern[misalignment..misalignment + length_bytes];
            direct.write(512, bytes).unwrap();
            direct.flush().unwrap();
            let mut back = vec![0; length_bytes + 1];
            direct.read(512, &mut back[misalignment..misalignment + length_bytes]).unwrap();
            assert!(&back[misalignment..misalignment + length_bytes] == bytes);
        }
    }

    #[test]
    fn zeroing_without_zeroes_changes_its_range_and_no_more() {
        let (_file, direct) = image(&[7; 64 * 1024]);
        if direct.zero_out(4096, 8192) {
            let mut back = vec![1; 64 * 1024];
            direct.read(0, &mut back).unwrap();
            assert!(back[..4096].iter().chain(&back[12_288..]).all(|byte| *byte == 7));
            assert!(back[4096..12_288].iter().all(|byte| *byte == 0));
        }
        assert!(!direct.zero_out(60 * 1024, 8192), "a file does not grow by it");
    }

    #[test]
    fn part_of_a_block_is_refused_by_name() {
        let (_file, direct) = image(&[0; 1024]);
        let error = direct.read(512, &mut [0; 100]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "disk0: read of 100 bytes at byte 512: not whole blocks of 512 bytes"
        );
        assert!(direct.write(1, &[0; 512]).is_err());
    }

    #[test]
    fn the_end_of_the_disk_says_how_much_was_read() {
        let (_file, direct) = image(&[0; 1024]);
        let error = direct.read(512, &mut [0; 1024]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "disk0: read of 1024 bytes at byte 512: ended after 512 of 1024 bytes"
        );
    }

    #[test]
    fn a_full_device_says_so() {
        let full = DirectFile::open("full", "/dev/full".as_ref()).unwrap();
        let error = full.write(0, &[0; 512]).unwrap_err();
        assert!(error.reason.starts_with("No space left on device"), "{error}");
        assert!(error.reason.ends_with("after 0 of 512 bytes"), "{error}");
    }

    #[test]
    fn a_short_transfer_is_continued_to_its_end_or_its_reason() {
        let mut calls = Vec::new();
        let result = transfer(4096, 1000, |at, done| {
            calls.push((at, done));
            if done < 900 { Ok(450) } else { Err(std::io::Error::from_raw_os_error(5)) }
        });
        assert_eq!(calls, [(4096, 0), (4546, 450), (4996, 900)]);
        let reason = result.unwrap_err();
        assert_eq!(reason, "Input/output error (os error 5) after 900 of 1000 bytes");
    }

    #[test]
    fn a_disk_that_is_not_there_is_named() {
        let error = DirectFile::open("vdz", "/nonexistent/vdz".as_ref()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/vdz"), "{error}");
    }
}
