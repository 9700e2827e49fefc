//! A real database on a real Debian: what it stored is still there after a power cycle.

use anyhow::Result;
use repave_controller_stub::{Event, Scenario};
use repave_qemu::net::{Nic, free_port};
use repave_vm::{Lab, TargetImage, proof, say};

const DISK_MIB: u64 = 1024;

#[test]
fn a_row_survives_a_power_cycle_since_nothing_is_written_again() -> Result<()> {
    let never = || false;
    let lab = Lab::new("database", Scenario::default())?;
    let db = lab.import("db", &TargetImage::build("db")?)?;
    let port = free_port()?;
    let mut spec = lab.bare("database");
    spec.disks.push(lab.burn("database", DISK_MIB)?);
    spec.nics.push(Nic::slirp().forward(port, 5432));
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&db))?;
    server.up("db")?;
    proof::query(port, "CREATE TABLE IF NOT EXISTS marks (mark text)", &never)?;
    proof::query(port, "INSERT INTO marks VALUES ('written by the target')", &never)?;
    let before = lab.stub().events().len();

    server.kill()?;
    server.power_on()?;
    server.first_status()?;
    server.up("db")?;
    let rows = proof::query(port, "SELECT mark FROM marks", &never)?;
    assert_eq!(rows, ["written by the target"]);
    let fetches = |event: &&Event| matches!(event, Event::Blob { .. });
    assert_eq!(lab.stub().events()[before..].iter().filter(fetches).count(), 0);
    say(&server.figures()?.to_string());
    lab.finish()
}
