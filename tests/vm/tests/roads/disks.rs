//! Disks that fail, by QEMU's blkdebug: every failure is named and is the device's, nothing is sealed
//! or armed after it, and the server arrives by itself once the disk does its work.

use std::fs;

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::{Blame, DiskSelector, Order, Purpose, Side};
use repave_qemu::disk::{Disk, DiskFault, Refused};
use repave_vm::{Lab, RawDisk, Server, TargetImage, failure};

const MIB: u64 = 1 << 20;
const SECTOR_BYTES: u64 = 512;
/// Where the first partition begins on a disk that is all the target's, as in an image.
const FIRST_PARTITION: u64 = MIB;
const EIO: u32 = 5;

/// Where an image's root holds something, in bytes from its first partition on. It lies behind the
/// chunk that is held back, so that it is written and read back with the bulk.
fn body(image: &TargetImage) -> Result<u64> {
    const PAST_HEAD: u64 = 2 * MIB;
    const PIECE: usize = 4096;
    let disk = RawDisk::open(&image.disk)?;
    let root = disk.place_of(disk.guids()?[2])?.context("tiny has a root")?;
    let bytes = fs::read(&image.disk)?;
    let holds = |at: &u64| bytes[*at as usize..][..PIECE].iter().any(|byte| *byte != 0);
    let at = (root.start + PAST_HEAD..root.end).step_by(PIECE).find(holds);
    Ok(at.context("a root of zeroes")? - FIRST_PARTITION)
}

/// Waits for the next failure, which is the disk's; its message has these words.
fn fails(server: &mut Server<'_>, words: [&str; 3]) -> Result<()> {
    let what = "a failure of the disk";
    let record = server.wait_past_failures(what, |status| failure(status).is_some())?;
    let fault = failure(&record.status).context(what)?;
    let said = (fault.code.as_str(), fault.blame);
    assert_eq!(said, ("disk", Blame::Device), "{}", fault.message);
    for word in words {
        assert!(fault.message.contains(word), "{word}: {}", fault.message);
    }
    assert_eq!(record.status.side, Side::Default);
    assert_eq!(record.status.seal, None);
    assert_eq!(server.variables()?.boot_next(), None);
    Ok(())
}

#[test]
fn a_disk_that_fails_a_flush_and_then_a_write_is_named_and_the_server_arrives() -> Result<()> {
    let lab = Lab::new("fails-once", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let tiny = lab.import("tiny", &image)?;
    let sector = (FIRST_PARTITION + body(&image)?) / SECTOR_BYTES;
    let once = |refused| DiskFault { refused, errno: EIO, once: true };
    let data = Disk::empty(lab.dir().join("data.img"), 64 * MIB)?.serial("DATA");
    let data = data.failing(once(Refused::Flush)).failing(once(Refused::Write(sector)));
    let mut spec = lab.spec("fails-once")?;
    spec.disks.push(data);
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    server.first_status()?;
    let disk = DiskSelector { serial: Some("DATA".into()), ..DiskSelector::default() };
    let purpose = Purpose { disk: Some(disk), ..lab.purpose(&tiny) };
    server.order(Order::Purpose(Box::new(purpose)))?;
    fails(&mut server, ["vdb", "flush", "Input/output error"])?;
    fails(&mut server, ["vdb", "write of", "Input/output error"])?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}

#[cfg(feature = "full")]
#[test]
fn a_disk_without_space_and_one_that_cannot_be_read_back_keep_the_server_in_default() -> Result<()>
{
    use repave_protocol::Sha256;
    use repave_qemu::disk::Bus;
    const ENOSPC: u32 = 28;
    let lab = Lab::new("no-space", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let tiny = lab.import("tiny", &image)?;
    let mut spec = lab.spec("no-space")?;
    // SCSI can say that a thin disk is full; to virtio and NVMe of QEMU every error is the same.
    let healthy = spec.disks.remove(0).bus(Bus::Scsi);
    spec.disks.push(healthy.clone());
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    let target = server.disk()?.target_start()?;
    let sector = (target + body(&image)?) / SECTOR_BYTES;
    let failing = |refused, errno| {
        let fault = DiskFault { refused, errno, once: false };
        vec![healthy.clone().failing(fault)]
    };
    let stays_closed = |server: &mut Server<'_>| -> Result<()> {
        server.kill()?;
        let disk = server.disk()?;
        assert_eq!(disk.default_partition()?, default_partition, "p1 never changes");
        let first_block = disk.digest(target..target + SECTOR_BYTES)?;
        assert_eq!(first_block, Sha256::of(&[0; 512]), "no firmware mounts the target's ESP");
        Ok(())
    };

    server.machine().spec_mut().disks = failing(Refused::Write(sector), ENOSPC);
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&tiny))?;
    fails(&mut server, ["sda", "write of", "No space left on device"])?;
    stays_closed(&mut server)?;

    // What it writes now it cannot read; that the place could not be read before was no failure.
    server.machine().spec_mut().disks = failing(Refused::Read(sector), EIO);
    server.power_on()?;
    let first = server.first_status()?;
    let kept = failure(&first.status).context("the journal keeps why the last try failed")?;
    assert!(kept.message.contains("No space left on device"), "{}", kept.message);
    fails(&mut server, ["sda", "read of", "Input/output error"])?;
    stays_closed(&mut server)?;

    server.machine().spec_mut().disks = vec![healthy.clone()];
    server.power_on()?;
    server.first_status()?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}
