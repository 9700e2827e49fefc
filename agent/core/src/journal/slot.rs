//! One slot: a header with magic, sequence, length and CRC-32 over all of it, then a JSON body.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::JournalError;
use crate::edges::{DeviceError, Disk};

/// Room of one slot. A trust document with its CA is the largest thing in it.
pub(super) const SLOT_BYTES: u64 = 64 * 1024;
const MAGIC: [u8; 8] = *b"repavej1";
const HEADER_BYTES: usize = 32;
/// Frames are written in units that fit both 512-byte and 4096-byte blocks.
const UNIT_BYTES: usize = 4096;
/// Most times that slots are read, as long as one of them is neither whole nor blank: a bit that is
/// read wrong once must not take the newest record away. A slot that was torn is so each time.
const READS_MOST: usize = 3;

/// The bytes of a slot, as short as the block size allows.
pub(super) fn frame(sequence: u64, body: &[u8]) -> Result<Vec<u8>, JournalError> {
    let limit = SLOT_BYTES as usize - HEADER_BYTES;
    if body.len() > limit {
        return Err(JournalError::TooLarge { bytes: body.len(), limit });
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(checksum(sequence, body).to_le_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(UNIT_BYTES), 0);
    Ok(bytes)
}

fn checksum(sequence: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Sequence and body of a slot, if it is whole.
fn unframe(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (crc32, _) = rest.split_first_chunk()?;
    let sequence = u64::from_le_bytes(*sequence);
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let body = bytes.get(HEADER_BYTES..)?.get(..length)?;
    (u32::from_le_bytes(*crc32) == checksum(sequence, body)).then(|| (sequence, body.to_vec()))
}

/// The newer of the two slots at `offset_bytes` that is whole and holds what it should: a frame
/// around something else is no reason to forget the record before it.
pub(super) fn newest<T: DeserializeOwned>(
    disk: &mut dyn Disk,
    offset_bytes: u64,
) -> Result<Option<(u64, T)>, DeviceError> {
    let mut bytes = vec![0; 2 * SLOT_BYTES as usize];
    disk.read(offset_bytes, &mut bytes)?;
    let (mut newest, mut is_clear) = look(&bytes);
    for _ in 1..READS_MOST {
        if !is_clear && disk.read(offset_bytes, &mut bytes).is_ok() {
            let (found, is_clear_now) = look(&bytes);
            newest = newer(newest, found);
            is_clear = is_clear_now;
        }
    }
    Ok(newest)
}

/// The newest record of two slots that were read, and whether both are whole or blank.
fn look<T: DeserializeOwned>(bytes: &[u8]) -> (Option<(u64, T)>, bool) {
    let (mut newest, mut is_clear) = (None, true);
    for slot in bytes.chunks_exact(SLOT_BYTES as usize) {
        let found = unframe(slot).and_then(|(sequence, body)| Some((sequence, decode(&body)?)));
        is_clear &= found.is_some() || slot.iter().all(|byte| *byte == 0);
        newest = newer(newest, found);
    }
    (newest, is_clear)
}

fn newer<T>(one: Option<(u64, T)>, other: Option<(u64, T)>) -> Option<(u64, T)> {
    one.into_iter().chain(other).max_by_key(|(sequence, _)| *sequence)
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("a record is always JSON")
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::misread::{Misread, Read};

    /// Seed 203632: a bit of the newest slot was read wrong once, and a wipe that was done was done
    /// again.
    #[test]
    fn slots_are_read_again_while_one_is_neither_whole_nor_blank() {
        let slot = |frame: Vec<u8>| {
            let mut slot = frame;
            slot.resize(SLOT_BYTES as usize, 0);
            slot
        };
        let whole = |sequence| slot(frame(sequence, b"1").unwrap());
        let torn = slot(frame(3, b"1").unwrap()[..20].to_vec());
        let check = |slots: [&Vec<u8>; 2], faults: &[Read], (sequence, reads)| {
            let mut disk = Misread::new(slots.map(Vec::as_slice).concat(), faults);
            let found: Option<(u64, u8)> = newest(&mut disk, 0).unwrap();
            assert_eq!((found.map(|found| found.0), disk.reads), (sequence, reads));
        };
        let (older, newer, blank) = (whole(1), whole(2), slot(Vec::new()));
        let (in_older, in_newer) = (Read::Altered(8), Read::Altered(SLOT_BYTES as usize + 8));
        check([&older, &newer], &[], (Some(2), 1));
        check([&older, &newer], &[in_newer], (Some(2), 2));
        check([&older, &newer], &[in_newer, in_older], (Some(2), 3));
        check([&blank, &newer], &[], (Some(2), 1));
        check([&blank, &newer], &[in_newer], (Some(2), 2));
        check([&blank, &blank], &[in_older], (None, 2));
        check([&older, &newer], &[in_newer, Read::Fails], (Some(2), 3));
        check([&torn, &newer], &[], (Some(2), READS_MOST));
    }

    #[test]
    fn every_torn_or_altered_frame_is_seen_as_such() {
        let whole = frame(7, br#"{"a":1}"#).unwrap();
        assert_eq!(unframe(&whole), Some((7, br#"{"a":1}"#.to_vec())));
        for end in 0..HEADER_BYTES + 7 {
            let mut torn = whole.clone();
            torn[end..].fill(0);
            assert_eq!(unframe(&torn), None, "torn at {end}");
            assert_eq!(unframe(&whole[..end]), None, "cut at {end}");
        }
        for at in (0..28).chain(HEADER_BYTES..HEADER_BYTES + 7) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert_eq!(unframe(&altered), None, "altered at {at}");
        }
    }
}
