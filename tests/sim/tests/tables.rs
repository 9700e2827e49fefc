//! Partition tables that others damaged or made: what is read of them, in which order a new one is
//! written, and what of the default side is refused. Against a disk on the bench; only what the
//! kernel makes of a new table, and what the planner makes of others', take a server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use repave_core::default_side::{DefaultSide, NoDefaultSide};
use repave_core::edges::{DeviceError, Disk};
use repave_core::gpt::{Entry, GptError, Health, Table};
use repave_image::{DEFAULT_PARTITION, STATE_PARTITION};
use repave_protocol::{Disk as Facts, DiskSelector, Guid, Order};
use repave_sim::host::Clock;
use repave_sim::{DiskSpec, ImageSpec, Spec, World, sound};

const BLOCK: usize = 512;
const BLOCKS: usize = 8192;
const BACKUP: usize = (BLOCKS - 1) * BLOCK;
const HEADER_BYTES: usize = 92;
const ARRAY_BYTES: usize = 128 * 128;

/// A disk in memory that remembers what stood on it at each flush.
#[derive(Clone)]
struct Bench {
    facts: Facts,
    bytes: Vec<u8>,
    flushed: Vec<Vec<u8>>,
}

impl Bench {
    fn new(bytes: Vec<u8>) -> Self {
        let facts = Facts {
            name: "bench".into(),
            size_bytes: bytes.len() as u64,
            logical_block_bytes: BLOCK as u32,
            ..Facts::default()
        };
        Self { facts, bytes, flushed: Vec::new() }
    }

    fn with(disk: Guid, entries: &[Entry]) -> Self {
        let mut bench = Self::new(vec![0; BLOCKS * BLOCK]);
        let table = Table::create(&mut bench, disk).unwrap();
        let rewrite = table.rewrite(disk, entries, 0).unwrap();
        rewrite.write(&mut bench).unwrap();
        bench.flushed.clear();
        bench
    }

    /// Changes entries behind the table's back: in both arrays, with checksums that agree.
    fn forge_array(&mut self, change: impl Fn(&mut [u8])) {
        for (header, array) in [(BLOCK, 2 * BLOCK), (BACKUP, BACKUP - ARRAY_BYTES)] {
            change(&mut self.bytes[array..][..ARRAY_BYTES]);
            let checksum = crc32fast::hash(&self.bytes[array..][..ARRAY_BYTES]);
            self.forge_header(header, 88, &checksum.to_le_bytes());
        }
    }

    fn forge_header(&mut self, header: usize, at: usize, field: &[u8]) {
        let header = &mut self.bytes[header..][..HEADER_BYTES];
        header[at..][..field.len()].copy_from_slice(field);
        header[16..20].fill(0);
        let checksum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
    }

    fn table(&mut self) -> Result<Table, GptError> {
        Table::read(self)
    }
}

