//! What hardware the agent finds itself on, read from sysfs and procfs below the roots that it is
//! given.
//!
//! Nothing here fails: what is absent or unreadable is absent from the inventory, since a server
//! with a broken disk has to be able to say so. Nothing here is believed either; who the server is
//! and which disk is meant is decided elsewhere.

mod cpu;
mod disks;
mod firmware;
mod nics;
mod text;
#[cfg(test)]
mod tree;

use std::path::Path;

use repave_protocol::{Dmi, Inventory};

use self::text::text;

pub use self::disks::{attached, disk_of, disks};

/// Takes the inventory from sysfs and procfs, which are mounted at these paths.
pub fn take(sys_root: &Path, proc_root: &Path) -> Inventory {
    Inventory {
        dmi: dmi(&sys_root.join("class/dmi/id")),
        architecture: architecture().to_owned(),
        cpu_model: cpu::model(proc_root),
        cpus: cpu::online(sys_root),
        memory_bytes: cpu::memory_bytes(proc_root),
        nics: nics::nics(sys_root, &crate::network::addresses()),
        disks: disks(sys_root),
        firmware: firmware::firmware(sys_root),
    }
}

fn dmi(folder: &Path) -> Dmi {
    Dmi {
        vendor: text(&folder.join("sys_vendor")),
        product: text(&folder.join("product_name")),
        serial: text(&folder.join("product_serial")),
        uuid: text(&folder.join("product_uuid")),
        firmware_version: text(&folder.join("bios_version")),
    }
}

/// The architecture that this program was built for, as OCI spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use repave_protocol::Inventory;

    use super::tree::{Entry::File, Tree};
    use super::{dmi, take};

    #[test]
    fn dmi_strings() {
        let tree = Tree::new(&[
            ("sys_vendor", File(b"QEMU\n")),
            ("product_name", File(b"Standard PC (Q35 + ICH9, 2009)\n")),
            ("product_serial", File(b"   \n")),
            ("product_uuid", File(b"6c1e0d5e-0000-4000-8000-525400123456\n")),
        ]);
        let found = dmi(tree.root());
        assert_eq!(found.vendor.as_deref(), Some("QEMU"));
        assert_eq!(found.product.as_deref(), Some("Standard PC (Q35 + ICH9, 2009)"));
        assert_eq!(found.serial, None, "spaces are no serial number");
        assert_eq!(found.uuid.as_deref(), Some("6c1e0d5e-0000-4000-8000-525400123456"));
        assert_eq!(found.firmware_version, None);
    }

    #[test]
    fn where_nothing_can_be_read_the_inventory_is_empty() {
        let nowhere = Path::new("/nonexistent");
        let empty = Inventory { architecture: "amd64".to_owned(), ..Inventory::default() };
        assert_eq!(take(nowhere, nowhere), empty);
    }

    #[test]
    fn the_machine_that_runs_this_has_a_processor_and_memory() {
        let found = take(Path::new("/sys"), Path::new("/proc"));
        assert!(found.cpus > 0 && found.memory_bytes > 0, "{found:?}");
    }
}
