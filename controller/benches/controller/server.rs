//! A simulated server: a key, the status that it truthfully reports, and a TLS connection of its own
//! that is kept alive. It checks its first answer and a sample of the others as an agent does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use repave_protocol::{
    Directive, DirectiveExpected, Disk, Dmi, Generation, Inventory, Keys, Load, Nic, Nonce, Order,
    PoolId, PublicKey, SealReport, ServerId, Sha256, Side, SigningKey, Standing, Status, seal,
    verify,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, client::Resumption, crypto::ring};

/// One answer in so many is checked, besides each server's first.
const SAMPLE: u64 = 16;
/// Longest head and body of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// What a server is and says.
pub(crate) struct Device {
    key: SigningKey,
    pub(crate) id: ServerId,
    pool: PoolId,
    number: usize,
    nonces: u64,
    boot: Nonce,
    sequence: u64,
    pub(crate) is_idle: bool,
    pub(crate) seal: Option<SealReport>,
    pub(crate) generation: Option<Generation>,
    answers: u64,
}

impl Device {
    pub(crate) fn new(number: usize, pool: PoolId, is_idle: bool) -> Self {
        let key = SigningKey::from_seed(Sha256::of(&number.to_le_bytes()).as_bytes());
        let id = ServerId::of(&key.public());
        let boot = Nonce::from_random(*Sha256::of(format!("boot {number}").as_bytes()).as_bytes());
        let (seal, generation) = (None, None);
        Self {
            key,
            id,
            pool,
            number,
            nonces: 0,
            boot,
            sequence: 0,
            is_idle,
            seal,
            generation,
            answers: 0,
        }
    }

    /// The server is switched off and on again: its next status brings the inventory once more.
    pub(crate) fn reboot(&mut self) {
        let boot = format!("boot {} {}", self.number, self.nonces);
        self.boot = Nonce::from_random(*Sha256::of(boot.as_bytes()).as_bytes());
        self.sequence = 0;
    }

    /// What it reports now.
    pub(crate) fn status(&mut self) -> Status {
        self.nonces += 1;
        let nonce = format!("nonce {} {}", self.number, self.nonces);
        let is_up = self.seal.is_some();
        let load = Load {
            busy_milli: 250,
            load_milli: 650 + self.nonces % 100,
            cpus: 8,
            memory_used_bytes: (4 << 30) + self.nonces * 4096,
            memory_bytes: 16 << 30,
        };
        Status {
            crit: Vec::new(),
            pool: self.pool.clone(),
            server: self.id,
            nonce: Nonce::from_random(*Sha256::of(nonce.as_bytes()).as_bytes()),
            boot: self.boot,
            sequence: self.sequence,
            side: if is_up { Side::Target } else { Side::Default },
            agent: "bench".into(),
            generation: self.generation,
            seal: self.seal.clone(),
            wiped: None,
            standing: match (is_up, self.is_idle) {
                (true, _) => Standing::Up { load },
                // A spare server was told to stay, and does.
                (false, true) => Standing::Staying,
                (false, false) => Standing::Idle,
            },
            log: None,
            bad_sources: Vec::new(),
            uptime_ms: self.sequence * 15_000,
            watchdog: None,
            inventory: (self.sequence == 0).then(|| inventory(self.number)),
            default_partition: None,
            trust: Some(1),
            join_token: None,
        }
    }

    fn takes_a_sample(&mut self) -> bool {
        let is_one = self.answers.is_multiple_of(SAMPLE);
        self.answers += 1;
        is_one
    }
}

fn inventory(number: usize) -> Inventory {
    let text = |kind: &str| Some(format!("{kind}-{number:05}"));
    let mac = |of: usize| {
        let [.., a, b, c] = number.to_be_bytes();
        format!("52:54:{of:02x}:{a:02x}:{b:02x}:{c:02x}")
    };
    let nic = |of: usize| Nic { name: format!("eth{of}"), mac: mac(of), ..Nic::default() };
    let disk = Disk {
        name: "nvme0n1".into(),
        bus: "nvme".into(),
        serial: text("DISK"),
        size_bytes: 960 << 30,
        logical_block_bytes: 512,
        physical_block_bytes: 4096,
        holds_default: true,
        ..Disk::default()
    };
    Inventory {
        dmi: Dmi { vendor: text("VENDOR"), serial: text("SERIAL"), ..Dmi::default() },
        architecture: "amd64".into(),
        cpus: 8,
        memory_bytes: 16 << 30,
        nics: vec![nic(0), nic(1)],
        disks: vec![disk],
        ..Inventory::default()
    }
}

