//! A web server that a test answers for, request by request, on kept connections, plain or with TLS;
//! and what an honest answer is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// First and last byte of a range.
pub(crate) type Range = (usize, usize);

/// Answers the request for a path and a range of it; without anything back, the connection ends.
type Answer = dyn Fn(&mut dyn Write, &str, Option<Range>) -> Option<()> + Send + Sync;

/// Serves until the test's process ends; returns the URL.
pub(crate) fn serve(
    tls: Option<Arc<ServerConfig>>,
    answer: impl Fn(&mut dyn Write, &str, Option<Range>) -> Option<()> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let answer: Arc<Answer> = Arc::new(answer);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (tls, answer) = (tls.clone(), Arc::clone(&answer));
            thread::spawn(move || match tls {
                None => answer_all(socket, &*answer),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).unwrap();
                    answer_all(StreamOwned::new(connection, socket), &*answer)
                }
            });
        }
    });
    url
}

/// Answers every request of a connection, until its other end or an answer ends it.
fn answer_all(mut stream: impl Read + Write, answer: &Answer) -> Option<()> {
    loop {
        let head = head(&mut stream)?;
        let path = head.split(' ').nth(1)?;
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let ends = range.and_then(|range| range.split_once('-'));
        let range = ends.map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()));
        answer(&mut stream, path, range)?;
    }
}

/// The head of the next request, in lower case.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).ok()?.to_ascii_lowercase())
}

/// What a library's folder has under a path.
pub(crate) fn blob(folder: &Path, path: &str) -> Option<Vec<u8>> {
    fs::read(folder.join(path.trim_start_matches('/'))).ok()
}

/// Status and headers of the honest answer, without its length, and its body.
pub(crate) fn found(blob: &[u8], range: Option<Range>) -> (String, Vec<u8>) {
    match range {
        None => ("200 OK".into(), blob.to_vec()),
        Some((first, last)) => {
            let head = format!("206 Partial\r\nContent-Range: bytes {first}-{last}/{}", blob.len());
            (head, blob[first..=last].to_vec())
        }
    }
}

/// Sends an answer whose body is said to be so long.
pub(crate) fn send(
    stream: &mut dyn Write,
    head: &str,
    length_bytes: usize,
    body: &[u8],
) -> Option<()> {
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {length_bytes}\r\n\r\n").ok()?;
    stream.write_all(body).and_then(|()| stream.flush()).ok()
}
