//! Controllers that lie, or are something else. Each is an error with a name, in time, and none
//! gets our password to another place.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use repave_controller::power::{Power, PowerError};
use serde_json::{Value, json};

use super::http_server::{Answer, Request, Server, write};
use super::{GUARD, open, write_secret};

/// How long a request may take where it is to fail by that.
const SHORT_MS: u64 = 700;
/// The same where it is to fail by something else, however busy this machine is.
const LONG_MS: u64 = 25_000;

fn power_of(server: &Server, timeout_ms: u64) -> Box<dyn Power> {
    open(json!({"kind": "redfish", "address": server.url(), "trust": "insecure",
        "timeout_ms": timeout_ms}))
}

/// An order at a controller that answers so fails so; `kind` is the variant's name.
fn check(
    answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
    kind: &str,
    expected: &str,
) {
    let server = Server::start(answer);
    let began = Instant::now();
    let limit_ms = if kind == "TimedOut" { SHORT_MS } else { LONG_MS };
    let error = power_of(&server, limit_ms).cycle().unwrap_err();
    assert!(began.elapsed() < GUARD / 2, "{error}");
    let text = error.to_string();
    assert!(text.contains(expected), "{text}, not {expected}");
    assert!(format!("{error:?}").starts_with(kind), "{error:?}, not {kind}");
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text}");
}

/// The same with one answer for every request.
fn check_answer(status: &'static str, headers: &[&str], body: &str, kind: &str, expected: &str) {
    let headers: Vec<String> = headers.iter().map(|&line| line.to_owned()).collect();
    let body = body.to_owned();
    check(move |_, stream| write(stream, status, &headers, &body), kind, expected);
}

