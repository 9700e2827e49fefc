//! How much one address may ask for.

use crate::daemon::{Daemon, status};

/// Answers to the same request, until one is 429; how many were before.
fn until_limited(daemon: &Daemon, ask: impl Fn() -> u16) -> usize {
    let before = (0..1_000).take_while(|_| ask() != 429).count();
    assert!(before < 1_000);
    // The daemon itself goes on.
    daemon.runtime.block_on(daemon.running().control.tokens()).unwrap();
    before
}

fn code(daemon: &Daemon, path: &str, token: &str) -> u16 {
    let request = daemon.agent.get(daemon.url(path));
    let answer = request.header("authorization", format!("Bearer {token}")).call().unwrap();
    answer.status().as_u16()
}

#[test]
fn guessing_tokens_ends_and_known_ones_go_on() {
    let daemon = Daemon::start();
    daemon.ask("GET /v1/servers").expect(200);
    let before = until_limited(&daemon, || code(&daemon, "/v1/servers", "rpv_admin_00"));
    assert!(before >= 20, "{before}");
    let refused = daemon.ask("GET /v1/servers").by("rpv_admin_00").expect(429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // Good a moment ago, and so not a guess.
    assert_eq!(code(&daemon, "/v1/servers", &daemon.admin), 200);
}

#[test]
fn statuses_that_are_refused_end() {
    let daemon = Daemon::start();
    let (id, _) = status(1);
    let report = || daemon.agent.post(daemon.url(&format!("/v1/servers/{id}/status")));
    let before = until_limited(&daemon, || report().send("{}").unwrap().status().as_u16());
    assert!(before >= 100, "{before}");
    let ask = daemon.ask(&format!("POST /v1/servers/{id}/status")).without("authorization");
    assert_ne!(ask.raw("application/json", b"{}").expect(429).header("retry-after"), "");
}

#[test]
fn requests_have_a_rate() {
    let daemon = Daemon::start_with(|run| run.rate_per_s = 5);
    let before = until_limited(&daemon, || code(&daemon, "/healthz", ""));
    assert!(before >= 10, "{before}");
    assert_eq!(daemon.ask("GET /healthz").expect(429).header("retry-after"), "1");
}
