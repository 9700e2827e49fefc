//! The stub over real HTTPS: the exchange with a server from its first status to its second
//! purpose, scripted answers, and the library.

use std::fs;
use std::thread;

use repave_controller_stub::{Answer, Event, Scenario, Stub, StubSpec};
use repave_protocol::{
    Blame, Fault as Failure, Generation, Keys, Order, Sha256, Side, Stage, Standing, TrustDocument,
    TrustExpected, verify,
};

use crate::bench::{Device, LIMIT, all_web, at, client, pool, purpose, read, seal_of, start, up};

const WAIT: Order = Order::Wait { after_ms: 500 };

#[test]
fn a_server_is_purposed_power_cycled_and_purposed_again() {
    let stub = start(all_web());
    let mut device = Device::new(&stub, 1);
    assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
    device.become_target("web");
    assert_eq!(device.report(up()), Ok((2, WAIT)));
    assert_eq!(device.report(up()), Ok((2, WAIT)));

    device.boot(Side::Default);
    let boot = Order::Boot { sealed: Generation(1) };
    assert_eq!(device.report(Standing::Idle), Ok((3, boot)));
    device.leave();
    assert_eq!(device.report(up()), Ok((4, WAIT)));

    stub.set_order(device.id(), purpose("db"));
    assert_eq!(device.report(up()), Ok((5, purpose("db"))));
    device.ask(Standing::Returning);
    device.boot(Side::Default);
    assert_eq!(device.report(Standing::Idle), Ok((5, purpose("db"))));
    device.become_target("db");
    assert_eq!(device.report(up()), Ok((6, WAIT)));

    assert_eq!(stub.violations(), []);
    assert_eq!(stub.servers(), [device.id()]);
    let events: Vec<_> = stub
        .timeline(device.id())
        .into_iter()
        .map(|event| (event.event, event.server_type.unwrap_or_default()))
        .collect();
    let of = |server_type: &'static str| move |event| (event, server_type.to_owned());
    let road = ["written", "audited", "configured", "sealed", "armed", "left", "target-up"];
    let expected: Vec<_> = [("first-status", String::new())]
        .into_iter()
        .chain([("directive-accepted", "web".to_owned())])
        .chain(road.map(of("web")))
        .chain(["first-status", "written", "audited"].map(of("web")).into_iter().take(1))
        .chain(["armed", "left", "target-up"].map(of("web")))
        .chain(["directive-accepted", "first-status"].map(of("db")))
        .chain(road.map(of("db")))
        .collect();
    assert_eq!(events, expected);
}

#[test]
fn hostile_answers_by_script_are_each_refused_and_then_the_genuine_one_comes() {
    let script = [
        Answer::Forged,
        Answer::Stale,
        Answer::OtherServer,
        Answer::OtherPool,
        Answer::OtherNonce,
        Answer::UnknownCritical,
        Answer::Raw(b"<html>".to_vec()),
        Answer::Order(WAIT),
        Answer::LowerGeneration,
        Answer::ReusedGeneration,
    ];
    let stub = start(Scenario { script: script.to_vec(), ..all_web() });
    let mut device = Device::new(&stub, 1);
    let mut refused = |expected: &str| match device.report(Standing::Idle) {
        Ok(obeyed) => panic!("obeyed {obeyed:?} instead of {expected}"),
        Err(refusal) => assert_eq!(refusal.code(), expected, "{refusal}"),
    };
    refused("unknown-key");
    // The stale answer is the forgery from before.
    refused("unknown-key");
    refused("other-server");
    refused("other-pool");
    refused("other-nonce");
    refused("unknown-critical");
    refused("malformed");
    assert_eq!(device.report(Standing::Idle), Ok((1, WAIT)));
    assert_eq!(device.report(Standing::Idle).map_err(|r| r.code()), Err("lower-generation"));
    assert_eq!(device.report(Standing::Idle).map_err(|r| r.code()), Err("reused-generation"));
    assert_eq!(device.report(Standing::Idle), Ok((2, purpose("web"))));
    assert_eq!(stub.violations(), []);
}

