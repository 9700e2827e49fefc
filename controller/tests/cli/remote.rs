//! Commands that ask a controller: what they send, and what they make of its answers.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use repave_controller::fleet::{EventKind, Standing};
use repave_controller::views::{EventView, FailureView, LogView, Page, ServerView, TypeView};
use repave_protocol::{Guard, SourceReport, Stage, WatchdogReport};
use serde_json::{Value, json};

use crate::POLICY;
use crate::command::check;
use crate::controller::{Controller, Exchange};

const ID: &str = "3fa2c1d09e8b7a6f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7";

fn server() -> ServerView {
    ServerView {
        id: ID.into(),
        name: Some("alpha".into()),
        enrolment: "approved".into(),
        standing: "purposing".into(),
        standing_detail: Standing::Purposing {
            stage: Stage::Unsealed,
            percent: 43,
            bytes_per_s: 512_300_000,
        },
        standing_since: "2026-11-24T15:07:13Z".into(),
        server_type: Some("web".into()),
        image: Some("web:1".into()),
        wiped: None,
        wanted_image: Some("web:2".into()),
        why: Some("web wants 4 and has 3".into()),
        last_seen: "2026-11-24T15:07:13Z".into(),
        side: "default".into(),
        agent: "0.1.0".into(),
        load_milli: 1250,
        busy_milli: 305,
        memory_used_bytes: 1 << 30,
        cpus: 16,
        memory_bytes: 64 << 30,
        disk_bytes: 960_000_000_000,
        architecture: "amd64".into(),
        serial: Some("SN\u{1b}[2J1".into()),
        product: Some("ACME 1U".into()),
        macs: vec!["52:54:00:00:00:01".into()],
        labels: [("rack".to_owned(), "7".to_owned())].into(),
        cordoned: false,
        cordon_note: None,
        pinned: None,
        pin_note: None,
        trust: Some(7),
        watchdog: Some(WatchdogReport {
            guard: Guard::NotArmed { reason: "no watchdog was found\u{1b}[2J".into() },
            expired: true,
        }),
        bad_sources: vec![
            SourceReport::new("http://ann:s3cret@a/", true, "gzip"),
            SourceReport { source: "http://b/\u{1b}[2J".into(), lied: false, reason: "503".into() },
        ],
        logged: Some("2026-11-24T15:07:13Z".into()),
        failures: vec![FailureView {
            image: "web:1".into(),
            count: 2,
            last: "2026-11-24T15:07:13Z".into(),
            code: "source.unreachable".into(),
            quarantined: false,
        }],
    }
}

