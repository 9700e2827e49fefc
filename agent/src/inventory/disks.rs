//! Whole disks, with the names by which they are recognised whatever the kernel calls them.

use std::path::Path;

use repave_protocol::{Disk, limits};

use super::text::{bytes, identity, identity_of, link_name, number, text};

/// sysfs counts sizes in these, whatever the disk's blocks are (sysfs-block).
const SECTOR_BYTES: u64 = 512;
/// Optical drives and floppies have a device behind them, and are no disks.
const NO_DISKS: [&str; 2] = ["sr", "fd"];
/// What the kernel shows of an eMMC beside its user area.
const EMMC_EXTRAS: [&str; 3] = ["boot0", "boot1", "rpmb"];
/// The unit serial number page of a SCSI device (SPC-5 §7.7.21).
const SERIAL_NUMBER_PAGE: u8 = 0x80;

/// The disks of `block` by name, cut at the inventory's limit. What has no device behind it (loop,
/// RAM, device mapper, RAID) is left out, and so are optical drives, hidden NVMe paths and drives
/// without a medium.
pub fn disks(sys_root: &Path) -> Vec<Disk> {
    let Ok(entries) = sys_root.join("block").read_dir() else {
        return Vec::new();
    };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut disks: Vec<_> = folders.filter_map(|folder| disk(&folder)).collect();
    disks.sort_by(|one, other| one.name.cmp(&other.name));
    disks.truncate(limits::INVENTORY_ENTRIES);
    disks
}

/// The disk of that name, or the one that has a partition of that name.
pub fn disk_of(sys_root: &Path, name: &str) -> Option<Disk> {
    let block = sys_root.join("block");
    let has_it = |disk: &Disk| {
        disk.name == name || block.join(&disk.name).join(name).join("partition").exists()
    };
    disks(sys_root).into_iter().find(has_it)
}

/// The names of the disks, each with its place among all that were ever attached: the kernel counts
/// them (diskseq, sysfs-block), so that one that took another's name can be told from it.
pub fn attached(sys_root: &Path) -> Vec<(String, Option<u64>)> {
    let place = |name: &str| number(&sys_root.join("block").join(name).join("diskseq"));
    disks(sys_root).into_iter().map(|disk| (disk.name.clone(), place(&disk.name))).collect()
}

fn disk(folder: &Path) -> Option<Disk> {
    let name = folder.file_name()?.to_str()?.to_owned();
    let device = folder.join("device");
    // One path of several to an NVMe namespace, which has a name of its own.
    let hidden = number::<u8>(&folder.join("hidden")) == Some(1);
    if hidden || !device.exists() || is_no_disk(&name) {
        return None;
    }
    let sectors = number::<u64>(&folder.join("size")).filter(|sectors| *sectors > 0)?;
    let queue = folder.join("queue");
    Some(Disk {
        name,
        bus: bus(&device),
        serial: serial(folder),
        wwn: identity(&folder.join("wwid")).or_else(|| identity(&device.join("wwid"))),
        model: text(&device.join("model")).or_else(|| text(&device.join("name"))),
        size_bytes: sectors.saturating_mul(SECTOR_BYTES),
        logical_block_bytes: number(&queue.join("logical_block_size")).unwrap_or(0),
        physical_block_bytes: number(&queue.join("physical_block_size")).unwrap_or(0),
        rotational: number::<u8>(&queue.join("rotational")) == Some(1),
        // Which disk that is only the partition tables and the firmware say.
        holds_default: false,
        table: None,
    })
}

fn is_no_disk(name: &str) -> bool {
    NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("mmcblk") && EMMC_EXTRAS.iter().any(|suffix| name.ends_with(suffix))
}

/// The subsystem's name, except that SATA disks are SCSI disks to the kernel and give themselves
/// away by their vendor.
fn bus(device: &Path) -> String {
    match link_name(&device.join("subsystem")).unwrap_or_default().as_str() {
        "nvme-subsystem" => "nvme".to_owned(),
        "scsi" if text(&device.join("vendor")).as_deref() == Some("ATA") => "ata".to_owned(),
        other => other.to_owned(),
    }
}

/// virtio has it at the disk, NVMe and MMC at the device, SCSI in a page of its own.
fn serial(folder: &Path) -> Option<String> {
    identity(&folder.join("serial"))
        .or_else(|| identity(&folder.join("device/serial")))
        .or_else(|| serial_of_page(&bytes(&folder.join("device/vpd_pg80"))?))
}

/// Peripheral, page code, length in two bytes, then the number.
fn serial_of_page(page: &[u8]) -> Option<String> {
    let [_, SERIAL_NUMBER_PAGE, high, low, number @ ..] = page else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    identity_of(number.get(..length)?)
}

#[cfg(test)]
mod tests {
    use repave_protocol::Disk;

    use super::super::tree::{Entry, Entry::File, Entry::Link, Tree};
    use super::{disk_of, disks, serial_of_page};

