//! A web server over a folder, with ranges and kept connections: in this process, so that what it
//! costs is nobody's, and with sendfile(2), so that it is little: it stands for another machine. It
//! counts the bytes of the bodies that it sends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::sendfile;

/// The server; it ends with the process.
pub(crate) struct Server {
    address: SocketAddr,
    served_bytes: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let served_bytes = Arc::new(AtomicU64::new(0));
        let (folder, served) = (PathBuf::from(folder), Arc::clone(&served_bytes));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, served) = (folder.clone(), Arc::clone(&served));
                // A peer that goes away ends its connection, and nothing else.
                thread::spawn(move || drop(serve(&stream, &folder, &served)));
            }
        });
        Ok(Self { address, served_bytes })
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(crate) fn served_bytes(&self) -> u64 {
        self.served_bytes.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: &TcpStream, folder: &Path, served: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    loop {
        let Some((path, is_head, range)) = request(&mut lines)? else {
            return Ok(());
        };
        let Ok(file) = File::open(folder.join(path.trim_start_matches('/'))) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let size_bytes = file.metadata()?.len();
        let (first, last) = range.unwrap_or((0, size_bytes.saturating_sub(1)));
        let last = last.min(size_bytes.saturating_sub(1));
        let length_bytes = (last + 1).saturating_sub(first).min(size_bytes);
        let status = match range {
            Some(_) => format!("206 Partial\r\nContent-Range: bytes {first}-{last}/{size_bytes}"),
            None => "200 OK".into(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length_bytes}\r\nAccept-Ranges: bytes\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        if !is_head {
            send(stream, &file, first..first + length_bytes)?;
            served.fetch_add(length_bytes, Ordering::Relaxed);
        }
    }
}

fn send(stream: &TcpStream, file: &File, mut range: Range<u64>) -> io::Result<()> {
    while !range.is_empty() {
        let left_bytes = (range.end - range.start) as usize;
        if sendfile(stream, file, Some(&mut range.start), left_bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

type Request = (String, bool, Option<(u64, u64)>);

fn request(lines: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (is_head, path) = (method == "HEAD", path.to_owned());
    let mut range = None;
    loop {
        let mut header = String::new();
        if lines.read_line(&mut header)? == 0 || header.trim().is_empty() {
            return Ok(Some((path, is_head, range)));
        }
        let header = header.to_ascii_lowercase();
        if let Some(bytes) = header.trim().strip_prefix("range: bytes=")
            && let Some((first, last)) = bytes.split_once('-')
        {
            range = first.parse().ok().map(|first| (first, last.parse().unwrap_or(u64::MAX)));
        }
    }
}
