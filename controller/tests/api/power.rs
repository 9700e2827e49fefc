//! The power of servers: how it is reached, and orders to it.

use repave_controller::control::Role;
use serde_json::json;

use crate::daemon::Daemon;

#[test]
fn power_is_set_by_an_admin_and_ordered_by_an_operator() {
    let daemon = Daemon::start();
    let id = daemon.report(1).to_string();
    let path = format!("/v1/servers/{id}/power");
    daemon.ask(&format!("GET {path}")).expect(404);
    daemon.ask(&format!("POST {path}/cycle")).expect(404);
    let program = json!({"kind": "command", "argv": ["/bin/true", "{action}"]});
    let operator = daemon.token("olga", Role::Operator, None);
    let viewer = daemon.token("vera", Role::Viewer, None);
    daemon.ask(&format!("PUT {path}")).by(&operator).body(&program).expect(403);
    daemon.ask(&format!("PUT {path}")).body(&json!({"kind": "lever"})).expect(422);
    let blind = json!({"kind": "command", "argv": ["/bin/true"]});
    let refused = daemon.ask(&format!("PUT {path}")).body(&blind).expect(422).text();
    assert!(refused.contains("{action} is missing"), "{refused}");
    daemon.ask(&format!("PUT {path}")).body(&program).expect(204);
    daemon.ask(&format!("GET {path}")).by(&viewer).expect(403);
    let shown = daemon.ask(&format!("GET {path}")).by(&operator).expect(200).json();
    assert_eq!(shown["argv"], program["argv"]);
    daemon.ask(&format!("POST {path}/cycle")).by(&viewer).expect(403);
    let record = daemon.ask(&format!("POST {path}/cycle")).by(&operator).expect(200).json();
    assert_eq!((&record["outcome"], &record["server"]), (&json!("done"), &json!(id)));
    daemon.ask(&format!("POST {path}/explode")).expect(404);
    let events = daemon.get(&format!("/v1/events?server={id}&kind=power"));
    assert_eq!(events["items"][0]["outcome"], "olga ordered it: done");
    daemon.ask(&format!("DELETE {path}")).expect(204);
    daemon.ask(&format!("GET {path}")).expect(404);
}

#[test]
fn programs_are_run_only_where_that_was_allowed() {
    let daemon = Daemon::start_with(|run| run.power_commands = false);
    let id = daemon.report(1).to_string();
    let program = json!({"kind": "command", "argv": ["/bin/true", "{action}"]});
    let path = format!("PUT /v1/servers/{id}/power");
    let refused = daemon.ask(&path).body(&program).expect(422).text();
    assert!(refused.contains("--power-commands"), "{refused}");
}