    fn check(entries: &[(&str, Entry<'_>)], expected: &[Disk]) {
        assert_eq!(disks(Tree::new(entries).root()), expected);
    }

    #[test]
    fn virtio() {
        check(
            &[
                ("block/vda/size", File(b"8388608\n")),
                ("block/vda/serial", File(b"repave-1")),
                ("block/vda/device/subsystem", Link("../../../bus/virtio")),
                ("block/vda/device/vendor", File(b"0x1af4\n")),
                ("block/vda/queue/logical_block_size", File(b"512\n")),
                ("block/vda/queue/physical_block_size", File(b"4096\n")),
                ("block/vda/queue/rotational", File(b"1\n")),
                ("block/vda/vda1/size", File(b"2048\n")),
            ],
            &[Disk {
                name: "vda".to_owned(),
                bus: "virtio".to_owned(),
                serial: Some("repave-1".to_owned()),
                size_bytes: 4 << 30,
                logical_block_bytes: 512,
                physical_block_bytes: 4096,
                rotational: true,
                ..Disk::default()
            }],
        );
    }

    #[test]
    fn a_partition_is_its_disks() {
        let tree = Tree::new(&[
            ("block/sda/size", File(b"8\n")),
            ("block/sda/device/vendor", File(b"ATA\n")),
            ("block/sda/sda1/partition", File(b"1\n")),
            ("block/sda/queue/rotational", File(b"1\n")),
            ("block/sdb/size", File(b"8\n")),
            ("block/sdb/device/vendor", File(b"ATA\n")),
        ]);
        let name_of = |name| disk_of(tree.root(), name).map(|disk| disk.name);
        assert_eq!(name_of("sda").as_deref(), Some("sda"));
        assert_eq!(name_of("sda1").as_deref(), Some("sda"));
        assert_eq!(name_of("sda2"), None);
        assert_eq!(name_of("queue"), None);
        assert_eq!(name_of("loop0"), None);
    }

    #[test]
    fn nvme_by_its_controller_or_its_subsystem() {
        let expected = |name: &str| Disk {
            name: name.to_owned(),
            bus: "nvme".to_owned(),
            serial: Some("S4EVNX0M".to_owned()),
            wwn: Some("eui.0025385b71b01234".to_owned()),
            model: Some("Samsung SSD 970".to_owned()),
            size_bytes: 512,
            ..Disk::default()
        };
        check(
            &[
                ("block/nvme0n1/size", File(b"1\n")),
                ("block/nvme0n1/wwid", File(b"eui.0025385b71b01234\n")),
                ("block/nvme0n1/device/subsystem", Link("../../../../class/nvme")),
                ("block/nvme0n1/device/serial", File(b"S4EVNX0M            \n")),
                ("block/nvme0n1/device/model", File(b"Samsung SSD 970\n")),
                ("block/nvme1n1/size", File(b"1\n")),
                ("block/nvme1n1/wwid", File(b"eui.0025385b71b01234\n")),
                ("block/nvme1n1/device/subsystem", Link("../../../class/nvme-subsystem")),
                ("block/nvme1n1/device/serial", File(b"S4EVNX0M\n")),
                ("block/nvme1n1/device/model", File(b"Samsung SSD 970\n")),
                ("block/nvme1c0n1/size", File(b"1\n")),
                ("block/nvme1c0n1/hidden", File(b"1\n")),
                ("block/nvme1c0n1/device/subsystem", Link("../../../class/nvme")),
            ],
            &[expected("nvme0n1"), expected("nvme1n1")],
        );
    }

    #[test]
    fn scsi_and_ata() {
        check(
            &[
                ("block/sda/size", File(b"1\n")),
                ("block/sda/device/subsystem", Link("../../../bus/scsi")),
                ("block/sda/device/vendor", File(b"ATA     \n")),
                ("block/sda/device/model", File(b"QEMU HARDDISK   \n")),
                ("block/sda/device/wwid", File(b"naa.5000c500a1b2c3d4\n")),
                ("block/sda/device/vpd_pg80", File(b"\0\x80\0\x08 QM00001")),
                ("block/sdb/size", File(b"1\n")),
                ("block/sdb/device/subsystem", Link("../../../bus/scsi")),
                ("block/sdb/device/vendor", File(b"SEAGATE \n")),
            ],
            &[
                Disk {
                    name: "sda".to_owned(),
                    bus: "ata".to_owned(),
                    serial: Some("QM00001".to_owned()),
                    wwn: Some("naa.5000c500a1b2c3d4".to_owned()),
                    model: Some("QEMU HARDDISK".to_owned()),
                    size_bytes: 512,
                    ..Disk::default()
                },
                Disk {
                    name: "sdb".to_owned(),
                    bus: "scsi".to_owned(),
                    size_bytes: 512,
                    ..Disk::default()
                },
            ],
        );
    }

    #[test]
    fn what_is_no_disk_is_left_out() {
        let device = |path| (path, File(b"1\n"));
        check(
            &[
                device("block/loop0/size"),
                device("block/zram0/size"),
                device("block/dm-0/size"),
                device("block/md0/size"),
                device("block/sr0/size"),
                device("block/sr0/device/type"),
                device("block/fd0/size"),
                device("block/fd0/device/type"),
                device("block/mmcblk0boot0/size"),
                device("block/mmcblk0boot0/device/type"),
                ("block/sdc/size", File(b"0\n")),
                device("block/sdc/device/type"),
            ],
            &[],
        );
    }

    #[test]
    fn serial_number_pages_may_lie() {
        assert_eq!(serial_of_page(b"\0\x80\0\x03abc").as_deref(), Some("abc"));
        assert_eq!(serial_of_page(b"\0\x80\0\x03abcdef").as_deref(), Some("abc"));
        assert_eq!(serial_of_page(b"\0\x80\0\x04abc"), None);
        assert_eq!(serial_of_page(b"\0\x83\0\x03abc"), None);
        assert_eq!(serial_of_page(b"\0\x80\0\0"), None);
        assert_eq!(serial_of_page(b"\0\x80"), None);
    }
}
