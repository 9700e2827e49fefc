//! Faults that only a machine can show: a controller that is restarted and a cable that is pulled in
//! mid-transfer, and a target that takes the boot order.

use anyhow::Result;
use repave_controller_stub::{Action, Fault, Scenario, Target};
use repave_protocol::{Order, Purpose, Settings, SettingsFile, Stage};
use repave_vm::{Lab, Server, TargetImage, say, stage};

/// Requests that pass before the library falls silent: what describes the image, and some for chunks,
/// up to eight of them each.
const BLOBS_BEFORE: u32 = 9;
const FOR_EVER_MS: u64 = 3_600_000;
const DEFAULT: &str = "Repave default";

/// Powers a server on, and leaves it in the middle of a transfer that the library has stopped.
pub(crate) fn halfway(lab: &Lab, server: &mut Server<'_>, order: Order) -> Result<()> {
    let silence = Fault::new(Target::Blobs, Action::DelayMs(FOR_EVER_MS));
    lab.stub().set_faults(vec![Fault { skip: BLOBS_BEFORE, ..silence }]);
    server.power_on()?;
    server.first_status()?;
    server.order(order)?;
    server.wait("unsealed", |status| stage(status) == Some(Stage::Unsealed))?;
    server.struck()
}

#[test]
fn a_controller_restarted_and_a_cable_pulled_in_mid_transfer_stop_nothing() -> Result<()> {
    let lab = Lab::new("restarted", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut server = lab.server(lab.spec("restarted")?)?;
    halfway(&lab, &mut server, lab.order(&tiny))?;
    // The requests that are under way break, the next ones find nobody.
    lab.stub().stop();
    server.running()?.set_link(0, false)?;
    lab.stub().set_faults(vec![]);
    server.running()?.set_link(0, true)?;
    lab.stub().start_again()?;
    // Without a failure in between: a fetch is tried again before anything is given up.
    server.up("tiny")?;
    say(&server.figures()?.to_string());
    lab.finish()
}

/// `efibootmgr -o` with nothing but the target's own entry.
const MEDDLE: &str = r#"
mount -t efivarfs efivarfs /sys/firmware/efi/efivars
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
cd /sys/firmware/efi/efivars
{ printf '\007\000\000\000'; tail -c 2 BootCurrent-$global; } > /tmp/order
dd if=/tmp/order of=BootOrder-$global bs=64 2> /dev/null && echo "tiny: took the boot order" > /dev/console
"#;

#[test]
fn a_target_that_takes_the_boot_order_still_leads_home() -> Result<()> {
    let lab = Lab::new("meddler", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let tiny = lab.import("tiny", &image)?;
    let mut server = lab.server(lab.spec("meddler")?)?;
    let start = include_str!("../../../targets/tiny/root/etc/tiny/start").to_owned() + MEDDLE;
    let files = vec![SettingsFile::new("/etc/tiny/start", 0o755, start.as_bytes())];
    let settings = Settings { files, ..Settings::default() };
    let purpose = Purpose { settings, ..lab.purpose(&tiny) };
    server.power_on()?;
    server.first_status()?;
    server.order(Order::Purpose(Box::new(purpose)))?;
    server.console("tiny: took the boot order")?;
    server.console("now it does")?;
    let order = server.variables()?.boot_order();
    assert_eq!(order.first().map(String::as_str), Some(DEFAULT), "{order:?}");

    // The next reset leads home, where the target would have been started again.
    server.up("tiny")?;
    server.running()?.reset()?;
    server.first_status()?;
    say(&server.figures()?.to_string());
    lab.finish()
}
