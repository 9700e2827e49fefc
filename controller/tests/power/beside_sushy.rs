//! Side by side with OpenStack's client at the sushy-tools emulator: after each act of ours it sees
//! what we see, and after each of its acts so do we.
//!
//! The emulator's servers take some seconds for each change, as real ones do, so that each change
//! has a server of its own and they are waited for together. The emulator calls every override
//! `Continuous`; that we ask for `Once` is seen in `controllers`.

use std::thread;
use std::time::{Duration, Instant};

use repave_controller::power::{
    BootSource, Off, Power, PowerConfig, PowerError, PowerState, Redfish,
};
use serde_json::json;

use super::emulator::{Emulator, Security, Sushy};
use super::{GUARD, open, write_secret};

/// Between two looks at a server that changes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

fn client(emulator: &Emulator, server: &str) -> Redfish {
    match serde_json::from_value(emulator.settings(server)).unwrap() {
        PowerConfig::Redfish(config) => config.client().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Compares both views, unless the server changed between two looks of ours.
fn compare(ours: &Redfish, sushy: &mut Sushy, server: &str) -> PowerState {
    let before = ours.status().unwrap();
    let theirs = sushy.look(server);
    let after = ours.status().unwrap();
    if before == after {
        assert_eq!(theirs.power, format!("{after:?}"), "{server}");
    }
    assert_eq!(Some(theirs.boot), ours.boot_override().unwrap().target, "{server}");
    after
}

/// Compares until the server is in this state.
fn compare_until(ours: &Redfish, sushy: &mut Sushy, server: &str, expected: PowerState) {
    let guard = Instant::now() + GUARD;
    while compare(ours, sushy, server) != expected {
        assert!(Instant::now() < guard, "{server} is never {expected:?}");
        thread::sleep(LOOK_AGAIN);
    }
    assert_eq!(sushy.look(server).power, format!("{expected:?}"));
}

fn side_by_side(security: Security) {
    let servers = [
        ("lit", "Off"),
        ("shut", "On"),
        ("cut", "On"),
        ("cycled", "On"),
        ("started", "Off"),
        ("their-lit", "Off"),
        ("their-cut", "On"),
        ("boot", "On"),
    ];
    let emulator = Emulator::start(security, &servers);
    let mut sushy = Sushy::connect(&emulator);
    let ours = |server| client(&emulator, server);
    for (server, power) in servers {
        let state = if power == "On" { PowerState::On } else { PowerState::Off };
        assert_eq!(compare(&ours(server), &mut sushy, server), state);
    }

    ours("lit").on().unwrap();
    ours("shut").off(Off::Graceful).unwrap();
    ours("cut").off(Off::Forced).unwrap();
    ours("cycled").cycle().unwrap();
    ours("started").cycle().unwrap();
    sushy.reset("their-lit", "On");
    sushy.reset("their-cut", "ForceOff");
    boot(&ours("boot"), &mut sushy, "boot");

    for server in ["lit", "cycled", "started", "their-lit"] {
        compare_until(&ours(server), &mut sushy, server, PowerState::On);
    }
    for server in ["shut", "cut", "their-cut"] {
        compare_until(&ours(server), &mut sushy, server, PowerState::Off);
    }
    // What is so already is asked of nobody.
    let resets =
        || emulator.log().iter().filter(|line| line.contains("ComputerSystem.Reset")).count();
    let before = resets();
    ours("lit").on().unwrap();
    ours("cut").off(Off::Forced).unwrap();
    ours("shut").off(Off::Graceful).unwrap();
    assert_eq!((before, resets()), (7, 7), "{:#?}", emulator.log());
}

fn boot(ours: &Redfish, sushy: &mut Sushy, server: &str) {
    for (source, target) in [(BootSource::Network, "Pxe"), (BootSource::Disk, "Hdd")] {
        ours.boot_once(&source).unwrap();
        assert_eq!(sushy.look(server).boot, target);
        compare(ours, sushy, server);
    }
    for target in ["Pxe", "Cd", "Hdd"] {
        sushy.boot(server, target);
        assert_eq!(ours.boot_override().unwrap().target.as_deref(), Some(target));
    }
    let error = ours.boot_once(&BootSource::Uefi("HD(1)".into())).unwrap_err();
    assert!(matches!(&error, PowerError::NotOffered { offered, .. } if offered.contains("Hdd")));
    assert!(sushy.look(server).resets.contains(&"ForceRestart".to_owned()));
}

#[test]
fn in_plain_http() {
    side_by_side(Security::None);
}

#[test]
fn with_tls_and_a_password() {
    side_by_side(Security::TlsAndPassword);
}

#[test]
fn a_wrong_password_or_ca_is_named() {
    let emulator = Emulator::start(Security::TlsAndPassword, &[("a", "On")]);
    let settings = emulator.settings("a");
    let check = |settings, expected: &str| {
        let error = open(settings).status().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}, not {expected}");
        error
    };
    let with = |name: &str, value| {
        let mut settings = settings.clone();
        settings[name] = value;
        settings
    };
    assert_eq!(open(settings.clone()).status().unwrap(), PowerState::On);
    assert_eq!(open(with("trust", json!("insecure"))).status().unwrap(), PowerState::On);

    let other_ca = json!({"ca_file": emulator.at("other.pem")});
    assert!(matches!(check(with("trust", other_ca), "TLS"), PowerError::Tls { .. }));
    // The certificate is for the address and not for this name of it.
    let by_name = emulator.url.replace("127.0.0.1", "localhost");
    let error = check(with("address", json!(by_name)), "TLS");
    assert!(matches!(error, PowerError::Tls { .. }));
    let error = check(with("login", json!(null)), "denied us access (status 401)");
    assert!(matches!(error, PowerError::Denied { status: 401, .. }));
    check(with("system", json!("b")), "b is not there");

    write_secret(&emulator.at("password"), "open barley\n");
    let error = check(settings.clone(), "denied us access (status 401)");
    assert!(!format!("{error:?}").contains("barley"));
    std::fs::remove_file(emulator.at("password")).unwrap();
    check(settings.clone(), "cannot open password file");
}