/// Whom servers connect to, and whom they believe.
pub(crate) struct Wire {
    pub(crate) port: u16,
    pub(crate) directive_keys: Vec<PublicKey>,
    connector: TlsConnector,
}

impl Wire {
    pub(crate) fn new(port: u16, ca_pem: &str, directive_keys: Vec<PublicKey>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each server is another machine: none can resume another's session.
        config.resumption = Resumption::disabled();
        Ok(Self { port, directive_keys, connector: TlsConnector::from(Arc::new(config)) })
    }
}

/// A server and its connection, once it has one.
pub(crate) struct Server {
    pub(crate) device: Device,
    stream: Option<TlsStream<TcpStream>>,
}

impl Server {
    pub(crate) const fn new(device: Device) -> Self {
        Self { device, stream: None }
    }

    /// It is cut off, and rebooted.
    pub(crate) fn cut(&mut self) {
        self.stream = None;
        self.device.reboot();
    }

    pub(crate) async fn connect(&mut self, wire: &Wire) -> Result<()> {
        let tcp = TcpStream::connect(("127.0.0.1", wire.port)).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        self.stream = Some(wire.connector.connect(name, tcp).await.context("handshake")?);
        Ok(())
    }

    /// Reports once; how long the answer took, from the first byte written to the last one read.
    pub(crate) async fn report(&mut self, wire: &Wire) -> Result<Duration> {
        let status = self.device.status();
        let body = seal(&status, &self.device.key);
        let stream = self.stream.as_mut().context("not connected")?;
        let head = format!(
            "POST /v1/servers/{}/status HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.device.id,
            body.len()
        );
        let began = Instant::now();
        stream.write_all(&[head.as_bytes(), &body].concat()).await.context("send")?;
        stream.flush().await.context("send")?;
        let answer = read_answer(stream).await?;
        let took = began.elapsed();
        self.device.sequence += 1;
        if self.device.takes_a_sample() {
            self.check(&status, &answer, wire)?;
        }
        Ok(took)
    }

    /// As an agent does it; what it could not have been told is an error.
    fn check(&mut self, status: &Status, answer: &[u8], wire: &Wire) -> Result<()> {
        let expected = DirectiveExpected {
            pool: status.pool.clone(),
            server: status.server,
            nonce: status.nonce,
            accepted: None,
        };
        let directive = verify::<Directive>(answer, Keys::Pinned(&wire.directive_keys), &expected)?;
        let directive = directive.into_message();
        ensure!(matches!(directive.order, Order::Wait { .. }), "ordered {:?}", directive.order);
        self.device.generation = Some(directive.generation);
        Ok(())
    }
}

async fn read_answer(stream: &mut TlsStream<TcpStream>) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let (head_bytes, body_bytes) = loop {
        ensure!(bytes.len() < ANSWER_BYTES, "the head of an answer is too long");
        ensure!(stream.read_buf(&mut bytes).await.context("receive")? > 0, "hung up");
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (end + 4, content_length(&bytes[..end])?);
        }
    };
    ensure!(body_bytes < ANSWER_BYTES, "an answer of {body_bytes} bytes");
    while bytes.len() < head_bytes + body_bytes {
        ensure!(stream.read_buf(&mut bytes).await.context("receive")? > 0, "hung up");
    }
    if !bytes.starts_with(b"HTTP/1.1 200 ") {
        bail!("answered {}", String::from_utf8_lossy(&bytes));
    }
    Ok(bytes.split_off(head_bytes))
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Ok(length.context("an answer without a length")?.trim().parse()?)
}