fn text(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn one(exchange: Exchange) -> Controller {
    Controller::start(vec![exchange])
}

#[test]
fn servers_are_listed_page_after_page() {
    let mut second = server();
    second.id = ID.replace("3fa2", "4fa2");
    second.name = None;
    second.standing_detail =
        Standing::Failed { code: "disk.io".into(), message: "bad\nsector".into() };
    let first = Page { items: vec![server()], next: Some("x y".into()) };
    let last = Page { items: vec![second], next: None };
    let pages = || {
        vec![
            Exchange::new("GET /v1/servers?standing=up&type=web&limit=500").answers(text(&first)),
            Exchange::new("GET /v1/servers?standing=up&type=web&limit=500&after=x%20y")
                .answers(text(&last)),
        ]
    };
    let list = ["server", "list", "--standing", "up", "--type", "web"];
    let controller = Controller::start(pages());
    let table = controller.check(&list, 0, "purposing, unsealed, 43 %, 512 MB/s  1.25");
    assert!(table.starts_with("SERVER        NAME   TYPE  IMAGE  STANDING"), "{table}");
    assert!(table.contains("\n4fa2c1d09e8b         web   web:1  failed "), "{table}");
    assert!(table.contains("disk.io: bad\u{fffd}sector, wants web:2"), "{table}");
    controller.done();
    let controller = Controller::start(pages());
    let json = controller.check(&[&list[..], &["--json"]].concat(), 0, "items");
    let found: Page<ServerView> = serde_json::from_str(&json).unwrap();
    assert_eq!(found.items[0], server());
    assert_eq!(found.items.len(), 2);
    controller.done();
}

#[test]
fn a_server_is_shown_without_what_would_steer_the_terminal() {
    let controller = one(Exchange::new("GET /v1/servers/alpha").answers(text(&server())));
    let shown = controller.check(&["server", "show", "alpha"], 0, "serial SN\u{fffd}[2J1");
    assert!(shown.contains("standing      purposing, unsealed, 43 %, 512 MB/s for"), "{shown}");
    assert!(shown.contains("web:1             2"), "{shown}");
    let guard = "watchdog      not armed: no watchdog was found\u{fffd}[2J; it reset the server";
    assert!(shown.contains(guard), "{shown}");
    let sources =
        "bad sources   http://***@a/ lied: gzip; http://b/\u{fffd}[2J failed repeatedly: 503";
    assert!(shown.contains(sources), "{shown}");
    assert!(shown.contains("ago: repave server log alpha"), "{shown}");
    controller.done();
}

#[test]
fn the_log_of_a_failure_is_printed_and_steers_no_terminal() {
    let log = LogView {
        server: ID.into(),
        at: "2026-11-24T15:07:13Z".into(),
        side: "default".into(),
        generation: Some(7),
        code: "disk-read".into(),
        message: "a bad\u{202e} sector".into(),
        agent: vec!["[    1.600] repave INFO  one".into(), "two".into()],
        // No controller of ours lets it through; this command does not rely on that.
        kernel: vec!["<4>\u{1b}[2J".into()],
    };
    let ask = || Exchange::new("GET /v1/servers/alpha/log").answers(text(&log));
    let controller = one(ask());
    let printed = controller.check(&["server", "log", "alpha"], 0, "default side, generation 7");
    let lines = "disk-read: a bad\u{fffd} sector\n\nlast lines of the agent:\n  \
                 [    1.600] repave INFO  one\n  two\n\nlast lines of the kernel:\n  \
                 <4>\u{fffd}[2J\n";
    assert!(printed.contains(lines), "{printed}");
    controller.done();
    let controller = one(ask());
    let json = controller.check(&["server", "log", "alpha", "--json"], 0, "disk-read");
    assert_eq!(serde_json::from_str::<LogView>(&json).unwrap(), log);
    controller.done();
}

#[test]
fn what_an_operator_does_to_a_server_is_one_request() {
    let check = |arguments: &[&str], exchange: Exchange, printed: &str| {
        let controller = one(exchange.answers(text(&server())));
        controller.check(&[&["server"], arguments].concat(), 0, printed);
        controller.done();
    };
    for action in ["approve", "cordon", "uncordon", "unpin", "drain", "retire", "clear"] {
        let request: &'static str = format!("POST /v1/servers/3fa2/{action}").leak();
        let printed = format!("alpha: {action} done, approved, purposing");
        check(&[action, "3fa2"], Exchange::new(request), &printed);
    }
    let pin = Exchange::new("POST /v1/servers/a%20b/pin").body(json!({ "type": "web" }));
    check(&["pin", "a b", "web"], pin, "alpha: pin done");
    let pin = Exchange::new("POST /v1/servers/a/pin")
        .body(json!({ "type": "web", "note": "for the audit" }));
    check(&["pin", "a", "web", "--note", "for the audit"], pin, "alpha: pin done");
    let cordon = Exchange::new("POST /v1/servers/a/cordon").body(json!({ "note": "loud" }));
    check(&["cordon", "a", "--note", "loud"], cordon, "alpha: cordon done");
    let noted = ServerView {
        cordoned: true,
        cordon_note: Some("loud".into()),
        pinned: Some("web".into()),
        pin_note: Some("for the audit".into()),
        ..server()
    };
    let show = one(Exchange::new("GET /v1/servers/a").answers(text(&noted)));
    let shown = show.check(&["server", "show", "a"], 0, "trust         version 7");
    assert!(shown.contains("cordoned: loud, pinned to web: for the audit"), "{shown}");
    show.done();
    let wipe = || Exchange::new("POST /v1/servers/3fa2/wipe");
    let body = json!({ "retire": false, "force": true, "disk_serial": "d1" });
    let arguments = ["wipe", "3fa2", "--yes", "--force", "--disk", "d1"];
    check(&arguments, wipe().body(body), "alpha: wipe done");
    let body = json!({ "retire": true, "force": false });
    check(&["retire", "3fa2", "--wipe", "--yes"], wipe().body(body), "alpha: wipe done");
    // Without a yes, nobody is asked for anything.
    for unsure in [&["wipe", "3fa2"][..], &["retire", "3fa2", "--wipe"]] {
        let controller = Controller::start(vec![]);
        controller.check(&[&["server"], unsure].concat(), 3, "say --yes");
        controller.done();
    }
    check(&["cordon", "3fa2", "--json"], Exchange::new("POST /v1/servers/3fa2/cordon"), ID);
}

#[test]
fn what_depends_on_how_a_server_stands_is_done_only_while_it_stands_so() {
    let start = |more: Vec<Exchange>| {
        let get = Exchange::new("GET /v1/servers/alpha").etag("\"7\"").answers(text(&server()));
        Controller::start([vec![get], more].concat_all())
    };
    let expel: &'static str = format!("POST /v1/servers/{ID}/expel").leak();
    let controller = start(vec![
        Exchange::new(expel).if_match("\"7\"").problem(412, json!({ "detail": "changed" })),
        Exchange::new("GET /v1/servers/alpha").etag("\"8\"").answers(text(&server())),
        Exchange::new(expel).if_match("\"8\"").answers(text(&server())),
    ]);
    controller.check(&["server", "revoke", "alpha"], 0, "revoke done");
    controller.done();

    let controller = start(vec![]);
    controller.check(&["server", "reject", "alpha"], 3, "alpha is approved: it cannot be rejected");
    controller.done();

    let put: &'static str = format!("PUT /v1/servers/{ID}/description").leak();
    let body = json!({ "name": "alpha", "labels": { "room": "2" } });
    let controller =
        start(vec![Exchange::new(put).if_match("\"7\"").body(body).answers(text(&server()))]);
    let describe = ["server", "describe", "alpha", "--label", "room=2", "--no-label", "rack"];
    controller.check(&describe, 0, "describe done");
    controller.done();

    let rekey = Exchange::new("POST /v1/servers/beta/rekey").body(json!({ "old": ID }));
    let controller = start(vec![rekey]);
    controller.check(&["server", "rekey", "beta", "--old", "alpha"], 0, "beta: rekey done");
    controller.done();
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Exchange>;
}

impl ConcatAll for [Vec<Exchange>; 2] {
    fn concat_all(self) -> Vec<Exchange> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn problems_are_told_with_their_faults_and_exit_codes() {
    let check = |status, problem: Value, code, printed: &[&str]| {
        let controller = one(Exchange::new("GET /v1/servers/alpha").problem(status, problem));
        let text = controller.check(&["server", "show", "alpha"], code, "/v1/servers/alpha");
        printed.iter().for_each(|part| assert!(text.contains(part), "{text}"));
        controller.done();
    };
    check(401, json!({}), 3, &["does not know the token", "repave token create"]);
    check(403, json!({ "detail": "needs admin" }), 3, &["does not allow that", "needs admin"]);
    check(404, json!({ "detail": "there is no server" }), 4, &["there is no server"]);
    check(409, json!({ "title": "Conflict" }), 3, &["status 409): Conflict"]);
    let faults = json!({ "detail": "not in order", "faults": ["one\u{7}", "two"] });
    check(422, faults, 3, &["not in order\n  one\u{fffd}\n  two"]);
    check(503, json!({ "detail": "later" }), 1, &["status 503): later"]);
    check(500, json!("no object"), 1, &["status 500)"]);
    let controller = one(Exchange::new("GET /v1/servers/alpha").answers(json!({ "id": 1 })));
    controller.check(&["server", "show", "alpha"], 1, "not one that this version");
    controller.done();
}

#[test]
fn a_controller_that_cannot_be_believed_or_reached_is_named() {
    let controller = Controller::start(vec![]);
    let other = Controller::start(vec![]);
    let show = ["server", "show", "alpha"];
    // Nobody listens there any more.
    controller.check(&show, 1, "cannot reach the controller at https://127.0.0.1:");
    let folder = controller.folder();
    let check = |name: &str, value: &str, code, printed: &str| {
        let mut command = controller.command(&show);
        command.env(name, value);
        check(command, code, printed);
    };
    check("REPAVE_URL", "http://127.0.0.1", 2, "is no controller: it should be https://");
    check("REPAVE_CA", "none.pem", 1, "cannot read CA none.pem");
    check("REPAVE_CA", "token", 3, "token holds no certificate");
    check("REPAVE_TOKEN_FILE", "none", 1, "none");
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o640)).unwrap();
    controller.check(&show, 3, "others have access to it");
    drop(other);
}

