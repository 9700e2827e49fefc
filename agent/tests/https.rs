//! The HTTP client against servers that a test controls to the byte: TLS servers with every kind of
//! certificate, and plain sockets that answer wrongly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use repave_agent::https::{Client, Fault, HttpError, SetupError, Timeouts};
use repave_agent::link::ControlLink;
use repave_core::edges::Link;
use repave_protocol::{ServerId, SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const LIMIT: Duration = Duration::from_secs(10);
const BODY: &[u8] = b"0123456789abcdef";

/// A CA, or a certificate that it issued, with its key.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    fn root(name: &str, years: (i32, i32)) -> Self {
        let (params, key) = (ca_params(name, years), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), params, key }
    }

    fn intermediate(&self, years: (i32, i32)) -> Self {
        let (params, key) = (ca_params("intermediate", years), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), params, key }
    }

    /// A certificate for `names`, as a chain with its key.
    fn issue(&self, names: &[&str], years: (i32, i32), usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = server_params(names, years);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    fn server(&self, names: &[&str], years: (i32, i32)) -> Identity {
        self.issue(names, years, ExtendedKeyUsagePurpose::ServerAuth)
    }
}

/// What a server shows.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    fn with(mut self, intermediate: &Authority) -> Self {
        self.chain.push(intermediate.der.clone());
        self
    }
}

fn ca_params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = server_params(&[], years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn server_params(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

/// A server that gives every request the same answer, and counts its connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn tls(identity: Identity, answer: Vec<u8>) -> Self {
        let key = PrivateKeyDer::try_from(identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain, key)
            .unwrap();
        let config = Arc::new(config);
        Self::start(move |socket| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(connection, socket), &answer);
        })
    }

    fn plain(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |socket| serve(socket, &answer))
    }

    /// Runs until the test's process ends.
    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(socket.unwrap()));
            }
        });
        Self { address, connections }
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/v1/blob", self.address.port())
    }
}

/// Answers each request; closes the connection after an answer that does not end by itself.
fn serve(mut stream: impl Read + Write, answer: &[u8]) {
    while let Some(()) = read_request(&mut stream) {
        if stream.write_all(answer).and_then(|()| stream.flush()).is_err() {
            return;
        }
        if !answer.starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n") {
            return;
        }
    }
}

fn read_request(stream: &mut impl Read) -> Option<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()
}

fn good_answer() -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n", BODY].concat()
}

fn client(ca_pem: &str) -> Client {
    Client::new(ca_pem.as_bytes(), Timeouts { connect: LIMIT, transfer: LIMIT }).unwrap()
}

fn post(client: &Client, url: &str) -> Result<Vec<u8>, HttpError> {
    client.post(url, b"{}", 100, LIMIT)
}

/// Posts to a server of this identity, and compares the refusal's beginning; "" is none.
fn check_identity(ca_pem: &str, identity: Identity, host: &str, refusal: &str) {
    let server = Server::tls(identity, good_answer());
    let result = post(&client(ca_pem), &server.url("https", host));
    match result {
        Ok(body) => assert_eq!((body.as_slice(), refusal), (BODY, "")),
        Err(HttpError { fault: Fault::Tls(error), .. }) => {
            let text = error.to_string();
            assert!(!refusal.is_empty() && text.contains(refusal), "{text:?}, not {refusal:?}");
        }
        Err(error) => panic!("{error:?}, not {refusal:?}"),
    }
}

const NOW: (i32, i32) = (2020, 2090);
const PAST: (i32, i32) = (1971, 1999);
const FUTURE: (i32, i32) = (2091, 2120);

