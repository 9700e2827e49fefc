//! A web server over a library's folder, with ranges and kept connections, plain or with TLS. Before
//! it answers with a part of a pack it calls a gate, which may hold the answer back.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Is called before a part of a pack is sent.
type Gate = dyn Fn() + Send + Sync;

/// Serves until the test's process ends; returns the URL.
pub(crate) fn serve(folder: PathBuf, tls: Option<Arc<ServerConfig>>, gate: Arc<Gate>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (folder, tls, gate) = (folder.clone(), tls.clone(), Arc::clone(&gate));
            thread::spawn(move || match tls {
                None => answer_all(socket, &folder, &*gate),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).unwrap();
                    answer_all(StreamOwned::new(connection, socket), &folder, &*gate)
                }
            });
        }
    });
    url
}

/// Answers every request of a connection, until its other end goes away.
fn answer_all(mut stream: impl Read + Write, folder: &Path, gate: &Gate) -> Option<()> {
    loop {
        let head = request(&mut stream)?;
        let path = head.split(' ').nth(1)?;
        let Ok(blob) = fs::read(folder.join(path.trim_start_matches('/'))) else {
            stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        };
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let (status, body) = match range.and_then(|range| range.split_once('-')) {
            None => ("200 OK".into(), &blob[..]),
            Some((first, last)) => {
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                // The index is a small blob; packs are not.
                if blob.len() >= 1 << 20 {
                    gate();
                }
                let status =
                    format!("206 Part\r\nContent-Range: bytes {first}-{last}/{}", blob.len());
                (status, &blob[first..=last])
            }
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).ok()?;
        stream.write_all(body).and_then(|()| stream.flush()).ok()?;
    }
}

/// The head of the next request, in lower case.
fn request(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).ok()?.to_ascii_lowercase())
}
