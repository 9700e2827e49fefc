//! Servers: lists, one of them, and what is done to one.

use repave_controller::control::Role;
use repave_protocol::LogTail;
use serde_json::{Value, json};

use crate::daemon::Daemon;

#[test]
fn pages_of_servers() {
    let daemon = Daemon::start();
    let mut ids: Vec<String> = (1..=5).map(|seed| daemon.report(seed).to_string()).collect();
    ids.sort();
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = daemon.get(&format!("/v1/servers?limit=2{after}"));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        found.extend(items.iter().map(|server| server["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, ids);
    let of = |query: &str| daemon.get(&format!("/v1/servers?{query}"))["items"].clone();
    assert_eq!(of("standing=pending").as_array().unwrap().len(), 5);
    assert_eq!(of("standing=up"), json!([]));
    assert_eq!(of("type=web"), json!([]));
    let bad = ["standing=lost", "limit=0", "limit=501", "limit=x", "after=x", "type=%00", "a=b"];
    for query in bad {
        daemon.ask(&format!("GET /v1/servers?{query}")).expect(400);
    }
}

#[test]
fn one_server_by_id_beginning_or_name() {
    let daemon = Daemon::start();
    let id = daemon.report(1).to_string();
    let words = json!({"name": "web-1", "labels": {"rack": "3"}});
    let path = format!("PUT /v1/servers/{id}/description");
    let described = daemon.ask(&path).body(&words).expect(200).json();
    assert_eq!((&described["name"], &described["labels"]["rack"]), (&json!("web-1"), &json!("3")));
    for text in [id.as_str(), &id[..8], "web-1"] {
        assert_eq!(daemon.get(&format!("/v1/servers/{text}"))["id"], id);
    }
    daemon.ask("GET /v1/servers/web-2").expect(404);
    daemon.ask(&format!("GET /v1/servers/{}", "0".repeat(64))).expect(404);
    for bad in [
        json!({"name": "a b"}),
        json!({"name": "w".repeat(64)}),
        json!({"labels": {"a b": ""}}),
        json!({"labels": {"a": "\u{0}"}}),
        json!({"labels": {"a": "b".repeat(129)}}),
        json!({"labels": {"a": 1}}),
        json!({"colour": 1}),
    ] {
        daemon.ask(&path).body(&bad).expect(422);
    }
}

#[test]
fn what_is_done_to_a_server() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let act = |action: &str| daemon.ask(&format!("POST /v1/servers/{id}/{action}"));
    let seen = |action: &str| act(action).expect(200).json();
    assert_eq!(seen("approve")["enrolment"], "approved");
    assert_eq!(seen("cordon")["cordoned"], true);
    let noted = act("cordon").body(&json!({"note": "fan is loud"})).expect(200).json();
    assert_eq!(noted["cordon_note"], "fan is loud");
    assert_eq!(daemon.get(&format!("/v1/servers/{id}"))["cordon_note"], "fan is loud");
    let events = daemon.get("/v1/events?kind=operator").to_string();
    assert!(events.contains("fan is loud"), "{events}");
    act("cordon").body(&json!({"note": "two\nlines"})).expect(422);
    act("retire").body(&json!({"note": "why"})).expect(400);
    act("cordon").body(&json!({"colour": 1})).expect(422);
    let lifted = seen("uncordon");
    assert_eq!((&lifted["cordoned"], &lifted["cordon_note"]), (&json!(false), &Value::Null));
    assert_eq!(seen("unpin")["pinned"], Value::Null);
    assert_eq!(seen("drain")["cordoned"], true);
    assert_eq!(seen("clear")["failures"], json!([]));
    assert_eq!(seen("retire")["why"], "admin retired it");
    assert_eq!(seen("expel")["enrolment"], "revoked");
    act("explode").expect(404);
    act("pin").body(&json!({"type": "web"})).expect(404);
    act("pin").body(&json!({})).expect(422);
    act("pin").raw("application/json", b"{").expect(400);
    act("pin").raw("text/plain", b"{}").expect(415);
    act("pin").raw("application/json", &vec![b' '; 65 * 1024]).expect(413);
    daemon.ask(&format!("PUT /v1/servers/{id}/approve")).expect(405);

    let new = daemon.report(2);
    let rekey =
        |old: &str| daemon.ask(&format!("POST /v1/servers/{new}/rekey")).body(&json!({"old": old}));
    rekey(&new.to_string()).expect(422);
    rekey("nobody").expect(404);
    assert_eq!(rekey(&id.to_string()).expect(200).json()["enrolment"], "approved");
    assert_eq!(daemon.get(&format!("/v1/servers/{id}"))["enrolment"], "revoked");
}

#[test]
fn a_change_that_was_not_seen_is_not_overwritten() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let path = format!("/v1/servers/{id}");
    let tag = daemon.ask(&format!("GET {path}")).expect(200).header("etag").to_owned();
    let cordon = |tag: &str| daemon.ask(&format!("POST {path}/cordon")).with("if-match", tag);
    let next = cordon(&tag).expect(200).header("etag").to_owned();
    assert_ne!(tag, next);
    cordon(&tag).expect(412);
    cordon("\"somebody else's\"").expect(412);
    cordon(&format!("W/{next}")).expect(412);
    cordon("\"1\", \"2\"").expect(400);
    cordon("17").expect(400);
    cordon("*").expect(200);
}

#[test]
fn a_wipe_of_guarded_data_is_forced_or_refused() {
    let daemon = Daemon::start();
    let policy = "[pool]\nname = 'demo'\n\n[[type]]\nname = 'db'\nimage = 'db:latest'\nmin = 0\n\
                  max = 3\nwanted = 0\ndata = 'guarded'\n\n[[type]]\nname = 'web'\nimage = 'web:latest'\n\
                  min = 0\nmax = 3\nwanted = 0\n";
    daemon.ask("PUT /v1/policy").raw("application/toml", policy.as_bytes()).expect(200);
    let wipe = |id, body| daemon.ask(&format!("POST /v1/servers/{id}/wipe")).body(&body);
    let (web, db) = (daemon.report_sealed(1, "web"), daemon.report_sealed(2, "db"));
    // What was declared once and no longer is may have been guarded.
    let gone = daemon.report_sealed(3, "gone");
    for guarded in [db, gone] {
        let refused = wipe(guarded, json!({})).expect(422).json();
        assert!(refused["detail"].as_str().unwrap().contains("guarded data"), "{refused}");
        assert_eq!(daemon.get(&format!("/v1/servers/{guarded}"))["why"], Value::Null);
        assert_eq!(wipe(guarded, json!({"force": true})).expect(200).json()["cordoned"], true);
    }
    let body = json!({"retire": true, "disk_serial": "disk-1"});
    assert_eq!(wipe(web, body).expect(200).json()["why"], "admin wiped it");
    wipe(web, json!({"disk_serial": " "})).expect(400);
    wipe(web, json!({"disk_seriall": "disk-1"})).expect(422);
    daemon.ask(&format!("POST /v1/servers/{web}/wipe")).expect(415);
    let events = daemon.get("/v1/events?kind=operator&limit=20");
    let found =
        events["items"].as_array().unwrap().iter().find(|event| event["server"] == web.to_string());
    let found = found.unwrap();
    assert_eq!((&found["action"], &found["actor"]), (&json!("server.wipe"), &json!("admin")));
}

#[test]
fn the_log_of_a_failure_is_shown_beyond_a_success_until_the_next_one() {
    let daemon = Daemon::start();
    let id = daemon.report(1);
    let path = format!("/v1/servers/{id}/log");
    // One that waits for approval fills nothing.
    daemon.report_failed(1, 1, &LogTail::of(b"a stranger's", b""));
    let none = daemon.ask(&format!("GET {path}")).expect(404).json();
    assert!(none["detail"].as_str().unwrap().contains("told of no failure"), "{none}");
    daemon.ask(&format!("POST /v1/servers/{id}/approve")).expect(200);
    daemon.report_failed(1, 2, &LogTail::of(b"said\n", b"<4>\x1b[2J\n"));
    let log = daemon.get(&path);
    assert_eq!(log["agent"], json!(["said"]));
    assert_eq!(log["kernel"], json!(["<4>\\x1b[2J"]));
    assert_eq!((&log["code"], &log["side"]), (&json!("disk-read"), &json!("default")));
    assert_eq!(log["server"], json!(id.to_string()));
    let shown = daemon.get(&format!("/v1/servers/{id}"));
    assert_eq!(shown["logged"], log["at"]);
    // The events tell of the failure, and leave its log where it is.
    let events = daemon.get("/v1/events").to_string();
    assert!(events.contains("disk-read") && !events.contains("said"), "{events}");
    daemon.report_up(1, 3);
    assert_eq!(daemon.get(&format!("/v1/servers/{id}"))["standing"], "up");
    assert_eq!(daemon.get(&path), log);
    for bad in ["nobody", &"0".repeat(64)] {
        daemon.ask(&format!("GET /v1/servers/{bad}/log")).expect(404);
    }
    let viewer = daemon.token("wall", Role::Viewer, None);
    daemon.ask(&format!("GET {path}")).by(&viewer).expect(200);
    daemon.ask(&format!("POST {path}")).expect(405);
}
