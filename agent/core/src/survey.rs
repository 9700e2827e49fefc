//! What a first status says of the server: the hardware as the host lists it, with the partition
//! table of each disk and the firmware's boot variables beside it. What cannot be read is left out;
//! a server with a broken disk has to be able to say so.

use repave_protocol::{Inventory, Partition, PartitionTable, limits};

use crate::edges::{Disk, Edges, Firmware};
use crate::efi::numbers_from_bytes;
use crate::gpt::{Entry, Table};

/// Most partitions listed, over all disks: a status must fit its envelope whatever disks hold.
const PARTITIONS: usize = 512;

/// The whole inventory. Disks whose tables would be too much are listed without.
pub(crate) fn survey(edges: &mut Edges<'_>) -> Inventory {
    let mut inventory = edges.host.inventory();
    let mut room = PARTITIONS;
    for disk in &mut edges.disks {
        let table = partition_table(disk.as_mut()).filter(|table| table.partitions.len() <= room);
        room -= table.as_ref().map_or(0, |table| table.partitions.len());
        let name = &disk.facts().name;
        if let Some(listed) = inventory.disks.iter_mut().find(|listed| listed.name == *name) {
            listed.table = table;
        }
    }
    inventory.firmware.boot_order = numbers(edges.firmware, "BootOrder");
    inventory.firmware.boot_next = numbers(edges.firmware, "BootNext").first().copied();
    inventory
}

fn partition_table(disk: &mut dyn Disk) -> Option<PartitionTable> {
    let table = Table::read(disk).ok()?;
    let partition = |entry: &Entry| Partition {
        name: entry.name.clone(),
        guid: entry.guid,
        type_guid: entry.type_guid,
        size_bytes: entry.blocks() * table.block_bytes,
    };
    let partitions = table.entries.iter().map(partition).collect();
    Some(PartitionTable { guid: table.disk_guid, partitions })
}

fn numbers(firmware: &mut dyn Firmware, name: &str) -> Vec<u16> {
    let value = firmware.read(name).ok().flatten().unwrap_or_default();
    let mut numbers = numbers_from_bytes(&value);
    numbers.truncate(limits::INVENTORY_ENTRIES);
    numbers
}
