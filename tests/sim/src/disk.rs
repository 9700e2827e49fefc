//! A simulated disk: sparse pages, of which some are on stable storage and some only in the
//! device's cache. A power cut keeps, loses or tears each write that was not flushed, block by
//! block. It can also lie: take a write and keep other bytes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use repave_core::edges::{DeviceError, Disk};
use repave_core::gpt::Table;
use repave_protocol::Disk as Facts;

use crate::machine::Shared;
use repave_chance::Chance;

const PAGE_BYTES: usize = 4096;
/// At either end of a disk, where a copy of its table is.
const TABLE_BYTES: u64 = 64 * 1024;

/// What a disk is before anything is on it.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// Serial number.
    pub serial: String,
    /// Capacity.
    pub size_bytes: u64,
    /// Logical block: 512 or 4096.
    pub block_bytes: u32,
    /// Whether it turns, and so is not read while it is written.
    pub rotational: bool,
}

impl DiskSpec {
    /// A disk of `mebibytes` with blocks of 512 bytes that does not turn.
    pub fn new(serial: &str, mebibytes: u64) -> Self {
        let (serial, size_bytes) = (serial.into(), mebibytes << 20);
        Self { serial, size_bytes, block_bytes: 512, rotational: false }
    }
}

/// What a power cut does to the writes that were not flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unflushed {
    /// Each is kept, torn or lost, by chance.
    #[default]
    Mixed,
    /// All are kept.
    Kept,
    /// All are lost.
    Lost,
    /// Of each some blocks are kept.
    Torn,
    /// The last is kept, the first is lost, and of the others some are.
    Reordered,
}

impl Unflushed {
    /// Every fate that is one kind; a mix is for chance.
    pub const ALL: [Self; 4] = [Self::Kept, Self::Lost, Self::Torn, Self::Reordered];

    /// Whether the `number`th of `count` writes is kept, lost, or (`None`) torn.
    fn of(self, number: usize, count: usize, chance: &mut Chance) -> Option<bool> {
        match self {
            Self::Mixed => [Some(true), None, Some(false)][chance.below(3) as usize],
            Self::Kept => Some(true),
            Self::Lost => Some(false),
            Self::Torn => None,
            Self::Reordered if number + 1 == count => Some(true),
            Self::Reordered if number == 0 => Some(false),
            Self::Reordered => Some(chance.coin()),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Pages(BTreeMap<u64, Rc<[u8; PAGE_BYTES]>>);

impl Pages {
    fn read(&self, mut offset_bytes: u64, mut into: &mut [u8]) {
        while !into.is_empty() {
            let at = (offset_bytes % PAGE_BYTES as u64) as usize;
            let count = into.len().min(PAGE_BYTES - at);
            let (part, rest) = into.split_at_mut(count);
            match self.0.get(&(offset_bytes / PAGE_BYTES as u64)) {
                Some(page) => part.copy_from_slice(&page[at..at + count]),
                None => part.fill(0),
            }
            offset_bytes += count as u64;
            into = rest;
        }
    }

    fn write(&mut self, mut offset_bytes: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = (offset_bytes % PAGE_BYTES as u64) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - at));
            let number = offset_bytes / PAGE_BYTES as u64;
            if *part == [0; PAGE_BYTES] {
                self.0.remove(&number);
            } else {
                let page = self.0.entry(number).or_insert_with(|| Rc::new([0; PAGE_BYTES]));
                Rc::make_mut(page)[at..at + part.len()].copy_from_slice(part);
            }
            offset_bytes += part.len() as u64;
            bytes = rest;
        }
    }
}

impl Pages {
    /// The first byte of a range that is not what is wanted, counted from the range's beginning.
    fn differs(&self, offset_bytes: u64, wanted: &[u8]) -> Option<usize> {
        let mut place = 0;
        while place < wanted.len() {
            let offset_bytes = offset_bytes + place as u64;
            let at = (offset_bytes % PAGE_BYTES as u64) as usize;
            let count = (wanted.len() - place).min(PAGE_BYTES - at);
            let wanted = &wanted[place..place + count];
            let page = self.0.get(&(offset_bytes / PAGE_BYTES as u64));
            let found = page.map_or(&[0; PAGE_BYTES], |page| &**page);
            let found = &found[at..at + count];
            if found != wanted {
                return (0..count)
                    .find(|&byte| found[byte] != wanted[byte])
                    .map(|byte| place + byte);
            }
            place += count;
        }
        None
    }

