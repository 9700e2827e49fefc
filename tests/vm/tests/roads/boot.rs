//! Leaving for targets of every kind: by kexec, past a kexec that fails, for a target that never
//! comes up, and for one that reports nothing.

use anyhow::{Context, Result};
use repave_controller_stub::Scenario;
use repave_image::Kexec;
use repave_protocol::{BootMethod, Guard, Order, Purpose, Standing, Status};
use repave_vm::{Lab, TargetImage, say};

fn leaves_by(status: &Status) -> Option<BootMethod> {
    match status.standing {
        Standing::Leaving { method } => Some(method),
        _ => None,
    }
}

fn leaves(status: &Status) -> bool {
    leaves_by(status).is_some()
}

#[test]
fn kexec_boots_the_target_and_falls_to_firmware_when_it_cannot() -> Result<()> {
    let lab = Lab::new("kexec", Scenario::default())?;
    let image = TargetImage::build("tiny")?;
    let mut broken = image.clone();
    let settings = image.descriptor.settings.as_ref().context("tiny takes settings")?;
    // A file that is there, and is no kernel.
    broken.descriptor.boot.kexec = Some(Kexec {
        partition: settings.partition.clone(),
        kernel: "/etc/inittab".into(),
        initrd: None,
        options: String::new(),
    });
    let (broken, tiny) = (lab.import("broken", &broken)?, lab.import("tiny", &image)?);
    let by_kexec = |image| {
        let purpose = Purpose { boot: BootMethod::Kexec, ..lab.purpose(image) };
        Order::Purpose(Box::new(purpose))
    };
    let mut server = lab.server(lab.spec("kexec")?)?;
    server.power_on()?;
    server.first_status()?;
    server.order(by_kexec(&broken))?;
    let left = server.wait("leaving", leaves)?;
    assert_eq!(leaves_by(&left.status), Some(BootMethod::Firmware));
    server.up("broken")?;

    // The running target is told to become another; its resident takes the server home.
    server.order(by_kexec(&tiny))?;
    server.first_status()?;
    let left = server.wait("leaving", leaves)?;
    assert_eq!(leaves_by(&left.status), Some(BootMethod::Kexec));
    // Nothing in the settings feeds a watchdog, so that none is left armed, and it is said.
    let Some(Guard::NotArmed { reason }) = left.status.watchdog.map(|watchdog| watchdog.guard)
    else {
        anyhow::bail!("a target is left alone with a watchdog that it does not feed");
    };
    assert_eq!(reason, "the settings installed no feeder in the target");
    assert_eq!(server.variables()?.boot_next(), None, "kexec asks no firmware");
    server.up("tiny")?;
    say(&server.figures()?.to_string());
    lab.finish()
}

#[test]
fn a_target_that_does_not_boot_leads_home_by_itself() -> Result<()> {
    let lab = Lab::new("no-boot", Scenario { retries: Some(0), ..Scenario::default() })?;
    let mut image = TargetImage::build("tiny")?;
    // No such partition: the kernel panics, and resets a second later.
    image.descriptor.boot.options =
        "root=PARTUUID=00000000-0000-4000-8000-000000000000 panic=1 console=ttyS0,115200".into();
    let rootless = lab.import("rootless", &image)?;
    let mut server = lab.server(lab.spec("no-boot")?)?;
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&rootless))?;
    server.wait("leaving", leaves)?;
    server.console("Unable to mount root fs")?;
    let home = server.first_status()?;
    let Standing::Failed { fault } = &home.status.standing else {
        anyhow::bail!("home again with {:?}", home.status.standing);
    };
    assert_eq!(fault.code, "target-not-up");
    assert!(fault.message.contains("rootless"), "{}", fault.message);
    // What was on the console comes along, so that nobody needs to look at one.
    let log = home.status.log.context("a failure without its log")?;
    let has = |lines: &[String], words| lines.iter().any(|line| line.contains(words));
    assert!(has(&log.agent, "repave INFO  server"), "{log:#?}");
    assert!(has(&log.kernel, "Run /init as init process"), "{log:#?}");
    assert!(!has(&log.kernel, "repave INFO"), "the agent's lines are its own: {log:#?}");
    assert_eq!(home.status.seal.map(|seal| seal.attempts), Some(1));
    server.wait("staying", |status| status.standing == Standing::Staying)?;
    say(&server.figures()?.to_string());
    lab.finish()
}

#[test]
fn a_program_that_nobody_here_built_runs_and_home_is_a_power_cycle_away() -> Result<()> {
    let lab = Lab::new("memtest", Scenario::default())?;
    let memtest = lab.import("memtest", &TargetImage::build("memtest")?)?;
    let mut spec = lab.spec("memtest")?;
    // It leaves at once without a display.
    spec.extra_args = vec!["-vga".into(), "std".into()];
    let mut server = lab.server(spec)?;
    server.power_on()?;
    server.first_status()?;
    server.order(lab.order(&memtest))?;
    server.wait("leaving", leaves)?;
    server.console("Memtest86+")?;
    // It would stay there until somebody pulls the plug.
    server.kill()?;
    server.power_on()?;
    let home = server.first_status()?;
    assert_eq!(home.status.standing, Standing::Idle, "done is having left for it");
    server.wait("leaving", leaves)?;
    server.console("Memtest86+")?;
    say(&server.figures()?.to_string());
    lab.finish()
}
