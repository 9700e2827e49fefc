//! Answers of a mirror, as the transfer engine sees them: through the agent's own client from a
//! socket of the loopback, and as the frames that its workers inflate. Whatever a mirror says, what
//! is taken for a whole body is one.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use repave_agent::crew::ThreadCrew;
use repave_agent::disk::OpenDisk;
use repave_agent::http::Http;
use repave_agent::https::{Client, Timeouts};
use repave_core::edges::{BadCa, Crew, Job, LinkError, Seen, Slot, Work, WorkError, Workers};
use repave_image::ChunkDigest;
use repave_protocol::Sha256;

use crate::input::Input;

/// A CA whose key was thrown away: the client wants one, plain HTTP does not need it.
const CA: &[u8] = include_bytes!("ca.pem");
/// The body of most answers that are put together here.
const LIMIT_BYTES: usize = 600;
const CHUNK_BYTES: u32 = 64 * 1024;

/// A whole body, a range of one, or a chunk's frame.
pub fn http(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    match kind % 4 {
        0 => whole(&answer(&mut input, kind >> 2)),
        3 => frame(input),
        _ => range(&mut input, kind),
    }
}

fn client() -> Client {
    let timeouts = Timeouts { connect: Duration::from_secs(5), transfer: Duration::from_secs(10) };
    Client::new(CA, timeouts).expect("the CA is one")
}

fn whole(answer: &[u8]) {
    match get(answer) {
        Err(error) => check_words(&error),
        Ok(body) => {
            assert!(body.len() <= LIMIT_BYTES, "{} bytes", body.len());
            check_body(answer, &body, 200, |cut| get(cut).is_err());
        }
    }
}

fn get(answer: &[u8]) -> Result<Vec<u8>, String> {
    let url = serve(answer);
    client().get(&url, LIMIT_BYTES).map_err(|error| error.to_string())
}

fn range(input: &mut Input<'_>, kind: u8) {
    let first = match input.u8() % 4 {
        0 => 0,
        1 => u64::MAX - u64::from(input.u8()),
        _ => u64::from(input.u16()),
    };
    let length = usize::from(input.u8()) + 1;
    let answer = answer(input, kind >> 2);
    match get_range(&answer, first, length) {
        Err(error) => check_words(&error),
        Ok(body) => {
            let last = first + (length - 1) as u64;
            let says = format!("bytes {first}-{last}/").into_bytes();
            assert!(contains(&answer, &says), "another range was taken for this one");
            check_body(&answer, &body, 206, |cut| get_range(cut, first, length).is_err());
        }
    }
}

fn get_range(answer: &[u8], first: u64, length: usize) -> Result<Vec<u8>, String> {
    let mut into = vec![0; length];
    let url = serve(answer);
    let got = client().get_range(&url, first, &mut into);
    got.map(|()| into).map_err(|error| error.to_string())
}

/// A body was sent as it was received, under the status that it must have; and the same answer with
/// the body's last byte missing is refused.
fn check_body(answer: &[u8], body: &[u8], status: u16, refuses: impl Fn(&[u8]) -> bool) {
    let status = format!("{status}").into_bytes();
    assert!(contains(answer, &status), "no such status was sent");
    let text = answer.to_ascii_lowercase();
    if contains(&text, b"chunked") || contains(&text, b"http/1.1 1") {
        return;
    }
    let head = answer.windows(2).position(|end| end == b"\n\r" || end == b"\n\n");
    let head = head.expect("a head ends with an empty line");
    let start = answer[head + 1..].iter().position(|byte| *byte == b'\n').expect("the same");
    let sent = &answer[head + 1 + start + 1..];
    assert!(sent.starts_with(body), "{body:?} is not what was sent");
    if let Some(last) = body.len().checked_sub(1) {
        let cut = &answer[..answer.len() - sent.len() + last];
        assert!(refuses(cut), "a body without its last byte was taken for whole");
    }
}

