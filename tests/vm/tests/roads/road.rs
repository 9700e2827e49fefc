//! The whole road, and what must come back from wherever it is cut.

use anyhow::{Context, Result};
use repave_controller_stub::{Action, Fault, Scenario, Target};
use repave_protocol::{Order, Purpose, Settings, Stage, Standing, Status};
use repave_vm::{Lab, TargetImage, failure, say, stage};

const DEFAULT: &str = "Repave default";
const TARGET: &str = "Repave target";

#[test]
fn a_whole_road_in_192_mib_and_a_power_cycle_of_the_target() -> Result<()> {
    let lab = Lab::new("road", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut spec = lab.spec("road")?;
    spec.memory_mib = 192;
    let mut server = lab.server(spec)?;
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    let first = server.first_status()?;
    let inventory = first.status.inventory.context("the first status has an inventory")?;
    assert!(inventory.firmware.efi_variables);
    assert_eq!(inventory.disks[0].serial.as_deref(), Some("ROAD"));
    let settings = Settings { hostname: Some("road-1".into()), ..Settings::default() };
    let purpose = Purpose { settings, ..lab.purpose(&tiny) };
    server.order(Order::Purpose(Box::new(purpose)))?;
    let up = server.up("tiny")?;
    server.console("tiny: up, hostname road-1")?;

    let variables = server.variables()?;
    assert_eq!(variables.boot_next(), None, "BootNext is used once");
    let order = variables.boot_order();
    assert_eq!(order.first().map(String::as_str), Some(DEFAULT), "{order:?}");
    assert_eq!(order.last().map(String::as_str), Some(TARGET), "{order:?}");

    // Whatever the target did, the next power-on is the default side's.
    let fetched = lab.stub().events().len();
    let sealed = up.status.seal.context("a target that is up is sealed")?;
    server.running()?.reset()?;
    let again = server.first_status()?;
    assert_eq!(again.status.seal.map(|seal| seal.generation), Some(sealed.generation));
    // A server that is only booted is gone soon, and has told all the same what p1 is.
    let leaves = |status: &Status| matches!(status.standing, Standing::Leaving { .. });
    let left = server.wait("leaving", leaves)?;
    assert_eq!(left.status.default_partition, Some(default_partition));
    let up = server.up("tiny")?;
    server.console("tiny: up, hostname road-1")?;
    let rewritten = lab.stub().events()[fetched..]
        .iter()
        .filter(|event| matches!(event, repave_controller_stub::Event::Blob { .. }))
        .count();
    assert_eq!(rewritten, 0, "a server that is what it should be is booted, not written");
    assert_eq!(up.status.seal.map(|seal| seal.generation), Some(sealed.generation));
    server.end(default_partition)?;
    let told = lab.stub().records().into_iter().filter_map(|r| r.status.default_partition);
    told.for_each(|digest| assert_eq!(digest, default_partition));
    lab.finish()
}

#[test]
fn a_server_killed_while_it_writes_starts_over_and_arrives() -> Result<()> {
    /// Requests that pass before the library falls silent: what describes the image, and some for
    /// chunks, up to eight of them each.
    const BLOBS_BEFORE: u32 = 9;
    const FOR_EVER_MS: u64 = 3_600_000;
    let lab = Lab::new("killed", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec("killed")?)?;
    let untouched = server.disk()?.target()?;
    let silence = Fault::new(Target::Blobs, Action::DelayMs(FOR_EVER_MS));
    lab.stub().set_faults(vec![Fault { skip: BLOBS_BEFORE, ..silence }]);
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&tiny))?;
    server.wait("unsealed", |status| stage(status) == Some(Stage::Unsealed))?;
    server.struck()?;
    server.kill()?;
    assert_ne!(server.disk()?.target()?, untouched, "it was in the middle of writing");
    assert_eq!(server.variables()?.boot_next(), None, "a torn target is not booted");

    lab.stub().set_faults(vec![]);
    server.power_on()?;
    let back = server.first_status()?;
    assert_eq!(back.status.seal, None);
    assert_eq!(failure(&back.status), None);
    server.up("tiny")?;
    server.console("tiny: up")?;
    say(&server.figures()?.to_string());
    lab.finish()
}