#[test]
fn only_the_given_ca_is_believed() {
    let stranger = Controller::start(vec![]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (now, names) = (time::OffsetDateTime::now_utc(), ["127.0.0.1".to_owned()]);
    let own = tempfile::tempdir().unwrap();
    let authority =
        repave_controller::authority::Authority::open_or_create(own.path(), &names, now).unwrap();
    let tls = authority.tls(now).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(tls).unwrap();
        assert!(connection.complete_io(&mut socket).is_err(), "the client must turn away");
    });
    let mut command = stranger.command(&["server", "list"]);
    command.env("REPAVE_URL", url);
    check(command, 3, "is not the controller that the CA file vouches for");
    thread.join().unwrap();
}

#[test]
fn the_controller_is_taken_from_a_file_where_nothing_else_names_it() {
    let list = || {
        Exchange::new("GET /v1/channels")
            .answers(json!({ "web:stable": { "version": 3, "previous": 2 } }))
    };
    let controller = one(list());
    let own = controller.folder().join("repave");
    fs::create_dir(&own).unwrap();
    let bare = || {
        let mut command = controller.command(&["channel", "list"]);
        for name in ["REPAVE_URL", "REPAVE_CA", "REPAVE_TOKEN_FILE"] {
            command.env_remove(name);
        }
        command
    };
    check(bare(), 2, "which controller? give --url or REPAVE_URL");
    fs::write(own.join("config.toml"), "uri = 'x'").unwrap();
    check(bare(), 3, "unknown field `uri`");
    let url = controller.url();
    fs::write(
        own.join("config.toml"),
        format!("url = '{url}'\nca = '../ca.pem'\ntoken_file = '../token'\n"),
    )
    .unwrap();
    check(bare(), 0, "web:stable        3       2");
    controller.done();
    // The environment may hold the token itself.
    let controller = one(list());
    let mut command = controller.command(&["channel", "list", "--json"]);
    command.env_remove("REPAVE_TOKEN_FILE").env("REPAVE_TOKEN", crate::controller::TOKEN);
    check(command, 0, "\"previous\": 2");
    controller.done();
}

