//! Disks with other blocks than 512 bytes, and one that is larger than what was burned onto it:
//! whole roads.

use std::fs::File;

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::Disk as Facts;
use repave_qemu::disk::{BlockSize, Bus};
use repave_qemu::net::Nic;
use repave_vm::{Lab, Server, TargetImage, say};
use serde_json::json;

use crate::tables::is_whole;

const MIB: u64 = 1 << 20;

/// Powers a server on; gives its first disk as it reports it.
fn reported(server: &mut Server<'_>) -> Result<Facts> {
    server.power_on()?;
    let inventory = server.first_status()?.status.inventory;
    let disks = inventory.context("the first status has an inventory")?.disks;
    disks.into_iter().next().context("a server with a disk")
}

#[test]
fn a_disk_with_blocks_of_4096_bytes_takes_a_target_that_was_made_for_it_and_no_other() -> Result<()>
{
    let lab = Lab::new("large-blocks", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let small = lab.import("tiny", &image)?;
    let large = lab.import("tiny-4k", &image.with_large_blocks(lab.dir())?)?;
    let mut spec = lab.bare("large-blocks");
    let disk = lab.burn_large_blocks("large-blocks", 512)?;
    spec.disks.push(disk.bus(Bus::Nvme).block_size(BlockSize::B4096));
    spec.nics.push(Nic::slirp());
    let mut server = lab.server(spec)?;
    server.disk()?.mark_target(64)?;
    let untouched = server.disk()?.target()?;
    let default_partition = server.disk()?.default_partition()?;
    assert_eq!(reported(&mut server)?.logical_block_bytes, 4096);
    server.order(lab.order(&small))?;
    let refused = server.failed("other-block-size")?;
    assert!(refused.message.contains("nvme0n1"), "{}", refused.message);
    assert!(refused.message.contains("4096"), "{}", refused.message);
    assert_eq!(server.disk()?.target()?, untouched, "no target byte changed");

    server.order(lab.order(&large))?;
    server.wait_past_failures("up as tiny-4k", |status| {
        let seal = status.seal.as_ref();
        seal.is_some_and(|seal| seal.server_type == "tiny-4k")
    })?;
    server.up("tiny-4k")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}

#[test]
fn a_disk_that_only_says_512_is_written_like_any_other() -> Result<()> {
    let lab = Lab::new("emulated-blocks", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut spec = lab.spec("emulated-blocks")?;
    let disk = spec.disks.remove(0).bus(Bus::Ahci).block_size(BlockSize::B512On4096);
    spec.disks.push(disk);
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    let facts = reported(&mut server)?;
    assert_eq!((facts.logical_block_bytes, facts.physical_block_bytes), (512, 4096));
    server.order(lab.order(&tiny))?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    server.end(default_partition)?;
    lab.finish()
}

#[test]
fn a_default_disk_burned_onto_a_larger_one_gives_the_target_all_of_it() -> Result<()> {
    const BURNED_MIB: u64 = 256;
    const DISK_MIB: u64 = 512;
    let lab = Lab::new("larger", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let grows = lab.forge(&tiny, |manifest| manifest["partitions"][1]["grow"] = json!(true))?;
    let mut spec = lab.bare("larger");
    let disk = lab.burn("larger", BURNED_MIB)?;
    let path = disk.path().to_owned();
    File::options().write(true).open(&path)?.set_len(DISK_MIB * MIB)?;
    spec.disks.push(disk);
    spec.nics.push(Nic::slirp());
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    assert!(!is_whole(&path)?, "its backup lies where the smaller disk ended");
    server.power_on()?;
    server.first_status()?;
    assert!(is_whole(&path)?, "the first boot moves it");
    server.order(lab.order(&grows))?;
    server.up("tiny")?;
    server.console("tiny: up")?;
    say(&server.figures()?.to_string());
    server.kill()?;
    assert!(is_whole(&path)?);
    let disk = server.disk()?;
    let root = disk.place_of(disk.guids()?[4])?.context("the target has a root")?;
    assert_eq!(root.end, (DISK_MIB - 1) * MIB, "up to where the backup table's alignment ends");
    assert_eq!(disk.default_partition()?, default_partition, "p1 never changes");
    lab.finish()
}
