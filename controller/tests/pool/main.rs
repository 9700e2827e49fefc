//! A whole pool in one process: the daemon as it is served, over TLS, and servers that are real but
//! for their hardware.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod device;
mod fixture;

use std::sync::atomic::Ordering;

use fixture::{Pool, declare, devices, stand, until, up, wire};
use repave_controller::fleet::EventKind;
use repave_controller::store::EventFilter;

const POLICY: &str = r#"
[pool]
name = "demo"
silent_after_s = 2
freeze_share = 0.6
[[type]]
name = "web"
image = "web:latest"
min = 1
max = 4
wanted = 2
priority = 2
[type.settings]
hostname = "web-{{ server.serial | lower }}"
[[type]]
name = "db"
image = "db:latest"
max = 4
wanted = 1
"#;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn a_pool_becomes_what_its_policy_says_and_follows_it() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let wire = wire(&[&daemon]);
        declare(&daemon, POLICY).await;
        let all = devices(&daemon, &wire, 1..5).await;
        let servers = until(&daemon, "2 web and 1 db", |servers| {
            up(servers, "web") == 2 && up(servers, "db") == 1
        })
        .await;
        assert_eq!(stand(&servers, "idle"), 1, "the fourth is spare");
        let written = || all.iter().map(|d| d.strings.written.load(Ordering::Relaxed)).sum::<u64>();
        assert_eq!(written(), 3);

        // Another policy: db grows at the cost of nobody, then of web.
        declare(&daemon, &POLICY.replace("wanted = 1", "wanted = 2")).await;
        until(&daemon, "2 web and 2 db", |servers| {
            up(servers, "web") == 2 && up(servers, "db") == 2
        })
        .await;
        let fewer = POLICY.replace("wanted = 2", "wanted = 1").replace("wanted = 1\n\"", "");
        declare(&daemon, &fewer).await;
        until(&daemon, "1 web, 1 db and spares", |servers| {
            up(servers, "web") == 1 && up(servers, "db") == 1 && stand(servers, "staying") == 2
        })
        .await;
        assert_eq!(written(), 4);

        // Each move is on record with its reason.
        let filter = EventFilter { kind: Some("decision".into()), server: None };
        let events = daemon.control.store().events(&filter, 0, 100).await.unwrap();
        assert_eq!(events.len(), 6);
        for row in events {
            let event = repave_controller::records::event_of(&row).unwrap();
            let EventKind::Decision { why, .. } = event.kind else { panic!("{event:?}") };
            assert!(why.contains(' '), "{why:?}");
        }
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn a_silent_server_is_replaced_and_welcomed_back() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let wire = wire(&[&daemon]);
        declare(&daemon, POLICY).await;
        let all = devices(&daemon, &wire, 1..5).await;
        let whole = |servers: &[_]| up(servers, "web") == 2 && up(servers, "db") == 1;
        let servers = until(&daemon, "2 web and 1 db", whole).await;
        let web = servers.iter().find(|kept| kept.server.server_type() == Some("web")).unwrap();
        let lost = all.iter().find(|device| device.id == web.server.id).unwrap();
        lost.strings.silent.store(true, Ordering::Relaxed);
        until(&daemon, "a replacement", |servers| stand(servers, "silent") == 1 && whole(servers))
            .await;
        let before = lost.strings.written.load(Ordering::Relaxed);
        lost.strings.silent.store(false, Ordering::Relaxed);
        // Three web servers are one too many: one is given back, and nothing is written for it.
        until(&daemon, "one given back", |servers| {
            whole(servers) && stand(servers, "staying") == 1
        })
        .await;
        assert_eq!(lost.strings.written.load(Ordering::Relaxed), before);
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn an_image_that_fails_on_one_server_is_tried_on_others() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let wire = wire(&[&daemon]);
        let all = devices(&daemon, &wire, 1..4).await;
        for device in &all[..2] {
            device.strings.fails.store(true, Ordering::Relaxed);
        }
        let one_web = POLICY.replace("wanted = 2", "wanted = 1").replace("min = 1", "min = 0");
        declare(
            &daemon,
            &one_web
                .replace("name = \"db\"\nimage", "name = \"none\"\nimage")
                .replace("max = 4\nwanted = 1\n\"", "max = 0\n\""),
        )
        .await;
        until(&daemon, "one web server", |servers| up(servers, "web") == 1).await;
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn a_daemon_that_comes_back_goes_on() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        declare(&daemon, POLICY).await;
        let address = daemon.address;
        let all = devices(&daemon, &wire(&[&daemon]), 1..4).await;
        let whole = |servers: &[_]| up(servers, "web") == 2 && up(servers, "db") == 1;
        until(&daemon, "2 web and 1 db", whole).await;
        daemon.stop().await;
        let daemon = pool.start_at(address).await;
        let servers = until(&daemon, "everybody again", |servers| {
            whole(servers) && servers.iter().all(|kept| kept.server.seen.at_ms > 0)
        })
        .await;
        assert_eq!(servers.len(), 3);
        let written: u64 = all.iter().map(|d| d.strings.written.load(Ordering::Relaxed)).sum();
        assert_eq!(written, 3);
        assert!(fixture::exists(&pool.state().join("admin.token")));
        drop(all);
        daemon.stop().await;
    });
}
