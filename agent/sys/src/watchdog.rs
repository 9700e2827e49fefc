//! The one thing about a watchdog that is no plain write: its time-out. Feeding is writing any
//! byte, and stopping is writing `V` before closing (Documentation/watchdog/watchdog-api.rst).

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Of linux/watchdog.h.
const WDIOC_SETTIMEOUT: Opcode = opcode::read_write::<c_int>(b'W', 6);

/// Sets the time-out in seconds and gives the one that the hardware took, which may be rounded.
///
/// # Errors
/// EINVAL (out of the hardware's range), EOPNOTSUPP (it is fixed), ENOTTY (no watchdog).
pub fn set_watchdog_timeout(watchdog: impl AsFd, timeout_s: u32) -> Result<u32> {
    let mut seconds = c_int::try_from(timeout_s).unwrap_or(c_int::MAX);
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int, which is what its opcode says and what it
    // is given.
    // JUSTIFICATION: no safe crate that we keep wraps it.
    unsafe { ioctl(watchdog, Updater::<WDIOC_SETTIMEOUT, c_int>::new(&mut seconds))? };
    Ok(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::io::Errno;

    #[test]
    fn the_number_is_that_of_linux_watchdog_h() {
        assert_eq!(super::WDIOC_SETTIMEOUT, 0xc004_5706);
    }

    #[test]
    fn what_is_no_watchdog_is_refused_by_the_kernel() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(super::set_watchdog_timeout(&null, 60), Err(Errno::NOTTY));
    }
}
