//! Registries that fail or lie: a server on loopback that serves a library and does one thing wrong.
//! What a registry should be is tested with a real one, in the controller's tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{BARE_BOOT, Bench, MIB};
use repave_image::Layout;
use repave_image_codec::{
    Images, Library, LibraryError, Registry, RegistryAccess, RegistryError, verify,
};
use repave_protocol::ImageReference;

/// What a request is, and how often its like came before.
struct Asked {
    line: String,
    range: Option<(usize, usize)>,
    before: usize,
}

/// Status, headers, and body; the body is cut to the length given, while the header says its own.
struct Answer(u16, String, Vec<u8>, Option<usize>);

type Fault = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// Serves the library as a registry's repository `images`; `fault` may answer in its place.
fn serve(library: Library, fault: Box<Fault>) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/images", listener.local_addr().unwrap());
    let fault: Arc<Fault> = Arc::from(fault);
    let asked = Arc::new(Mutex::new(Vec::new()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (library, fault, asked) = (library.clone(), fault.clone(), Arc::clone(&asked));
            // Whoever breaks a connection ends this thread.
            thread::spawn(move || converse(&stream.unwrap(), &library, &*fault, &asked));
        }
    });
    let access = RegistryAccess { pause: Duration::from_millis(1), ..RegistryAccess::default() };
    Registry::new(url.parse().unwrap(), access).unwrap()
}

fn converse(
    mut stream: &TcpStream,
    library: &Library,
    fault: &Fault,
    all: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut head = BufReader::new(stream).lines();
    loop {
        let line = head.next()?.ok()?;
        let mut range = None;
        loop {
            let header = head.next()?.ok()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("range: bytes=") {
                let (start, end) = value.split_once('-')?;
                range = Some((start.parse().ok()?, end.parse().ok()?));
            }
        }
        let before = {
            let mut all = all.lock().unwrap();
            all.push(format!("{line} {range:?}"));
            all.iter().filter(|other| **other == format!("{line} {range:?}")).count() - 1
        };
        let asked = Asked { line, range, before };
        let Answer(status, headers, body, cut) =
            fault(&asked).unwrap_or_else(|| truth(library, &asked));
        write!(stream, "HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\n\r\n", body.len())
            .ok()?;
        if asked.line.starts_with("HEAD") {
            continue;
        }
        stream.write_all(&body[..cut.unwrap_or(body.len())]).ok()?;
        if cut.is_some() {
            stream.shutdown(std::net::Shutdown::Both).ok()?;
            return None;
        }
    }
}