#[test]
fn a_policy_is_set_only_in_the_place_of_the_one_that_was_there() {
    let policy: Value = text(&repave_controller::policy::Policy::from_toml(POLICY).unwrap());
    let get = || Exchange::new("GET /v1/policy").etag("\"5\"").answers(policy.clone());
    let put = || Exchange::new("PUT /v1/policy").if_match("\"5\"").body(policy.clone());
    let start = |exchanges| {
        let controller = Controller::start(exchanges);
        fs::write(controller.folder().join("policy.toml"), POLICY).unwrap();
        controller
    };
    let controller = start(vec![get(), put()]);
    controller.check(&["pool", "policy", "set", "policy.toml"], 0, "pool demo is in force");
    controller.done();

    let plan = json!({
        "wanted": [{ "server_type": "web", "wanted": 4, "have": 3, "up": 3, "load": 0.7 }],
        "moves": [{ "server": ID, "title": "alpha", "to": "web", "version": 2,
            "why": "web is short" }],
        "notes": ["concurrency reached"],
    });
    let under = || Exchange::new("POST /v1/plan").body(policy.clone()).answers(plan.clone());
    let controller = start(vec![under()]);
    let text = controller.check(&["plan", "policy.toml"], 0, "alpha   spare  web (version 2)");
    assert!(text.contains("note: concurrency reached") && text.contains("70 %"), "{text}");
    controller.done();

    let controller = start(vec![get(), under(), put()]);
    controller.check(&["apply", "policy.toml"], 2, "give --yes");
    controller.check(&["apply", "policy.toml", "--yes"], 0, "is in force");
    controller.done();

    let applied = json!({ "plan": plan.clone(), "made": 1 });
    let controller = one(Exchange::new("POST /v1/apply").answers(applied));
    controller.check(&["apply"], 0, "1 of 1 moves made");
    controller.done();

    let controller = one(Exchange::new("GET /v1/plan").answers(plan));
    controller.check(&["plan", "--json"], 0, "\"moves\"");
    controller.done();

    let controller = one(get());
    let toml = controller.check(&["pool", "policy", "get"], 0, "[pool]");
    assert_eq!(
        repave_controller::policy::Policy::from_toml(&toml).unwrap(),
        repave_controller::policy::Policy::from_toml(POLICY).unwrap()
    );
    controller.done();
}

