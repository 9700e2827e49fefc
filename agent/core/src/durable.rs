//! Writing what a power cut must not lose and a disk must not have put elsewhere: it is flushed, and
//! then read back past the cache. Chunks have an audit of their own; this is for the few small things
//! that everything else rests on: the journal, the heads that are blanked, the partition table.

use crate::edges::{DeviceError, Disk};

/// Most times that is looked whether the bytes are there already: one read may fail, or be wrong.
const LOOKS_MOST: usize = 2;

/// Writes, flushes, and comes back once the disk gives the same bytes again. What is there already is
/// not written: should that write go elsewhere, nothing read here would tell, and what lies there may
/// have been compared before.
pub(crate) fn write(
    disk: &mut dyn Disk,
    offset_bytes: u64,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    let mut found = vec![0; bytes.len()];
    let mut looks_right = || disk.read(offset_bytes, &mut found).is_ok() && found == bytes;
    let is_there = (0..LOOKS_MOST).any(|_| looks_right());
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

#[cfg(test)]
mod tests {
    use super::write;
    use crate::misread::{Misread, Read};

    /// Seed 236177: a head that was blank could not be read once, was blanked once more, and the disk
    /// put that write into a chunk that had been compared.
    #[test]
    fn what_is_there_is_not_written_though_a_read_goes_wrong() {
        let check = |there: u8, reads: &[Read], writes| {
            let mut disk = Misread::new(vec![there; 4096], reads);
            write(&mut disk, 0, &[7; 4096]).unwrap();
            assert_eq!((disk.bytes == [7; 4096], disk.writes), (true, writes), "{reads:?}");
        };
        check(7, &[], 0);
        check(7, &[Read::Fails], 0);
        check(7, &[Read::Altered(9)], 0);
        check(0, &[], 1);
        check(0, &[Read::Fails, Read::Fails], 1);
        // It did not keep what it took.
        let mut disk = Misread::new(vec![0; 4096], &[Read::Right, Read::Right, Read::Altered(9)]);
        write(&mut disk, 0, &[7; 4096]).unwrap_err();
    }
}
