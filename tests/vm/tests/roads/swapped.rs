//! A disk that is another one than the order was meant for: told by its serial number and its size,
//! never by its name or its place, whether it came with the power off or on.

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::{DiskSelector, ImageReference, Order, Purpose, Sha256};
use repave_qemu::disk::{Bus, Disk};
use repave_vm::{Lab, Server, TargetImage, failure};

use crate::faults::halfway;

const MIB: u64 = 1 << 20;
const DATA_MIB: u64 = 64;

/// A disk on which not a byte is zero, so that a blanked one would show.
fn disk(lab: &Lab, size_mib: u64, serial: &str) -> Result<Disk> {
    let path = lab.dir().join(format!("{serial}-{size_mib}.img"));
    std::fs::write(&path, vec![0xa5; (size_mib * MIB) as usize])?;
    Ok(Disk::existing(path)?.serial(serial))
}

fn digest(disk: &Disk) -> Result<Sha256> {
    Ok(Sha256::of(&std::fs::read(disk.path())?))
}

/// To become what an image is on the one disk with this serial number and size.
fn on_data(lab: &Lab, image: &ImageReference) -> Order {
    let selector = DiskSelector {
        serial: Some("DATA".into()),
        size_bytes: Some(DATA_MIB * MIB),
        ..DiskSelector::default()
    };
    Order::Purpose(Box::new(Purpose { disk: Some(selector), ..lab.purpose(image) }))
}

/// Waits until it says that the disk is not there, but this one.
fn refuses(server: &mut Server<'_>, other: &str) -> Result<()> {
    let fault = server.failed("no-such-disk")?;
    for words in ["\"DATA\"", "67108864", other] {
        assert!(fault.message.contains(words), "{words}: {}", fault.message);
    }
    assert_eq!(server.variables()?.boot_next(), None);
    Ok(())
}

#[test]
fn a_disk_that_was_swapped_in_mid_transfer_is_left_alone_until_the_right_one_is_back() -> Result<()>
{
    const OTHER_MIB: u64 = 96;
    let lab = Lab::new("swapped", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let data = disk(&lab, DATA_MIB, "DATA")?;
    let others = [
        (disk(&lab, DATA_MIB, "OTHER")?, "vdb (serial \"OTHER\", 67108864 bytes)"),
        (disk(&lab, OTHER_MIB, "DATA")?, "vdb (serial \"DATA\", 100663296 bytes)"),
    ];
    let mut spec = lab.spec("swapped")?;
    spec.disks.push(data.clone());
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    let untouched = digest(&data)?;
    halfway(&lab, &mut server, on_data(&lab, &tiny))?;
    server.kill()?;
    assert_ne!(digest(&data)?, untouched, "it was in the middle of writing");
    lab.stub().set_faults(vec![]);

    for (other, words) in others {
        let before = digest(&other)?;
        server.machine().spec_mut().disks[1] = other.clone();
        server.power_on()?;
        server.first_status()?;
        refuses(&mut server, words)?;
        server.kill()?;
        assert_eq!(digest(&other)?, before, "not a byte of another disk changes");
    }

    server.machine().spec_mut().disks[1] = data;
    server.power_on()?;
    server.first_status()?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}

#[test]
fn a_disk_that_is_pulled_out_in_mid_transfer_is_found_again_without_a_reset() -> Result<()> {
    let lab = Lab::new("pulled", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let data = disk(&lab, DATA_MIB, "DATA")?.bus(Bus::Scsi);
    let other = disk(&lab, DATA_MIB, "OTHER")?.bus(Bus::Scsi);
    let before = digest(&other)?;
    let mut spec = lab.spec("pulled")?;
    spec.disks.push(data.clone());
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    halfway(&lab, &mut server, on_data(&lab, &tiny))?;
    server.running()?.pull_disk(1)?;
    server.running()?.plug_disk(1, &other)?;
    // The requests that are under way break, which would wait for an hour.
    lab.stub().stop();
    lab.stub().set_faults(vec![]);
    lab.stub().start_again()?;

    // It opens its disks anew, and begins with all that it knows of the server.
    let again = server.first_status()?.status;
    let fault = failure(&again).context("the disk under the transfer is gone")?;
    assert_eq!(fault.code, "disk", "{}", fault.message);
    assert!(fault.message.contains("sda"), "{}", fault.message);
    let disks = again.inventory.context("the first status has an inventory")?.disks;
    assert!(disks.iter().any(|disk| disk.serial.as_deref() == Some("OTHER")), "{disks:?}");
    refuses(&mut server, "serial \"OTHER\"")?;
    server.running()?.pull_disk(1)?;
    assert_eq!(digest(&other)?, before, "not a byte of another disk changes");

    server.running()?.plug_disk(1, &data)?;
    server.first_status()?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}