fn web() -> Value {
    text(&[TypeView {
        name: "web".into(),
        image: "web:stable".into(),
        version: Some(2),
        min: 1,
        max: 9,
        wanted: 4,
        have: 3,
        up: 2,
        load_milli: Some(712),
    }])
}

#[test]
fn the_pool_is_shown_and_stopped() {
    let controller = one(Exchange::new("GET /v1/types").answers(web()));
    let table = controller.check(&["type", "list"], 0, "web   web:stable        2");
    assert!(table.contains("0.71"), "{table}");
    controller.done();
    let policy = text(&repave_controller::policy::Policy::from_toml(POLICY).unwrap());
    let controller = Controller::start(vec![
        Exchange::new("GET /v1/policy").answers(policy),
        Exchange::new("GET /v1/types").answers(web()),
        Exchange::new("GET /v1/balancer").answers(json!({ "paused": true })),
    ]);
    controller.check(&["pool", "show"], 0, "balancer     paused");
    controller.done();
    for (word, printed) in [("pause", "is paused"), ("resume", "is running")] {
        let request: &'static str = format!("POST /v1/balancer/{word}").leak();
        let controller = one(Exchange::new(request).answers(json!({ "paused": true })));
        controller.check(&[word], 0, printed);
        controller.done();
    }
    let set = Exchange::new("PUT /v1/channels/web/stable").body(json!({ "version": 3 }));
    let controller = one(set.answers(json!({ "version": 3 })));
    controller.check(&["channel", "set", "web:stable", "3"], 0, "web:stable points at version 3");
    controller.check(&["channel", "set", "web", "3"], 2, "web:stable");
    controller.done();
}

fn event(sequence: i64) -> EventView {
    EventView {
        sequence,
        at: "2026-11-24T15:07:13Z".into(),
        at_ms: 1_795_532_833_000,
        server: Some(ID.into()),
        actor: Some("alice".into()),
        what: EventKind::Standing {
            from: Standing::Idle,
            to: Standing::Booting,
            cause: "it was armed".into(),
        },
    }
}

