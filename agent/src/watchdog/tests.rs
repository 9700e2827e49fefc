//! Against folders that look like sysfs and files that take what is written. That the hardware does
//! reset, and only a virtual machine has any, is shown in `tests/vm`.

use std::fs::{self, File};
use std::path::Path;

use repave_core::edges::Watchdog;
use repave_core::watchdog::Stretch;
use repave_protocol::Guard;
use tempfile::TempDir;

use super::{HardwareWatchdog, Shared, lock, seen};

/// A sysfs with these watchdogs: identity, state, bootstatus, nowayout.
fn sysfs(watchdogs: &[[&str; 4]]) -> TempDir {
    let sys = tempfile::tempdir().unwrap();
    for (number, values) in watchdogs.iter().enumerate() {
        let folder = super::attributes(sys.path(), number as u32);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in ["identity", "state", "bootstatus", "nowayout"].iter().zip(values) {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
        fs::write(folder.join("timeout"), "60\n").unwrap();
        fs::write(sys.path().join(format!("watchdog{number}")), "").unwrap();
    }
    sys
}

fn watchdog(sys: &Path) -> HardwareWatchdog {
    HardwareWatchdog::new(sys, sys)
}

fn reason(guard: Guard) -> String {
    match guard {
        Guard::NotArmed { reason } => reason,
        Guard::Armed { device, .. } => panic!("{device} is armed"),
    }
}

#[test]
fn softdog_is_never_touched_and_the_report_says_so() {
    let sys = sysfs(&[["Software Watchdog", "inactive", "0", "0"]]);
    let mut watchdog = watchdog(sys.path());
    watchdog.begin(Stretch::Working);
    assert_eq!(watchdog.arm(120), Ok(()), "there is nothing to arm");
    let found = reason(watchdog.report().guard);
    assert_eq!(found, "no watchdog is of a kind that is known to be hardware");
    assert_eq!(fs::read(sys.path().join("watchdog0")).unwrap(), b"");
}

#[test]
fn what_does_not_take_a_time_out_is_an_error_with_its_name() {
    let sys = sysfs(&[["iTCO_wdt", "inactive", "32", "0"]]);
    let mut watchdog = watchdog(sys.path());
    let error = watchdog.arm(120).unwrap_err();
    assert_eq!((&*error.device, error.operation), ("iTCO_wdt", "set time-out"));
    assert!(watchdog.report().expired, "bit 5 of bootstatus");
    fs::remove_file(sys.path().join("watchdog0")).unwrap();
    watchdog.disarm("test").unwrap();
    assert_eq!(watchdog.arm(120).unwrap_err().operation, "open");
    assert!(reason(watchdog.report().guard).contains("No such file"));
}

#[test]
fn it_is_stopped_by_the_letter_and_fed_on_if_it_does_not_stop() {
    for (state, stops) in [("inactive", true), ("active", false)] {
        let sys = sysfs(&[["i6300ESB timer", state, "0", "0"]]);
        let device = sys.path().join("watchdog0");
        let mut watchdog = watchdog(sys.path());
        lock(&watchdog.shared).file = Some(File::options().write(true).open(&device).unwrap());
        let outcome = watchdog.disarm("the target does not feed it");
        assert_eq!(fs::read(&device).unwrap(), b"V");
        assert_eq!(outcome.is_ok(), stops, "{outcome:?}");
        assert_eq!(lock(&watchdog.shared).file.is_none(), stops);
        if stops {
            assert_eq!(reason(watchdog.report().guard), "the target does not feed it");
        }
    }
}

#[test]
fn it_is_fed_within_a_stretch_and_starves_after_it() {
    let sys = tempfile::tempdir().unwrap();
    let device = sys.path().join("device");
    let file = Some(File::create(&device).unwrap());
    let mut shared = Shared { file, ..Shared::default() };
    let fed = |shared: &mut Shared, now_ms| {
        let before = fs::metadata(&device).unwrap().len();
        shared.feed(now_ms);
        fs::metadata(&device).unwrap().len() > before
    };
    assert!(!fed(&mut shared, 0), "nothing was begun");
    shared.vigil.begin(Stretch::Leaving, 1_000);
    let end_ms = 1_000 + Stretch::Leaving.bound_ms();
    assert!(fed(&mut shared, end_ms) && !fed(&mut shared, end_ms + 1));
    shared.vigil.begin(Stretch::Working, end_ms + 1);
    assert!(fed(&mut shared, end_ms + 1), "it went on after all");
}

#[test]
fn what_a_target_has_open_is_seen_without_touching_it() {
    let esb = ["i6300ESB timer", "inactive", "32", "0"];
    let sys = sysfs(&[["Software Watchdog", "active", "0", "0"], esb]);
    assert_eq!(reason(seen(sys.path()).guard), "the target has none open that is known");
    let sys = sysfs(&[esb, ["iTCO_wdt", "active", "0", "1"]]);
    let report = seen(sys.path());
    let armed = Guard::Armed { device: "iTCO_wdt".into(), timeout_s: 60 };
    assert_eq!((report.guard, report.expired), (armed, true));
}