#[test]
fn a_repeat_is_the_last_order_again_whatever_the_server_says() {
    let stub = start(all_web());
    let mut device = Device::new(&stub, 1);
    assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
    device.become_target("web");
    stub.set_script(device.id(), vec![Answer::Repeat]);
    assert_eq!(device.report(up()), Ok((1, purpose("web"))));
    assert_eq!(device.report(up()), Ok((2, WAIT)));
    assert_eq!(stub.violations(), []);
}

#[test]
fn a_held_status_is_answered_as_soon_as_there_is_news() {
    let stub = start(Scenario { poll_ms: 3_600_000, ..Scenario::default() });
    let mut device = Device::new(&stub, 1);
    let id = device.id();
    let asked = thread::spawn(move || device.report(Standing::Idle));
    let held = stub.wait_for(|record| record.status.server == id, LIMIT).unwrap();
    assert_eq!(held.answer, None);
    stub.set_order(id, purpose("web"));
    stub.approve(id);
    assert_eq!(asked.join().unwrap(), Ok((1, purpose("web"))));
    let answered = stub.wait_for(|record| record.answer.is_some(), LIMIT).unwrap();
    assert_eq!(answered.index, held.index);
}

#[test]
fn a_status_that_only_tells_of_progress_is_never_held() {
    let stub = start(Scenario { poll_ms: 3_600_000, ..Scenario::default() });
    let mut device = Device::new(&stub, 1);
    let id = device.id();
    stub.approve(id);
    stub.set_script(id, vec![Answer::Order(purpose("web"))]);
    assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
    // The stub itself has no wish for it, and would hold a question.
    assert_eq!(device.report(at(Stage::Accepted)), Ok((2, WAIT)));
}

#[test]
fn a_status_that_was_overtaken_gets_no_answer_and_takes_no_generation() {
    let stub = start(Scenario { poll_ms: 3_600_000, ..Scenario::default() });
    let mut device = Device::new(&stub, 1);
    let id = device.id();
    let first = device.seal(Standing::Idle);
    thread::scope(|scope| {
        let held = scope.spawn(|| device.post(&first));
        stub.wait_for(|record| record.index == 0, LIMIT).unwrap();
        let mut same = Device::new(&stub, 1);
        same.status.boot = repave_protocol::Nonce::from_random([99; 32]);
        let newer = scope.spawn(move || same.report(Standing::Idle));
        assert!(held.join().unwrap().is_err());
        stub.set_order(id, purpose("web"));
        stub.approve(id);
        assert_eq!(newer.join().unwrap(), Ok((1, purpose("web"))));
    });
}

#[test]
fn an_order_that_keeps_failing_is_given_up() {
    let failed = || Standing::Failed {
        fault: Failure::new(Blame::Image, "chunk-digest", "a chunk", Some(Stage::Unsealed)),
    };
    let stub = start(Scenario { retries: Some(1), ..all_web() });
    let mut device = Device::new(&stub, 1);
    assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
    assert_eq!(device.report(failed()), Ok((1, purpose("web"))));
    let reason = "gave up after chunk-digest".into();
    assert_eq!(device.report(failed()), Ok((2, Order::Stay { reason })));
}

#[test]
fn what_is_not_a_status_is_refused_by_name() {
    let stub = start(Scenario::default());
    let mut device = Device::new(&stub, 1);
    let mut altered = device.seal(Standing::Idle);
    altered.truncate(100);
    let reply = device.post(&altered).unwrap();
    assert_eq!(reply.code, 400);
    assert!(reply.body.unwrap().starts_with(b"truncated: "));
    let oversized = vec![b' '; repave_protocol::limits::ENVELOPE_BYTES + 1];
    assert_eq!(device.post(&oversized).unwrap().code, 413);
    let codes: Vec<_> = stub
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Refused { code, .. } => Some(code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, ["truncated"]);
    assert_eq!(stub.servers(), []);
}

#[test]
fn other_addresses_and_methods_are_refused() {
    let stub = start(Scenario::default());
    let client = client(stub.authority());
    let id = Device::new(&stub, 1).id();
    let code = |path: &str| client.get(stub.url() + path).call().map(read).unwrap().code;
    assert_eq!(code("/"), 404);
    assert_eq!(code("/library/blobs/sha256/../../index.json"), 404);
    assert_eq!(code(&format!("/v1/servers/{id}/status")), 405);
}

