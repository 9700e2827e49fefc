//! Partition tables: a disk whose two copies are made of the input, damaged, and perhaps given right
//! checksums again; then a rewrite, with the power cut in each of its writes.

use repave_core::edges::Disk;
use repave_core::gpt::{Entry, GptError, Table};
use repave_protocol::Guid;

use crate::input::Input;
use crate::memory_disk::MemoryDisk;

const ENTRY_BYTES: usize = 128;
const ENTRIES: usize = 128;
const ARRAY_BYTES: usize = ENTRY_BYTES * ENTRIES;
const HEADER_BYTES: usize = 92;
/// Most changed bytes of a disk.
const CHANGES: u8 = 24;
/// Most entries of a table that is made here.
const MADE: u8 = 12;

/// Where the table's parts lie on a disk, in bytes.
struct Places {
    block: usize,
    blocks: u64,
    array: usize,
}

impl Places {
    fn new(block: usize, blocks: u64) -> Self {
        Self { block, blocks, array: ARRAY_BYTES.next_multiple_of(block) }
    }

    const fn head_bytes(&self) -> usize {
        2 * self.block + self.array
    }

    const fn tail_bytes(&self) -> usize {
        self.array + self.block
    }

    const fn tail_at(&self) -> u64 {
        self.blocks * self.block as u64 - self.tail_bytes() as u64
    }

    /// First and last block that a partition may have.
    const fn usable(&self) -> (u64, u64) {
        let array_blocks = (self.array / self.block) as u64;
        (2 + array_blocks, self.blocks - array_blocks - 2)
    }
}

