//! UEFI variables through efivarfs (kernel: Documentation/filesystems/efivarfs.rst). A file there
//! is four bytes of attributes and the value, and one write() is one SetVariable. Nothing is
//! cached: every read asks the firmware. What the variables mean is the core's.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use repave_core::edges::{Firmware, FirmwareError};
use repave_protocol::Guid;
use rustix::fs::IFlags;

/// EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
const GLOBAL_VENDOR: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The vendor of systemd's Boot Loader Interface.
const LOADER_VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS (UEFI 2.10, 8.2), little-endian.
const ATTRIBUTES: [u8; 4] = 7_u32.to_le_bytes();
/// Largest variable read, attributes included; firmware rarely takes more than 32 KiB.
const VARIABLE_BYTES: u64 = 64 * 1024;

/// Where efivarfs is mounted, by everybody's custom.
pub(crate) const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The variables below a directory.
#[derive(Debug)]
pub struct EfiVariables {
    root: PathBuf,
}

impl EfiVariables {
    /// Variables of the efivarfs mounted at `root` (`/sys/firmware/efi/efivars`). Whether there
    /// is one shows at the first call.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Whether there are any: the directory is there on every UEFI system, and empty until efivarfs
    /// is mounted.
    pub(crate) fn is_there(&self) -> bool {
        fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_some())
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(io::Error::other("not a variable's name"));
        }
        Ok(self.root.join(format!("{name}-{GLOBAL_VENDOR}")))
    }

    /// A missing directory would otherwise look like a missing variable.
    fn check_root(&self) -> io::Result<()> {
        match self.root.is_dir() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "no UEFI variables at {}: not booted by UEFI, or efivarfs is not mounted",
                self.root.display()
            ))),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.check_root()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_suffix(GLOBAL_VENDOR));
            let Some(name) = name.and_then(|name| name.strip_suffix('-')) else {
                continue;
            };
            if entry.metadata()?.len() > 0 {
                names.push(name.into());
            }
        }
        names.sort();
        Ok(names)
    }

    fn set(&self, name: &str, value: &[u8]) -> io::Result<()> {
        self.check_root()?;
        let path = self.path(name)?;
        make_mutable(&path)?;
        // Not truncated first: that would be a SetVariable of its own, and the one write()
        // replaces the whole variable.
        let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
        let bytes = [&ATTRIBUTES, value].concat();
        match file.write(&bytes)? {
            written if written == bytes.len() => Ok(()),
            written => Err(io::Error::other(format!("{written} of {} bytes written", bytes.len()))),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_root()?;
        let path = self.path(name)?;
        make_mutable(&path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn loader_device(&self) -> io::Result<Option<Guid>> {
        self.check_root()?;
        let path = self.root.join(format!("LoaderDevicePartUUID-{LOADER_VENDOR}"));
        let Some(value) = read_value(&path)? else {
            return Ok(None);
        };
        let units: Vec<u16> =
            value.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let text = String::from_utf16(&units).map_err(io::Error::other)?;
        text.trim_end_matches('\0').parse().map(Some).map_err(io::Error::other)
    }
}

impl Firmware for EfiVariables {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        self.list().map_err(fault("*", "list"))
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        let value = self.check_root().and_then(|()| read_value(&self.path(name)?));
        value.map_err(fault(name, "read"))
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        self.set(name, value).map_err(fault(name, "write"))
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        self.remove(name).map_err(fault(name, "delete"))
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        self.loader_device().unwrap_or_else(|error| {
            log::warn!("LoaderDevicePartUUID: {error}");
            None
        })
    }
}

fn fault(name: &str, operation: &'static str) -> impl Fn(io::Error) -> FirmwareError {
    move |error| FirmwareError { name: name.into(), operation, reason: error.to_string() }
}

/// The value without its attributes. An empty file is what a failed creation leaves behind: there
/// is no such variable.
fn read_value(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(VARIABLE_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() {
        0 => Ok(None),
        length if length as u64 > VARIABLE_BYTES => {
            Err(io::Error::other(format!("more than {VARIABLE_BYTES} bytes")))
        }
        length if length < ATTRIBUTES.len() => {
            Err(io::Error::other(format!("{length} bytes are too few for the attributes")))
        }
        _ => Ok(Some(bytes.split_off(ATTRIBUTES.len()))),
    }
}

/// Takes off the immutable flag, with which the kernel guards variables that it does not know
/// against `rm -rf`. Absence, and a file system without flags, are fine.
fn make_mutable(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    match rustix::fs::ioctl_getflags(&file) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => {
            Ok(rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use repave_core::edges::Firmware;
    use rustix::fs::IFlags;

    use super::{EfiVariables, GLOBAL_VENDOR, LOADER_VENDOR};

    fn directory() -> (tempfile::TempDir, EfiVariables) {
        let directory = tempfile::tempdir().unwrap();
        let firmware = EfiVariables::new(directory.path());
        (directory, firmware)
    }

    #[test]
    fn a_variable_is_created_listed_read_replaced_and_deleted() {
        let (directory, mut firmware) = directory();
        assert_eq!(firmware.read("BootNext"), Ok(None));
        firmware.write("BootNext", &[1, 0]).unwrap();
        firmware.write("BootNext", &[2, 0]).unwrap();
        let path = directory.path().join(format!("BootNext-{GLOBAL_VENDOR}"));
        assert_eq!(fs::read(path).unwrap(), [7, 0, 0, 0, 2, 0]);
        assert_eq!(firmware.read("BootNext"), Ok(Some(vec![2, 0])));
        fs::write(directory.path().join("Other-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), "x")
            .unwrap();
        firmware.write("Boot0001", b"entry").unwrap();
        assert_eq!(firmware.names(), Ok(vec!["Boot0001".into(), "BootNext".into()]));
        firmware.delete("BootNext").unwrap();
        firmware.delete("BootNext").unwrap();
        assert_eq!(firmware.read("BootNext"), Ok(None));
    }

    #[test]
    fn what_a_failed_creation_left_behind_is_no_variable() {
        let (directory, mut firmware) = directory();
        fs::write(directory.path().join(format!("Boot0007-{GLOBAL_VENDOR}")), "").unwrap();
        assert_eq!(firmware.read("Boot0007"), Ok(None));
        assert_eq!(firmware.names(), Ok(Vec::new()));
        firmware.write("Boot0007", b"x").unwrap();
        assert_eq!(firmware.read("Boot0007"), Ok(Some(b"x".to_vec())));
    }

    #[test]
    fn an_immutable_variable_is_replaced_and_deleted() {
        let (directory, mut firmware) = directory();
        firmware.write("Boot0000", b"one").unwrap();
        let path = directory.path().join(format!("Boot0000-{GLOBAL_VENDOR}"));
        let set_immutable = || {
            let file = fs::File::open(&path).unwrap();
            let flags = rustix::fs::ioctl_getflags(&file).unwrap();
            rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
        };
        set_immutable();
        firmware.write("Boot0000", b"two").unwrap();
        assert_eq!(firmware.read("Boot0000"), Ok(Some(b"two".to_vec())));
        set_immutable();
        firmware.delete("Boot0000").unwrap();
        assert_eq!(firmware.read("Boot0000"), Ok(None));
    }

    #[test]
    fn a_full_or_lying_store_is_named() {
        let (directory, mut firmware) = directory();
        let path = |name: &str| directory.path().join(format!("{name}-{GLOBAL_VENDOR}"));
        symlink("/dev/full", path("Boot0000")).unwrap();
        let error = firmware.write("Boot0000", b"entry").unwrap_err().to_string();
        assert!(error.starts_with("firmware variable Boot0000: write: No space left"), "{error}");
        fs::write(path("Short"), [7, 0]).unwrap();
        assert!(firmware.read("Short").unwrap_err().reason.contains("2 bytes are too few"));
        fs::write(path("Huge"), vec![0; 64 * 1024 + 1]).unwrap();
        assert!(firmware.read("Huge").unwrap_err().reason.contains("more than 65536 bytes"));
        for name in ["", "../BootNext", "a\0b"] {
            assert!(firmware.write(name, b"x").unwrap_err().reason.contains("not a variable's"));
        }
    }

    #[test]
    fn a_server_without_uefi_says_so_at_every_call() {
        let mut firmware = EfiVariables::new("/nonexistent/efivars".as_ref());
        let reasons = [
            firmware.names().unwrap_err().reason,
            firmware.read("BootNext").unwrap_err().reason,
            firmware.write("BootNext", &[0, 0]).unwrap_err().reason,
            firmware.delete("BootNext").unwrap_err().reason,
        ];
        for reason in reasons {
            assert!(reason.contains("not booted by UEFI"), "{reason}");
        }
        assert_eq!(firmware.loader_partition(), None);
    }

    #[test]
    fn the_loader_says_which_partition_it_came_from() {
        let (directory, mut firmware) = directory();
        assert_eq!(firmware.loader_partition(), None);
        let path = directory.path().join(format!("LoaderDevicePartUUID-{LOADER_VENDOR}"));
        let store = |text: &str| {
            let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
            let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(units).collect();
            fs::write(&path, bytes).unwrap();
        };
        let guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        store(guid);
        assert_eq!(firmware.loader_partition(), Some(guid.parse().unwrap()));
        store("not a GUID");
        assert_eq!(firmware.loader_partition(), None);
    }
}
