//! Requests that are refused before their body has come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use repave_protocol::limits::ENVELOPE_BYTES;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::daemon::{Daemon, GUARD};

/// A connection on which head and body are sent one after the other, as many clients do.
struct Peer(StreamOwned<ClientConnection, TcpStream>);

impl Peer {
    fn connect(daemon: &Daemon) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(daemon.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(daemon.running().address).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Self(StreamOwned::new(connection, stream))
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.flush().unwrap();
    }

    fn send_head(&mut self, what: &str, token: &str, body_bytes: usize) {
        self.send(&format!(
            "{what} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {body_bytes}\r\n\r\n"
        ));
    }

    /// What comes until nothing has come for so long, or the peer has ended.
    fn read_for(&mut self, pause: Duration) -> String {
        self.0.sock.set_read_timeout(Some(pause)).unwrap();
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => text.extend(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(text).unwrap()
    }
}

/// A connection that ended without a word lost a client its next request, or this one's answer.
#[test]
fn a_request_that_is_refused_costs_nobody_the_connection() {
    let daemon = Daemon::start();
    let body = "{}".repeat(50);
    for (what, token, code) in [
        ("PUT /v1/servers/nobody/power", daemon.admin.as_str(), "422"),
        ("POST /v1/apply", "rpv_admin_00", "401"),
        ("POST /v1/servers/nobody/status", "", "404"),
        ("PUT /v1/nothing", daemon.admin.as_str(), "404"),
    ] {
        let mut peer = Peer::connect(&daemon);
        peer.send_head(what, token, body.len());
        let early = peer.read_for(Duration::from_millis(200));
        peer.send(&body);
        peer.send("GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        let answers = early + &peer.read_for(GUARD);
        let codes: Vec<&str> =
            answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(codes, [code, "200"], "{what}: {answers}");
    }
}

#[test]
fn a_body_that_nobody_wants_has_a_limit() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send_head("POST /v1/apply", "rpv_admin_00", 2 * ENVELOPE_BYTES);
    peer.send(&" ".repeat(ENVELOPE_BYTES + 1));
    let answer = peer.read_for(GUARD);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}
