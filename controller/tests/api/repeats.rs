//! Requests that are sent again.

use repave_controller::control::Role;
use serde_json::json;

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
