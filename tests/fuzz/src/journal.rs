//! The state partition: four slots, each empty, whatever the input says, or framed rightly around it;
//! then an update, with the power cut at any sector of it.

use repave_core::edges::Disk;
use repave_core::journal::{Journal, Place, Record, Secret, UpRecord, write_up};
use repave_protocol::{Fault, Generation, Guid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Input;
use crate::memory_disk::MemoryDisk;

const SLOT_BYTES: usize = 64 * 1024;
const HEADER_BYTES: usize = 32;
const SLOTS: usize = 4;
const PLACE: Place = Place { disk: 0, offset_bytes: 4096 };

/// Opens, updates and opens again.
pub fn journal(data: &[u8]) {
    let mut input = Input::new(data);
    let block = if input.u8() & 1 == 0 { 512 } else { 4096 };
    let mut disk = MemoryDisk::new(block, (2 * SLOTS * SLOT_BYTES) as u64 / u64::from(block));
    for slot in 0..SLOTS {
        let bytes = slot_bytes(&mut input);
        disk.set(PLACE.offset_bytes + (slot * SLOT_BYTES) as u64, &bytes);
    }
    let before = disk.clone();
    let opened = Journal::open(PLACE, &mut disk).expect("the disk reads");
    assert!(disk.written.is_empty(), "opening writes nothing");
    let expected = newest::<Record>(&before, 0);
    assert_eq!(opened.as_ref().map(Journal::record), expected.as_ref().map(|(_, record)| record));
    let up = newest::<UpRecord>(&before, 2);
    let created = || Journal::create(PLACE, 0, first_record());
    let is_new = opened.is_none();
    let mut journal = opened.unwrap_or_else(created);
    assert_eq!(journal.up(&mut disk), Ok(up.map(|(_, up)| up)));
    assert_eq!(journal.device_key().public(), journal.device_key().public());
    check_record(journal.record());

    let old = journal.record().clone();
    let fault = Fault::new(repave_protocol::Blame::Device, "disk", &text(&mut input), None);
    let cut_bytes = u64::from(input.u16());
    let change = |record: &mut Record| record.failure = Some(fault.clone());
    disk.power_bytes = Some(cut_bytes);
    let updated = journal.update(&mut disk, change);
    disk.power_bytes = None;
    let found =
        Journal::open(PLACE, &mut disk).expect("the disk reads").map(|j| j.record().clone());
    let mut new = old.clone();
    change(&mut new);
    match updated {
        Ok(()) => assert_eq!(found, Some(new.clone()), "what was updated is found"),
        Err(_) => {
            assert_eq!(*journal.record(), old, "after an error the record is as it was");
            check_cut(found, &old, &new, &before, is_new);
        }
    }
    // A record is only refused where it does not fit its slot.
    match journal.update(&mut disk, change) {
        Ok(()) => {
            let again = Journal::open(PLACE, &mut disk).expect("the disk reads");
            assert_eq!(again.map(|journal| journal.record().clone()), Some(new));
        }
        Err(error) => assert!(json(&new).len() > SLOT_BYTES - HEADER_BYTES, "{error}"),
    }
    report_up(&mut disk, &mut input);
    let slots = PLACE.offset_bytes..PLACE.offset_bytes + (SLOTS * SLOT_BYTES) as u64;
    let inside = disk.written.iter().all(|w| w.start >= slots.start && w.end <= slots.end);
    assert!(inside, "nothing but the slots is written");
}

/// After a cut there is the old record or the new one. Only who wrote a slot in the place of the
/// other has both of them in one place.
fn check_cut(found: Option<Record>, old: &Record, new: &Record, before: &MemoryDisk, is_new: bool) {
    let misplaced = (0..2).any(|slot| {
        frame_of(before, slot)
            .is_some_and(|(sequence, _)| sequence % 2 != slot as u64 || sequence == u64::MAX)
    });
    match found {
        Some(found) if found == *old || found == *new => {}
        None if is_new => {}
        other => assert!(misplaced, "{other:?} is neither {old:?} nor {new:?}"),
    }
}

/// The resident says that it is up; the agent's slots are as they were.
fn report_up(disk: &mut MemoryDisk, input: &mut Input<'_>) {
    let own = disk.content(PLACE.offset_bytes, 2 * SLOT_BYTES);
    let up = UpRecord { generation: Generation(input.u64()), departure: input.u64() };
    write_up(PLACE, disk, &up).expect("the disk takes every write");
    assert_eq!(disk.content(PLACE.offset_bytes, 2 * SLOT_BYTES), own);
    let writes = disk.written.len();
    write_up(PLACE, disk, &up).expect("once more");
    assert_eq!(disk.written.len(), writes, "a repeat writes nothing");
    let journal = Journal::create(PLACE, 0, first_record());
    let found = journal.up(disk).expect("the disk reads");
    assert_eq!(found, Some(up));
    disk.flush().expect("it does");
}

/// What a slot holds, if it is whole, as this file understands the format.
fn frame_of(disk: &MemoryDisk, slot: usize) -> Option<(u64, Vec<u8>)> {
    let bytes = disk.content(PLACE.offset_bytes + (slot * SLOT_BYTES) as u64, SLOT_BYTES);
    let mut header = Input::new(bytes.strip_prefix(b"repavej1")?);
    let (sequence, length, crc32) = (header.u64(), header.u64(), header.u32());
    let length = usize::try_from(length).ok().filter(|n| *n <= SLOT_BYTES - HEADER_BYTES)?;
    let body = &bytes[HEADER_BYTES..HEADER_BYTES + length];
    (checksum(sequence, body) == crc32).then(|| (sequence, body.to_vec()))
}

fn newest<T: DeserializeOwned>(disk: &MemoryDisk, first_slot: usize) -> Option<(u64, T)> {
    let slots = (first_slot..first_slot + 2).filter_map(|slot| frame_of(disk, slot));
    let records = slots.filter_map(|(n, body)| Some((n, serde_json::from_slice(&body).ok()?)));
    records.max_by_key(|(sequence, _)| *sequence)
}

fn checksum(sequence: u64, body: &[u8]) -> u32 {
    let length = body.len() as u64;
    crc32fast::hash(&[&sequence.to_le_bytes()[..], &length.to_le_bytes(), body].concat())
}

fn slot_bytes(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    let kind = input.u8() % 8;
    if kind == 0 {
        return bytes;
    }
    let sequence = match input.u8() {
        255 => u64::MAX,
        254 => input.u64(),
        small => small.into(),
    };
    let body = match kind {
        1 => {
            let raw = input.piece();
            bytes[..raw.len()].copy_from_slice(raw);
            return bytes;
        }
        2 => json(&UpRecord { generation: Generation(input.u64()), departure: input.u64() }),
        3 | 4 => json(&Record { failure: None, ..record(input) }),
        _ => input.piece().to_vec(),
    };
    let body = &body[..body.len().min(SLOT_BYTES - HEADER_BYTES)];
    bytes[..8].copy_from_slice(b"repavej1");
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes[24..28].copy_from_slice(&checksum(sequence, body).to_le_bytes());
    bytes[HEADER_BYTES..HEADER_BYTES + body.len()].copy_from_slice(body);
    if kind >= 6 {
        let (at, value) = (input.u16(), input.u8());
        bytes[usize::from(at)] ^= value;
    }
    bytes
}

fn check_record(record: &Record) {
    let again: Record = serde_json::from_slice(&json(record)).expect("a record reads again");
    assert_eq!(again, *record);
    let shown = format!("{record:?}");
    assert!(shown.contains("Secret(…)"), "the device's seed does not show");
    let places = record.boot_places();
    assert!(places.len() <= 8, "{} boot places", places.len());
}

fn record(input: &mut Input<'_>) -> Record {
    let staying = Some(text(input)).filter(|text| !text.is_empty());
    Record { device_seed: Secret::new([input.u8(); 32]), staying, ..first_record() }
}

fn first_record() -> Record {
    Record {
        device_seed: Secret::new([1; 32]),
        identity: [Guid::from_disk_bytes([2; 16]); 3],
        trust: None,
        accepted: None,
        purposing: None,
        seal: None,
        unsealed: Vec::new(),
        staying: None,
        wiping: None,
        wiped: None,
        written: Vec::new(),
        withdrawn: false,
        failure: None,
    }
}

fn text(input: &mut Input<'_>) -> String {
    let repeats = usize::from(input.u8() % 8);
    String::from_utf8_lossy(input.piece()).repeat(repeats)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("a record is always JSON")
}
