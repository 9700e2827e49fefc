//! A whole pool in one process: the daemon as it is served, over TLS, and servers that are real but
//! for their hardware.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/postgres.rs"]
#[allow(dead_code, reason = "the store's tests use the rest")]
mod postgres;

mod device;
mod fixture;
mod restore;
mod trust;

use std::sync::atomic::Ordering;

use device::{Device, Wire};
use fixture::{Pool, declare, devices, stand, until, up, wire};
use repave_controller::control::Kept;
use repave_controller::daemon::Running;
use repave_controller::fleet::EventKind;
use repave_controller::power::PowerConfig;
use repave_controller::records;
use repave_controller::store::EventFilter;
use repave_controller::store::changes::Changes;

fn policy(web: u32, db: u32) -> String {
    format!(
        r#"
[pool]
name = "demo"
silent_after_s = 2
freeze_share = 0.6
[[type]]
name = "web"
image = "web:latest"
min = 1
max = 4
wanted = {web}
priority = 2
[type.settings]
hostname = "web-{{{{ server.serial | lower }}}}"
[[type]]
name = "db"
image = "db:latest"
max = 4
wanted = {db}
"#
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn wire_to(daemon: &Running) -> Wire {
    wire(&daemon.control, vec![format!("https://{}", daemon.address)])
}

fn are_up(web: usize, db: usize) -> impl Fn(&[Kept]) -> bool {
    move |servers| up(servers, "web") == web && up(servers, "db") == db
}

fn written(devices: &[Device]) -> u64 {
    devices.iter().map(|device| device.strings.written.load(Ordering::Relaxed)).sum()
}

#[test]
fn a_pool_becomes_what_its_policy_says_and_follows_it() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        declare(control, &policy(2, 1)).await;
        let all = devices(control, &wire_to(&daemon), 1..5).await;
        let servers = until(control, "2 web and 1 db", are_up(2, 1)).await;
        assert_eq!(stand(&servers, "idle"), 1, "the fourth is spare");
        assert_eq!(written(&all), 3);

        // db grows by the spare one; then both shrink, and nothing is written for that.
        declare(control, &policy(2, 2)).await;
        until(control, "2 web and 2 db", are_up(2, 2)).await;
        declare(control, &policy(1, 1)).await;
        until(control, "1 web, 1 db and spares", |servers| {
            are_up(1, 1)(servers) && stand(servers, "staying") == 2
        })
        .await;
        assert_eq!(written(&all), 4);

        // Each move is on record with its reason.
        let filter = EventFilter { kind: Some("decision".into()), server: None };
        let events = control.store().events(&filter, 0, 100).await.unwrap();
        assert_eq!(events.len(), 6);
        for row in events {
            let event = records::event_of(&row).unwrap();
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
        let control = &daemon.control;
        declare(control, &policy(2, 1)).await;
        let all = devices(control, &wire_to(&daemon), 1..5).await;
        let servers = until(control, "2 web and 1 db", are_up(2, 1)).await;
        let web = servers.iter().find(|kept| kept.server.server_type() == Some("web")).unwrap();
        let lost = all.iter().find(|device| device.id == web.server.id).unwrap();
        lost.strings.silent.store(true, Ordering::Relaxed);
        until(control, "a replacement", |servers| {
            stand(servers, "silent") == 1 && are_up(2, 1)(servers)
        })
        .await;
        let before = lost.strings.written.load(Ordering::Relaxed);
        lost.strings.silent.store(false, Ordering::Relaxed);
        // Three web servers are one too many: one is given back, and nothing is written for it.
        until(control, "one given back", |servers| {
            are_up(2, 1)(servers) && stand(servers, "staying") == 1
        })
        .await;
        assert_eq!(lost.strings.written.load(Ordering::Relaxed), before);
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn an_image_that_fails_on_some_servers_is_tried_on_others() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        let all = devices(control, &wire_to(&daemon), 1..4).await;
        for device in &all[..2] {
            device.strings.fails.store(true, Ordering::Relaxed);
        }
        declare(control, &policy(2, 0)).await;
        let servers = until(control, "one web server and two quarantined", |servers| {
            are_up(1, 0)(servers) && stand(servers, "quarantined") == 2
        })
        .await;
        let quarantined = servers.iter().filter(|kept| kept.server.standing.name() != "up");
        for kept in quarantined {
            let counts: Vec<u32> = kept.server.failures.values().map(|f| f.count).collect();
            assert_eq!(counts, [3], "{}", kept.server.title());
        }
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn a_daemon_that_comes_back_goes_on() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        declare(&daemon.control, &policy(2, 1)).await;
        let address = daemon.address;
        let all = devices(&daemon.control, &wire_to(&daemon), 1..4).await;
        until(&daemon.control, "2 web and 1 db", are_up(2, 1)).await;
        daemon.stop().await;
        let daemon = pool.start_at(address).await;
        // Seen again, and still what they were.
        let begin_ms = repave_controller::clock::now_ms();
        until(&daemon.control, "everybody again", |servers| {
            are_up(2, 1)(servers) && servers.iter().all(|kept| kept.server.seen.at_ms > begin_ms)
        })
        .await;
        assert_eq!(written(&all), 3);
        assert!(pool.state().join("admin.token").exists());
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn the_power_of_a_silent_server_is_cycled_once_and_it_comes_home() {
    let pool = Pool::new(None);
    let called = pool.state().join("called");
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        let power = "[pool.power]\nsilent_ms = 2500\n[[type]]\nname = \"web\"";
        let text = policy(2, 1).replacen("[[type]]\nname = \"web\"", power, 1);
        declare(control, &text).await;
        let all = devices(control, &wire_to(&daemon), 1..4).await;
        until(control, "2 web and 1 db", are_up(2, 1)).await;
        let lost = &all[0];
        let script = format!("echo \"$1\" >> {}", called.display());
        let command = serde_json::json!({
            "kind": "command", "argv": ["/bin/sh", "-c", script, "sh", "{action}"],
        });
        let config: PowerConfig = serde_json::from_value(command).unwrap();
        control.set_power(lost.id, Some(&config), "test").await.unwrap();
        lost.strings.silent.store(true, Ordering::Relaxed);
        let filter = EventFilter { kind: Some("power".into()), server: Some(lost.id) };
        until(control, "a silent server", |servers| stand(servers, "silent") == 1).await;
        let outcome = loop {
            let events = control.store().events(&filter, 0, 10).await.unwrap();
            if let Some(row) = events.first() {
                break records::event_of(row).unwrap().kind;
            }
            tokio::time::sleep(fixture::LOOK).await;
        };
        let EventKind::Power { action, outcome } = outcome else { panic!("{outcome:?}") };
        assert_eq!(action, "bring-home");
        assert!(outcome.contains("it is silent, try 1: done"), "{outcome}");
        lost.strings.silent.store(false, Ordering::Relaxed);
        until(control, "everybody", are_up(2, 1)).await;
        let orders = std::fs::read_to_string(&called).unwrap();
        assert_eq!(orders.lines().filter(|order| *order == "cycle").count(), 1, "{orders}");
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn one_of_three_controllers_is_killed_in_mid_purposing_and_nothing_is_lost() {
    let pool = Pool::new(Some(postgres::shared().database()));
    runtime().block_on(async {
        let control = pool.control().await;
        let mut replicas: Vec<_> = (0..3).map(|_| pool.spawn()).collect();
        let urls = replicas.iter().map(|replica| replica.url.clone()).collect();
        let all = devices(&control, &wire(&control, urls), 1..10).await;
        for device in &all {
            device.strings.slow.store(true, Ordering::Relaxed);
        }
        // Nobody is to be missed here, however slowly this machine writes.
        let patient = policy(4, 4).replace("silent_after_s = 2", "silent_after_s = 60");
        declare(&control, &patient).await;
        until(&control, "servers on their way", |servers| stand(servers, "purposing") > 2).await;
        // Each kill takes the answers of a third of the servers, and one of the two the leader.
        replicas.remove(0);
        until(&control, "servers that arrive", |servers| up(servers, "web") > 0).await;
        replicas.remove(0);
        until(&control, "4 web and 4 db", are_up(4, 4)).await;
        assert_eq!(written(&all), 8, "nobody was written twice");
        drop(all);
        drop(replicas);
        control.store().close().await;
    });
}

#[test]
fn a_damaged_record_is_its_own_servers_trouble_only() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        let all = devices(control, &wire_to(&daemon), 1..3).await;
        let row = control.store().servers(&[all[0].id]).await.unwrap().remove(0);
        all[0].strings.silent.store(true, Ordering::Relaxed);
        // Its last status may still be on its way: until it is, the record is written over.
        let mut damage = records::put(&records::server(&row).unwrap(), Some(row.revision));
        loop {
            damage.doc = "{}".into();
            let servers = vec![damage.clone()];
            let changes = Changes { servers, ..Changes::default() };
            if control.store().commit(changes).await.is_ok() {
                break;
            }
            let row = control.store().servers(&[all[0].id]).await.unwrap().remove(0);
            damage.expected = Some(row.revision);
        }
        all[0].strings.silent.store(false, Ordering::Relaxed);
        let good = &all[1];
        let begin_ms = repave_controller::clock::now_ms();
        loop {
            let kept = control.server(good.id).await.unwrap();
            if kept.server.seen.at_ms > begin_ms + 1_000 {
                break;
            }
            tokio::time::sleep(fixture::LOOK).await;
        }
        let row = control.store().servers(&[all[0].id]).await.unwrap().remove(0);
        assert_eq!(row.doc, "{}", "nobody writes over what nobody could read");
        drop(all);
        daemon.stop().await;
    });
}
