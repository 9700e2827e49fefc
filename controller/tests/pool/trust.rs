//! The directive key of a living pool is rotated: overlap, everybody learns, the old one is dropped.

use std::fs;
use std::sync::atomic::Ordering;

use repave_controller::control::Control;
use repave_controller::key_file;
use repave_protocol::PublicKey;

use crate::fixture::{LOOK, Pool, declare, devices, stand, until};
use crate::{are_up, policy, runtime, wire_to};

const FIRST: &str = "directive.key";
const NEXT: &str = "directive-next.key";

/// Waits until so many servers do not go by the document in force.
async fn until_behind(control: &Control, count: usize) -> String {
    loop {
        let found = control.trust_use().await.unwrap();
        if found.behind.len() == count {
            return found.to_string();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// That `document` is refused, and the reason.
async fn refused(control: &Control, document: &[u8]) -> String {
    control.set_trust(document, false, "test").await.unwrap_err().to_string()
}

#[test]
fn a_directive_key_is_rotated_and_nobody_is_left_behind() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let address = daemon.address;
        declare(&daemon.control, &policy(1, 0)).await;
        let all = devices(&daemon.control, &wire_to(&daemon), 1..4).await;
        let servers = until(&daemon.control, "1 web", are_up(1, 0)).await;
        let up = servers.iter().find(|kept| kept.server.standing.name() == "up").unwrap();
        let away = all.iter().find(|device| device.id != up.server.id).unwrap();
        away.strings.silent.store(true, Ordering::Relaxed);
        until(&daemon.control, "one that is away", |servers| stand(servers, "silent") == 1).await;
        daemon.stop().await;

        // Two keys sign, and the document names both.
        let old = key_file::read(&pool.state().join(FIRST)).unwrap().public();
        let new = key_file::generate(&pool.state().join(NEXT)).unwrap().public();
        let daemon = pool.start_at(address).await;
        let control = &daemon.control;
        let make = |version, keys: &[PublicKey]| pool.trust_document(control, version, keys.into());
        let why = refused(control, &make(2, &[new])).await;
        assert!(why.contains("names none that servers believe now"), "{why}");
        control.set_trust(&make(2, &[old, new]), false, "test").await.unwrap();

        // A running target learns at once, the default side under it only when it runs again.
        let said = until_behind(control, 2).await;
        assert!(said.starts_with("1 of 3 servers go by version 2; these do not yet: "), "{said}");
        assert!(said.contains(&format!("{} (version 1)", away.id.short())), "{said}");
        let why = loop {
            let why = refused(control, &make(3, &[new])).await;
            if why.contains(&format!("{} (its default side)", up.server.id.short())) {
                break why;
            }
            tokio::time::sleep(LOOK).await;
        };
        assert!(why.contains(&format!("drops the directive key {old}")), "{why}");
        control.drain(up.server.id, None, None, "test").await.unwrap();
        until_behind(control, 1).await;
        refused(control, &make(3, &[new])).await;

        // Back again, it learns from the old key whom to believe; then the old one can go.
        away.strings.silent.store(false, Ordering::Relaxed);
        until_behind(control, 0).await;
        control.set_trust(&make(3, &[new]), false, "test").await.unwrap();
        daemon.stop().await;
        fs::rename(pool.state().join(NEXT), pool.state().join(FIRST)).unwrap();

        let daemon = pool.start_at(address).await;
        assert_eq!(daemon.control.authority().directive_keys(), [new]);
        declare(&daemon.control, &policy(1, 1)).await;
        until(&daemon.control, "1 web and 1 db", are_up(1, 1)).await;
        drop(all);
        daemon.stop().await;
    });
}

#[test]
fn an_older_trust_document_in_the_state_folder_is_no_fault() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        let keys = control.authority().directive_keys();
        fs::write(pool.state().join("trust.json"), pool.trust_document(control, 1, keys.clone()))
            .unwrap();
        control.set_trust(&pool.trust_document(control, 2, keys), false, "test").await.unwrap();
        daemon.stop().await;
        let replica = pool.spawn();
        let lines = replica.logged();
        let told: Vec<&String> = lines.iter().filter(|line| line.contains("trust.json")).collect();
        let [line] = told[..] else { panic!("{lines:#?}") };
        assert!(line.contains("holds version 1; 2 is in force"), "{line}");
        assert!(line.contains("INFO"), "{line}");
    });
}

#[test]
fn two_trust_documents_at_once_are_one() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let control = &daemon.control;
        let keys = control.authority().directive_keys();
        let documents: Vec<Vec<u8>> =
            (2..10).map(|version| pool.trust_document(control, version, keys.clone())).collect();
        let set = |bytes: Vec<u8>| {
            let control = std::sync::Arc::clone(control);
            tokio::spawn(async move {
                let taken = control.set_trust(&bytes, false, "test").await;
                taken.map(|trusted| trusted.document.version)
            })
        };
        let tasks: Vec<_> = documents.into_iter().rev().map(set).collect();
        let mut best = 0;
        for task in tasks {
            best = best.max(task.await.unwrap().unwrap_or(0));
        }
        control.refresh().await.unwrap();
        let version = control.trusted().unwrap().document.version;
        assert_eq!(version, best, "the newest that was taken stays in force");
        drop(daemon);
    });
}
