//! The end of the kernel's log. /dev/kmsg has it too, but from its beginning and a record a read;
//! syslog(2) gives the last bytes at once.

use std::ffi::c_char;

use rustix::io::{Errno, Result};

/// `SYSLOG_ACTION_READ_ALL` of linux/syslog.h: reads, and takes nothing away.
const READ_ALL: i32 = 3;

/// Reads whole records, the newest, of at most `limit_bytes` together. Each line begins with its
/// priority, `<6>`, and with the time where the kernel is set to say it.
///
/// # Errors
/// EPERM (neither root nor allowed to look), ENOSYS (a kernel without a log).
pub fn kernel_log(limit_bytes: u16) -> Result<Vec<u8>> {
    let mut log = vec![0_u8; usize::from(limit_bytes)];
    // SAFETY: READ_ALL writes at most as many bytes as it is told, and the buffer has as many.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    let read =
        unsafe { libc::klogctl(READ_ALL, log.as_mut_ptr().cast::<c_char>(), limit_bytes.into()) };
    let read = usize::try_from(read).map_err(|_| last_error())?;
    log.truncate(read);
    Ok(log)
}

fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    #[test]
    fn the_end_of_the_kernel_s_log_is_no_longer_than_was_asked_for() {
        for limit_bytes in [1, 300, 4096] {
            match super::kernel_log(limit_bytes) {
                Ok(log) => assert!(log.len() <= usize::from(limit_bytes), "{}", log.len()),
                // A sandbox, or a user who may not look.
                Err(error) => assert!([Errno::PERM, Errno::NOSYS].contains(&error), "{error}"),
            }
        }
    }
}
