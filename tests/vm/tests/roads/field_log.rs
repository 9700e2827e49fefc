//! The field log of a real road, lived again in the simulator: the events on the console of a server
//! that was killed while it wrote, and then arrived.

use std::fs;

use anyhow::{Result, ensure};
use repave_controller_stub::{Action, Fault, Scenario, Target};
use repave_protocol::{Order, Purpose, Settings, Stage};
use repave_qemu::net::Nic;
use repave_sim::replay::replay;
use repave_vm::{Lab, TargetImage, say, stage};
use serde_json::Value;

/// Requests that pass before the library falls silent: what describes the image, and some for chunks.
const BLOBS_BEFORE: u32 = 9;
const FOR_EVER_MS: u64 = 3_600_000;
/// Room for the default side and the target.
const DISK_MIB: u64 = 256;
/// What marks an event among whatever else a console says.
const MARK: &str = "repave EVENT";
const NAME: &str = "field-log";

#[test]
fn the_events_of_a_killed_server_are_lived_again_in_the_simulator() -> Result<()> {
    let lab = Lab::new(NAME, Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut config: Value = serde_json::from_slice(&lab.config())?;
    config["events"] = true.into();
    let mut spec = lab.bare(NAME);
    spec.disks.push(lab.burn_with(NAME, DISK_MIB, &serde_json::to_vec(&config)?)?);
    spec.nics.push(Nic::slirp());
    let mut server = lab.server(spec)?;
    let silence = Fault::new(Target::Blobs, Action::DelayMs(FOR_EVER_MS));
    lab.stub().set_faults(vec![Fault { skip: BLOBS_BEFORE, ..silence }]);
    server.power_on()?;
    server.first_status()?;
    let secret = "nobody-reads-this";
    let settings = Settings { hostname: Some(secret.into()), ..Settings::default() };
    server.order(Order::Purpose(Box::new(Purpose { settings, ..lab.purpose(&tiny) })))?;
    server.wait("unsealed", |status| stage(status) == Some(Stage::Unsealed))?;
    server.struck()?;
    server.kill()?;

    lab.stub().set_faults(vec![]);
    server.power_on()?;
    server.up("tiny")?;
    // Home again, where the journal tells that the target came up.
    server.running()?.reset()?;
    server.first_status()?;
    server.up("tiny")?;

    let console = fs::read(lab.dir().join(NAME).join("console.log"))?;
    let console = String::from_utf8_lossy(&console);
    let events: Vec<&str> = console.lines().filter(|line| line.contains(MARK)).collect();
    let dump = events.join("\n");
    ensure!(!dump.contains(secret), "settings are in the field log");

    let replayed = replay(&dump)?;
    ensure!(replayed.events == events.len(), "{} of {}", replayed.events, events.len());
    ensure!(replayed.boots == 3, "{} boots", replayed.boots);
    say(&format!("field log: {} events, {} bytes, lived again", replayed.events, dump.len()));
    lab.finish()
}
