//! The ways out of this kernel. Which one is taken, and what a failure falls to, is the core's.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;

use repave_core::edges::{KexecImage, Power, PowerError};
use rustix::fs::OFlags;
use rustix::system::{RebootCommand, reboot};

use crate::mount::{Access, Mounted, Mounter, open_in_root};

/// What the load's errors are called.
const LOAD: &str = "kexec load";

/// The running kernel's ways out.
#[derive(Debug)]
pub struct KernelPower {
    mounter: Mounter,
}

impl KernelPower {
    /// Kernels are read from volumes that `mounter` mounts.
    pub fn new(mounter: Mounter) -> Self {
        Self { mounter }
    }
}

impl Power for KernelPower {
    fn load(&mut self, image: &KexecImage) -> Result<(), PowerError> {
        let options = CString::new(&*image.options)
            .map_err(|_| load_error("the command line has a NUL in it".into()))?;
        let mounted = self
            .mounter
            .mount(&image.volume, Access::ReadOnly)
            .map_err(|error| load_error(error.to_string()))?;
        let kernel = open_file(&mounted, &image.kernel)?;
        let initrd = image.initrd.as_ref().map(|path| open_file(&mounted, path)).transpose()?;
        let initrd = initrd.as_ref().map(AsFd::as_fd);
        repave_sys::kexec_file_load(kernel.as_fd(), initrd, &options)
            .map_err(|error| load_error(format!("{}: {error}", image.kernel)))
    }

    fn kexec(&mut self) -> Result<(), PowerError> {
        leave("kexec", RebootCommand::Kexec)
    }

    fn reboot(&mut self) -> Result<(), PowerError> {
        leave("reboot", RebootCommand::Restart)
    }
}

/// The kernel would sit and wait at a FIFO, and read a device for ever.
fn open_file(mounted: &Mounted, path: &str) -> Result<File, PowerError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fault = |reason: &dyn std::fmt::Display| load_error(format!("{path}: {reason}"));
    let file = open_in_root(mounted.as_fd(), path, flags).map_err(|error| fault(&error))?;
    let file = File::from(file);
    match file.metadata().map_err(|error| fault(&error))?.is_file() {
        true => Ok(file),
        false => Err(fault(&"not a regular file")),
    }
}

/// The agent's own high-water mark (`VmHWM`, proc(5)), as the kernel prints it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}

fn load_error(reason: String) -> PowerError {
    PowerError { operation: LOAD, reason }
}

fn leave(operation: &'static str, command: RebootCommand) -> Result<(), PowerError> {
    if let Some(peak) = peak_memory() {
        log::info!("{operation}: peak memory of the agent was {peak}");
    }
    rustix::fs::sync();
    reboot(command).map_err(|error| PowerError { operation, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use repave_core::edges::{KexecImage, Power};

    use super::KernelPower;
    use crate::loop_disk::LoopDisk;

    #[test]
    fn what_cannot_be_loaded_is_named_and_leaves_nothing_mounted() {
        let content = tempfile::tempdir().unwrap();
        fs::write(content.path().join("vmlinuz"), "no kernel").unwrap();
        fs::create_dir(content.path().join("dir")).unwrap();
        symlink("/proc/version", content.path().join("out")).unwrap();
        let disk = LoopDisk::new(content.path());
        let mut power = KernelPower::new(disk.mounter());
        let image = KexecImage {
            volume: disk.volume(),
            kernel: "/vmlinuz".into(),
            initrd: None,
            options: "quiet".into(),
        };
        for (kernel, initrd, options, reason) in [
            ("/vmlinuz", None, "quiet", "/vmlinuz: "),
            ("/vmlinuz", Some("/initrd"), "quiet", "/initrd: No such file"),
            ("/absent", None, "quiet", "/absent: No such file"),
            ("/dir", None, "quiet", "/dir: not a regular file"),
            ("/out", None, "quiet", "/out: No such file"),
            ("/../vmlinuz/x", None, "quiet", "/../vmlinuz/x: Not a directory"),
            ("/vmlinuz", None, "a\0b", "the command line has a NUL in it"),
        ] {
            let image = KexecImage {
                kernel: kernel.into(),
                initrd: initrd.map(String::from),
                options: options.into(),
                ..image.clone()
            };
            let error = power.load(&image).unwrap_err();
            assert_eq!(error.operation, "kexec load");
            assert!(error.reason.starts_with(reason), "{error}");
        }
    }
}
