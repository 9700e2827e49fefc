//! The page as its template makes it: what it shows, and that nothing which somebody else wrote
//! becomes part of it.

#[path = "contrast.rs"]
mod contrast;

use std::collections::BTreeMap;

use super::*;
use crate::control::Role;
use crate::fleet::{Enrolment, Facts, Failures, Seen as LastStatus};
use crate::policy::Policy;
use repave_protocol::{
    Generation, Nonce, SealReport, ServerId, Sha256, Side, SigningKey, WatchdogReport,
};

/// A folder into which the pages are written, to be looked at.
const WRITE: &str = "REPAVE_WRITE_PAGES";
const NOW_MS: u64 = 1_795_532_833_000;

fn server(seed: u8, name: &str, standing: Standing) -> Server {
    Server {
        id: ServerId::of(&SigningKey::from_seed(&[seed; 32]).public()),
        name: Some(name.into()),
        enrolment: Enrolment::Pending,
        standing,
        standing_since_ms: NOW_MS,
        seen: LastStatus {
            wiped: None,
            at_ms: NOW_MS - 4_000,
            boot: Nonce::from_random([seed; 32]),
            sequence: 1,
            side: Side::Target,
            agent: "1".into(),
            generation: None,
            seal: None,
            load: Load { busy_milli: 100 * u64::from(seed), ..Load::default() },
            trust: None,
            default_trust: None,
            watchdog: None,
            bad_sources: None,
            default_armed: false,
        },
        facts: Facts { serial: Some(format!("S{seed}")), ..Facts::default() },
        print: None,
        default_partition: None,
        labels: BTreeMap::from([("rack".into(), "7".into())]),
        cordoned: false,
        cordon_note: None,
        pinned: None,
        pin_note: None,
        assignment: None,
        assignments: 0,
        issued: None,
        failures: BTreeMap::new(),
        logged: None,
    }
}

/// What a server tells that failed, as its record knows it.
fn logged() -> Option<Box<Logged>> {
    let logged = serde_json::json!({
        "at_ms": NOW_MS - 180_000, "boot": Nonce::from_random([4; 32]), "code": "disk.read",
    });
    serde_json::from_value(logged).unwrap()
}

/// The page of a log.
pub(super) fn a_log(code: &str, line: &str) -> String {
    let view = LogView {
        server: ServerId::of(&SigningKey::from_seed(&[4; 32]).public()).to_string(),
        at: "2026-11-24T15:07:13Z".into(),
        side: "default".into(),
        generation: Some(7),
        code: code.into(),
        message: "the disk answered with an I/O error at LBA 4096".into(),
        agent: vec![line.into(), "[    2.000] repave ERROR sim0: read".into()],
        kernel: vec!["<3>[    1.900000] I/O error, dev vda, sector 4096".into()],
    };
    log(&view).unwrap()
}

fn seen(servers: Vec<Server>) -> Seen {
    let of = |name: &str, wanted, have, up, load_milli| TypeView {
        name: name.into(),
        image: format!("{name}:stable"),
        version: Some(7),
        min: 1,
        max: 9,
        wanted,
        have,
        up,
        load_milli,
    };
    let note = |note: &str| Event {
        at_ms: NOW_MS - 60_000,
        server: None,
        actor: None,
        kind: EventKind::Balancer { note: note.into() },
    };
    let moved = Event::of(
        servers[0].id,
        NOW_MS - 90_000,
        EventKind::Decision {
            from: None,
            to: Some("web".into()),
            image: Some("web:7".into()),
            why: "web wants 4 and has 3; of the spare ones it has done this image before".into(),
        },
    );
    let pool = "demo".parse().unwrap();
    Seen {
        pool: "demo".into(),
        active: Arc::new(Active { policy: Policy::empty(pool), revision: Some(12), paused: true }),
        leads: true,
        overview: Overview {
            types: vec![of("web", 4, 3, 2, Some(812)), of("batch", 2, 2, 2, None)],
            notes: vec!["short of servers: web wants 4 and has 3".into()],
            frozen: true,
            servers: Arc::new(servers.into_iter().map(|server| (server.id, server)).collect()),
        },
        events: vec![note("concurrency reached: 2 servers are moving, 2 may at once"), moved],
        identity: Identity { name: "wall".into(), role: Role::Viewer },
        now_ms: NOW_MS,
    }
}