#[test]
fn events_are_listed_and_followed_over_a_broken_stream() {
    let page = Page { items: vec![event(9), event(8)], next: None };
    let events = "GET /v1/events?kind=standing&before=10&limit=100";
    let controller = one(Exchange::new(events).answers(text(&page)));
    let list = ["event", "list", "--kind", "standing", "--before", "10"];
    let table = controller.check(&list, 0, "idle -> booting: it was armed (by alice)");
    assert!(table.find("       8  ").unwrap() < table.find("       9  ").unwrap(), "{table}");
    controller.done();

    let data = |sequence| format!("id: {sequence}\ndata: {}\n\n", text(&event(sequence)));
    let controller = Controller::start(vec![
        Exchange::new("GET /v1/events/stream?after=4").streams(&format!(
            ": hello\n\n{}{}data: {{\"cut",
            data(5),
            data(6)
        )),
        Exchange::new("GET /v1/events/stream?after=6").problem(503, json!({})),
        Exchange::new("GET /v1/events/stream?after=6").streams(&[data(6), data(7)].concat()),
    ]);
    let mut command = controller.command(&["event", "follow", "--after", "4", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = lines.map(|line| {
        let event: EventView = serde_json::from_str(&line.unwrap()).unwrap();
        event.sequence
    });
    assert_eq!(seen.by_ref().take(3).collect::<Vec<_>>(), [5, 6, 7]);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(seen.next(), None);
    controller.done();
}

fn interrupt(child: &std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn watching_goes_on_until_it_is_interrupted_and_a_closed_pipe_ends_it_quietly() {
    let types = || Exchange::new("GET /v1/types").answers(web());
    let controller = Controller::start(vec![types(), types()]);
    let mut child =
        controller.command(&["type", "list", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let heads = lines.by_ref().map(Result::unwrap).filter(|line| line.starts_with("TYPE"));
    assert_eq!(heads.take(2).count(), 2);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    controller.done();

    let controller = Controller::start(vec![types(), types()]);
    let mut command = controller.command(&["type", "list", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(1), ""));
}

#[test]
fn tokens_are_shown_once_or_put_into_a_file_of_their_owner_only() {
    let made = json!({ "token": "rpv_bob_1", "name": "bob", "role": "viewer", "created_ms": 1 });
    let body = json!({ "name": "bob", "role": "viewer" });
    let create = || Exchange::new("POST /v1/tokens").body(body.clone());
    let arguments = ["token", "create", "bob", "--role", "viewer"];
    let controller = Controller::start(vec![
        create().answers(made.clone()),
        create().answers(made),
        create().problem(403, json!({ "detail": "needs admin" })),
    ]);
    assert_eq!(controller.check(&arguments, 0, ""), "rpv_bob_1\n");
    let out = |name| [&arguments[..], &["--out", name]].concat();
    controller.check(&out("bob"), 0, "");
    let file = controller.folder().join("bob");
    assert_eq!(fs::read_to_string(&file).unwrap(), "rpv_bob_1\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    controller.check(&out("bob"), 1, "cannot create bob");
    controller.check(&out("carol"), 3, "needs admin");
    assert!(!controller.folder().join("carol").exists());
    controller.done();

    let list = json!([{ "name": "bob", "role": "viewer", "created_ms": 1_795_532_833_000_u64 }]);
    let controller = Controller::start(vec![
        Exchange::new("GET /v1/tokens").answers(list),
        Exchange::new("DELETE /v1/tokens/bob"),
        Exchange::new("GET /v1/join-tokens").answers(json!([{ "name": "rack7", "expires_ms": 0 }])),
        Exchange::new("DELETE /v1/join-tokens/rack7"),
        Exchange::new("GET /v1/invitations").answers(json!([])),
        Exchange::new("DELETE /v1/invitations/SN%2F1"),
    ]);
    controller.check(&["token", "list"], 0, "bob   viewer  2026-11-24T15:07:13Z  -");
    controller.check(&["token", "remove", "bob"], 0, "bob: removed");
    controller.check(&["join-token", "list"], 0, "rack7  1970-01-01T00:00:00Z");
    controller.check(&["join-token", "remove", "rack7"], 0, "rack7: removed");
    controller.check(&["server", "invitations"], 0, "MACHINE");
    controller.check(&["server", "uninvite", "SN/1"], 0, "no longer invited");
    controller.done();
}

#[test]
fn a_trust_document_is_given_as_it_was_signed() {
    let controller = Controller::start(vec![]);
    let folder = controller.folder();
    let key = controller.check(&["key", "generate", "--out", "root.key"], 0, "");
    let key = key.trim();
    let sign = ["trust", "sign", "--root-key", "root.key", "--pool", "demo", "--version", "7"];
    let more =
        ["--directive-key", key, "--image-key", key, "--ca", "ca.pem", "--out", "trust.json"];
    controller.check(&[sign, more].concat(), 0, "");
    let text = fs::read_to_string(folder.join("trust.json")).unwrap();
    let envelope: Value = serde_json::from_str(&text).unwrap();
    let other = Controller::start(vec![
        Exchange::new("PUT /v1/trust").body(envelope.clone()),
        Exchange::new("PUT /v1/trust?force=true").body(envelope.clone()),
        Exchange::new("GET /v1/trust").answers(envelope.clone()),
        Exchange::new("GET /v1/trust/servers").answers(json!({
            "version": 7, "servers": 9, "current": 2, "more": 0,
            "behind": ([1, 2, 3, 4, 5, 6, 7].map(|number| json!({
                "server": ID, "title": format!("web-{number}"), "version": 6,
                "target_knows": number == 1, "last_seen": "2026-11-24T12:00:00Z",
            }))),
        })),
    ]);
    fs::write(other.folder().join("trust.json"), &text).unwrap();
    other.check(&["trust", "set", "trust.json"], 0, "version 7 is in force");
    other.check(&["trust", "set", "ca.pem"], 3, "servers would refuse");
    other.check(&["trust", "set", "trust.json", "--force"], 0, "version 7 is in force");
    let got = other.check(&["trust", "get"], 0, "payloadType");
    assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), envelope);
    let line = "2 of 9 servers go by version 7; these do not yet: web-1 (its default side), \
                web-2 (version 6), web-3 (version 6), web-4 (version 6), web-5 (version 6) and 2 more";
    other.check(&["trust", "status"], 0, line);
    other.done();
}
