//! Every fault, as a client sees it.

use std::fs;
use std::time::Duration;

use repave_controller_stub::{Action, Answer, Event, Fault, Scenario, Stub, StubSpec, Target};
use repave_protocol::{Sha256, Standing};
use tempfile::TempDir;

use crate::bench::{Device, LIMIT, Reply, all_web, authority, client, pool, purpose, read, start};

const BLOB: &[u8] = b"0123456789abcdef";

/// A stub whose library holds [`BLOB`].
struct Library {
    stub: Stub,
    _folder: TempDir,
}

impl Library {
    fn with(faults: Vec<Fault>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(Sha256::of(BLOB).to_string()), BLOB).unwrap();
        let stub = Stub::start(StubSpec {
            library: Some(folder.path().into()),
            scenario: Scenario { faults, ..Scenario::default() },
            ..StubSpec::new(authority(), pool())
        })
        .unwrap();
        Self { stub, _folder: folder }
    }

    /// Bytes 4 to 11 of the blob, each time over a new connection.
    fn get(&self) -> Result<Reply, ureq::Error> {
        let digest = Sha256::of(BLOB);
        let url = format!("{}/blobs/sha256/{digest}", self.stub.library_url());
        let client = client(self.stub.authority());
        client.get(url).header("Range", "bytes=4-11").call().map(read)
    }
}

fn on_blobs(action: Action) -> Result<Reply, ureq::Error> {
    Library::with(vec![Fault::new(Target::Blobs, action)]).get()
}

#[test]
fn stopped_and_started_again() {
    let library = Library::with(vec![Fault::new(Target::Blobs, Action::DelayMs(0))]);
    library.get().unwrap();
    library.stub.stop();
    assert!(library.get().is_err(), "there is nobody to connect to");
    library.stub.start_again().unwrap();
    assert_eq!(library.get().unwrap().body.unwrap(), BLOB[4..12]);
    // It knows what it knew: two requests, each with its fault.
    assert_eq!(library.stub.events().len(), 4);
}

#[test]
fn refuse() {
    assert_eq!(on_blobs(Action::Refuse(503)).unwrap().code, 503);
}

#[test]
fn drop_without_an_answer() {
    assert!(on_blobs(Action::Drop).is_err());
}

#[test]
fn truncate() {
    for at in 0..8 {
        let reply = on_blobs(Action::TruncateAt(at)).unwrap();
        assert_eq!(reply.headers["content-length"], "8");
        assert_eq!(reply.body, Err(at as usize));
    }
}

#[test]
fn shorten() {
    let reply = on_blobs(Action::ShortenTo(3)).unwrap();
    assert_eq!(reply.headers["content-length"], "3");
    assert_eq!(reply.body.unwrap(), b"456");
}

#[test]
fn corrupt() {
    let reply = on_blobs(Action::CorruptAt(2)).unwrap();
    assert_eq!(reply.body.unwrap(), b"457789ab");
}

#[test]
fn redirect() {
    let reply = on_blobs(Action::RedirectTo("https://elsewhere.example/".into())).unwrap();
    assert_eq!(reply.code, 307);
    assert_eq!(reply.headers["location"], "https://elsewhere.example/");
}

#[test]
fn wrong_range() {
    let reply = on_blobs(Action::WrongRange).unwrap();
    assert_eq!(reply.headers["content-range"], "bytes 5-12/16");
    assert_eq!(reply.body.unwrap(), &BLOB[4..12]);
}

#[test]
fn full_body() {
    let reply = on_blobs(Action::FullBody).unwrap();
    assert_eq!((reply.code, reply.body.unwrap()), (200, BLOB.to_vec()));
}

#[test]
fn content_encoding() {
    let reply = on_blobs(Action::ContentEncoding("x-unknown".into())).unwrap();
    assert_eq!(reply.headers["content-encoding"], "x-unknown");
}

#[test]
fn page() {
    let reply = on_blobs(Action::Page).unwrap();
    assert_eq!((reply.code, &reply.headers["content-type"]), (200, &"text/html".parse().unwrap()));
}