fn some() -> Vec<Server> {
    let stage = Stage::Unsealed;
    let purposing = Standing::Purposing { stage, percent: 43, bytes_per_s: 612_000_000 };
    let message = "the disk answered with an I/O error at LBA 4096".into();
    let mut failed = server(4, "web-4", Standing::Failed { code: "disk.read".into(), message });
    let failures = Failures {
        server_type: "web".into(),
        image: "web".into(),
        version: 7,
        first_ms: None,
        count: 2,
        last_ms: NOW_MS,
        code: "disk.read".into(),
        quarantined: true,
    };
    failed.failures.insert(Sha256::of(b"an image"), failures);
    failed.logged = logged();
    let guard = Guard::Armed { device: "i6300ESB timer".into(), timeout_s: 120 };
    failed.seen.watchdog = Some(WatchdogReport { guard, expired: true });
    (failed.cordoned, failed.cordon_note) = (true, Some("the fan is loud".into()));
    let mut pinned = server(3, "batch-1", Standing::Up);
    (pinned.pinned, pinned.pin_note) = (Some("batch".into()), Some("for the audit".into()));
    pinned.seen.seal = Some(SealReport {
        generation: Generation(3),
        server_type: "batch".into(),
        image: "batch".into(),
        version: 7,
        manifest: Sha256::of(b"another"),
        attempts: 0,
        alone: false,
    });
    vec![
        server(1, "web-1", purposing),
        server(2, "web-2", Standing::Up),
        pinned,
        failed,
        server(5, "web-5", Standing::Idle),
        server(6, "web-6", Standing::Silent),
    ]
}

#[test]
fn the_pool_is_on_its_page() {
    let page = pool(&seen(some())).unwrap();
    for text in [
        "paused",
        "frozen",
        "leader",
        "policy 12",
        "wall (viewer)",
        "unsealed",
        "612 MB&#x2f;s",
        "43 %",
        "value=\"43\"",
        "81 %",
        "pinned to batch: for the audit",
        "batch:7",
        "cordoned: the fan is loud",
        "4 s ago",
        "quarantined",
        "reset by its watchdog",
        "watchdog 120 s",
        "/log\">log of\n        3 min ago</a>",
        "spare → web (web:7)",
        "short of servers",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    // Those that need somebody come first.
    assert!(page.find("web-6").unwrap() < page.find("web-2").unwrap());
    let form = Entrance { title: "Log in".into(), fault: None, form: true, refresh: false };
    if let Some(folder) = std::env::var_os(WRITE) {
        let folder = std::path::Path::new(&folder);
        let fault = Some("this token is not good".to_owned());
        let refused = entrance(&Entrance { fault, ..form }).unwrap();
        let log = a_log("disk.read", "[    1.000] repave INFO  server");
        for (name, page) in [("pool.html", page), ("login.html", refused), ("log.html", log)] {
            std::fs::write(folder.join(name), page).unwrap();
        }
    }
}

#[test]
fn an_empty_pool_has_a_page() {
    let mut seen = seen(some());
    seen.overview.servers = Default::default();
    seen.overview.types.clear();
    seen.events.clear();
    let page = pool(&seen).unwrap();
    for text in ["No server has reported", "declares no types", "Nothing was decided"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn what_others_said_is_escaped() {
    let evil = "\"'><script>alert(1)</script>";
    let message = evil.to_owned();
    let mut server = server(1, evil, Standing::Failed { code: evil.into(), message });
    server.facts.serial = Some(evil.into());
    server.labels = BTreeMap::from([(evil.into(), evil.into())]);
    server.pinned = Some(evil.into());
    let mut seen = seen(vec![server]);
    seen.pool = evil.into();
    seen.identity.name = evil.into();
    seen.overview.notes.push(evil.into());
    seen.overview.types[0].name = evil.into();
    seen.events[0].kind = EventKind::Balancer { note: evil.into() };
    let form = Entrance { title: evil.into(), fault: Some(evil.into()), form: true, refresh: true };
    for page in [pool(&seen).unwrap(), entrance(&form).unwrap(), a_log(evil, evil)] {
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("\"'>"), "{page}");
    }
}