#[test]
fn names_and_addresses() {
    let ca = Authority::root("ca", NOW);
    check_identity(&ca.pem, ca.server(&["localhost"], NOW), "localhost", "");
    check_identity(&ca.pem, ca.server(&["127.0.0.1"], NOW), "127.0.0.1", "");
    check_identity(&ca.pem, ca.server(&["elsewhere"], NOW), "localhost", "not valid for name");
    check_identity(&ca.pem, ca.server(&["localhost"], NOW), "127.0.0.1", "not valid for name");
    check_identity(&ca.pem, ca.server(&["127.0.0.2"], NOW), "127.0.0.1", "not valid for name");
}

#[test]
fn dates_do_not_matter() {
    let ca = Authority::root("ca", NOW);
    check_identity(&ca.pem, ca.server(&["localhost"], PAST), "localhost", "");
    check_identity(&ca.pem, ca.server(&["localhost"], FUTURE), "localhost", "");
    let old_ca = Authority::root("ca", PAST);
    check_identity(&old_ca.pem, old_ca.server(&["localhost"], NOW), "localhost", "");

    let chain = |of_intermediate, of_server| {
        let intermediate = ca.intermediate(of_intermediate);
        intermediate.server(&["localhost"], of_server).with(&intermediate)
    };
    for (of_intermediate, of_server) in
        [(NOW, PAST), (PAST, NOW), ((1980, 2000), (1990, 2010)), ((2100, 2120), (2110, 2130))]
    {
        // Without an instant at which both were valid, the dates are refused after all.
        let common = of_intermediate.0.max(of_server.0) <= of_intermediate.1.min(of_server.1);
        let refusal = if common { "" } else { "verification time" };
        check_identity(&ca.pem, chain(of_intermediate, of_server), "localhost", refusal);
    }
}

#[test]
fn a_date_that_does_not_matter_excuses_nothing_else() {
    let (ca, other) = (Authority::root("ca", NOW), Authority::root("other", NOW));
    let (server, client_only) = (&["localhost"][..], ExtendedKeyUsagePurpose::ClientAuth);
    for years in [NOW, PAST, FUTURE] {
        check_identity(
            &ca.pem,
            ca.server(&["elsewhere"], years),
            "localhost",
            "not valid for name",
        );
        check_identity(&ca.pem, other.server(server, years), "localhost", "UnknownIssuer");
        let wrong_usage = ca.issue(server, years, client_only.clone());
        check_identity(
            &ca.pem,
            wrong_usage,
            "localhost",
            "certificate does not allow extended key",
        );

        let key = KeyPair::generate().unwrap();
        let own = server_params(server, years).self_signed(&key).unwrap();
        let own = Identity { chain: vec![own.der().clone()], key: key.serialize_der() };
        check_identity(&ca.pem, own, "localhost", "UnknownIssuer");

        // The same name and the same CA's name, but another key.
        let impostor = Authority::root("ca", NOW);
        check_identity(&ca.pem, impostor.server(server, years), "localhost", "BadSignature");
    }
}

#[test]
fn any_of_several_pinned_cas_will_do() {
    let (old, new) = (Authority::root("old", NOW), Authority::root("new", NOW));
    let both = format!("{}{}", old.pem, new.pem);
    check_identity(&both, old.server(&["localhost"], NOW), "localhost", "");
    check_identity(&both, new.server(&["localhost"], NOW), "localhost", "");
}

