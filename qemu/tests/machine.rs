//! A real machine, as far as OVMF's shell: the console speaks, the monitor obeys, and a machine
//! that is killed comes back with its log.

use std::error::Error;
use std::fs;
use std::path::Path;

use repave_chance::Chance;
use repave_qemu::HANG_GUARD;
use repave_qemu::console::WaitError;
use repave_qemu::disk::{BlockSize, Bus, Disk};
use repave_qemu::net::Nic;
use repave_qemu::power_cut::{Fate, apply, survivors};
use repave_qemu::qmp::QmpError;
use repave_qemu::spec::VmSpec;
use repave_qemu::vm::{Machine, VmError};
use repave_qemu::write_log;

/// What OVMF says once in each boot that finds nothing to boot.
const SHELL: &str = "UEFI Interactive Shell";

#[test]
fn a_machine_speaks_resets_and_comes_back() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut spec = VmSpec::new("machine", dir.path());
    spec.memory_mib = 128;
    for (name, bus) in
        [("virtio", Bus::Virtio), ("nvme", Bus::Nvme), ("scsi", Bus::Scsi), ("ahci", Bus::Ahci)]
    {
        let disk = Disk::empty(dir.path().join(name), 1 << 20)?.serial(name).bus(bus);
        let large = bus == Bus::Nvme || bus == Bus::Scsi;
        spec.disks.push(if large { disk.block_size(BlockSize::B4096) } else { disk });
    }
    spec.nics = vec![Nic::slirp().unplugged()];
    let machine = Machine::new(spec)?;

    let vm = machine.power_on()?;
    vm.console().wait_for(SHELL, HANG_GUARD)?;
    vm.set_link(0, true)?;
    // OVMF would try HTTP boot over it for minutes before it offers its shell again.
    vm.set_link(0, false)?;
    let refused = vm.set_link(7, true).unwrap_err();
    assert!(matches!(refused, VmError::Monitor(QmpError::Refused { .. })), "{refused:?}");
    vm.pull_disk(2)?;
    assert!(vm.pull_disk(2).is_err(), "there is none any more");
    vm.plug_disk(2, &Disk::existing(dir.path().join("scsi"))?.serial("again"))?;
    vm.reset()?;
    vm.console().wait_for(SHELL, HANG_GUARD)?;
    assert!(
        matches!(machine.power_on(), Err(VmError::NotStarted { .. })),
        "one power-on at a time"
    );
    vm.kill()?;

    let vm = machine.power_on()?;
    vm.console().wait_for(SHELL, HANG_GUARD)?;
    vm.qmp().execute("quit", &serde_json::json!({}))?;
    vm.wait_for_exit(HANG_GUARD)?;
    let ended = vm.console().wait_for(SHELL, HANG_GUARD).unwrap_err();
    assert!(matches!(ended, WaitError::Ended { .. }), "{ended}");

    let log = String::from_utf8_lossy(&fs::read(dir.path().join("console.log"))?).into_owned();
    assert_eq!(log.matches(SHELL).count(), 3);
    assert_eq!(log.matches("=== power on (").count(), 3, "one of them refused");
    Ok(())
}

#[test]
fn a_machine_keeps_its_variables_until_they_are_reset() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let variables = dir.path().join("OVMF_VARS.fd");
    Machine::new(VmSpec::new("machine", dir.path()))?;
    let empty = fs::read(&variables)?;
    fs::write(&variables, "written by a guest")?;
    let machine = Machine::new(VmSpec::new("machine", dir.path()))?;
    assert_eq!(fs::read(&variables)?, b"written by a guest");
    machine.reset_variables()?;
    assert!(fs::read(&variables)? == empty);
    Ok(())
}

/// Whether the whole of a log, done to what a file was before, gives what it is now.
fn replays(log: &Path, before: &Path, now: &Path) -> Result<bool, Box<dyn Error>> {
    let log = fs::read(log)?;
    let entries = write_log::parse(&log)?;
    let all = survivors(&entries, entries.len(), 512, Fate::Kept, &mut Chance::new(0));
    apply(&all, &entries, &log, &fs::File::options().write(true).open(before)?)?;
    Ok(fs::read(before)? == fs::read(now)? && !entries.is_empty())
}

#[test]
fn the_log_of_a_machines_writes_gives_what_it_wrote() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut spec = VmSpec::new("logged", dir.path());
    spec.memory_mib = 128;
    spec.disks = vec![Disk::empty(path("disk"), 1 << 20)?.logged(path("disk.log"))];
    spec.variables_log = Some(path("variables.log"));
    let machine = Machine::new(spec)?;
    fs::copy(path("OVMF_VARS.fd"), path("before"))?;
    let vm = machine.power_on()?;
    vm.console().wait_for(SHELL, HANG_GUARD)?;
    vm.quit()?;
    assert!(replays(&path("variables.log"), &path("before"), &path("OVMF_VARS.fd"))?);
    let disk = fs::read(path("disk.log"))?;
    assert_eq!(write_log::parse(&disk)?, [], "nobody wrote to the disk");
    Ok(())
}