    /// The first byte of a range that is not zero.
    fn not_zero(&self, range: Range<u64>) -> Option<u64> {
        let first = range.start / PAGE_BYTES as u64;
        let pages = self.0.range(first..range.end.div_ceil(PAGE_BYTES as u64));
        pages.into_iter().find_map(|(number, page)| {
            let start = number * PAGE_BYTES as u64;
            let from = range.start.saturating_sub(start) as usize;
            let to = (range.end - start).min(PAGE_BYTES as u64) as usize;
            let place = page[from..to].iter().position(|byte| *byte != 0)?;
            Some(start + (from + place) as u64)
        })
    }
}

/// A disk's contents.
#[derive(Clone, Debug)]
pub struct Medium {
    facts: Facts,
    durable: Pages,
    /// What a read sees: the durable pages with every write since on top.
    now: Pages,
    unflushed: Vec<(u64, Vec<u8>)>,
    liar_at: Option<u64>,
    has_lied: bool,
    /// Bytes that are kept where others are, so many bytes before them.
    shared: Option<(Range<u64>, u64)>,
    /// How often stable storage has changed in either copy of the table, and in the watched range.
    changes: [u64; 2],
    watched: Range<u64>,
    /// The table on stable storage, and at which change it was read: checks look at it all the time.
    table: RefCell<Option<(u64, Option<Rc<Table>>)>>,
}

impl Medium {
    /// An empty disk, the `number`th of its server.
    pub fn new(spec: &DiskSpec, number: usize) -> Self {
        let facts = Facts {
            name: format!("sim{number}"),
            bus: "sim".into(),
            serial: Some(spec.serial.clone()),
            size_bytes: spec.size_bytes,
            logical_block_bytes: spec.block_bytes,
            physical_block_bytes: spec.block_bytes,
            rotational: spec.rotational,
            ..Facts::default()
        };
        Self::of(facts)
    }

    /// An empty disk of that identity, size and block size.
    pub fn of(facts: Facts) -> Self {
        Self {
            facts,
            durable: Pages::default(),
            now: Pages::default(),
            unflushed: Vec::new(),
            liar_at: None,
            has_lied: false,
            shared: None,
            changes: [0, 0],
            watched: 0..0,
            table: RefCell::new(None),
        }
    }

    /// Takes what another one has on stable storage, as if it had been copied there.
    pub(crate) fn take_contents(&mut self, other: &Self) {
        (self.durable, self.now) = (other.durable.clone(), other.durable.clone());
        self.changes = self.changes.map(|count| count + 1);
    }

    /// Its identity.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What the device answers now.
    pub fn read(&self, offset_bytes: u64, into: &mut [u8]) {
        self.now.read(self.place(offset_bytes), into);
    }

    /// Whether the device answers now with nothing but zeroes.
    pub fn is_zero(&self, range: Range<u64>) -> bool {
        let length_bytes = range.end - range.start;
        let start = self.place(range.start);
        self.now.not_zero(start..start + length_bytes).is_none()
    }

    /// Where the device keeps what is written there.
    fn place(&self, offset_bytes: u64) -> u64 {
        let back_bytes = match &self.shared {
            Some((range, back_bytes)) if range.contains(&offset_bytes) => *back_bytes,
            _ => 0,
        };
        offset_bytes - back_bytes
    }

    /// Puts bytes into the device's cache.
    pub fn write(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let told_bytes = offset_bytes;
        let offset_bytes = self.place(told_bytes);
        self.has_lied |= offset_bytes != told_bytes;
        let mut kept = bytes.to_vec();
        if let Some(at) = self.liar_at
            && let Some(byte) =
                at.checked_sub(offset_bytes).and_then(|at| kept.get_mut(at as usize))
        {
            *byte ^= 1;
            self.liar_at = None;
            self.has_lied = true;
        }
        self.now.write(offset_bytes, &kept);
        self.unflushed.push((offset_bytes, kept));
    }

    /// Puts everything on stable storage.
    pub fn flush(&mut self) {
        for (offset_bytes, bytes) in std::mem::take(&mut self.unflushed) {
            self.keep(offset_bytes, &bytes);
        }
    }

