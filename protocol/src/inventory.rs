//! What a server says of its hardware. Every field is what firmware, kernel or device claimed;
//! what was absent is absent here, and nothing in it proves who the server is.

use serde::{Deserialize, Serialize};

use crate::id::Guid;

/// A server's hardware as its agent found it at this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// SMBIOS identity.
    pub dmi: Dmi,
    /// CPU architecture in Rust's and OCI's spelling of it, e.g. `amd64`.
    pub architecture: String,
    /// CPU model as the kernel prints it.
    pub cpu_model: Option<String>,
    /// Logical CPUs online.
    pub cpus: u32,
    /// Usable memory in bytes (`MemTotal`).
    pub memory_bytes: u64,
    /// Network interfaces with hardware behind them.
    pub nics: Vec<Nic>,
    /// Whole disks; partitions, loop and RAM devices left out.
    pub disks: Vec<Disk>,
    /// Firmware interface.
    pub firmware: Firmware,
}

/// SMBIOS strings (`/sys/class/dmi/id`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dmi {
    /// System manufacturer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Product name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// System serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// System UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Firmware version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// The kernel's name at this boot; for people, never for identity.
    pub name: String,
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// Kernel driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Link speed in Mbit/s, where the driver knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mbit: Option<u32>,
    /// Whether a link partner is seen.
    pub carrier: bool,
    /// Addresses with prefix length, as text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// One whole disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The kernel's name at this boot; for people, never for identity.
    pub name: String,
    /// `virtio`, `nvme`, `scsi`, `ata` or the subsystem's own name.
    pub bus: String,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name, EUI-64 or NGUID as the kernel prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// Logical block size in bytes.
    pub logical_block_bytes: u32,
    /// Physical block size in bytes.
    pub physical_block_bytes: u32,
    /// Whether the medium turns.
    pub rotational: bool,
    /// Whether the default side of this server lies on it.
    pub holds_default: bool,
    /// Its partition table, where it has a usable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PartitionTable>,
}

/// A GUID partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionTable {
    /// GUID of the disk.
    pub guid: Guid,
    /// Used entries, in their order.
    pub partitions: Vec<Partition>,
}

/// One entry of a partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Name.
    pub name: String,
    /// GUID of this partition.
    pub guid: Guid,
    /// GUID of its type.
    pub type_guid: Guid,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What the agent knows of the firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Firmware {
    /// Whether UEFI variables can be read and written.
    pub efi_variables: bool,
    /// Whether Secure Boot is on, where the firmware says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// `BootCurrent`, the entry this boot came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_current: Option<u16>,
    /// `BootOrder`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boot_order: Vec<u16>,
    /// `BootNext`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_next: Option<u16>,
}
