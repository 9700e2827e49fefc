//! Writing what a power cut must not lose and a disk must not have put elsewhere: it is flushed, and
//! then read back past the cache. Chunks have an audit of their own; this is for the few small things
//! that everything else rests on: the journal, the heads that are blanked, the partition table.

use crate::edges::{DeviceError, Disk};

/// Writes, flushes, and comes back once the disk gives the same bytes again. What is there already is
/// not written: should that write go elsewhere, nothing read here would tell, and what lies there may
/// have been compared before.
pub(crate) fn write(
    disk: &mut dyn Disk,
    offset_bytes: u64,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    let mut found = vec![0; bytes.len()];
    let is_there = disk.read(offset_bytes, &mut found).is_ok() && found == bytes;
    if !is_there {
        disk.write(offset_bytes, bytes)?;
    }
    disk.flush()?;
    if is_there {
        return Ok(());
    }
    disk.read(offset_bytes, &mut found)?;
    if found == bytes {
        return Ok(());
    }
    Err(DeviceError {
        device: disk.facts().name.clone(),
        operation: "read-back",
        offset_bytes,
        length_bytes: bytes.len() as u64,
        reason: "the disk took the bytes and gives others".into(),
    })
}