    /// Holds these bytes from now on, as if it always had; whoever wrote them is not simulated.
    pub fn hold(&mut self, offset_bytes: u64, bytes: &[u8]) {
        self.now.write(offset_bytes, bytes);
        self.keep(offset_bytes, bytes);
    }

    fn keep(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let end = offset_bytes + bytes.len() as u64;
        if offset_bytes < TABLE_BYTES || end > self.facts.size_bytes - TABLE_BYTES {
            self.changes[0] += 1;
        }
        if offset_bytes < self.watched.end && end > self.watched.start {
            self.changes[1] += 1;
        }
        self.durable.write(offset_bytes, bytes);
    }

    /// From now on changes of this range are counted.
    pub fn watch(&mut self, range: Range<u64>) {
        self.watched = range;
    }

    /// How often stable storage has changed in the watched range.
    pub const fn watched_changes(&self) -> u64 {
        self.changes[1]
    }

    /// The partition table on stable storage, if there is one.
    pub fn durable_table(&self) -> Option<Rc<Table>> {
        let kept = &mut *self.table.borrow_mut();
        match kept {
            Some((change, table)) if *change == self.changes[0] => table.clone(),
            _ => {
                let table = Table::read(&mut self.durable()).ok().map(Rc::new);
                *kept = Some((self.changes[0], table.clone()));
                table
            }
        }
    }

    /// Loses power, and of the writes that were not flushed what `fate` says.
    pub fn crash(&mut self, fate: Unflushed, chance: &mut Chance) {
        let writes = std::mem::take(&mut self.unflushed);
        let count = writes.len();
        for (number, (offset_bytes, bytes)) in writes.into_iter().enumerate() {
            match fate.of(number, count, chance) {
                Some(true) => self.keep(offset_bytes, &bytes),
                Some(false) => {}
                None => self.tear(offset_bytes, &bytes, chance),
            }
        }
        self.now = self.durable.clone();
    }

    fn tear(&mut self, offset_bytes: u64, bytes: &[u8], chance: &mut Chance) {
        let block_bytes = self.facts.logical_block_bytes as usize;
        for (place, block) in bytes.chunks(block_bytes).enumerate() {
            if chance.coin() {
                self.keep(offset_bytes + (place * block_bytes) as u64, block);
            }
        }
    }

    /// Takes some blocks of a write that it then refuses.
    pub fn write_some(&mut self, offset_bytes: u64, bytes: &[u8], chance: &mut Chance) {
        let block_bytes = self.facts.logical_block_bytes as usize;
        for (place, block) in bytes.chunks(block_bytes).enumerate() {
            if chance.coin() {
                self.write(offset_bytes + (place * block_bytes) as u64, block);
            }
        }
    }

    /// Forgets what was not flushed, as some disks do when a flush fails.
    pub fn lose_cache(&mut self) {
        self.unflushed.clear();
        self.now = self.durable.clone();
    }

    /// Takes a write and puts it elsewhere.
    pub fn write_astray(&mut self, offset_bytes: u64, bytes: &[u8]) {
        self.has_lied = true;
        self.write(offset_bytes, bytes);
    }

    /// The next write over this byte is kept with one bit other than it was told.
    pub const fn lie_at(&mut self, offset_bytes: u64) {
        self.liar_at = Some(offset_bytes);
    }

    /// A disk that is smaller than it says: what lies in the range is kept in the place of what lies
    /// `back_bytes` before.
    pub const fn share(&mut self, range: Range<u64>, back_bytes: u64) {
        self.shared = Some((range, back_bytes));
    }

    /// Whether it ever kept other bytes than it was told.
    pub const fn has_lied(&self) -> bool {
        self.has_lied
    }

    /// Bytes on stable storage.
    pub fn durable_bytes(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.durable.read(range.start, &mut bytes);
        bytes
    }

    /// The first byte on stable storage that is not as wanted, counted from `offset_bytes`.
    pub fn durably_differs(&self, offset_bytes: u64, wanted: &[u8]) -> Option<usize> {
        self.durable.differs(offset_bytes, wanted)
    }

    /// The first byte of a range on stable storage that is not zero.
    pub fn durably_not_zero(&self, range: Range<u64>) -> Option<u64> {
        self.durable.not_zero(range)
    }

