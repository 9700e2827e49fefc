//! Events as they happen.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use repave_controller::control::Role;
use serde_json::Value;

use crate::daemon::Daemon;

/// A stream of events that is read.
struct Stream(BufReader<ureq::BodyReader<'static>>);

impl Stream {
    fn open(daemon: &Daemon, query: &str, last_id: Option<&str>, token: &str) -> Self {
        let url = daemon.url(&format!("/v1/events/stream{query}"));
        let mut request = daemon.agent.get(url).header("authorization", format!("Bearer {token}"));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.call().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(answer.into_body().into_reader()))
    }

    /// The next event and its id; `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut id, mut data) = (String::new(), None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match (line.trim_end().split_once(": "), data.take()) {
                (Some(("id", value)), _) => id = value.into(),
                (Some(("data", value)), _) => data = serde_json::from_str(value).ok(),
                (None, Some(data)) => return Some((id, data)),
                (_, found) => data = found,
            }
        }
    }
}

#[test]
fn events_come_as_they_happen_and_a_stream_is_taken_up_again() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, "?kind=operator", None, &daemon.admin);
    daemon.ask("POST /v1/balancer/pause").expect(200);
    let (id, event) = stream.next().unwrap();
    assert_eq!(
        (event["action"].as_str(), event["actor"].as_str()),
        (Some("balancer.pause"), Some("admin"))
    );
    assert_eq!(event["sequence"].to_string(), id);
    drop(stream);
    daemon.ask("POST /v1/balancer/resume").expect(200);
    daemon.ask("POST /v1/balancer/pause").expect(200);
    let mut stream = Stream::open(&daemon, "?kind=operator&after=0", Some(&id), &daemon.admin);
    let actions: Vec<String> =
        (0..2).map(|_| stream.next().unwrap().1["action"].as_str().unwrap().into()).collect();
    assert_eq!(actions, ["balancer.resume", "balancer.pause"]);
    let mut whole = Stream::open(&daemon, "?kind=operator&after=0", None, &daemon.admin);
    assert_eq!(whole.next().unwrap().1["action"], "token.create");
    daemon.ask("GET /v1/events/stream").with("last-event-id", "x").expect(400);
    daemon.ask("GET /v1/events/stream?kind=party").expect(400);
}

#[test]
fn streams_end_with_the_daemon() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, "", None, &daemon.admin);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    while stream.next().is_some() {}
}

#[test]
fn a_stream_ends_with_its_token() {
    let daemon = Daemon::start();
    let token = daemon.token("ci", Role::Viewer, None);
    let mut stream = Stream::open(&daemon, "?kind=order", None, &token);
    daemon.ask("DELETE /v1/tokens/ci").expect(204);
    assert_eq!(stream.next(), None);
}