/// Reads and rewrites the table of a disk.
pub fn gpt(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let block = if flags & 1 == 0 { 512 } else { 4096 };
    let blocks = 8 + (u64::from(input.u16()) << if flags & 2 == 0 { 0 } else { 28 });
    let mut disk = MemoryDisk::new(block, blocks);
    let places = Places::new(block as usize, blocks);
    if blocks * u64::from(block) < (places.head_bytes() + places.tail_bytes()) as u64 {
        assert!(matches!(Table::read(&mut disk), Err(GptError::TooSmall { .. })));
        return;
    }
    format(&mut disk, &places, &mut input, flags);
    let before = disk.clone();
    let read = Table::read(&mut disk);
    assert!(disk.written.is_empty(), "reading writes nothing");
    let some_copy_is_whole = has_whole_copy(&before, &places);
    match read {
        Ok(table) => {
            assert!(some_copy_is_whole, "neither copy agrees with its checksums");
            check_table(&table);
            rewrite(&before, &table, &places, &mut input);
        }
        Err(GptError::None { .. }) => create(&before, &places, &mut input),
        Err(GptError::Foreign { .. } | GptError::Unusable { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

/// Puts a table on the disk: whole at first, then changed byte by byte.
fn format(disk: &mut MemoryDisk, places: &Places, input: &mut Input<'_>, flags: u8) {
    let (mut head, mut tail) = (vec![0; places.head_bytes()], vec![0; places.tail_bytes()]);
    let block = places.block;
    let mut array = vec![0; places.array];
    for _ in 0..input.u8() % MADE {
        let slot = usize::from(input.u8()) % ENTRIES;
        array[slot * ENTRY_BYTES..][..ENTRY_BYTES].copy_from_slice(&entry(input, places));
    }
    let (first, last) = places.usable();
    let last_lba = places.blocks - 1;
    let guid = input.u8();
    let primary = header(1, last_lba, (first, last), 2, guid);
    head[block..block + HEADER_BYTES].copy_from_slice(&primary);
    head[2 * block..].copy_from_slice(&array);
    let other_guid = if flags & 4 == 0 { guid } else { guid ^ 1 };
    let tail_array_lba = last_lba - (places.array / block) as u64;
    let backup = header(last_lba, 1, (first, last), tail_array_lba, other_guid);
    tail[..places.array].copy_from_slice(&array);
    tail[places.array..][..HEADER_BYTES].copy_from_slice(&backup);
    for _ in 0..input.u8() % CHANGES {
        let (place, at, value) = (input.u8(), usize::from(input.u16()), input.u8());
        let spot = match place % 4 {
            0 => &mut head[block..][at % HEADER_BYTES],
            1 => &mut tail[places.array..][at % HEADER_BYTES],
            2 => &mut head[at % (2 * block + places.array)],
            _ => &mut tail[at % (places.array + block)],
        };
        *spot = value;
    }
    let (head_header, head_array) = head.split_at_mut(2 * block);
    let (tail_array, tail_header) = tail.split_at_mut(places.array);
    // Right checksums over whatever is there, unless the input says otherwise.
    check_sum(&mut head_header[block..], head_array, flags & 16 == 0, flags & 32 == 0);
    check_sum(tail_header, tail_array, flags & 64 == 0, flags & 128 == 0);
    if flags & 8 == 0 {
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
    }
    disk.set(0, &head);
    disk.set(places.tail_at(), &tail);
}

fn entry(input: &mut Input<'_>, places: &Places) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..16].fill(input.u8());
    bytes[16..32].fill(input.u8());
    let first = places.usable().0 + u64::from(input.u16());
    bytes[32..40].copy_from_slice(&first.to_le_bytes());
    bytes[40..48].copy_from_slice(&(first + u64::from(input.u16())).to_le_bytes());
    bytes[48] = input.u8();
    let name = input.u8();
    let units = input.bytes(usize::from(name % 73));
    bytes[56..56 + units.len()].copy_from_slice(units);
    bytes
}

fn header(own: u64, other: u64, usable: (u64, u64), array: u64, guid: u8) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(b"EFI PART");
    bytes[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
    bytes[24..32].copy_from_slice(&own.to_le_bytes());
    bytes[32..40].copy_from_slice(&other.to_le_bytes());
    bytes[40..48].copy_from_slice(&usable.0.to_le_bytes());
    bytes[48..56].copy_from_slice(&usable.1.to_le_bytes());
    bytes[56..72].fill(guid);
    bytes[72..80].copy_from_slice(&array.to_le_bytes());
    bytes[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
    bytes[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
    bytes
}

fn check_sum(header: &mut [u8], array: &[u8], of_array: bool, of_header: bool) {
    if of_array {
        header[88..92].copy_from_slice(&crc32fast::hash(&array[..ARRAY_BYTES]).to_le_bytes());
    }
    if of_header {
        let length = header_length(header).unwrap_or(HEADER_BYTES);
        header[16..20].fill(0);
        let crc32 = crc32fast::hash(&header[..length]);
        header[16..20].copy_from_slice(&crc32.to_le_bytes());
    }
}

fn header_length(header: &[u8]) -> Option<usize> {
    let length = Input::new(&header[12..16]).u32() as usize;
    (HEADER_BYTES..=header.len()).contains(&length).then_some(length)
}

/// Whether a copy of the table agrees with both of its checksums.
fn is_whole(header: &[u8], array: &[u8]) -> bool {
    let Some(length) = header_length(header) else { return false };
    let mut covered = header[..length].to_vec();
    covered[16..20].fill(0);
    header.starts_with(b"EFI PART")
        && header[16..20] == crc32fast::hash(&covered).to_le_bytes()
        && header[88..92] == crc32fast::hash(&array[..ARRAY_BYTES]).to_le_bytes()
}

fn copies_whole(disk: &MemoryDisk, places: &Places) -> [bool; 2] {
    let head = disk.content(0, places.head_bytes());
    let tail = disk.content(places.tail_at(), places.tail_bytes());
    let block = places.block;
    let primary = is_whole(&head[block..2 * block], &head[2 * block..]);
    [primary, is_whole(&tail[places.array..], &tail[..places.array])]
}

fn has_whole_copy(disk: &MemoryDisk, places: &Places) -> bool {
    copies_whole(disk, places).contains(&true)
}

fn check_table(table: &Table) {
    assert!(table.health.primary || table.health.backup);
    assert!(table.entries.len() <= ENTRIES);
    let numbers: Vec<u32> = table.entries.iter().map(|entry| entry.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for entry in &table.entries {
        assert!((1..=ENTRIES as u32).contains(&entry.number));
        assert!(entry.first_lba <= entry.last_lba && entry.last_lba < table.blocks);
        assert!(!entry.type_guid.is_nil());
        assert_eq!(table.find(entry.guid).map(|found| found.guid), Some(entry.guid));
    }
}

/// Keeps some entries, adds some, and writes.
fn rewrite(before: &MemoryDisk, table: &Table, places: &Places, input: &mut Input<'_>) {
    let kept = usize::from(input.u8()) % (table.entries.len() + 1);
    let mut entries = table.entries[..kept].to_vec();
    entries.extend(new_entries(input, places, table.entries.get(kept.wrapping_sub(1))));
    let disk_guid =
        if input.u8() & 1 == 0 { table.disk_guid } else { Guid::from_disk_bytes([9; 16]) };
    let Ok(made) = table.rewrite(disk_guid, &entries, kept) else { return };
    let old = (table.disk_guid, table.entries.clone());
    let mut after = before.clone();
    made.write(&mut after).expect("the disk takes every write");
    let read = Table::read(&mut after.clone()).expect("what was written can be read");
    let new = (read.disk_guid, read.entries.clone());
    check_new(&read, disk_guid, &entries);
    check_kept(before, &after, table, places, kept);
    let (head, tail) = (places.head_bytes() as u64, places.tail_at());
    let inside = |range: &std::ops::Range<u64>| {
        range.end <= head || (range.start >= tail && range.end <= after.facts().size_bytes)
    };
    assert!(after.written.iter().all(inside), "only the table is written: {:?}", after.written);
    // The power fails in the first write, in the second, at any sector; a copy that is there already
    // is not written, and may leave nothing for it to fail in.
    let whole_bytes = (places.head_bytes() + places.tail_bytes()) as u64;
    for _ in 0..3 {
        let mut cut = before.clone();
        cut.power_bytes = Some(u64::from(input.u16()) % whole_bytes);
        let is_whole = made.write(&mut cut).is_ok();
        cut.power_bytes = None;
        let found = Table::read(&mut cut).expect("one copy is good at every instant");
        let found = (found.disk_guid, found.entries);
        assert!(found == new || (found == old && !is_whole), "not the new table, nor the old one");
    }
}

fn new_entries(input: &mut Input<'_>, places: &Places, last: Option<&Entry>) -> Vec<Entry> {
    let mut free = last.map_or(places.usable().0, |entry| entry.last_lba.saturating_add(1));
    let count = input.u8() % MADE;
    let new = (0..count).map(|number| {
        let first_lba = free.saturating_add(u64::from(input.u8() & 3));
        let last_lba = first_lba.saturating_add(u64::from(input.u8()));
        free = last_lba.saturating_add(1);
        let name = String::from_utf8_lossy(input.bytes(usize::from(number % 13)))
            .chars()
            .filter(|c| *c != '\0')
            .collect();
        Entry {
            number: u32::from(number) + 1,
            type_guid: Guid::from_disk_bytes([7; 16]),
            guid: Guid::from_disk_bytes([100 + number; 16]),
            first_lba,
            last_lba,
            attributes: input.u64(),
            name,
        }
    });
    new.collect()
}

/// What is read is what was asked for, in the slots from the first on.
fn check_new(read: &Table, disk_guid: Guid, entries: &[Entry]) {
    assert_eq!(read.disk_guid, disk_guid);
    assert!(read.health.primary && read.health.backup, "{:?}", read.health);
    let numbered = (1..).zip(entries).map(|(number, entry)| Entry { number, ..entry.clone() });
    assert_eq!(read.entries, numbered.collect::<Vec<_>>());
}

/// The kept entries are the same bytes in both new arrays as in the array that counted.
fn check_kept(
    before: &MemoryDisk,
    after: &MemoryDisk,
    table: &Table,
    places: &Places,
    kept: usize,
) {
    let head_at = 2 * places.block;
    let array = |disk: &MemoryDisk, primary: bool| match primary {
        true => disk.content(0, places.head_bytes())[head_at..][..kept * ENTRY_BYTES].to_vec(),
        false => disk.content(places.tail_at(), places.tail_bytes())[..kept * ENTRY_BYTES].to_vec(),
    };
    let own = array(before, table.health.primary);
    assert_eq!(array(after, true), own, "kept entries of the primary");
    assert_eq!(array(after, false), own, "kept entries of the backup");
}

/// A disk without a table is given one.
fn create(before: &MemoryDisk, places: &Places, input: &mut Input<'_>) {
    let mut disk = before.clone();
    let guid = Guid::from_disk_bytes([5; 16]);
    let table = Table::create(&mut disk, guid).expect("there is room");
    assert!(disk.written.is_empty(), "nothing is written yet");
    let entries = new_entries(input, places, None);
    let Ok(made) = table.rewrite(guid, &entries, 0) else { return };
    made.write(&mut disk).expect("the disk takes every write");
    let read = Table::read(&mut disk).expect("what was written can be read");
    check_new(&read, guid, &entries);
}