    /// Stable storage as a disk that can only be read, for parsers.
    pub const fn durable(&self) -> View<'_> {
        View { medium: self, bytes: &self.durable }
    }

    /// What the device answers now, as a disk that can only be read.
    pub const fn now(&self) -> View<'_> {
        View { medium: self, bytes: &self.now }
    }

    fn error(&self, operation: &'static str, at: (u64, usize), reason: &str) -> DeviceError {
        DeviceError {
            device: self.facts.name.clone(),
            operation,
            offset_bytes: at.0,
            length_bytes: at.1 as u64,
            reason: reason.into(),
        }
    }

    /// Refuses what no block device takes.
    pub fn check_request(
        &self,
        operation: &'static str,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<(), DeviceError> {
        let block_bytes = u64::from(self.facts.logical_block_bytes);
        let fits = |number: u64| number.is_multiple_of(block_bytes);
        let end = offset_bytes.checked_add(length_bytes as u64);
        let inside = end.is_some_and(|end| end <= self.facts.size_bytes);
        if fits(offset_bytes) && fits(length_bytes as u64) && inside {
            return Ok(());
        }
        Err(self.error(operation, (offset_bytes, length_bytes), "not whole blocks of this disk"))
    }

    pub(crate) fn failed(&self, operation: &'static str, at: (u64, usize)) -> DeviceError {
        self.error(operation, at, "Input/output error")
    }
}

/// What would be left if power went now and every write that was not flushed were lost, or what would
/// not.
#[derive(Debug)]
pub struct View<'a> {
    medium: &'a Medium,
    bytes: &'a Pages,
}

impl Disk for View<'_> {
    fn facts(&self) -> &Facts {
        &self.medium.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.medium.check_request("read", offset_bytes, into.len())?;
        self.bytes.read(offset_bytes, into);
        Ok(())
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        Err(self.medium.error("write", (offset_bytes, bytes.len()), "read-only view"))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// The core's way to one disk of a machine.
#[derive(Debug)]
pub struct Drive {
    machine: Shared,
    number: usize,
    facts: Facts,
}

impl Drive {
    /// All disks of a machine, as the core wants them.
    pub fn all(machine: &Shared) -> Vec<Box<dyn Disk>> {
        let facts: Vec<Facts> = machine.borrow().media.iter().map(|m| m.facts().clone()).collect();
        let drive = |(number, facts)| {
            let machine = Rc::clone(machine);
            Box::new(Self { machine, number, facts }) as Box<dyn Disk>
        };
        facts.into_iter().enumerate().map(drive).collect()
    }
}

impl Disk for Drive {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.machine.borrow_mut().read(self.number, offset_bytes, into)
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.machine.borrow_mut().write(self.number, offset_bytes, bytes)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.machine.borrow_mut().flush(self.number)
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        self.machine.borrow_mut().reread_partitions(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_what_was_flushed_and_some_blocks_of_the_rest() {
        let spec = DiskSpec::new("a", 1);
        let mut torn = 0;
        for seed in 0..64 {
            let mut disk = Medium::new(&spec, 0);
            disk.write(4096, &[1; 1024]);
            disk.flush();
            disk.write(4608, &[2; 1024]);
            disk.crash(Unflushed::Mixed, &mut Chance::new(seed));
            let bytes = disk.durable_bytes(4096..4096 + 2048);
            assert_eq!(bytes[..512], [1; 512], "flushed, and not written since");
            assert!(bytes[512..1024] == [1; 512] || bytes[512..1024] == [2; 512]);
            assert!(bytes[1024..1536] == [0; 512] || bytes[1024..1536] == [2; 512]);
            assert_eq!(bytes[1536..], [0; 512]);
            torn += usize::from((bytes[512] == 2) != (bytes[1024] == 2));
        }
        assert!(torn > 0, "no seed tears a write");
    }

    #[test]
    fn requests_that_are_not_whole_blocks_or_lie_outside_are_refused() {
        let disk = Medium::new(&DiskSpec::new("a", 1), 0);
        for (offset_bytes, length_bytes) in
            [(1, 512), (0, 100), (1 << 20, 512), (u64::MAX - 511, 512)]
        {
            assert!(disk.check_request("read", offset_bytes, length_bytes).is_err());
        }
        assert_eq!(disk.check_request("read", 512, 1024), Ok(()));
    }
}
