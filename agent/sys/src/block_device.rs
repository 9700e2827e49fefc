//! What a whole block device says about itself, and the two things it can be told: forget the
//! cached pages, read the partition table again.
//!
//! Numbers come from `linux/fs.h`. Errors are the kernel's; ENOTTY means that the descriptor is
//! no block device.

use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Result;
use rustix::ioctl::{Getter, NoArg, Setter, ioctl};

const BLKRRPART: u32 = libc::_IO(0x12, 95) as u32;
const BLKFLSBUF: u32 = libc::_IO(0x12, 97) as u32;
const BLKIOOPT: u32 = libc::_IO(0x12, 121) as u32;
const BLKZEROOUT: u32 = libc::_IO(0x12, 127) as u32;

/// The device's size in bytes. The descriptor's file offset is left at 0.
///
/// Seeking to the end gives the number that BLKGETSIZE64 gives, and needs no ioctl; it answers
/// for image files too.
pub fn size_bytes(device: impl AsFd) -> Result<u64> {
    let size = rustix::fs::seek(&device, SeekFrom::End(0))?;
    rustix::fs::seek(&device, SeekFrom::Start(0))?;
    Ok(size)
}

/// The smallest unit the device addresses, in bytes (BLKSSZGET): 512 or 4096.
pub fn logical_block_bytes(device: impl AsFd) -> Result<u32> {
    rustix::fs::ioctl_blksszget(device)
}

/// What the device likes to be written at least at a time, in bytes (BLKIOOPT): the stripe of an
/// array, say. 0 if it does not mind.
pub fn optimal_bytes(device: impl AsFd) -> Result<u32> {
    // SAFETY: BLKIOOPT writes one number of 32 bits, and touches no other memory.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    unsafe { ioctl(device, Getter::<BLKIOOPT, u32>::new()) }
}

/// Makes the kernel read the partition table again (BLKRRPART). EBUSY: a partition is in use.
pub fn reread_partitions(device: impl AsFd) -> Result<()> {
    // SAFETY: BLKRRPART takes no argument and touches no memory of ours.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    unsafe { ioctl(device, NoArg::<BLKRRPART>::new()) }
}

/// Writes the device's dirty pages back and drops its page cache (BLKFLSBUF), so that the next
/// read comes from the medium.
pub fn flush_buffers(device: impl AsFd) -> Result<()> {
    // SAFETY: BLKFLSBUF takes no argument and touches no memory of ours.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    unsafe { ioctl(device, NoArg::<BLKFLSBUF>::new()) }
}

/// Makes a range of the device zero (BLKZEROOUT): by the device's own command for it, or by writing
/// zeroes where it has none. Offset and length are whole sectors of 512 bytes; EINVAL otherwise.
pub fn zero_out(device: impl AsFd, offset_bytes: u64, length_bytes: u64) -> Result<()> {
    // SAFETY: BLKZEROOUT reads two 64-bit numbers, offset and length, and touches no other memory.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    unsafe { ioctl(device, Setter::<BLKZEROOUT, [u64; 2]>::new([offset_bytes, length_bytes])) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rustix::io::Errno;

    use super::{flush_buffers, optimal_bytes, reread_partitions, size_bytes, zero_out};

    #[test]
    fn numbers_are_those_of_linux_fs_h() {
        let numbers = [super::BLKRRPART, super::BLKFLSBUF, super::BLKIOOPT, super::BLKZEROOUT];
        assert_eq!(numbers, [4703, 4705, 4729, 4735]);
    }

    #[test]
    fn size_of_an_image_file_and_offset_left_at_its_start() {
        let path = std::env::temp_dir().join(format!("repave-sys-{}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(&[0; 12_345]).unwrap();
        assert_eq!(size_bytes(&file), Ok(12_345));
        assert_eq!(rustix::fs::tell(&file), Ok(0));
    }

    #[test]
    fn what_is_no_block_device_is_refused_by_the_kernel() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(reread_partitions(&null), Err(Errno::NOTTY));
        assert_eq!(flush_buffers(&null), Err(Errno::NOTTY));
        assert_eq!(optimal_bytes(&null), Err(Errno::NOTTY));
        assert_eq!(zero_out(&null, 0, 512), Err(Errno::NOTTY));
    }
}
