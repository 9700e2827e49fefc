//! Requests that are sent again.

use std::thread;

use repave_controller::control::Role;
use repave_controller::store::changes::{Changes, DocumentPut, Expected};
use serde_json::{Value, json};

use crate::daemon::Daemon;

#[test]
fn a_repeated_request_is_done_once() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let cordon = |key: &str| {
        daemon.ask(&format!("POST /v1/servers/{id}/cordon")).with("idempotency-key", key)
    };
    let first = cordon("one").expect(200);
    let again = cordon("one").expect(200);
    assert_eq!((first.header("idempotency-replayed"), &first.body), ("", &again.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.header("etag"), again.header("etag"));
    assert_eq!(again.header("content-type"), "application/json");
    assert_ne!(cordon("two").expect(200).header("etag"), first.header("etag"));
    let events = daemon.get("/v1/events?kind=operator");
    assert_eq!(events["items"].as_array().unwrap().len(), 3, "{events}");
    cordon("").expect(400);
    cordon(&"k".repeat(129)).expect(400);
}

#[test]
fn a_key_stands_for_one_body_one_address_and_one_token() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let rekey = |old: &str| {
        daemon
            .ask(&format!("POST /v1/servers/{id}/rekey"))
            .with("idempotency-key", "k")
            .body(&json!({"old": old}))
    };
    // An answer that refuses is kept as well.
    rekey("nobody").expect(404);
    assert_eq!(rekey("nobody").expect(404).header("idempotency-replayed"), "true");
    rekey("somebody").expect(422);
    daemon.ask("POST /v1/balancer/pause").with("idempotency-key", "k").expect(200);
    let other = daemon.token("other", Role::Operator, None);
    let theirs = rekey("nobody").by(&other).expect(404);
    assert_eq!(theirs.header("idempotency-replayed"), "");
}

#[test]
fn answers_with_secrets_are_not_kept() {
    let daemon = Daemon::start();
    for path in ["/v1/tokens", "/v1/join-tokens"] {
        let ask = daemon.ask(&format!("POST {path}")).with("idempotency-key", "k");
        let refused = ask.body(&json!({"name": "ci", "role": "viewer"})).expect(400).json();
        assert!(refused["detail"].as_str().unwrap().contains("secret"), "{refused}");
    }
}

#[test]
fn a_request_that_comes_many_times_at_once_is_done_once() {
    const AT_ONCE: usize = 12;
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let url = daemon.url(&format!("/v1/servers/{id}/cordon"));
    let send = || {
        let request = daemon.agent.post(&url).header("idempotency-key", "one");
        let request = request.header("authorization", format!("Bearer {}", daemon.admin));
        request.send_empty().unwrap().status().as_u16()
    };
    let codes: Vec<u16> = thread::scope(|scope| {
        let sent: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(codes.contains(&200), "{codes:?}");
    // Who comes while the first is under way is told so; nobody gets anything else.
    assert!(codes.iter().all(|code| matches!(code, 200 | 409)), "{codes:?}");
    assert_eq!(send(), 200);
    let events = daemon.get("/v1/events?kind=operator");
    let cordons = events["items"].as_array().unwrap().iter();
    let cordons = cordons.filter(|event| event["action"] == "server.cordon").count();
    assert_eq!(cordons, 1, "{events}");
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let cordon = || {
        let asking = daemon.ask(&format!("POST /v1/servers/{id}/cordon"));
        asking.with("idempotency-key", "one").expect(200).header("idempotency-replayed").to_owned()
    };
    let store = daemon.running().control.store();
    let notes = || daemon.runtime.block_on(store.documents("idempotency", None, 10)).unwrap();
    // Puts the note back in time by so much.
    let age = |by_ms: u64| {
        let row = notes().remove(0);
        let mut doc: Value = serde_json::from_str(&row.doc).unwrap();
        doc["begun_ms"] = json!(doc["begun_ms"].as_u64().unwrap() - by_ms);
        let put = DocumentPut {
            kind: row.kind,
            key: row.key,
            expected: Expected::Exactly(row.revision),
            expires_at_ms: Some(i64::try_from(doc["begun_ms"].as_u64().unwrap() + DAY_MS).unwrap()),
            doc: doc.to_string(),
        };
        let changes = Changes { documents: vec![put], ..Changes::default() };
        daemon.runtime.block_on(store.commit(changes)).unwrap();
    };
    assert_eq!(cordon(), "");
    age(DAY_MS - 60_000);
    assert_eq!(cordon(), "true", "a minute is left");
    // Too old, whether or not somebody has cleared it away.
    age(60_000);
    assert_eq!(cordon(), "");
    age(DAY_MS);
    let now_ms = i64::try_from(repave_controller::clock::now_ms()).unwrap();
    assert_eq!(daemon.runtime.block_on(store.expire_documents(now_ms)).unwrap(), 1);
    assert!(notes().is_empty());
    assert_eq!(cordon(), "");
}
