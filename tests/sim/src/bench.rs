//! Disks on the bench: no server around them, no checks, and nothing that fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use repave_core::edges::{DeviceError, Disk};
use repave_core::gpt::{Entry, Table};
use repave_image::{DEFAULT_PARTITION, ESP_TYPE, STATE_PARTITION, STATE_TYPE};
use repave_protocol::Guid;

use crate::disk::{DiskSpec, Medium};
use crate::image::esp_bytes;
use repave_chance::Chance;

pub(crate) const MIB: u64 = 1 << 20;
/// Size of the image that is burned; disks are larger, so that its backup table is misplaced.
pub(crate) const BURNED_BYTES: u64 = 4 * MIB;

thread_local! {
    /// What is burned is the same for all disks of one block size.
    static BURNED: RefCell<BTreeMap<u32, Medium>> = const { RefCell::new(BTreeMap::new()) };
}

/// Puts the burned image on an empty disk: its table is that of a smaller disk.
pub(crate) fn burn(medium: &mut Medium, block_bytes: u32) {
    BURNED.with_borrow_mut(|burned| {
        medium.take_contents(burned.entry(block_bytes).or_insert_with(|| image(block_bytes)));
    });
}

/// The default partition as it is burned.
pub(crate) static DEFAULT: LazyLock<Vec<u8>> =
    LazyLock::new(|| esp_bytes(MIB, &mut Chance::new(0)));

fn image(block_bytes: u32) -> Medium {
    let spec = DiskSpec {
        serial: "image".into(),
        size_bytes: BURNED_BYTES,
        block_bytes,
        rotational: false,
    };
    let mut burned = Bench(Medium::new(&spec, 0));
    let block_bytes = u64::from(block_bytes);
    let mut chance = Chance::new(0);
    let mut entry = |number: u32, name: &str, type_guid, start_bytes: u64| {
        let mut guid = [0; 16];
        guid.copy_from_slice(&chance.bytes()[..16]);
        Entry {
            number,
            type_guid,
            guid: Guid::from_random(guid),
            first_lba: start_bytes / block_bytes,
            last_lba: (start_bytes + MIB) / block_bytes - 1,
            attributes: 0,
            name: name.into(),
        }
    };
    let entries = [
        entry(1, DEFAULT_PARTITION, ESP_TYPE, MIB),
        entry(2, STATE_PARTITION, STATE_TYPE, 2 * MIB),
    ];
    let guid = Guid::from_random([9; 16]);
    let table = Table::create(&mut burned, guid).and_then(|table| table.rewrite(guid, &entries, 0));
    let written = table.map(|table| table.write(&mut burned));
    assert!(matches!(written, Ok(Ok(()))), "a fresh disk takes a table: {written:?}");
    let Bench(mut burned) = burned;
    burned.write(MIB, &DEFAULT);
    burned.flush();
    burned
}

/// A disk on the bench, with no server around it.
pub(crate) struct Bench(pub(crate) Medium);

impl Disk for Bench {
    fn facts(&self) -> &repave_protocol::Disk {
        self.0.facts()
    }

    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read(offset_bytes, into);
        Ok(())
    }

    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.write(offset_bytes, bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.0.flush();
        Ok(())
    }

    fn reread_partitions(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
