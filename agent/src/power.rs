//! The ways out of this kernel. Which one is taken, and what a failure falls to, is the core's.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use repave_core::edges::{KexecImage, Power, PowerError};
use rustix::fs::{MemfdFlags, OFlags, memfd_create};
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
        let initrd = match &image.initrd {
            Some(path) => open_file(&mounted, path)?,
            None => empty_initrd()?,
        };
        repave_sys::kexec_file_load(kernel.as_fd(), Some(initrd.as_fd()), &options)
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

/// An initrd without files, for a kernel that has none. The EFI stub of this kernel left a table
/// that names its own initrd; a kernel that is given none believes it (drivers/firmware/efi/efi.c),
/// and panics over what lies at that place by then.
fn empty_initrd() -> Result<File, PowerError> {
    let fault = |error: io::Error| load_error(format!("empty initrd: {error}"));
    let file = memfd_create("initrd", MemfdFlags::CLOEXEC).map_err(|error| fault(error.into()))?;
    let mut file = File::from(file);
    file.write_all(&empty_archive()).map_err(fault)?;
    Ok(file)
}

/// A cpio archive of nothing but its trailer, in the form "newc" that the kernel unpacks
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
fn empty_archive() -> Vec<u8> {
    const NAME: &str = "TRAILER!!!\0";
    const LINKS_AT: usize = 4;
    const NAME_BYTES_AT: usize = 11;
    let mut fields = [0; 13];
    (fields[LINKS_AT], fields[NAME_BYTES_AT]) = (1, NAME.len());
    let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
    let mut archive = format!("070701{header}{NAME}").into_bytes();
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive
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
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use repave_core::edges::{KexecImage, Power};

    use super::KernelPower;
    use crate::loop_disk::{LoopDisk, alone};

    #[test]
    fn an_archive_without_files_is_one_that_cpio_reads() {
        let _alone = alone();
        let mut cpio = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&super::empty_archive()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"");
    }

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