/// A mirror cannot write lines of its own into a log.
fn check_words(error: &str) {
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(error.len() < 4096, "{} bytes of error", error.len());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Bytes of any kind, or a head of plausible lines and a body.
fn answer(input: &mut Input<'_>, kind: u8) -> Vec<u8> {
    if kind & 7 == 0 {
        return input.rest().to_vec();
    }
    let status = [200, 206, 200, 206, 206, 302, 404, 100][usize::from(input.u8() % 8)];
    let mut head = format!("HTTP/1.1 {status} x\r\n").into_bytes();
    let body = input.piece();
    let body = &body[..body.len().min(2 * LIMIT_BYTES)];
    for _ in 0..input.u8() % 6 {
        let line = match input.u8() % 8 {
            0 => format!("Content-Length: {}", body.len()),
            1 => format!("Content-Length: {}", input.u16()),
            2 => "Transfer-Encoding: chunked".into(),
            3 => format!("Content-Range: bytes 0-{}/*", body.len().wrapping_sub(1)),
            4 => format!("Content-Range: bytes {}-{}/{}", input.u8(), input.u8(), input.u16()),
            5 => "Content-Encoding: identity".into(),
            _ => String::from_utf8_lossy(input.bytes(24)).into_owned(),
        };
        head.extend(line.bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head.extend(body);
    head
}

/// The URL at which the next request, and only that, is answered so.
fn serve(answer: &[u8]) -> String {
    static SERVER: OnceLock<(u16, Arc<Mutex<Vec<u8>>>)> = OnceLock::new();
    let (port, next) = SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let port = listener.local_addr().expect("it has one").port();
        let next = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::clone(&next);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that has gone has seen enough.
                let _ = reply(stream, &answer);
            }
        });
        (port, next)
    });
    *next.lock().unwrap_or_else(PoisonError::into_inner) = answer.to_vec();
    format!("http://127.0.0.1:{port}/")
}

fn reply(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => request.extend(&piece[..count]),
        }
    }
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Both)
}

/// A source that serves one frame.
struct Frame(Mutex<Vec<u8>>);

impl Http for Frame {
    fn post(&self, _: &str, _: &[u8], _: usize, _: Duration) -> Result<Vec<u8>, LinkError> {
        Ok(Vec::new())
    }

    fn get(&self, _: &str, _: usize) -> Result<Vec<u8>, LinkError> {
        Ok(Vec::new())
    }

    fn get_range(&self, url: &str, _: u64, into: &mut [u8]) -> Result<(), LinkError> {
        let frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match frame.get(..into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => return Err(LinkError::trouble(url, "too short".into())),
        }
        Ok(())
    }

    fn trust_ca(&self, _: &str) -> Result<(), BadCa> {
        Ok(())
    }
}

/// A worker's threads and what they fetch.
struct Transfer {
    workers: Box<dyn Workers>,
    source: Arc<Frame>,
}

thread_local! {
    static TRANSFER: RefCell<Transfer> = RefCell::new(start());
}

/// A chunk is what its frame inflates to, to the byte, or it is refused.
fn frame(mut input: Input<'_>) {
    let plain_bytes = (u32::from(input.u8()) + 1) * 256;
    let stored = input.rest();
    let outcome = TRANSFER.with_borrow_mut(|transfer| transfer.fetch(stored, plain_bytes));
    let inflated = zstd::bulk::decompress(stored, plain_bytes as usize);
    match outcome {
        Ok(Seen::Fetched { digest }) => {
            let plain = inflated.expect("it was inflated");
            assert_eq!((plain.len() as u32, ChunkDigest::of(&plain)), (plain_bytes, digest));
        }
        Ok(other) => panic!("{other:?}"),
        Err(WorkError::Source(error)) => {
            assert!(inflated.is_err() || inflated.is_ok_and(|p| p.len() != plain_bytes as usize));
            assert!(!error.reason.contains("panicked"), "{error}");
        }
        Err(WorkError::Device(error)) => panic!("{error}"),
    }
}

impl Transfer {
    fn fetch(&mut self, stored: &[u8], plain_bytes: u32) -> Result<Seen, WorkError> {
        *self.source.0.lock().unwrap_or_else(PoisonError::into_inner) = stored.to_vec();
        let work = Work::Fetch {
            source: "http://mirror".into(),
            pack: Sha256::of(b"pack"),
            offset_bytes: 0,
            stored_bytes: stored.len() as u32,
            plain_bytes,
            pause_ms: 0,
        };
        self.workers.submit(Job { slot: Slot(0), work });
        self.workers.reap().outcome
    }
}

fn start() -> Transfer {
    let path = std::env::temp_dir().join(format!("repave-fuzz-{}.disk", std::process::id()));
    std::fs::write(&path, vec![0; CHUNK_BYTES as usize]).expect("room for a small disk");
    let facts = repave_protocol::Disk { name: "disk0".into(), ..Default::default() };
    let disk = OpenDisk::open(facts, &path).expect("a disk");
    std::fs::remove_file(&path).expect("it is there");
    let source = Arc::new(Frame(Mutex::new(Vec::new())));
    let http: Arc<dyn Http> = Arc::clone(&source) as Arc<dyn Http>;
    let workers = ThreadCrew::new(vec![disk], http).start(0, CHUNK_BYTES).expect("threads");
    Transfer { workers, source }
}
