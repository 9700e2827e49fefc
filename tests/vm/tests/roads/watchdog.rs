//! Hardware watchdogs: what is armed when, and that a server which hangs comes home by itself.

use std::fs;

use anyhow::{Context, Result, ensure};
use repave_controller_stub::Scenario;
use repave_protocol::{BootMethod, Guard, Order, Purpose, Standing, Status, WatchdogReport};
use repave_vm::{Lab, TargetImage, say};

/// While the agent runs.
const DEFAULT_S: u32 = 120;
/// The shortest that a target may have.
const TARGET_S: u32 = 30;

fn report(status: &Status) -> Result<WatchdogReport> {
    status.watchdog.clone().context("a status without a word about watchdogs")
}

fn armed(device: &str, timeout_s: u32) -> Guard {
    Guard::Armed { device: device.into(), timeout_s }
}

fn leaves(status: &Status) -> bool {
    matches!(status.standing, Standing::Leaving { .. })
}

/// Tiny with a kernel that halts before it has any driver, as it says itself: its compressed part
/// is damaged. Nothing but the hardware is left then to notice.
fn hanging(lab: &Lab) -> Result<TargetImage> {
    const MAGIC: &[u8] = b"HdrS";
    // Places in the header of a bzImage (Documentation/x86/boot.rst).
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC_AT: usize = 0x202;
    const PAYLOAD: usize = 0x248;
    let mut image = TargetImage::build("tiny")?;
    let mut bytes = fs::read(&image.disk)?;
    let found = bytes.windows(MAGIC.len()).position(|window| window == MAGIC);
    let kernel = found.context("no kernel on the ESP")?.saturating_sub(MAGIC_AT);
    let setup_bytes = (usize::from(bytes[kernel + SETUP_SECTORS]) + 1) * 512;
    let field = |at: usize| -> Result<usize> {
        let four = bytes.get(kernel + at..kernel + at + 4).context("a short disk")?;
        Ok(u32::from_le_bytes(four.try_into()?) as usize)
    };
    let middle = kernel + setup_bytes + field(PAYLOAD)? + field(PAYLOAD + 4)? / 2;
    bytes.get_mut(middle..middle + 4096).context("a short disk")?.fill(0x55);
    image.disk = lab.dir().join("hanging.raw");
    fs::write(&image.disk, bytes)?;
    let kexec = image.descriptor.boot.kexec.as_mut().context("tiny can be kexec'd")?;
    // The kernel's own decompressor says nothing without this.
    kexec.options.push_str(" earlyprintk=ttyS0,115200");
    Ok(image)
}

fn by_kexec(lab: &Lab, image: &repave_protocol::ImageReference) -> Purpose {
    let mut purpose = Purpose { boot: BootMethod::Kexec, ..lab.purpose(image) };
    purpose.settings.watchdog_s = Some(TARGET_S);
    purpose
}

/// A kernel that hangs is reset by `device`, whose machine has these arguments, and it is counted.
fn hangs_and_comes_home(name: &str, device: &str, args: [&str; 2]) -> Result<WatchdogReport> {
    let lab = Lab::new(name, Scenario { retries: Some(0), ..Scenario::default() })?;
    let image = lab.import("hanging", &hanging(&lab)?)?;
    let mut spec = lab.spec(name)?;
    spec.extra_args = args.map(String::from).to_vec();
    let mut server = lab.server(spec)?;
    server.power_on()?;
    let first = report(&server.first_status()?.status)?;
    assert_eq!(first, WatchdogReport { guard: armed(device, DEFAULT_S), expired: false });
    server.order(Order::Purpose(Box::new(by_kexec(&lab, &image))))?;
    let left = server.wait("leaving", leaves)?;
    assert_eq!(report(&left.status)?.guard, armed(device, TARGET_S));
    server.console("System halted")?;

    let home = server.first_status()?.status;
    let Standing::Failed { fault } = &home.standing else {
        anyhow::bail!("home again with {:?}", home.standing);
    };
    assert_eq!(fault.code, "target-not-up");
    assert_eq!(home.seal.as_ref().map(|seal| seal.attempts), Some(1));
    server.wait("staying", |status| status.standing == Standing::Staying)?;
    say(&server.figures()?.to_string());
    lab.finish()?;
    report(&home)
}

#[test]
fn a_target_kernel_that_hangs_is_reset_by_the_watchdog_and_counted() -> Result<()> {
    let args = ["-device", "i6300esb"];
    let home = hangs_and_comes_home("hang-esb", "i6300ESB timer", args)?;
    ensure!(home.expired, "the chip remembers what it did: {home:?}");
    Ok(())
}

#[cfg(feature = "full")]
#[test]
fn the_chipset_s_own_watchdog_does_the_same() -> Result<()> {
    // QEMU's chipset has a strap that makes its timer count without consequence.
    let args = ["-global", "ICH9-LPC.noreboot=off"];
    hangs_and_comes_home("hang-tco", "iTCO_wdt", args).map(drop)
}

#[cfg(feature = "full")]
#[test]
fn a_target_that_feeds_it_runs_on_and_one_that_stops_feeding_comes_home() -> Result<()> {
    use repave_protocol::SettingsFile;
    const DEVICE: &str = "i6300ESB timer";
    /// In the target's own time, the feeder is stopped well after an unfed watchdog had reset.
    const FED_S: u32 = 2 * TARGET_S;
    let lab = Lab::new("feeds", Scenario::default())?;
    let tiny = lab.import("tiny", &TargetImage::build("tiny")?)?;
    let mut purpose = by_kexec(&lab, &tiny);
    let script = format!(
        "/usr/lib/repave/repave-agent resident &\nsleep {FED_S}\nkillall -STOP watchdog\n\
         echo 'tiny: feeds no more' > /dev/console\nexec sleep 2147483647\n"
    );
    purpose.settings.files =
        vec![SettingsFile::new("/etc/tiny/resident", 0o644, script.as_bytes())];
    let mut spec = lab.spec("feeds")?;
    spec.extra_args = ["-device", "i6300esb"].map(String::from).to_vec();
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.first_status()?;
    server.order(Order::Purpose(Box::new(purpose)))?;
    let up = server.up("tiny")?;
    assert_eq!(report(&up.status)?.guard, armed(DEVICE, TARGET_S), "as the target sees it");
    let later_ms = u64::from(FED_S - TARGET_S / 2) * 1000;
    let still = server.wait("up for longer than its time-out", |status| {
        status.uptime_ms > later_ms && status.boot == up.status.boot
    })?;
    assert!(matches!(still.status.standing, Standing::Up { .. }));
    server.console("tiny: feeds no more")?;
    let home = server.first_status()?.status;
    assert!(report(&home)?.expired);
    assert_eq!(report(&home)?.guard, armed(DEVICE, DEFAULT_S));
    say(&server.figures()?.to_string());
    lab.finish()
}
