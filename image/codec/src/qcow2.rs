//! qcow2 images (QEMU's docs/interop/qcow2.txt). Only the header is read here, and only to refuse:
//! an image that names other files could have anything on this machine imported (CVE-2024-44082),
//! so nothing opens it before its header was found to name none. What reads it is `qemu-img`, with
//! the format given, the file by descriptor and never by name, and QEMU's own lock taken.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ImportError;
use crate::unpack::spool;

/// Begins every version.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Enough for the header, its extensions and the names that it might hold.
const HEAD_BYTES: usize = 64 * 1024;
const VERSION_2_HEADER_BYTES: usize = 72;
/// Header extensions that name another file.
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE: u32 = 0x4441_5441;
/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// Those, another compression than deflate, and extended L2 entries.
const KNOWN_FEATURES: u64 = 0b1_1111;
/// Autoclear: the external data file is a raw image.
const RAW_EXTERNAL_DATA: u64 = 1 << 1;
/// What `qemu-img` may say of a failure that we pass on.
const MESSAGE_BYTES: usize = 500;

/// The size of the disk that a header describes, or what is wrong with it.
fn disk_bytes(head: &[u8]) -> Result<u64, String> {
    let version = be32(head, 4)?;
    if !matches!(version, 2 | 3) {
        return Err(format!("its version is {version}, not 2 or 3"));
    }
    if be64(head, 8)? != 0 || be32(head, 16)? != 0 {
        return Err(
            "it has a backing file: make it stand alone with `qemu-img convert -O qcow2`, \
            where that file may be read"
                .into(),
        );
    }
    let cluster_bits = be32(head, 20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(format!("its clusters have 2^{cluster_bits} bytes"));
    }
    if be32(head, 32)? != 0 {
        return Err("it is encrypted: decrypt it first".into());
    }
    let mut extensions = VERSION_2_HEADER_BYTES;
    if version == 3 {
        check_features(be64(head, 72)?, be64(head, 88)?)?;
        extensions = be32(head, 100)? as usize;
        if extensions < 104 || !extensions.is_multiple_of(8) {
            return Err(format!("its header has {extensions} bytes"));
        }
    }
    check_extensions(head, extensions)?;
    be64(head, 24)
}

fn check_features(incompatible: u64, autoclear: u64) -> Result<(), String> {
    if incompatible & EXTERNAL_DATA != 0 || autoclear & RAW_EXTERNAL_DATA != 0 {
        return Err("its data is in another file: make it stand alone with `qemu-img convert -O \
            qcow2`, where that file may be read"
            .into());
    }
    if incompatible & (DIRTY | CORRUPT) != 0 {
        return Err(
            "it was not closed or is damaged: repair it with `qemu-img check -r all`".into()
        );
    }
    match incompatible & !KNOWN_FEATURES {
        0 => Ok(()),
        unknown => Err(format!("it needs features that are not known (bits {unknown:#x})")),
    }
}

/// Looks at the extensions' types; they end with one of type zero or with the space for them.
fn check_extensions(head: &[u8], mut at: usize) -> Result<(), String> {
    while let (Ok(kind), Ok(len)) = (be32(head, at), be32(head, at + 4)) {
        match kind {
            0 => return Ok(()),
            BACKING_FORMAT => return Err("it gives the format of a backing file".into()),
            DATA_FILE => return Err("it names another file for its data".into()),
            _ => at += 8 + (len as usize).next_multiple_of(8),
        }
    }
    Err("its header extensions do not end".into())
}

