//! What takes longer: a Debian by kexec, and a target that never comes up until the agent has had
//! enough.

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_protocol::{BootMethod, Order, Purpose, Standing};
use repave_qemu::net::{Nic, free_port};
use repave_vm::{Lab, TargetImage, proof, say};

#[test]
fn a_debian_boots_by_kexec_and_serves_its_page() -> Result<()> {
    let lab = Lab::new("debian-kexec", Scenario::default())?;
    let web = lab.import("web", &TargetImage::build("web")?)?;
    let port = free_port()?;
    let mut spec = lab.bare("debian-kexec");
    spec.disks.push(lab.burn("debian-kexec", 1024)?);
    spec.nics.push(Nic::slirp().forward(port, 80));
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.first_status()?;
    let purpose = Purpose { boot: BootMethod::Kexec, ..lab.purpose(&web) };
    server.order(Order::Purpose(Box::new(purpose)))?;
    server.up("web")?;
    assert_eq!(server.variables()?.boot_next(), None, "kexec asks no firmware");
    let page = proof::page(port, &|| false)?;
    assert!(page.text.contains("server type: web"), "{}", page.text);
    say(&server.figures()?.to_string());
    lab.finish()
}

#[test]
fn a_target_that_never_comes_up_is_left_for_three_times() -> Result<()> {
    const DEPARTURES: u32 = 3;
    let lab = Lab::new("never-up", Scenario::default())?;
    let mut image = TargetImage::build("tiny")?;
    image.descriptor.boot.options =
        "root=PARTUUID=00000000-0000-4000-8000-000000000000 panic=1 console=ttyS0,115200".into();
    let rootless = lab.import("rootless", &image)?;
    let mut server = lab.server(lab.spec("never-up")?)?;
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&rootless))?;
    for departures in 1..=DEPARTURES {
        let home = server.first_status()?;
        let seal = home.status.seal.context("the target stays sealed")?;
        assert_eq!(seal.attempts, departures);
    }
    // The controller orders the same again and again; the server stays where it is.
    server.failed("target-not-up")?;
    server.failed("target-not-up")?;
    let leaving =
        |status: &repave_protocol::Status| matches!(status.standing, Standing::Leaving { .. });
    let left = lab.stub().records().iter().filter(|record| leaving(&record.status)).count();
    assert_eq!(left, DEPARTURES as usize);
    say(&server.figures()?.to_string());
    lab.finish()
}