#[test]
fn delay() {
    // Longer than the client waits: that it gave up is all that can be said without a clock.
    let library = Library::with(vec![Fault::new(Target::Blobs, Action::DelayMs(3_600_000))]);
    let digest = Sha256::of(BLOB);
    let url = format!("{}/blobs/sha256/{digest}", library.stub.library_url());
    let request = client(library.stub.authority()).get(url);
    let impatient = request.config().timeout_global(Some(Duration::from_millis(500)));
    assert!(impatient.build().call().is_err());
    let struck = |event| matches!(event, Event::Fault { .. });
    assert!(library.stub.events().into_iter().any(struck));
}

#[test]
fn faults_strike_when_they_should() {
    let fault =
        Fault { skip: 1, every: 2, ..Fault::new(Target::Blobs, Action::Refuse(500)).times(2) };
    let library = Library::with(vec![fault]);
    let codes: Vec<_> = (0..7).map(|_| library.get().unwrap().code).collect();
    assert_eq!(codes, [206, 500, 206, 500, 206, 206, 206]);
    let other = Target::Blob(Sha256::of(b"another"));
    library.stub.set_faults(vec![Fault::new(other, Action::Drop)]);
    assert_eq!(library.get().unwrap().code, 206);
}

/// The faults of one status; the next is answered well.
fn on_first_status(action: Action) -> (Stub, Device, Result<Reply, ureq::Error>) {
    let stub = start(Scenario {
        faults: vec![Fault::new(Target::Statuses, action).times(1)],
        ..all_web()
    });
    let mut device = Device::new(&stub, 1);
    let status = device.seal(Standing::Idle);
    let reply = device.post(&status);
    (stub, device, reply)
}

#[test]
fn a_status_whose_answer_is_lost_was_heard_all_the_same() {
    let (stub, mut device, reply) = on_first_status(Action::Drop);
    assert!(reply.is_err());
    let record = stub.wait_for(|record| record.answer.is_some(), LIMIT).unwrap();
    let answer = record.answer.unwrap();
    assert_eq!((answer.spoiled, answer.is_sound()), (true, false));
    // The same order again, under the same generation.
    assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
    assert_eq!(answer.directive.unwrap().generation.0, 1);
    assert_eq!(stub.violations(), []);
}

#[test]
fn a_refused_status_is_on_record_without_an_answer() {
    let (stub, _, reply) = on_first_status(Action::Refuse(503));
    assert_eq!(reply.unwrap().code, 503);
    assert_eq!(stub.records()[0].answer, None);
}

#[test]
fn a_damaged_answer_is_refused_and_the_next_one_is_good() {
    for (action, code) in [
        (Action::CorruptAt(100), "bad-signature"),
        (Action::ShortenTo(100), "truncated"),
        (Action::Page, "malformed"),
        (Action::Answer(Answer::Forged), "unknown-key"),
    ] {
        let (stub, mut device, reply) = on_first_status(action.clone());
        let answer = reply.unwrap().body.unwrap();
        let refusal = device.accept(&answer).map_err(|refusal| refusal.code());
        assert_eq!(refusal, Err(code), "{action:?}");
        assert_eq!(device.report(Standing::Idle), Ok((1, purpose("web"))));
        assert_eq!(stub.violations(), []);
    }
}

#[test]
fn a_scenario_is_what_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.json");
    let text = r#"{
        "enrolments": [{ "select": { "serial": "SN0001" } }, { "select": "anyone" }],
        "script": ["forged", { "order": { "kind": "wait", "after_ms": 5 } }],
        "faults": [{ "on": "blobs", "action": { "truncate_at": 512 }, "skip": 3, "times": 1 }],
        "poll_ms": 0
    }"#;
    fs::write(&path, text).unwrap();
    let scenario = Scenario::load(&path).unwrap();
    assert_eq!(scenario.script.len(), 2);
    assert_eq!(scenario.faults[0].action, Action::TruncateAt(512));
    assert_eq!((scenario.poll_ms, scenario.wait_ms), (0, Scenario::default().wait_ms));
    fs::write(&path, r#"{ "fault": [] }"#).unwrap();
    assert!(Scenario::load(&path).is_err());
}
