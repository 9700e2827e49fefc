//! Partition tables of the default disk that are damaged: one copy is mended from the other, and with
//! neither the server says so and changes nothing. `sgdisk`, which knows nothing of us, is the judge.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::{Blame, Sha256};
use repave_qemu::net::Nic;
use repave_vm::{Lab, Server, TableCopy, TargetImage, say};

const DESTROYED: &str = "neither GPT header is valid";

/// Whether both copies of a disk's table are where they belong and say the same.
pub(crate) fn is_whole(disk: &Path) -> Result<bool> {
    let output = Command::new("/sbin/sgdisk").arg("--verify").arg(disk).output();
    let output = output.context("cannot run sgdisk")?;
    // A copy that it has to do without it warns of; with the other, in memory, all is well to it.
    let is_well = String::from_utf8_lossy(&output.stdout).contains("No problems found");
    Ok(is_well && output.stderr.is_empty())
}

fn path(server: &mut Server<'_>) -> std::path::PathBuf {
    server.machine().spec().disks[0].path().to_owned()
}

#[test]
fn one_damaged_copy_of_the_table_is_mended_from_the_other() -> Result<()> {
    let lab = Lab::new("one-copy", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec("one-copy")?)?;
    let disk = path(&mut server);
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    server.first_status()?;
    // Behind the back of a running agent, so that no firmware mends it first.
    server.disk()?.spoil(TableCopy::Primary)?;
    assert!(!is_whole(&disk)?);
    server.order(lab.order(&tiny))?;
    server.up("tiny")?;
    assert!(is_whole(&disk)?, "a table that changes is written whole");

    // What is damaged while the power is off is mended by the firmware, or by the agent.
    for copy in [TableCopy::Backup, TableCopy::Primary] {
        server.kill()?;
        server.disk()?.spoil(copy)?;
        assert!(!is_whole(&disk)?);
        server.power_on()?;
        server.first_status()?;
        assert!(is_whole(&disk)?, "{copy:?}");
        server.up("tiny")?;
    }
    server.end(default_partition)?;
    lab.finish()
}

#[test]
fn without_any_table_the_server_says_so_and_changes_nothing() -> Result<()> {
    const COPIES: [TableCopy; 2] = [TableCopy::Primary, TableCopy::Backup];
    let lab = Lab::new("no-table", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec("no-table")?)?;
    let disk = path(&mut server);
    let default_partition = server.disk()?.default_partition()?;
    server.disk()?.mark_target(64)?;
    let untouched = server.disk()?.target()?;
    server.power_on()?;
    server.first_status()?;
    let [primary, backup] = COPIES.map(|copy| server.disk().and_then(|disk| disk.header(copy)));
    for copy in COPIES {
        server.disk()?.spoil(copy)?;
    }
    server.order(lab.order(&tiny))?;
    let fault = server.failed("partition-table")?;
    assert_eq!(fault.blame, Blame::Device);
    assert!(fault.message.contains("vda"), "{}", fault.message);
    assert!(fault.message.contains(DESTROYED), "{}", fault.message);
    assert_eq!(server.disk()?.target()?, untouched, "no target byte changed");
    server.kill()?;

    // No firmware finds it any more. What comes over the network does not guess where it was.
    let before = Sha256::of(&std::fs::read(&disk)?);
    let spec = server.machine().spec_mut();
    spec.network_boot = true;
    spec.nics = vec![Nic::slirp().boot_file(lab.uki())];
    server.power_on()?;
    let refusal = server.console("no disk holds the default side")?;
    assert!(refusal.contains("vda") && refusal.contains(DESTROYED), "{refusal}");
    server.kill()?;
    assert!(Sha256::of(&std::fs::read(&disk)?) == before, "not a byte changed");

    // One copy that somebody brings back is enough.
    server.disk()?.put_header(TableCopy::Backup, &backup?)?;
    let spec = server.machine().spec_mut();
    spec.network_boot = false;
    spec.nics = vec![Nic::slirp()];
    // Being told by QEMU to boot from the network, the firmware has struck all else off its order.
    server.machine().reset_variables()?;
    server.power_on()?;
    server.first_status()?;
    assert_eq!(server.disk()?.header(TableCopy::Primary)?, primary?);
    server.up("tiny")?;
    say(&server.figures()?.to_string());
    server.kill()?;
    assert!(is_whole(&disk)?);
    assert_eq!(server.disk()?.default_partition()?, default_partition, "p1 never changes");
    lab.finish()
}
