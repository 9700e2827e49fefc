//! Looking into a partition for what the boot descriptor promises: the program that the firmware
//! starts, and the kernel and initrd for kexec. Read by libraries, without mounting.

use std::io::{self, Read};

use fatfs::{FileSystem, FsOptions};
use repave_image::FileSystemKind;

use crate::error::ImportError;
use crate::source::Window;

/// Enough of a program for its DOS and PE headers.
const PROGRAM_HEAD_BYTES: u64 = 64 * 1024;
/// PE/COFF specification: where the DOS stub says that the PE header is, its signature, and the
/// machine type right after it.
const PE_OFFSET_AT: usize = 0x3c;
const PE_SIGNATURE: &[u8; 4] = b"PE\0\0";
const MACHINE_AMD64: [u8; 2] = [0x64, 0x86];

/// A partition in which to look.
pub(crate) struct Inside<'a> {
    pub(crate) window: &'a Window,
    pub(crate) name: &'a str,
    pub(crate) kind: Option<FileSystemKind>,
}

impl Inside<'_> {
    /// Checks that `efi_path` is a program for x86-64 firmware.
    pub(crate) fn check_efi_program(&self, efi_path: &str) -> Result<(), ImportError> {
        let path = efi_path.replace('\\', "/");
        let head = self.head("EFI program", &path)?;
        program_for_amd64(&head).map_err(|reason| ImportError::NotAnEfiProgram {
            path: efi_path.into(),
            partition: self.name.into(),
            reason,
        })
    }

    /// Checks that `path` is a file that is not empty.
    pub(crate) fn check_file(&self, what: &'static str, path: &str) -> Result<(), ImportError> {
        self.head(what, path).map(|_| ())
    }

    fn head(&self, what: &'static str, path: &str) -> Result<Vec<u8>, ImportError> {
        let head = match self.kind {
            Some(FileSystemKind::Vfat) => self.fat_head(path),
            Some(FileSystemKind::Ext4) => self.ext4_head(path),
            _ => {
                return Err(ImportError::CannotLook {
                    what,
                    path: path.into(),
                    partition: self.name.into(),
                });
            }
        };
        match head {
            Ok(head) if !head.is_empty() => Ok(head),
            Ok(_) => Err(self.missing(what, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.missing(what, path)),
            Err(error) => Err(ImportError::BadFileSystem {
                path: path.into(),
                partition: self.name.into(),
                reason: error.to_string(),
            }),
        }
    }

    fn missing(&self, what: &'static str, path: &str) -> ImportError {
        ImportError::MissingFile { what, path: path.into(), partition: self.name.into() }
    }

    fn fat_head(&self, path: &str) -> io::Result<Vec<u8>> {
        let fat = FileSystem::new(self.window.clone(), FsOptions::new())?;
        let file = fat.root_dir().open_file(path.trim_start_matches('/'))?;
        let mut head = Vec::new();
        file.take(PROGRAM_HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    }

    fn ext4_head(&self, path: &str) -> io::Result<Vec<u8>> {
        let ext4 = ext4_view::Ext4::load(Box::new(self.window.clone())).map_err(io_error)?;
        let mut file = ext4.open(path).map_err(io_error)?;
        let mut head = vec![0; PROGRAM_HEAD_BYTES as usize];
        let len = file.read_bytes(&mut head).map_err(io_error)?;
        head.truncate(len);
        Ok(head)
    }
}

fn io_error(error: ext4_view::Ext4Error) -> io::Error {
    match error {
        ext4_view::Ext4Error::NotFound => io::ErrorKind::NotFound.into(),
        error => io::Error::other(error),
    }
}

fn program_for_amd64(head: &[u8]) -> Result<(), &'static str> {
    if !head.starts_with(b"MZ") {
        return Err("it does not begin with MZ");
    }
    let pe = head
        .get(PE_OFFSET_AT..PE_OFFSET_AT + 4)
        .map(|at| u32::from_le_bytes([at[0], at[1], at[2], at[3]]) as usize)
        .and_then(|at| head.get(at..at.checked_add(6)?))
        .ok_or("its PE header is out of reach")?;
    if !pe.starts_with(PE_SIGNATURE) {
        return Err("it has no PE header");
    }
    if pe[4..] != MACHINE_AMD64 {
        return Err("it is for another machine");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        let mut program = vec![0; 200];
        program[..2].copy_from_slice(b"MZ");
        program[PE_OFFSET_AT] = 128;
        program[128..132].copy_from_slice(PE_SIGNATURE);
        program[132..134].copy_from_slice(&MACHINE_AMD64);
        assert_eq!(program_for_amd64(&program), Ok(()));
        let spoilt = |at: usize, byte: u8| {
            let mut program = program.clone();
            program[at] = byte;
            program_for_amd64(&program).is_err()
        };
        assert!(spoilt(0, 0));
        assert!(spoilt(PE_OFFSET_AT, 130));
        assert!(spoilt(PE_OFFSET_AT + 3, 0xff));
        assert!(spoilt(132, 0x4c));
        assert!(program_for_amd64(b"MZ").is_err());
        assert!(program_for_amd64(b"").is_err());
    }
}