impl Disk for Bench {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        into.copy_from_slice(&self.bytes[offset_bytes as usize..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.bytes[offset_bytes as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.flushed.push(self.bytes.clone());
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

fn guid(seed: u8) -> Guid {
    Guid::from_random([seed; 16])
}

fn entry(number: u32, name: &str, first_lba: u64) -> Entry {
    Entry {
        number,
        type_guid: guid(99),
        guid: guid(number as u8),
        first_lba,
        last_lba: first_lba + 99,
        attributes: 0,
        name: name.into(),
    }
}

fn server() -> Bench {
    let entries = [
        entry(1, DEFAULT_PARTITION, 2048),
        entry(2, STATE_PARTITION, 3000),
        entry(3, "esp", 4000),
        entry(4, "root", 5000),
    ];
    Bench::with(guid(77), &entries)
}

/// A server with further disks of 4 MiB and 8 MiB beside its own.
fn world() -> World {
    let disks = vec![
        DiskSpec::new("first", 8),
        DiskSpec::new("second", 4),
        DiskSpec::new("third", 8),
        DiskSpec::new("fourth", 8),
    ];
    World::new(Spec { disks, ..Spec::new(1) })
}

/// How a purpose for the first disk is refused while `second` is the second.
fn refused_beside(world: &mut World, second: &Bench) -> String {
    let web = world.publish(&ImageSpec::new("web", 1));
    {
        let medium = &mut world.machine.borrow_mut().media[1];
        medium.write(0, &second.bytes);
        medium.flush();
    }
    world.order_image(&web);
    let told = sound(world.run_until_failed());
    assert_eq!(world.target_writes(), 0);
    told
}

/// Where the `number`th entry begins in an array.
const fn slot(number: usize) -> usize {
    (number - 1) * 128
}

const BOTH: Health = Health { primary: true, backup: true };

#[test]
fn a_good_copy_is_never_the_first_to_be_overwritten() {
    for (damaged, primary_is_good) in [(BLOCK, false), (BACKUP, true)] {
        let mut bench = server();
        bench.bytes[damaged + 20] ^= 1;
        let table = bench.table().unwrap();
        let health = Health { primary: primary_is_good, backup: !primary_is_good };
        assert_eq!(table.health, health);
        let entries = &table.entries[..2];
        let rewrite = table.rewrite(table.disk_guid, entries, 2).unwrap();
        rewrite.write(&mut bench).unwrap();
        let [between, after] = <[_; 2]>::try_from(bench.flushed.clone()).unwrap();
        let good = if primary_is_good { 0 } else { BACKUP - ARRAY_BYTES };
        let good = good..good + ARRAY_BYTES + BLOCK;
        let before = {
            let mut bench = server();
            bench.bytes[damaged + 20] ^= 1;
            bench.bytes
        };
        assert!(between[good.clone()] == before[good], "the good copy went first");
        let table = Bench::new(after).table().unwrap();
        assert_eq!((table.health, table.entries.len()), (BOTH, 2));
    }
}

#[test]
fn of_two_whole_copies_that_disagree_the_primary_holds() {
    let mut other_array = server();
    let mut smaller = Bench::with(guid(77), &other_array.table().unwrap().entries[..2]);
    let tail = BACKUP - ARRAY_BYTES;
    let mut other_disk = server();
    other_disk.forge_header(BACKUP, 56, guid(78).as_disk_bytes());
    other_array.bytes[tail..].copy_from_slice(&smaller.bytes[tail..]);
    for mut bench in [other_array, other_disk] {
        let table = bench.table().unwrap();
        assert!(table.health.primary && !table.health.backup);
        assert_eq!((table.entries.len(), table.disk_guid), (4, guid(77)));
    }
    assert_eq!(smaller.table().unwrap().health, BOTH);
}

#[test]
fn a_header_that_counts_blocks_the_disk_does_not_have_is_not_whole() {
    let last_usable = (BLOCKS - 34) as u64;
    let forgeries: [(usize, u64); 4] = [(32, 0), (32, 1), (40, 1), (48, last_usable + 1)];
    for (at, value) in forgeries {
        let mut bench = server();
        bench.forge_header(BLOCK, at, &value.to_le_bytes());
        let table = bench.table().unwrap();
        assert!(!table.health.primary && table.health.backup, "byte {at}");
        let rewrite = table.rewrite(table.disk_guid, &table.entries, 2).unwrap();
        rewrite.write(&mut bench).unwrap();
        assert_eq!(bench.table().unwrap().health, BOTH, "byte {at}");
    }
}

#[test]
fn a_table_of_another_shape_is_not_mistaken_for_none() {
    let mut bench = server();
    for header in [BLOCK, BACKUP] {
        bench.forge_header(header, 80, &256_u32.to_le_bytes());
    }
    assert!(matches!(bench.table(), Err(GptError::Foreign { .. })));
    bench.bytes.fill(0);
    assert!(matches!(bench.table(), Err(GptError::None { .. })));
    let tiny = Bench::new(vec![0; 8 * BLOCK]).table();
    assert!(matches!(tiny, Err(GptError::TooSmall { .. })));
}

#[test]
fn an_entry_without_a_type_is_unused_and_the_others_keep_their_numbers() {
    let mut bench = server();
    bench.forge_array(|array| array[slot(3)..][..16].fill(0));
    let table = bench.table().unwrap();
    let found: Vec<_> = table.entries.iter().map(|e| (e.number, &*e.name)).collect();
    let expected = [(1, DEFAULT_PARTITION), (2, STATE_PARTITION), (4, "root")];
    assert_eq!(found, expected);
}

fn find(bench: Bench) -> Result<DefaultSide, NoDefaultSide> {
    let mut host = Clock(World::new(Spec::new(1)).machine);
    DefaultSide::find(&mut [Box::new(bench)], Some(guid(1)), &mut host)
}

#[test]
fn partitions_that_overlap_each_other_do_not_hide_the_default_side() {
    let mut bench = server();
    bench.forge_array(|array| array[slot(4) + 32..][..8].copy_from_slice(&4050_u64.to_le_bytes()));
    let table = bench.table().unwrap();
    let refused = table.rewrite(table.disk_guid, &table.entries, 2);
    assert!(matches!(refused, Err(GptError::Unusable { .. })));
    let found = find(bench).unwrap();
    assert_eq!(found.state.number, 2);
}

#[test]
fn a_default_side_whose_table_was_destroyed_is_not_just_said_to_be_away() {
    let other = Bench::with(guid(77), &[entry(7, "data", 4000)]);
    let mut destroyed = server();
    for header in [BLOCK, BACKUP] {
        destroyed.bytes[header..][..BLOCK].fill(0x5a);
    }
    let mut foreign = server();
    for header in [BLOCK, BACKUP] {
        foreign.forge_header(header, 80, &256_u32.to_le_bytes());
    }
    for (bench, words) in [
        (destroyed, "[bench; bench: no partition table: neither GPT header is valid]"),
        (foreign, "[bench; bench: its GPT header is valid but does not fit"),
    ] {
        // Not after a network boot either, which looks for it by its name.
        for loader in [Some(guid(1)), None] {
            let mut host = Clock(World::new(Spec::new(1)).machine);
            let mut disks: [Box<dyn Disk>; 2] = [Box::new(other.clone()), Box::new(bench.clone())];
            let refused = DefaultSide::find(&mut disks, loader, &mut host).unwrap_err();
            assert!(matches!(refused, NoDefaultSide::Missing { .. }), "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}

#[test]
fn a_default_side_that_shares_blocks_is_refused() {
    // The third entry begins in the state partition; the first begins in the table.
    for (number, first_lba, words) in [(3, 3050_u64, "\"esp\""), (1, 10, "the partition table")] {
        let mut bench = server();
        bench.forge_array(|array| {
            array[slot(number) + 32..][..8].copy_from_slice(&first_lba.to_le_bytes());
        });
        let refused = find(bench).unwrap_err();
        assert!(matches!(refused, NoDefaultSide::Overlap { .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
}

#[test]
fn partitions_that_the_kernel_held_on_to_are_read_again_by_the_next_run() {
    let mut world = World::new(Spec::new(1));
    world.order(Order::Stay { reason: "maintenance".into() });
    sound(world.run_until("staying", |world| world.machine.borrow().controller.statuses.len() > 2));
    let web = world.publish(&ImageSpec::new("web", 1));
    world.machine.borrow_mut().holds_partitions = true;
    let generation = world.order_image(&web);
    assert_eq!(sound(world.run_until_failed()), "disk");
    let rereads = world.count_events("reread");
    world.machine.borrow_mut().holds_partitions = false;
    sound(world.run_until_up(generation));
    assert!(
        world.count_events("reread") > rereads,
        "the table was as planned already, the kernel did not know it"
    );
}

#[test]
fn a_file_system_of_the_image_on_another_disk_is_refused() {
    let mut world = world();
    let web = world.publish(&ImageSpec::new("web", 1));
    let uuid = &web.manifest.partitions[0].file_system.as_ref().unwrap().uuid;
    let id = u32::from_str_radix(&uuid.replace('-', ""), 16).unwrap();
    let mut bench = Bench::with(guid(77), &[entry(1, "old", 2048), entry(2, "esp", 4000)]);
    // A boot sector of FAT32: jump, sector and cluster size, reserved sectors, FATs, medium.
    let sector = &mut bench.bytes[4000 * BLOCK..][..BLOCK];
    sector[0] = 0xeb;
    sector[11..17].copy_from_slice(&[0, 2, 1, 32, 0, 2]);
    sector[21] = 0xf8;
    sector[67..71].copy_from_slice(&id.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(refused_beside(&mut world, &bench), "duplicate-file-system");
}

#[test]
fn another_disk_whose_table_cannot_be_used_is_refused() {
    let mut shape = server();
    shape.forge_header(BLOCK, 80, &256_u32.to_le_bytes());
    shape.forge_header(BACKUP, 80, &256_u32.to_le_bytes());
    let mut range = server();
    range.forge_array(|array| array[slot(4) + 40..][..8].fill(0xff));
    for bench in [shape, range] {
        assert_eq!(refused_beside(&mut world(), &bench), "partition-table");
    }
}

#[test]
fn a_target_that_is_there_twice_is_not_guessed() {
    let mut world = world();
    let web = world.publish(&ImageSpec::new("web", 1));
    let mut purpose = World::purpose(&web);
    purpose.disk = Some(DiskSelector { serial: Some("third".into()), ..DiskSelector::default() });
    let generation = world.order(Order::Purpose(Box::new(purpose)));
    sound(world.run_until_up(generation));
    {
        let media = &mut world.machine.borrow_mut().media;
        let bytes = media[2].durable_bytes(0..8 << 20);
        media[3].write(0, &bytes);
        media[3].flush();
    }
    world.pull_plug();
    assert_eq!(sound(world.run_until_failed()), "not-sealed");
    let machine = world.machine.borrow();
    let named = |line: &String| line.contains("both sim2 and sim3");
    assert!(machine.events.lines().iter().any(named));
}
