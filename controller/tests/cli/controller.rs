//! A controller that knows in advance what it will be asked: each request must be the next one that
//! the test wrote down, to the header and the body, and is given the answer beside it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use repave_controller::authority::Authority;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::command::check;

/// The operator's token.
pub(crate) const TOKEN: &str = "rpv_alice_5ec2e7";

/// A request that must come, and what it is answered.
pub(crate) struct Exchange {
    request: &'static str,
    body: Option<Value>,
    if_match: Option<&'static str>,
    status: u16,
    etag: Option<&'static str>,
    kind: &'static str,
    answer: String,
}

impl Exchange {
    /// `request` is method and path; the answer is empty.
    pub(crate) fn new(request: &'static str) -> Self {
        let kind = "application/json";
        let (body, if_match, etag, answer) = (None, None, None, String::new());
        Self { request, body, if_match, status: 200, etag, kind, answer }
    }

    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn if_match(self, etag: &'static str) -> Self {
        Self { if_match: Some(etag), ..self }
    }

    pub(crate) fn etag(self, etag: &'static str) -> Self {
        Self { etag: Some(etag), ..self }
    }

    pub(crate) fn answers(self, answer: Value) -> Self {
        Self { answer: answer.to_string(), ..self }
    }

    pub(crate) fn streams(self, answer: &str) -> Self {
        Self { answer: answer.into(), kind: "text/event-stream", ..self }
    }

    pub(crate) fn problem(self, status: u16, answer: Value) -> Self {
        Self { status, kind: "application/problem+json", answer: answer.to_string(), ..self }
    }

    /// What is wrong with a request, if anything is.
    fn differs(&self, found: &Found) -> Option<String> {
        let is_stream = self.request.contains("/stream");
        let accept = if is_stream { "text/event-stream" } else { "application/json" };
        let content = self.body.as_ref().map(|_| "application/json");
        let headers = [
            ("authorization", Some(format!("Bearer {TOKEN}"))),
            ("accept", Some(accept.to_owned())),
            ("if-match", self.if_match.map(Into::into)),
            ("content-type", content.map(Into::into)),
        ];
        if found.request != self.request || found.body != self.body {
            return Some(format!("{} {:?} and not {:?}", self.request, self.body, found));
        }
        let other = headers.iter().find(|(name, value)| found.header(name) != value.as_deref());
        other.map(|(name, value)| format!("{}: {name} {value:?} and not {found:?}", self.request))
    }
}

/// A request that came.
#[derive(Debug)]
struct Found {
    request: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

impl Found {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A running one, and the folder of an operator who knows it.
pub(crate) struct Controller {
    folder: TempDir,
    url: String,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    pub(crate) fn start(exchanges: Vec<Exchange>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (now, names) = (OffsetDateTime::now_utc(), ["127.0.0.1".to_owned()]);
        let authority = Authority::open_or_create(folder.path(), &names, now).unwrap();
        let tls = authority.tls(now).unwrap();
        let token = folder.path().join("token");
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            for exchange in exchanges {
                serve(&listener, &tls, &exchange);
            }
        });
        Self { folder, url, thread: Some(thread) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `repave` with these arguments, which knows this controller from its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_repave"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .env_remove("REPAVE_TOKEN")
            .env("XDG_CONFIG_HOME", self.folder())
            .env("REPAVE_URL", &self.url)
            .env("REPAVE_CA", "ca.pem")
            .env("REPAVE_TOKEN_FILE", "token");
        command
    }

    /// Runs `repave`; checks its exit code and a part of what it prints there.
    pub(crate) fn check(&self, arguments: &[&str], code: i32, printed: &str) -> String {
        check(self.command(arguments), code, printed)
    }

    /// Checks that everything was asked for.
    pub(crate) fn done(mut self) {
        self.thread.take().unwrap().join().expect("the requests are those that were expected");
    }
}

fn serve(listener: &TcpListener, tls: &Arc<ServerConfig>, exchange: &Exchange) {
    let (socket, _) = listener.accept().unwrap();
    let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let found = read(&mut stream);
    let Exchange { status, kind, answer, .. } = exchange;
    let differs = exchange.differs(&found);
    let status = if differs.is_some() { 400 } else { *status };
    let etag = exchange.etag.map(|etag| format!("ETag: {etag}\r\n")).unwrap_or_default();
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n{etag}\r\n{answer}"
    )
    .unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    // What the client has not read yet must not be lost to a reset.
    let _ = stream.sock.shutdown(Shutdown::Write);
    let _ = stream.sock.read_to_end(&mut Vec::new());
    assert_eq!(differs, None);
}

fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Found {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let request = line().trim_end_matches(" HTTP/1.1").to_owned();
    let heads = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let headers = heads
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        })
        .collect();
    let mut found = Found { request, headers, body: None };
    let length = found.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    found.body = (length > 0).then(|| serde_json::from_slice(&body).unwrap());
    found
}
