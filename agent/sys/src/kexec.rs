//! Loading the kernel that kexec will start. Starting it is `rustix::system::reboot` with
//! `RebootCommand::Kexec`, which is safe already.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// `KEXEC_FILE_NO_INITRAMFS` of linux/kexec.h: without it the kernel would read from descriptor
/// `initrd_fd` even if there is none.
const KEXEC_FILE_NO_INITRAMFS: libc::c_ulong = 4;

/// Loads `kernel` (and `initrd`) to be started by the next kexec reboot, with `command_line`.
/// See kexec_file_load(2).
///
/// # Errors
/// EPERM (no CAP_SYS_BOOT, or locked down), EBUSY (another load is running), ENOEXEC (not a kernel
/// this kernel can start), EKEYREJECTED and ENOKEY (signature), ENOMEM, EINVAL, and ENOSYS when the
/// running kernel lacks CONFIG_KEXEC_FILE.
pub fn kexec_file_load(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    command_line: &CStr,
) -> Result<()> {
    let flags = if initrd.is_some() { 0 } else { KEXEC_FILE_NO_INITRAMFS };
    let initrd_fd = initrd.map_or(-1, |fd| fd.as_raw_fd());
    // SAFETY: both descriptors outlive the call, and the kernel copies the `cmdline_len` bytes at
    // the pointer (the length counts the closing NUL, as the call demands) and keeps none of them.
    // JUSTIFICATION: neither libc nor rustix nor nix has a function for this system call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            libc::c_long::from(kernel.as_raw_fd()),
            libc::c_long::from(initrd_fd),
            command_line.to_bytes_with_nul().len(),
            command_line.as_ptr(),
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// The calling thread's errno, for calls that went through libc.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_no_kernel_is_an_error() {
        // Without the right, or without the system call, the kernel refuses earlier: all of it is
        // a refusal, and nothing is loaded.
        let null = File::open("/dev/null").unwrap();
        for initrd in [None, Some(null.as_fd())] {
            assert!(super::kexec_file_load(null.as_fd(), initrd, c"quiet").is_err());
        }
    }
}