#[test]
fn what_is_no_redfish_is_named() {
    let page = "<html><body>\x1b[2JSign in</body></html>";
    check_answer("200 OK", &[], page, "Malformed", "answered no service root");
    check_answer("200 OK", &[], "", "Malformed", "answered no service root");
    check_answer("204 No Content", &[], "", "Malformed", "answered no service root");
    check_answer("200 OK", &[], "[1]", "Malformed", "answered no service root");
    check_answer("200 OK", &[], "{}", "Malformed", "missing field `Systems`");
    check_answer("500 Internal Server Error", &[], page, "Refused", "status 500: <html><body> [2J");
    check_answer(
        "503 Busy",
        &[],
        "{\"error\": {\"message\": \"no\"}}",
        "Refused",
        "status 503: no",
    );
    check_answer("404 Not Found", &[], "", "Refused", "status 404");
    check_answer("401 Unauthorized", &[], "", "Denied", "status 401");
    check_answer("403 Forbidden", &[], "", "Denied", "status 403");
    check(|_, stream| drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n")), "Malformed", "no HTTP");
    check(|_, _| {}, "Unreachable", "cannot talk to http://127.0.0.1");
}

#[test]
fn what_is_too_long_or_too_slow_is_left() {
    let huge = "[".repeat(2 << 20);
    check_answer("200 OK", &[], &huge, "Long", "more than 1048576 bytes");
    check_answer("500 Oops", &[], &huge, "Refused", "status 500");
    // It announces little and has no end.
    check(
        |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while stream.write_all(b"8\r\n        \r\n").is_ok() {}
        },
        "Long",
        "more than 1048576 bytes",
    );
    check(
        |_, stream| while stream.write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n").is_ok() {},
        "Malformed",
        "answered no HTTP",
    );
    check(
        |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
        },
        "Unreachable",
        "cannot talk to http://127.0.0.1",
    );
    let slow = format!("was not done within {SHORT_MS} ms");
    check(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "), "TimedOut", &slow);
    check(drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"), "TimedOut", &slow);
}

/// One byte now and then: each read succeeds soon, and the whole never ends.
fn drip(head: &'static [u8], byte: &'static [u8]) -> impl Fn(&Request, &mut TcpStream) {
    move |_, stream| {
        let _ = stream.write_all(head);
        while stream.write_all(byte).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_password_goes_nowhere_else() {
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    let elsewhere = Server::start(move |_, stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        write(stream, "200 OK", &[], "{}");
    });
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    write_secret(&password, "open sesame\n");
    let url = elsewhere.url();
    let bare = url.trim_start_matches("http:").to_owned();

    let check = |answer: Box<Answer>| {
        let server = Server::start(answer);
        for scheme in ["basic", "session"] {
            let login = json!({"scheme": scheme, "username": "a", "password_file": password});
            let power = open(json!({"kind": "redfish", "address": server.url(), "login": login,
                "trust": "insecure", "timeout_ms": LONG_MS}));
            let error = power.cycle().unwrap_err();
            assert!(matches!(error, PowerError::Elsewhere { .. }), "{error}");
        }
    };
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = vec![format!("Location: {url}/redfish/v1/")];
        check(Box::new(move |_, stream| write(stream, status, &location, "")));
    }
    for link in [url.clone(), bare, "@evil/".to_owned(), "/a b".to_owned(), "/\\evil".to_owned()] {
        // The link is where the sessions and the systems should be.
        let root =
            json!({"Systems": {"@odata.id": link}, "Links": {"Sessions": {"@odata.id": link}}});
        check(Box::new(move |_, stream| write(stream, "200 OK", &[], &root.to_string())));
        let target = link.clone();
        check(Box::new(move |request, stream| answer_as_bmc(request, stream, &target)));
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

/// An orderly controller but for where a reset is posted to.
fn answer_as_bmc(request: &Request, stream: &mut TcpStream, reset_target: &str) {
    let body = match request.path.as_str() {
        "/redfish/v1/" => json!({"Systems": {"@odata.id": "/s"}}),
        "/s" => json!({"Members": [{"@odata.id": "/s/1"}]}),
        "/s/1" => json!({"@odata.id": "/s/1", "PowerState": "On",
            "Actions": {"#ComputerSystem.Reset": {"target": reset_target}}}),
        _ => json!({"@odata.id": "/session/1"}),
    };
    let token = vec!["X-Auth-Token: t".to_owned()];
    write(stream, "200 OK", &token, &body.to_string());
}

#[test]
fn wrong_types_are_named() {
    let check_system = |system: Value, kind: &str, expected: &str| {
        check(
            move |request, stream| match request.path.as_str() {
                "/s/1" => write(stream, "200 OK", &[], &system.to_string()),
                _ => answer_as_bmc(request, stream, "/r"),
            },
            kind,
            expected,
        );
    };
    let reset = |reset: Value| {
        let actions = json!({"#ComputerSystem.Reset": reset});
        json!({"@odata.id": "/s/1", "PowerState": "On", "Actions": actions})
    };
    let wrong = "answered no ComputerSystem";
    check_system(json!("On"), "Malformed", wrong);
    check_system(json!({"@odata.id": 1}), "Malformed", wrong);
    check_system(json!({"@odata.id": "/s/1", "PowerState": true}), "Malformed", wrong);
    check_system(json!({"@odata.id": "/s/1", "Boot": [1]}), "Malformed", wrong);
    check_system(reset(json!(7)), "Malformed", wrong);
    check_system(reset(json!({"target": ["/r"]})), "Malformed", wrong);
    let types = "ResetType@Redfish.AllowableValues";
    check_system(reset(json!({"target": "/r", types: "On"})), "Malformed", wrong);
    check_system(reset(json!({"target": "/r", types: [1]})), "Malformed", wrong);
    check_system(reset(json!({"target": "/r", types: []})), "NotOffered", "it offers: nothing");
    check_system(json!({"@odata.id": "/s/1", "PowerState": "On"}), "NotOffered", "no reset");
    let lit = json!({"@odata.id": "/s/1", "PowerState": "Lit",
        "Actions": {"#ComputerSystem.Reset": {"target": "/r"}}});
    check_system(lit, "Malformed", "answered no PowerState: Lit");

    let check_systems = |members: Value, expected: &str| {
        let kind = if expected.contains("has:") { "Setting" } else { "Malformed" };
        check(
            move |request, stream| match request.path.as_str() {
                "/s" => write(stream, "200 OK", &[], &json!({"Members": members}).to_string()),
                _ => answer_as_bmc(request, stream, "/r"),
            },
            kind,
            expected,
        );
    };
    check_systems(json!([]), "has: nothing");
    check_systems(json!([{"@odata.id": "/s/1"}, {"@odata.id": "/s/2"}]), "has: 1, 2");
    check_systems(json!({"@odata.id": "/s/1"}), "answered no collection of systems");
    check_systems(json!([{"@odata.id": null}]), "answered no collection of systems");
}