/// The disk in the image, as a file in `folder` that goes away when it is closed.
pub(crate) fn convert(image: &File, folder: &Path, limit_bytes: u64) -> Result<File, ImportError> {
    let refused = |reason| ImportError::Qcow2 { reason };
    let mut head = vec![0; HEAD_BYTES];
    let len = read_head(image, &mut head)?;
    head.truncate(len);
    let disk_bytes = disk_bytes(&head).map_err(refused)?;
    if disk_bytes > limit_bytes {
        return Err(ImportError::TooLarge { limit_bytes });
    }
    let spool = spool(folder)?;
    let spool_failed =
        |source| ImportError::Io { what: "write an unpacked file in", path: folder.into(), source };
    spool.set_len(disk_bytes).map_err(spool_failed)?;
    let input = image.try_clone().map_err(|source| ImportError::QemuImg { source })?;
    let output = spool.try_clone().map_err(spool_failed)?;
    let ran = Command::new("qemu-img")
        .args(["convert", "--image-opts", "--target-image-opts", "-n", "--target-is-zero"])
        .arg("driver=qcow2,file.driver=file,file.filename=/proc/self/fd/0")
        .arg("driver=raw,file.driver=file,file.filename=/proc/self/fd/1")
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| ImportError::QemuImg { source })?;
    if ran.status.success() {
        return Ok(spool);
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let said: String = said.trim().chars().take(MESSAGE_BYTES).collect();
    Err(refused(format!("qemu-img ended with {}: {said}", ran.status)))
}

/// Reads up to a buffer from the start of a file, which may be shorter.
pub(crate) fn read_head(file: &File, buffer: &mut [u8]) -> Result<usize, ImportError> {
    let mut len = 0;
    while len < buffer.len() {
        let read = file.read_at(&mut buffer[len..], len as u64);
        match read {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                let len_bytes = buffer.len() as u64;
                return Err(ImportError::Read { offset_bytes: 0, len_bytes, source });
            }
        }
    }
    Ok(len)
}

fn be32(head: &[u8], at: usize) -> Result<u32, String> {
    let bytes = head.get(at..at.saturating_add(4)).ok_or("its header is cut off")?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn be64(head: &[u8], at: usize) -> Result<u64, String> {
    Ok(u64::from(be32(head, at)?) << 32 | u64::from(be32(head, at + 4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good header of version 3 for a disk of 1 MiB, then these bytes in it.
    fn check(spoilt: &[(usize, &[u8])], expected: Result<u64, &str>) {
        let mut head = vec![0; 4096];
        head[..4].copy_from_slice(&MAGIC);
        head[7] = 3;
        head[23] = 16;
        head[29] = 0x10;
        head[103] = 104;
        for (at, bytes) in spoilt {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        let found = disk_bytes(&head);
        match expected {
            Ok(size) => assert_eq!(found, Ok(size), "{spoilt:?}"),
            Err(word) => {
                assert!(found.as_ref().unwrap_err().contains(word), "{spoilt:?} {found:?}")
            }
        }
    }

    #[test]
    fn headers() {
        check(&[], Ok(1 << 20));
        check(&[(7, &[2])], Ok(1 << 20));
        check(&[(7, &[4])], Err("version is 4"));
        check(&[(15, &[1])], Err("backing file"));
        check(&[(19, &[1])], Err("backing file"));
        check(&[(23, &[8])], Err("clusters"));
        check(&[(35, &[1])], Err("encrypted"));
        check(&[(79, &[EXTERNAL_DATA as u8])], Err("another file"));
        check(&[(95, &[RAW_EXTERNAL_DATA as u8])], Err("another file"));
        check(&[(79, &[DIRTY as u8])], Err("qemu-img check"));
        check(&[(79, &[CORRUPT as u8])], Err("qemu-img check"));
        check(&[(79, &[0x20])], Err("0x20"));
        check(&[(103, &[96])], Err("96 bytes"));
        // Extensions: one that is not known is passed over, wherever the next one is.
        check(&[(104, &[1, 1, 1, 1, 0, 0, 0, 5])], Ok(1 << 20));
        check(&[(104, b"DATA\0\0\0\x08")], Err("another file"));
        let later: [(usize, &[u8]); 2] =
            [(104, &[1, 1, 1, 1, 0, 0, 0, 5]), (120, &[0xe2, 0x79, 0x2a, 0xca])];
        check(&later, Err("backing file"));
        check(&[(104, &[1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff])], Err("do not end"));
        check(&[(100, &[0xff, 0xff, 0xff, 0xf8])], Err("do not end"));
        assert!(disk_bytes(&MAGIC).unwrap_err().contains("cut off"));
    }
}
