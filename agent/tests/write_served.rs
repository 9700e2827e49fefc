//! `repave-agent write` from a library that is served, over real sockets: interrupted in mid-write
//! and run again, and over HTTPS with a CA of one's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "write/bench.rs"]
mod bench;
#[path = "write/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use bench::Bench;
use server::{blob, found, send, serve};

/// Longest that anything here may take before it is taken for a hang.
const HANG: Duration = Duration::from_secs(120);

fn write(url: &str, device: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_repave-agent"));
    command.args(["write", "--image", "web:1", "--bare", "--source", url, "--device"]).arg(device);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server of the library, which calls `gate` before it sends a part of a pack.
fn serve_library(
    bench: &Bench,
    tls: Option<Arc<ServerConfig>>,
    gate: impl Fn() + Send + Sync + 'static,
) -> String {
    let folder = bench.path("library");
    serve(tls, move |stream, path, range| {
        let Some(blob) = blob(&folder, path) else { return send(stream, "404 No", 0, &[]) };
        // The index is a small blob; packs are not.
        if range.is_some() && blob.len() >= 1 << 20 {
            gate();
        }
        let (head, body) = found(&blob, range);
        send(stream, &head, body.len(), &body)
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check_interrupted(signal: Signal, code: i32) {
    let bench = Bench::new();
    let image = fs::read(bench.path("root.ext4")).unwrap();
    let (held, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (asked, released) = (AtomicUsize::new(0), Mutex::new(released));
    let gate = move || {
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            held.send(()).unwrap();
            // Until the test lets go of its end.
            let _ = released.lock().unwrap().recv();
        }
    };
    let url = serve_library(&bench, None, gate);
    let device = bench.device();
    let child = write(&url, &device).spawn().unwrap();
    is_held.recv_timeout(HANG).expect("the image takes more than one request");
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(release);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    assert!(said(&output).contains("interrupted: "), "{}", said(&output));
    assert!(said(&output).contains("run the same again to go on"), "{}", said(&output));
    let torn = fs::read(&device).unwrap();
    let is_old = |block: &[u8]| block.iter().all(|byte| *byte == 0x5a);
    assert!(torn.chunks(4096).any(is_old), "it was interrupted in the middle");
    assert!(!is_old(&torn[..4096]), "it had begun");

    let output = write(&url, &device).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::read(&device).unwrap() == image);
}

#[test]
fn interrupted_in_mid_write_it_says_so_and_the_same_again_finishes() {
    check_interrupted(Signal::SIGINT, 130);
}

#[test]
fn a_service_manager_stops_it_the_same_way() {
    check_interrupted(Signal::SIGTERM, 143);
}

/// A CA, as a PEM file's text and as what signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// What a server on the loopback shows.
    fn server(&self) -> Arc<ServerConfig> {
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

#[test]
fn https_needs_the_ca_that_vouches_for_the_source() {
    let bench = Bench::new();
    let [right, other] = ["right", "other"].map(Authority::new);
    for (name, authority) in [("right.pem", &right), ("other.pem", &other)] {
        fs::write(bench.path(name), &authority.pem).unwrap();
    }
    fs::write(bench.path("empty.pem"), "").unwrap();
    let url = serve_library(&bench, Some(right.server()), || ());
    let device = bench.device();
    let noise = fs::read(&device).unwrap();
    for (ca, code, words) in [
        (None, 2, "is https: give --ca FILE with the certificates that vouch for it"),
        (Some("other.pem"), 1, "/index.json: TLS: invalid peer certificate: "),
        (Some("empty.pem"), 1, "empty.pem: there is no CA certificate to pin"),
        (Some("missing.pem"), 1, "missing.pem: No such file or directory"),
    ] {
        let mut command = write(&url, &device);
        let ca = ca.map(|ca| bench.path(ca));
        if let Some(ca) = &ca {
            command.arg("--ca").arg(ca);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{ca:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{ca:?}: {}, not {words:?}", said(&output));
    }
    assert!(fs::read(&device).unwrap() == noise, "nothing was written");

    let output = write(&url, &device).arg("--ca").arg(bench.path("right.pem")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::read(&device).unwrap() == fs::read(bench.path("root.ext4")).unwrap());
}
