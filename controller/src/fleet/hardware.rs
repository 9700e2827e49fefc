//! What of a server's inventory the controller decides by, and what it recognises the machine by.

use repave_protocol::{Inventory, Sha256};
use serde::{Deserialize, Serialize};

/// The hardware, as far as a decision or a person needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// `amd64`, …
    pub architecture: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Capacity of the disk that holds the default side, in bytes.
    pub disk_bytes: u64,
    /// System serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Manufacturer and product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Hardware addresses, in the inventory's order.
    pub macs: Vec<String>,
}

impl Facts {
    /// Of an inventory.
    pub fn of(inventory: &Inventory) -> Self {
        let default = inventory.disks.iter().find(|disk| disk.holds_default);
        let dmi = &inventory.dmi;
        let product = match (&dmi.vendor, &dmi.product) {
            (Some(vendor), Some(product)) => Some(format!("{vendor} {product}")),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        Self {
            architecture: inventory.architecture.clone(),
            cpus: inventory.cpus,
            memory_bytes: inventory.memory_bytes,
            disk_bytes: default.map_or(0, |disk| disk.size_bytes),
            serial: dmi.serial.clone(),
            product,
            macs: inventory.nics.iter().map(|nic| nic.mac.clone()).collect(),
        }
    }
}

/// What a machine is recognised by: its SMBIOS UUID and serial number, or, where the firmware has
/// neither, its hardware addresses. A new card or disk does not make another machine of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Print(Sha256);

impl Print {
    /// Of an inventory; `None` if it holds nothing to recognise the machine by.
    pub fn of(inventory: &Inventory) -> Option<Self> {
        let dmi = &inventory.dmi;
        if dmi.uuid.is_some() || dmi.serial.is_some() {
            return Some(Self::of_text(&format!("{:?} {:?}", dmi.uuid, dmi.serial)));
        }
        let mut macs: Vec<&str> = inventory.nics.iter().map(|nic| nic.mac.as_str()).collect();
        macs.sort_unstable();
        (!macs.is_empty()).then(|| Self::of_text(&macs.join(" ")))
    }

    fn of_text(text: &str) -> Self {
        Self(Sha256::of(text.as_bytes()))
    }
}