#[test]
fn a_link_believes_another_ca_from_the_next_exchange_on() {
    let [old, new] = ["old", "new"].map(|name| Authority::root(name, NOW));
    let serve = |ca: &Authority| Server::tls(ca.server(&["localhost"], NOW), good_answer());
    let [of_old, of_new] = [serve(&old), serve(&new)];
    let http = Arc::new(client(&old.pem));
    let id = ServerId::of(&SigningKey::from_seed(&[7; 32]).public());
    let base = |server: &Server| server.url("https", "localhost");
    let link = |server: &Server| ControlLink::new(http.clone(), &[base(server)], id).unwrap();
    let (mut to_old, mut to_new) = (link(&of_old), link(&of_new));
    let check = |link: &mut ControlLink, refusal: &str| match link.ask(b"{}") {
        Ok(answer) => assert_eq!((answer.as_slice(), refusal), (BODY, "")),
        Err(error) => assert!(!refusal.is_empty() && error.reason.contains(refusal), "{error}"),
    };
    check(&mut to_old, "");
    check(&mut to_new, "UnknownIssuer");

    // What is no CA is told, and leaves everything as it was.
    let error = to_old.trust_ca("not PEM").unwrap_err();
    assert!(error.reason.contains("no CA certificate"), "{error}");
    check(&mut to_old, "");

    // Not even the connection that was kept is used again; what shares the client follows.
    to_old.trust_ca(&new.pem).unwrap();
    check(&mut to_old, "UnknownIssuer");
    check(&mut to_new, "");
    to_old.trust_ca(&(old.pem.clone() + &new.pem)).unwrap();
    check(&mut to_old, "");
    check(&mut to_new, "");
}

#[test]
fn without_a_ca_there_is_no_client() {
    let make = |pem: &[u8]| Client::new(pem, Timeouts::default()).map(|_| ()).unwrap_err();
    assert!(matches!(make(b""), SetupError::NoCertificate));
    assert!(matches!(make(b"hello"), SetupError::NoCertificate));
    assert!(matches!(make(b"-----BEGIN CERTIFICATE-----\n!!"), SetupError::Pem { .. }));
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(make(empty), SetupError::Certificate { number: 0, .. }));
}

#[test]
fn connections_are_kept_and_plain_http_is_for_blobs_only() {
    let ca = Authority::root("ca", NOW);
    let server = Server::tls(ca.server(&["localhost"], NOW), good_answer());
    let client = client(&ca.pem);
    for _ in 0..5 {
        assert_eq!(post(&client.clone(), &server.url("https", "localhost")).unwrap(), BODY);
        assert_eq!(client.get(&server.url("https", "localhost"), 16).unwrap(), BODY);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);

    let plain = Server::plain(good_answer());
    assert_eq!(client.get(&plain.url("http", "127.0.0.1"), 16).unwrap(), BODY);
    let refused = post(&client, &plain.url("http", "127.0.0.1")).unwrap_err();
    assert!(matches!(refused.fault, Fault::Scheme { allowed: ["https"] }), "{refused}");
    for url in ["ftp://localhost/", "localhost", "http://", ""] {
        assert!(client.get(url, 1).is_err(), "{url}");
    }
    assert_eq!(plain.connections.load(Ordering::SeqCst), 1);
}

/// Gets bytes 4 to 11 from a server that answers with this, and compares the refusal.
fn check_range(answer: &str, refusal: &str) {
    let server = Server::plain(answer);
    let client = client(&Authority::root("ca", NOW).pem);
    let url = server.url("http", "127.0.0.1");
    let mut into = [0; 8];
    match client.get_range(&url, 4, &mut into) {
        Ok(()) => assert_eq!((&into[..], refusal), (&b"456789ab"[..], "")),
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with(&url), "{text}");
            assert!(!refusal.is_empty() && text.contains(refusal), "{text:?}, not {refusal:?}");
        }
    }
}

