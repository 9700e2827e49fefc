//! The pool as a whole: policy, balancer, images, trust, events, metrics.

use serde_json::{Value, json};

use crate::daemon::Daemon;

const POLICY: &str = "[pool]\nname = 'demo'\n\n[[type]]\nname = 'web'\nimage = 'web:latest'\n\
                      min = 1\nmax = 3\nwanted = 2\n";

#[test]
fn the_policy_is_set_tried_and_guarded() {
    let daemon = Daemon::start();
    let before = daemon.ask("GET /v1/policy").expect(200);
    assert_eq!((before.header("etag"), &before.json()["type"]), ("", &json!([])));
    let put = || daemon.ask("PUT /v1/policy");
    let set = put().raw("application/toml; charset=utf-8", POLICY.as_bytes()).expect(200);
    let (tag, mut policy) = (set.header("etag").to_owned(), set.json());
    let read = daemon.ask("GET /v1/policy").expect(200);
    assert_eq!((read.header("etag"), read.json()), (tag.as_str(), policy.clone()));

    policy["type"][0]["max"] = json!(5);
    let plan = daemon.ask("POST /v1/plan").body(&policy).expect(200).json();
    assert_eq!(plan["wanted"][0]["server_type"], "web");
    assert_eq!(daemon.get("/v1/policy")["type"][0]["max"], 3);
    put().body(&policy).with("if-match", &tag).expect(200);
    put().body(&policy).with("if-match", &tag).expect(412);

    policy["type"][0]["min"] = json!(9);
    policy["pool"]["concurrency"] = json!(0);
    let refused = put().body(&policy).expect(422).json();
    assert!(refused["faults"].as_array().unwrap().len() >= 2, "{refused}");
    daemon.ask("POST /v1/plan").body(&policy).expect(422);
    put().raw("application/toml", b"[pool").expect(400);
    put().raw("application/toml", b"\xff").expect(400);
    put().body(&json!({})).expect(400);
    put().raw("text/yaml", b"").expect(415);
    put().raw("application/json", &vec![b' '; 257 * 1024]).expect(413);
    let other = POLICY.replace("demo", "other");
    put().raw("application/toml", other.as_bytes()).expect(422);

    let types = daemon.get("/v1/types");
    assert_eq!((&types[0]["name"], &types[0]["wanted"]), (&json!("web"), &json!(2)));
    let id = daemon.report(1);
    let pin = daemon.ask(&format!("POST /v1/servers/{id}/pin")).body(&json!({"type": "web"}));
    assert_eq!(pin.expect(200).json()["pinned"], "web");
}

#[test]
fn the_balancer_is_switched_and_asked() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/v1/balancer")["paused"], false);
    assert_eq!(daemon.ask("POST /v1/balancer/pause").expect(200).json()["paused"], true);
    assert_eq!(daemon.get("/v1/balancer")["paused"], true);
    assert_eq!(daemon.ask("POST /v1/balancer/resume").expect(200).json()["paused"], false);
    assert_eq!(daemon.get("/v1/plan")["moves"], json!([]));
    assert_eq!(daemon.ask("POST /v1/apply").expect(200).json()["made"], 0);
    daemon.ask("DELETE /v1/balancer").expect(405);
    daemon.ask("GET /v1/nothing").expect(404);
}

#[test]
fn channels_point_only_at_what_the_library_has() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/v1/images"), json!([]));
    assert_eq!(daemon.get("/v1/channels"), json!({}));
    let set = |path: &str, body: Value| daemon.ask(&format!("PUT /v1/channels/{path}")).body(&body);
    set("web/stable", json!({"version": 1})).expect(422);
    set("Web/stable", json!({"version": 1})).expect(400);
    set("web/stable", json!({"version": -1})).expect(422);
    set("web/stable", json!({})).expect(422);
}

#[test]
fn trust_only_moves_forward() {
    let daemon = Daemon::start();
    daemon.ask("GET /v1/trust").expect(404);
    daemon.ask("GET /readyz").expect(503);
    let put = |bytes: &[u8]| daemon.ask("PUT /v1/trust").raw("application/json", bytes);
    let second = daemon.trust(2);
    put(&second).expect(200);
    assert_eq!(daemon.get("/v1/trust"), serde_json::from_slice::<Value>(&second).unwrap());
    daemon.ask("GET /readyz").expect(200);
    put(&daemon.trust(1)).expect(422);
    put(b"{}").expect(422);
}

#[test]
fn pages_of_events() {
    let daemon = Daemon::start();
    for _ in 0..3 {
        daemon.ask("POST /v1/balancer/pause").expect(200);
    }
    let id = daemon.report(1);
    let sequences = |query: &str| -> (Vec<i64>, Value) {
        let page = daemon.get(&format!("/v1/events?{query}"));
        let items = page["items"].as_array().unwrap();
        (items.iter().map(|e| e["sequence"].as_i64().unwrap()).collect(), page["next"].clone())
    };
    let (all, _) = sequences("after=0");
    assert!(all.is_sorted() && all.len() >= 4, "{all:?}");
    let (newest, next) = sequences("limit=2");
    assert_eq!(newest, [all[all.len() - 1], all[all.len() - 2]]);
    let (older, _) = sequences(&format!("before={}", next.as_str().unwrap()));
    assert_eq!(older[0], all[all.len() - 3]);
    let (first, next) = sequences("after=0&limit=1");
    assert_eq!((first, next), (vec![all[0]], json!(all[0].to_string())));
    let (of_one, _) = sequences(&format!("server={id}&kind=enrolled"));
    assert_eq!(of_one.len(), 1);
    for query in ["kind=party", "after=1&before=2", "limit=0", "after=x"] {
        daemon.ask(&format!("GET /v1/events?{query}")).expect(400);
    }
    daemon.ask("GET /v1/events?server=nobody").expect(404);
}

#[test]
fn metrics_count_and_name_no_server() {
    let daemon = Daemon::start();
    let id = daemon.report(1).to_string();
    let scraped = || daemon.ask("GET /metrics").without("authorization").expect(200).text();
    // The leader counts the pool in its next round.
    let begin = std::time::Instant::now();
    while !scraped().contains("repave_servers{standing=\"pending\"} 1") {
        assert!(begin.elapsed().as_secs() < 20, "{}", scraped());
    }
    let text = scraped();
    for line in ["repave_leader 1", "repave_statuses_total{outcome=\"answered\"} 1"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(&id[..8]), "{text}");
}
