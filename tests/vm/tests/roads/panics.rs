//! Targets whose kernel panics once they were up, and again before they are.

use anyhow::Result;
use repave_controller_stub::{Event, Scenario};
use repave_protocol::{Order, Purpose, Settings, SettingsFile, Standing, Status};
use repave_vm::{Lab, TargetImage, failure};
use serde_json::json;

/// From its second boot on, tiny does not get as far as its resident.
const SECOND_BOOT: &str = r#"
if [ -e /etc/tiny/booted ]; then
    echo "tiny: panics" > /dev/console
    echo c > /proc/sysrq-trigger
fi
touch /etc/tiny/booted
sync
"#;

fn leaves(status: &Status) -> bool {
    matches!(status.standing, Standing::Leaving { .. })
}

#[test]
fn a_target_that_was_up_and_panics_comes_home_and_one_that_was_not_is_told_of() -> Result<()> {
    let lab = Lab::new("panics", Scenario { retries: Some(0), ..Scenario::default() })?;
    let mut image = TargetImage::build("tiny")?;
    // What has no name is a fault of the hardware, and that a panic: one that can be had from outside.
    image.descriptor.boot.options.push_str(" unknown_nmi_panic panic=1");
    let tiny = lab.import("tiny", &image)?;
    let start = include_str!("../../../targets/tiny/root/etc/tiny/start").to_owned() + SECOND_BOOT;
    let files = vec![SettingsFile::new("/etc/tiny/start", 0o755, start.as_bytes())];
    let settings = Settings { files, ..Settings::default() };
    let mut server = lab.server(lab.spec("panics")?)?;
    let default_partition = server.disk()?.default_partition()?;
    server.power_on()?;
    server.first_status()?;
    server.order(Order::Purpose(Box::new(Purpose { settings, ..lab.purpose(&tiny) })))?;
    server.up("tiny")?;
    let seen = lab.stub().events().len();

    server.running()?.qmp().execute("inject-nmi", &json!({}))?;
    server.console("Kernel panic")?;
    let home = server.first_status()?.status;
    assert_eq!(home.standing, Standing::Idle, "it had arrived, and is booted again");
    server.wait("leaving", leaves)?;
    server.console("tiny: panics")?;
    server.console("Kernel panic")?;
    let home = server.first_status()?.status;
    let code = failure(&home).map(|fault| fault.code.as_str());
    assert_eq!(code, Some("target-not-up"));
    assert_eq!(home.seal.map(|seal| seal.attempts), Some(1));
    server.wait("staying", |status| status.standing == Standing::Staying)?;
    let fetches = |event: &&Event| matches!(event, Event::Blob { .. });
    assert_eq!(lab.stub().events()[seen..].iter().filter(fetches).count(), 0);
    server.end(default_partition)?;
    lab.finish()
}