#[test]
fn ranges_are_whole_and_the_right_ones() {
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-11/16\r\n";
    check_range(&format!("{head}Content-Length: 8\r\n\r\n456789ab"), "");
    check_range(&format!("{head}\r\n456789ab"), "");
    check_range(&format!("{head}Transfer-Encoding: chunked\r\n\r\n8\r\n456789ab\r\n0\r\n\r\n"), "");

    check_range(&format!("{head}Content-Length: 8\r\n\r\n456789a"), "after 7 bytes of 8");
    check_range(&format!("{head}Content-Length: 8\r\n\r\n"), "after 0 bytes of 8");
    check_range(&format!("{head}\r\n456789a"), "after 7 bytes of 8");
    check_range(&format!("{head}\r\n456789abc"), "longer than 8 bytes");
    check_range(&format!("{head}Content-Length: 9\r\n\r\n456789abc"), "longer than 8 bytes");
    check_range(
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n8\r\n456789"),
        "after 6 bytes of 8",
    );
    check_range(
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n9\r\n456789abc\r\n0\r\n\r\n"),
        "longer than 8 bytes",
    );
    check_range(&format!("{head}Content-Encoding: gzip\r\n\r\n456789ab"), "Content-Encoding");
    check_range(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-7/16\r\n\r\n01234567",
        "Content-Range \"bytes 0-7/16\"",
    );
    check_range(
        "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n0123456789abcdef",
        "does not serve ranges",
    );
    check_range(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "redirects are not followed",
    );
    check_range(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno blob",
        "status 404: no blob",
    );
    check_range("HTTP/1.1 503 Busy\r\nContent-Length: 90\r\n\r\nlater", "status 503");
    check_range("", "connection failed");
    check_range("SSH-2.0-OpenSSH_9.2\r\n", "HTTP");
    check_range(&format!("HTTP/1.1 206 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000)), "HTTP");
}

#[test]
fn a_range_that_is_cut_anywhere_is_never_taken_for_whole() {
    let whole = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-11/16\r\n\
        Content-Length: 8\r\n\r\n456789ab";
    let client = client(&Authority::root("ca", NOW).pem);
    for len in 0..whole.len() {
        let server = Server::plain(&whole[..len]);
        let result = client.get_range(&server.url("http", "127.0.0.1"), 4, &mut [0; 8]);
        assert!(result.is_err(), "{len} bytes of the answer");
    }
}

#[test]
fn whole_bodies_have_a_limit_and_an_end() {
    let client = client(&Authority::root("ca", NOW).pem);
    let check = |answer: &str, refusal: &str| {
        let server = Server::plain(answer);
        let error = client.get(&server.url("http", "127.0.0.1"), 8).unwrap_err().to_string();
        assert!(error.contains(refusal), "{error}, not {refusal}");
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n012345678", "longer than 8 bytes");
    check("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n0123", "after 4 bytes");
    check("HTTP/1.1 200 OK\r\n\r\n0123", "a cut would not be seen");
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n0\r\n\r\n",
        "longer than 8 bytes",
    );
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123", "after 4 bytes");
    check("HTTP/1.1 204 No Content\r\n\r\n", "status 204");
}

#[test]
fn silence_is_bounded() {
    let ca = Authority::root("ca", NOW);
    let silent = Server::start(|mut socket| {
        let mut sink = Vec::new();
        let _ = socket.read_to_end(&mut sink);
    });
    let limit = Duration::from_millis(300);
    let short =
        Client::new(ca.pem.as_bytes(), Timeouts { connect: limit, transfer: limit }).unwrap();
    let is_timeout = |result: Result<(), HttpError>| {
        let error = result.unwrap_err();
        assert!(matches!(error.fault, Fault::Timeout { limit_ms: 300, .. }), "{error:?}");
    };
    is_timeout(short.get(&silent.url("http", "127.0.0.1"), 8).map(|_| ()));
    is_timeout(short.get_range(&silent.url("http", "127.0.0.1"), 0, &mut [0; 8]));
    // TLS never gets an answer to its first message.
    is_timeout(short.post(&silent.url("https", "127.0.0.1"), b"", 8, limit).map(|_| ()));

    // A body that starts and then stops.
    let stops = Server::start(|mut socket| {
        let _ = read_request(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n0123");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    is_timeout(short.get(&stops.url("http", "127.0.0.1"), 8).map(|_| ()));
}

#[test]
fn a_closed_port_is_a_failed_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(&Authority::root("ca", NOW).pem);
    let error = client.get(&format!("http://{closed}/"), 8).unwrap_err();
    assert!(matches!(error.fault, Fault::Connection(_)), "{error:?}");
}
