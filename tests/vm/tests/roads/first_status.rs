//! What stands between a power button and a first status: clocks, names, cables, networks, clones.

use std::net::IpAddr;

use anyhow::Result;
use repave_controller_stub::Scenario;
use repave_qemu::disk::Disk;
use repave_qemu::namespace::{Namespace, NamespaceSpec};
use repave_qemu::net::Nic;
use repave_vm::{Lab, Server, say};
use serde_json::{Value, json};

/// Room for the default side; nothing else is put on these disks.
const DISK_MIB: u64 = 256;

/// What the agent says of a cable that is not there.
const NO_CARRIER: &str = "no carrier yet";
/// What it says when there has been no network for a minute.
const STILL_TRYING: &str = "no network after 60 s";

/// Powers a server on, and waits for its first status.
fn check(server: &mut Server<'_>) -> Result<()> {
    server.power_on()?;
    server.first_status()?;
    say(&server.figures()?.to_string());
    Ok(())
}

#[test]
fn the_clock_says_1970_and_the_controller_has_only_a_name() -> Result<()> {
    const CONTROLLER: &str = "controller.test";
    let folder = tempfile::tempdir()?;
    let mut spec = NamespaceSpec::new(folder.path());
    spec.outside_names = vec![CONTROLLER.into()];
    // dnsmasq would look for three seconds whether an address is in use.
    spec.dnsmasq_args = vec!["--no-ping".into()];
    let namespace = Namespace::new(&spec)?;
    let address = IpAddr::from(namespace.outside());
    let lab = Lab::at("name", address, CONTROLLER, Scenario::default())?;
    let mut spec = lab.spec("name")?;
    spec.nics = vec![namespace.nic()?];
    spec.rtc_base = Some("1970-01-01T00:00:00".into());
    let mut server = lab.server(spec)?;
    check(&mut server)?;
    lab.finish()
}

#[test]
fn the_clock_says_2099_and_the_cable_comes_after_a_minute() -> Result<()> {
    let lab = Lab::new("late", Scenario::default())?;
    let mut spec = lab.spec("late")?;
    spec.rtc_base = Some("2099-01-01T00:00:00".into());
    spec.nics = vec![Nic::slirp().unplugged()];
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.console(NO_CARRIER)?;
    server.console(STILL_TRYING)?;
    server.running()?.set_link(0, true)?;
    server.first_status()?;
    say(&server.figures()?.to_string());
    lab.finish()
}

#[test]
fn a_switch_that_carries_one_vlan_only_is_spoken_to_with_its_tag() -> Result<()> {
    const VLAN: u16 = 7;
    let lab = Lab::new("vlan", Scenario::default())?;
    let mut config: Value = serde_json::from_slice(&lab.config())?;
    config["network"] = json!({ "interfaces": [{ "vlan": VLAN }] });
    let mut spec = lab.bare("vlan");
    spec.disks.push(lab.burn_with("vlan", DISK_MIB, &serde_json::to_vec(&config)?)?);
    // What is sent without the tag is lost, and so is the answer to it.
    spec.nics.push(Nic::slirp().tagged(VLAN));
    let mut server = lab.server(spec)?;
    check(&mut server)?;
    lab.finish()
}

#[test]
fn the_same_uki_comes_by_pxe() -> Result<()> {
    let lab = Lab::new("pxe", Scenario::default())?;
    let mut spec = lab.spec("pxe")?;
    spec.network_boot = true;
    spec.nics = vec![Nic::slirp().boot_file(lab.uki())];
    let mut server = lab.server(spec)?;
    check(&mut server)?;
    lab.finish()
}

#[test]
fn a_disk_burned_once_and_copied_makes_two_servers() -> Result<()> {
    let lab = Lab::new("clones", Scenario::default())?;
    let burned = lab.burn("burned", DISK_MIB)?;
    let clone = |name: &str| -> Result<_> {
        let path = lab.dir().join(format!("{name}.img"));
        Ok(Disk::copy(burned.path(), &path)?.serial(name.to_uppercase()))
    };
    let mut spec = lab.bare("one");
    spec.disks = vec![clone("one")?, clone("two")?];
    spec.nics.push(Nic::slirp());
    let mut one = lab.server(spec)?;
    let template = one.disk()?.guids()?;

    // Both in one machine: which of them it booted from cannot be told, so it says so and waits.
    one.power_on()?;
    let refusal = one.console("is on both")?;
    assert!(refusal.contains("vda") && refusal.contains("vdb"), "{refusal}");
    one.kill()?;
    assert_eq!(one.disk()?.guids()?, template);

    let second = one.machine().spec_mut().disks.pop();
    let mut spec = lab.bare("two");
    spec.disks.extend(second);
    spec.nics.push(Nic::slirp());
    let mut two = lab.server(spec)?;
    check(&mut one)?;
    check(&mut two)?;
    assert_ne!(one.id()?, two.id()?);
    let guids = [template, one.disk()?.guids()?, two.disk()?.guids()?].concat();
    let different: std::collections::BTreeSet<_> = guids.iter().collect();
    assert_eq!(different.len(), guids.len(), "disk, p1 and p2 have GUIDs of their own: {guids:?}");
    lab.finish()
}
