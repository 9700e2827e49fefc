//! Disks on the bench: no server around them, no checks, and nothing that fails.

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

/// Puts the burned image on a disk: its table is that of a smaller disk.
pub(crate) fn burn(medium: &mut Medium, spec: &DiskSpec) {
    let small = DiskSpec { size_bytes: BURNED_BYTES, ..spec.clone() };
    let mut burned = Bench(Medium::new(&small, 0));
    let block_bytes = u64::from(spec.block_bytes);
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
    medium.write(0, &burned.0.durable_bytes(0..BURNED_BYTES));
    medium.write(MIB, &esp_bytes(MIB, &mut Chance::new(0)));
    medium.flush();
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
