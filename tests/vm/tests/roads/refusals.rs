//! Bad input: each is refused by a name that says which thing, on the console and in the status,
//! and not a byte of any target changes.

use std::path::Path;

use anyhow::{Context, Result};
use repave_controller_stub::{Answer, Scenario};
use repave_protocol::{DiskSelector, Order, Purpose, Settings, SettingsFile, Sha256};
use repave_qemu::disk::{BlockSize, Disk};
use repave_qemu::net::Nic;
use repave_vm::{Lab, TargetImage, say};
use serde_json::json;

const MIB: u64 = 1 << 20;
/// Enough for the default side, not enough for any target.
const SMALL_MIB: u64 = 150;

fn serial(serial: &str) -> Option<DiskSelector> {
    Some(DiskSelector { serial: Some(serial.into()), ..DiskSelector::default() })
}

fn digest(disk: &Path) -> Result<Sha256> {
    Ok(Sha256::of(&std::fs::read(disk)?))
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_nothing_is_written() -> Result<()> {
    let lab = Lab::new("refusals", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let tiny = lab.import("tiny", &image)?;
    let lies = lab.forge(&tiny, |manifest| {
        manifest["partitions"][0]["size_bytes"] = json!(1_u64 << 40);
    })?;
    let arm = lab.forge(&tiny, |manifest| manifest["architecture"] = json!("arm64"))?;

    let on = |disk| Purpose { disk, ..lab.purpose(&tiny) };
    let of = |image| Purpose { disk: serial("SPARE1"), ..lab.purpose(image) };
    let size = DiskSelector { size_bytes: Some(64 * MIB), ..DiskSelector::default() };
    let shadow = SettingsFile::new("/bin/busybox", 0o755, b"");
    let settings = Settings { files: vec![shadow], ..Settings::default() };
    // Each with its code, and with what the message has to name.
    let cases = [
        (on(None), "target-too-small", "vda"),
        (on(serial("GONE")), "no-such-disk", "GONE"),
        (on(Some(size)), "ambiguous-disk", "SPARE1"),
        (on(serial("LARGE")), "other-block-size", "4096"),
        (on(serial("SPARE1")), "duplicate-guid", "tiny-esp"),
        (of(&lies), "bad-first-chunk", "tiny-root"),
        (of(&arm), "malformed", "arm64"),
        (Purpose { settings, ..on(serial("TWIN")) }, "settings-refused", "/bin/busybox"),
    ];

    let mut spec = lab.bare("refusals");
    let path = |name: &str| lab.dir().join(format!("{name}.img"));
    let empty = |name: &str, size_mib: u64| -> Result<Disk> {
        Ok(Disk::empty(path(name), size_mib * MIB)?.serial(name.to_uppercase()))
    };
    spec.disks = vec![
        lab.burn("small", SMALL_MIB)?,
        Disk::copy(&image.disk, path("twin"))?.serial("TWIN"),
        empty("spare1", 64)?,
        empty("spare2", 64)?,
        empty("large", 128)?.block_size(BlockSize::B4096),
    ];
    spec.nics.push(Nic::slirp());
    let others: Vec<_> = spec.disks[1..].iter().map(|disk| disk.path().to_owned()).collect();
    let digests = || others.iter().map(|path| digest(path)).collect::<Result<Vec<_>>>();
    let mut server = lab.server(spec)?;
    server.disk()?.mark_target(16)?;
    let untouched = (server.disk()?.target()?, digests()?);

    server.power_on()?;
    server.first_status()?;
    let answer =
        |(purpose, ..): &(Purpose, _, _)| Answer::Order(Order::Purpose(Box::new(purpose.clone())));
    let answers: Vec<Answer> = cases.iter().map(answer).collect();
    let faults = server.try_answers(&answers, None)?;
    for ((_, code, thing), fault) in cases.iter().zip(faults) {
        let fault = fault.with_context(|| format!("not refused: {code}"))?;
        assert_eq!(fault.code, *code, "{}", fault.message);
        assert!(fault.message.contains(thing), "{code}: {}", fault.message);
        // People at the console read the same.
        server.console(&fault.message)?;
    }
    assert!((server.disk()?.target()?, digests()?) == untouched, "a target byte changed");
    say(&server.figures()?.to_string());
    lab.finish()
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_on_the_console() -> Result<()> {
    let lab = Lab::new("config", Scenario::default())?;
    let mut spec = lab.bare("config");
    let config = br#"{"pool": "lab", "controllers": ["http://controller.test"], "root_key": "00"}"#;
    spec.disks.push(lab.burn_with("config", 256, config)?);
    let mut server = lab.server(spec)?;
    let untouched = server.disk()?.target()?;
    server.power_on()?;
    server.console("agent.json")?;
    // It does not give up: somebody may repair it through the disk's other users.
    server.console("agent.json")?;
    assert_eq!(server.disk()?.target()?, untouched);
    lab.finish()
}

#[test]
fn a_server_without_a_default_disk_says_so() -> Result<()> {
    let lab = Lab::new("no-disk", Scenario::default())?;
    let mut spec = lab.bare("no-disk");
    spec.network_boot = true;
    spec.nics = vec![Nic::slirp().boot_file(lab.uki())];
    let mut server = lab.server(spec)?;
    server.power_on()?;
    let refusal = server.console("no disk holds the default side")?;
    assert!(refusal.contains("no disks at all"), "{refusal}");
    lab.finish()
}