fn truth(library: &Library, asked: &Asked) -> Answer {
    let path = asked.line.split(' ').nth(1).unwrap();
    let last = path.rsplit('/').next().unwrap();
    let list = fs::read(library.root().join("index.json")).unwrap();
    let images: Vec<ImageReference> = Layout::parse(&list).unwrap().images().collect();
    if path.contains("/tags/list") {
        let tags: Vec<_> = images.iter().map(|i| format!("\"{}-{}\"", i.name, i.version)).collect();
        let body = format!(r#"{{"name":"images","tags":[{}]}}"#, tags.join(","));
        return Answer(200, String::new(), body.into_bytes(), None);
    }
    let tagged = images.iter().find(|i| format!("{}-{}", i.name, i.version) == last);
    let digest = match tagged {
        Some(image) => image.manifest.to_string(),
        None => last.trim_start_matches("sha256:").to_owned(),
    };
    let Ok(blob) = fs::read(library.root().join("blobs/sha256").join(digest)) else {
        return Answer(404, String::new(), Vec::new(), None);
    };
    match asked.range {
        Some((start, end)) if path.contains("/blobs/") => {
            let header = format!("content-range: bytes {start}-{end}/{}\r\n", blob.len());
            Answer(206, header, blob[start..=end].to_vec(), None)
        }
        _ => Answer(200, String::new(), blob, None),
    }
}

/// Pulls an image from a server with a fault into an empty folder.
fn pull(fault: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Pulled {
    let bench = Bench::new();
    common::ext4(&bench, 16 * MIB);
    let image = bench.import(&bench.path("ext4.raw"), 1, BARE_BOOT).unwrap().reference;
    let registry = serve(bench.library.clone(), Box::new(fault));
    let library = Library::open_or_create(&bench.path("pulled")).unwrap();
    let result = registry
        .find("web", 1)
        .and_then(|found| {
            assert_eq!(found, image);
            registry.pull(&library, &found, &[bench.key.public()], &mut |_| {})
        })
        .map(|_| verify(&library, &image, &[], &mut |_| {}).map(|_| ()).unwrap());
    if result.is_err() {
        assert_eq!(library.images().unwrap(), []);
    }
    (bench, library, result)
}

type Pulled = (Bench, Library, Result<(), LibraryError>);

/// A request for the pack, which is the one blob that is large.
fn is_pack(asked: &Asked) -> bool {
    asked.line.starts_with("GET") && asked.range.is_some_and(|(start, end)| end - start > 1_000_000)
}

fn whole(asked: &Asked) -> Vec<u8> {
    let (start, end) = asked.range.unwrap_or_default();
    vec![7; end + 1 - start]
}

fn part(asked: &Asked) -> String {
    let (start, end) = asked.range.unwrap_or_default();
    format!("content-range: bytes {start}-{end}/{}\r\n", end + 1)
}

#[test]
fn what_passes_is_passed_over() {
    pull(|_| None).2.unwrap();
    let busy = |asked: &Asked| {
        (asked.before < 2).then(|| Answer(503, String::new(), b"busy".to_vec(), None))
    };
    pull(busy).2.unwrap();
    // The connection breaks in the middle of the pack, twice.
    let broken = |asked: &Asked| {
        let breaks = is_pack(asked) && asked.before < 2;
        breaks.then(|| Answer(206, part(asked), whole(asked), Some(500_000)))
    };
    pull(broken).2.unwrap();
}

#[test]
fn what_does_not_pass_ends_and_says_where() {
    let (_, _, result) = pull(|_| Some(Answer(503, String::new(), b"no\nspace".to_vec(), None)));
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("/images does not answer, after 4 attempts: status 503: nospace"),
        "{error}"
    );
    let broken =
        |asked: &Asked| is_pack(asked).then(|| Answer(206, part(asked), whole(asked), Some(9)));
    assert!(matches!(
        pull(broken).2,
        Err(LibraryError::Registry(RegistryError::BadAnswer { reason, .. })) if reason.contains("4 times")
    ));
    let teapot =
        |asked: &Asked| is_pack(asked).then(|| Answer(418, String::new(), Vec::new(), None));
    assert!(matches!(
        pull(teapot).2,
        Err(LibraryError::Registry(RegistryError::Status { status: 418, .. }))
    ));
}

#[test]
fn lies_are_found() {
    // Other bytes of the right length: nothing of them is kept under any name.
    let (_bench, library, result) =
        pull(|asked| is_pack(asked).then(|| Answer(206, part(asked), whole(asked), None)));
    assert!(matches!(result, Err(LibraryError::BlobDigest { .. })), "{result:?}");
    let kept = fs::read_dir(library.root().join("blobs/sha256")).unwrap().count();
    assert_eq!(kept, 0);
    // Another part than was asked for, or none.
    let other = |asked: &Asked| {
        let header = "content-range: bytes 0-9/10\r\n".to_owned();
        is_pack(asked).then(|| Answer(206, header, whole(asked), None))
    };
    assert!(matches!(pull(other).2, Err(LibraryError::Registry(RegistryError::BadAnswer { .. }))));
    // A manifest without end, and one that is none.
    let endless = |asked: &Asked| {
        let is = asked.line.contains("/manifests/");
        is.then(|| Answer(200, String::new(), vec![b' '; 2 * MIB as usize], None))
    };
    assert!(matches!(
        pull(endless).2,
        Err(LibraryError::Registry(RegistryError::BadAnswer { .. }))
    ));
}

#[test]
fn a_list_without_end_and_credentials_that_would_go_elsewhere() {
    let bench = Bench::new();
    let check = |headers: &'static str, status, expected: &str| {
        let answer = move |asked: &Asked| {
            let body = br#"{"tags":["web-1"]}"#.to_vec();
            asked.line.contains("/tags/").then(|| Answer(status, headers.into(), body, None))
        };
        let registry = serve(bench.library.clone(), Box::new(answer));
        let error = registry.images().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("link: <https://elsewhere.test/v2/>; rel=\"next\"\r\n", 200, "it goes on at");
    let realm = "www-authenticate: Bearer realm=\"http://elsewhere.test/token\"\r\n";
    check(realm, 401, "which is not TLS");
    check("www-authenticate: Basic realm=\"x\"\r\n", 401, "status 401");
    let empty = |asked: &Asked| {
        let next = "link: </v2/images/tags/list?n=1000>; rel=\"next\"\r\n".to_owned();
        asked.line.contains("/tags/").then(|| Answer(200, next, b"{\"tags\":null}".to_vec(), None))
    };
    let error = serve(bench.library.clone(), Box::new(empty)).images().unwrap_err().to_string();
    assert!(error.contains("goes on beyond 0 tags"), "{error}");
    let upload = |asked: &Asked| {
        let elsewhere = "location: https://elsewhere.test/upload\r\n".to_owned();
        match asked.line.split(' ').next() {
            Some("POST") => Some(Answer(202, elsewhere, Vec::new(), None)),
            _ => Some(Answer(404, String::new(), Vec::new(), None)),
        }
    };
    common::ext4(&bench, 16 * MIB);
    let image = bench.import(&bench.path("ext4.raw"), 1, BARE_BOOT).unwrap().reference;
    let registry = serve(bench.library.clone(), Box::new(upload));
    let error = registry.push(&bench.library, &image, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("is elsewhere"), "{error}");
}
