//! Who may do what, and until when.

use std::thread::sleep;
use std::time::{Duration, Instant};

use repave_controller::control::Role;
use serde_json::json;

use crate::daemon::Daemon;

const HOUR_MS: u64 = 3_600_000;

#[test]
fn a_token_is_needed_and_must_be_good() {
    let daemon = Daemon::start();
    let refused = daemon.ask("GET /v1/servers").without("authorization").expect(401);
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    let (name, secret) = daemon.admin.rsplit_once('_').unwrap();
    let mistyped = format!("{name}_{}", "0".repeat(secret.len()));
    for token in ["", "rpv_", "rpv_admin_", "rpv_nobody_00", &mistyped] {
        daemon.ask("GET /v1/servers").by(token).expect(401);
    }
    let basic = format!("Basic {}", daemon.admin);
    daemon.ask("GET /v1/servers").with("authorization", &basic).expect(401);
    let ended = daemon.token("ended", Role::Admin, Some(1));
    daemon.ask("GET /v1/servers").by(&ended).expect(401);
    for path in ["/healthz", "/metrics", "/openapi.json"] {
        daemon.ask(&format!("GET {path}")).without("authorization").expect(200);
    }
    daemon.ask("GET /v1/nothing").without("authorization").expect(404);
    daemon.stop();
}

#[test]
fn roles_hold() {
    let daemon = Daemon::start();
    let server = daemon.report(1);
    let viewer = daemon.token("looks", Role::Viewer, None);
    let operator = daemon.token("runs", Role::Operator, None);
    let cordon = format!("POST /v1/servers/{server}/cordon");
    daemon.ask("GET /v1/servers").by(&viewer).expect(200);
    daemon.ask(&cordon).by(&viewer).expect(403);
    daemon.ask("POST /v1/balancer/pause").by(&viewer).expect(403);
    daemon.ask(&cordon).by(&operator).expect(200);
    daemon.ask("GET /v1/tokens").by(&operator).expect(403);
    daemon.ask("GET /v1/join-tokens").by(&operator).expect(403);
    daemon.ask("PUT /v1/trust").by(&operator).raw("application/json", b"{}").expect(403);
    let events = daemon.get("/v1/events?kind=operator&limit=1");
    assert_eq!(events["items"][0]["actor"], "runs");
    assert_eq!(events["items"][0]["server"], server.to_string());
}

#[test]
fn tokens_are_drawn_listed_and_ended() {
    let daemon = Daemon::start();
    let wanted = json!({"name": "ci", "role": "operator"});
    let made = daemon.ask("POST /v1/tokens").body(&wanted).expect(201).json();
    let token = made["token"].as_str().unwrap();
    daemon.ask("GET /v1/servers").by(token).expect(200);
    daemon.ask("POST /v1/tokens").body(&wanted).expect(422);
    daemon.ask("POST /v1/tokens").body(&json!({"name": "A B", "role": "viewer"})).expect(422);
    let past = json!({"name": "past", "role": "viewer", "expires_ms": 1});
    daemon.ask("POST /v1/tokens").body(&past).expect(422);
    let listed = daemon.ask("GET /v1/tokens").expect(200);
    assert!(!listed.text().contains("secret"), "{}", listed.text());
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    daemon.ask("DELETE /v1/tokens/ci").expect(204);
    daemon.ask("GET /v1/servers").by(token).expect(401);
    daemon.ask("DELETE /v1/tokens/ci").expect(404);
    daemon.ask("DELETE /v1/tokens/admin").expect(422);
}

#[test]
fn a_token_that_another_controller_ends_is_refused_within_seconds() {
    let daemon = Daemon::start();
    let token = daemon.token("ci", Role::Viewer, None);
    daemon.ask("GET /v1/servers").by(&token).expect(200);
    // Past the API, as another controller would do it.
    let control = &daemon.running().control;
    daemon.runtime.block_on(control.remove_token("ci", "a test")).unwrap();
    let begin = Instant::now();
    let url = daemon.url("/v1/servers");
    let code = || {
        let request = daemon.agent.get(&url).header("authorization", format!("Bearer {token}"));
        request.call().unwrap().status().as_u16()
    };
    while code() == 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(50));
    }
    assert_eq!(code(), 401);
}

#[test]
fn join_tokens_and_invitations() {
    let daemon = Daemon::start();
    let expires_ms = repave_controller::clock::now_ms() + HOUR_MS;
    let wanted = json!({"name": "rack-3", "expires_ms": expires_ms});
    let made = daemon.ask("POST /v1/join-tokens").body(&wanted).expect(201).json();
    let listed = daemon.ask("GET /v1/join-tokens").expect(200);
    assert!(!listed.text().contains(made["token"].as_str().unwrap()));
    assert_eq!(listed.json(), json!([{"name": "rack-3", "expires_ms": expires_ms}]));
    daemon.ask("DELETE /v1/join-tokens/rack-3").expect(204);
    daemon.ask("DELETE /v1/join-tokens/rack-3").expect(404);

    let terms = json!({"expires_ms": expires_ms, "name": "web-1", "labels": {"rack": "3"}});
    daemon.ask("PUT /v1/invitations/S5").body(&terms).expect(200);
    let one = daemon.get("/v1/invitations/S5");
    assert_eq!((&one["machine"], &one["uses"]), (&json!("S5"), &json!(1)));
    assert_eq!(daemon.get("/v1/invitations"), json!([one]));
    daemon.report(5);
    let server = daemon.get("/v1/servers/web-1");
    assert_eq!((&server["enrolment"], &server["serial"]), (&json!("approved"), &json!("S5")));
    daemon.ask("DELETE /v1/invitations/S5").expect(204);
    daemon.ask("GET /v1/invitations/S5").expect(404);
    let bad = json!({"expires_ms": expires_ms, "name": "a b"});
    daemon.ask("PUT /v1/invitations/S6").body(&bad).expect(422);
}
