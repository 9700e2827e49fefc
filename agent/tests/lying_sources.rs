//! Sources that lie, each over a real socket and each beside an honest one: the device becomes the
//! image all the same, and the liar is named, apart from those that are only in trouble.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "write/bench.rs"]
mod bench;
#[path = "write/server.rs"]
mod server;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bench::Bench;
use serde_json::Value;
use server::{Range, blob, found, send, serve};

/// What a source does when it is asked for a range of a pack.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Nothing wrong.
    None,
    /// Other bytes of the right number.
    WrongBytes,
    /// The right bytes, and one more that no length announced.
    Longer,
    /// Half of them, and then the end.
    Short,
    /// The whole blob with 200.
    Whole,
    /// Another range than was asked for.
    OtherRange,
    /// A proxy's encoding.
    Gzip,
    /// Elsewhere, which is here.
    RedirectLoop,
    /// It refuses.
    Refuses,
}

/// A server of `folder`; returns its URL.
fn serve_lying(folder: PathBuf, lie: Lie) -> String {
    serve(None, move |stream, path, range| {
        let Some(blob) = blob(&folder, path) else { return send(stream, "404 No", 0, &[]) };
        let (head, body) = match range {
            // The index is a small range; only packs are lied about.
            Some(range) if blob.len() >= 1 << 20 => lying(&blob, range, lie, path),
            range => found(&blob, range),
        };
        let is_of_pack = range.is_some_and(|_| body.len() > 4096);
        match lie {
            Lie::Longer if is_of_pack => {
                let length = body.len();
                let chunked = "Transfer-Encoding: chunked";
                write!(stream, "HTTP/1.1 {head}\r\n{chunked}\r\n\r\n{length:x}\r\n").ok()?;
                stream.write_all(&body).ok()?;
                stream.write_all(b"\r\n1\r\n!\r\n0\r\n\r\n").ok()
            }
            Lie::Short if is_of_pack => {
                send(stream, &head, body.len() * 2, &body)?;
                None
            }
            _ => send(stream, &head, body.len(), &body),
        }
    })
}

fn lying(blob: &[u8], (first, last): Range, lie: Lie, path: &str) -> (String, Vec<u8>) {
    let (head, mut body) = found(blob, Some((first, last)));
    match lie {
        Lie::None | Lie::Longer => {}
        Lie::WrongBytes => return (head, found(blob, Some((0, last - first))).1),
        Lie::Short => body.truncate(body.len() / 2),
        Lie::Whole => return ("200 OK".into(), blob.to_vec()),
        Lie::OtherRange => return found(blob, Some((first.saturating_sub(1), last - 1))),
        Lie::Gzip => return (format!("{head}\r\nContent-Encoding: gzip"), body),
        Lie::RedirectLoop => return (format!("302 Found\r\nLocation: {path}"), Vec::new()),
        Lie::Refuses => return ("503 Busy".into(), Vec::new()),
    }
    (head, body)
}

#[test]
fn a_source_that_lies_is_named_and_passed_over() {
    let bench = Bench::new();
    let image = fs::read(bench.path("root.ext4")).unwrap();
    let honest = serve_lying(bench.path("library"), Lie::None);
    for (lie, is_lie, words) in [
        (Lie::WrongBytes, true, "inflate"),
        (Lie::Longer, true, "the body is longer than"),
        (Lie::Short, false, "the body ended after"),
        (Lie::Whole, true, "does not serve ranges"),
        (Lie::OtherRange, true, "answered Content-Range"),
        (Lie::Gzip, true, "Content-Encoding \"gzip\" was not asked for"),
        (Lie::RedirectLoop, true, "redirects are not followed"),
        (Lie::Refuses, false, "status 503"),
    ] {
        let liar = serve_lying(bench.path("library"), lie);
        let device = bench.device();
        let output = Command::new(env!("CARGO_BIN_EXE_repave-agent"))
            .args(["write", "--json", "--image", "web:1", "--bare", "--source", &liar])
            .args(["--source", &honest, "--device"])
            .arg(&device)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lie:?}: {said}");
        assert!(fs::read(&device).unwrap() == image, "{lie:?}");
        assert!(said.contains(words) && said.contains(&liar), "{lie:?}: {said}");
        let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = figures["bad_sources"].as_array().unwrap();
        assert_eq!(named.len(), 1, "{lie:?}: {figures}");
        assert_eq!((&named[0]["source"], &named[0]["lied"]), (&liar.into(), &is_lie.into()));
        let reason = named[0]["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{lie:?}: {reason}");
    }
}