#[test]
fn the_library_serves_blobs_whole_and_in_ranges() {
    let library = tempfile::tempdir().unwrap();
    let blob: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let digest = Sha256::of(&blob);
    let folder = library.path().join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(digest.to_string()), &blob).unwrap();
    let stub = Stub::start(StubSpec {
        library: Some(library.path().into()),
        ..StubSpec::new(crate::bench::authority(), pool())
    })
    .unwrap();
    let client = client(stub.authority());
    let url = format!("{}/blobs/sha256/{digest}", stub.library_url());
    let get = |range: &str| {
        let request = client.get(&url).header("Range", range);
        request.call().map(read).unwrap()
    };

    let whole = client.get(&url).call().map(read).unwrap();
    assert_eq!((whole.code, whole.body.as_ref()), (200, Ok(&blob)));
    let part = get("bytes=300000-899999");
    assert_eq!(part.code, 206);
    assert_eq!(part.headers["content-range"], "bytes 300000-899999/1000000");
    assert_eq!(part.body.unwrap(), blob[300_000..900_000]);
    let beyond = get("bytes=1000000-");
    assert_eq!(beyond.code, 416);
    assert_eq!(beyond.headers["content-range"], "bytes */1000000");
    let head = client.head(&url).call().map(read).unwrap();
    assert_eq!((head.code, head.body), (200, Ok(Vec::new())));
    assert_eq!(head.headers["content-length"], "1000000");
    let absent = url.replace(&digest.to_string(), &Sha256::of(b"absent").to_string());
    assert_eq!(client.get(&absent).call().map(read).unwrap().code, 404);
}

#[test]
fn who_does_not_trust_the_certificate_is_on_record() {
    let stub = start(Scenario::default());
    let spec = repave_controller_stub::AuthoritySpec::new([8; 32], &["127.0.0.1"]);
    let other = repave_controller_stub::Authority::generate(spec).unwrap();
    assert!(client(&other).get(stub.url()).call().is_err());
    let handshake = |event: &Event| matches!(event, Event::Handshake { .. });
    stub.wait_for_event(handshake, LIMIT).unwrap();
}

#[test]
fn a_burned_disk_holds_what_the_stub_can_answer_to() {
    let stub = start(all_web());
    let authority = stub.authority();
    let expected = TrustExpected { pool: pool(), least_version: 1 };
    let root = [authority.root_key().public()];
    let bytes = authority.trust_document(&pool());
    let trust = verify::<TrustDocument>(&bytes, Keys::Pinned(&root), &expected).unwrap();
    let trusted = &trust.message().directive_keys;

    let mut device = Device::new(&stub, 1);
    let answer = device.ask(Standing::Idle);
    assert_eq!(device.accept(&answer), Ok((1, purpose("web"))));
    assert_eq!(trusted, &[authority.directive_key().public()]);

    let config = authority.agent_config(&pool(), &[stub.url()], None);
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["pool"], "demo");
    assert_eq!(config["controllers"][0], stub.url());
    assert_eq!(config["root_key"], authority.root_key().public().to_string());
    assert!(config.get("join_token").is_none());
}

#[test]
fn a_newer_trust_document_travels_along() {
    let stub = start(all_web());
    let document = stub.authority().trust_document(&pool());
    stub.set_trust(Some(serde_json::from_slice(&document).unwrap()));
    let mut device = Device::new(&stub, 1);
    device.report(Standing::Idle).unwrap();
    let record = stub.wait_for(|record| record.answer.is_some(), LIMIT).unwrap();
    let directive = record.answer.unwrap().directive.unwrap();
    let sent = serde_json::to_vec(&directive.trust.unwrap()).unwrap();
    assert_eq!(sent, document);
}

#[test]
fn a_lie_is_seen() {
    let stub = start(all_web());
    let mut device = Device::new(&stub, 1);
    device.report(Standing::Idle).unwrap();
    device.status.seal = Some(seal_of("web", 1));
    device.ask(at(Stage::Sealed));
    assert!(!stub.violations().is_empty());
}

#[test]
fn waiting_for_what_never_comes_says_what_came() {
    let stub = start(all_web());
    Device::new(&stub, 1).ask(Standing::Idle);
    let error = stub.wait_for(|_| false, std::time::Duration::ZERO).unwrap_err();
    assert_eq!((error.statuses, error.last.as_str()), (1, "Idle"));
}
