//! The way home from a running target: default stays first in BootOrder, whatever the target's own
//! tools make of it. Looked at again and again, so one variable is read and nothing more while it
//! says what it said before: on many servers each call of the firmware stops all processors.

use super::entries::{BOOT_ORDER, ensure_default};
use crate::edges::{Disk, Firmware, FirmwareError};
use crate::gpt::{Entry, Table};
use crate::settings::ResidentConfig;

/// What keeps the way home.
pub struct WayHome<'a> {
    firmware: &'a mut dyn Firmware,
    /// The default partition.
    default: Entry,
    /// BootOrder, when it was last seen to be right.
    right: Option<Vec<u8>>,
}

/// The default partition before the state partition that a resident's configuration names.
pub fn default_partition(
    config: &ResidentConfig,
    disks: &mut [Box<dyn Disk + '_>],
) -> Option<Entry> {
    let mut tables = disks.iter_mut().filter_map(|disk| Table::read(disk.as_mut()).ok());
    let table = tables.find(|table| table.find(config.state_partition).is_some())?;
    table.entries.first().filter(|entry| entry.guid != config.state_partition).cloned()
}

impl<'a> WayHome<'a> {
    /// Through this firmware, to this partition.
    pub const fn new(firmware: &'a mut dyn Firmware, default: Entry) -> Self {
        Self { firmware, default, right: None }
    }

    /// Default's entry is there and first; tells whether anything had to be changed for that.
    pub fn keep(&mut self) -> Result<bool, FirmwareError> {
        let found = self.firmware.read(BOOT_ORDER)?;
        if found.is_some() && found == self.right {
            return Ok(false);
        }
        ensure_default(self.firmware, &self.default)?;
        self.right = self.firmware.read(BOOT_ORDER)?;
        Ok(self.right != found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use repave_image::{DEFAULT_PARTITION, ESP_TYPE};
    use repave_protocol::Guid;

    use super::super::variables::Variables;
    use super::*;

    fn default() -> Entry {
        Entry {
            number: 1,
            type_guid: ESP_TYPE,
            guid: Guid::from_disk_bytes([7; 16]),
            first_lba: 2048,
            last_lba: 133_119,
            attributes: 0,
            name: DEFAULT_PARTITION.into(),
        }
    }

    /// Has the way kept once after `meddle`; gives whether it was changed, and BootOrder.
    fn check(
        variables: &mut Variables,
        meddle: impl FnOnce(&mut BTreeMap<String, Vec<u8>>),
        changed: bool,
        order: &[u8],
    ) {
        meddle(&mut variables.values);
        assert_eq!(WayHome::new(variables, default()).keep(), Ok(changed));
        assert_eq!(variables.values["BootOrder"], order);
    }

    #[test]
    fn default_comes_first_again_and_foreign_entries_stay() {
        let mut variables = Variables::default();
        check(&mut variables, |_| {}, true, &[0, 0]);
        check(&mut variables, |_| {}, false, &[0, 0]);
        let put = |all: &mut BTreeMap<String, Vec<u8>>, order: &[u8]| {
            all.insert("BootOrder".into(), order.into());
        };
        // Another entry was put before it; then it was left out; then there was no order at all.
        check(&mut variables, |all| put(all, &[5, 0, 0, 0]), true, &[0, 0, 5, 0]);
        check(&mut variables, |all| put(all, &[5, 0, 6, 0]), true, &[0, 0, 5, 0, 6, 0]);
        check(&mut variables, |all| drop(all.remove("BootOrder")), true, &[0, 0]);
        // Its own entry was deleted, and with it its place.
        let delete = |all: &mut BTreeMap<String, Vec<u8>>| {
            all.remove("Boot0000");
            put(all, &[5, 0]);
        };
        check(&mut variables, delete, true, &[0, 0, 5, 0]);
        assert!(variables.values.contains_key("Boot0000"));
    }

    #[test]
    fn an_order_that_was_right_costs_one_call() {
        let mut variables = Variables::default();
        let mut way = WayHome::new(&mut variables, default());
        way.keep().unwrap();
        way.keep().unwrap();
        drop(way);
        let before = variables.reads;
        let mut way = WayHome::new(&mut variables, default());
        way.right = Some(vec![0, 0]);
        way.keep().unwrap();
        drop(way);
        assert_eq!(variables.reads, before + 1);
    }
}
