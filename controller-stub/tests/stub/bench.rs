//! A stub, and a server made by hand: it signs, posts, verifies and accepts as an agent does, but
//! says only what the test has it say.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use repave_controller_stub::{
    Authority, AuthoritySpec, Enrolment, Scenario, Select, Stub, StubSpec,
};
use repave_protocol::{
    BootMethod, Directive, DirectiveExpected, Generation, ImageReference, Keys, Load, Nonce, Order,
    PoolId, Purpose, Recency, Refusal, SealReport, ServerId, Settings, Sha256, Side, SigningKey,
    Stage, Standing, Status, seal, verify,
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Only against hanging; nothing is expected to take that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn pool() -> PoolId {
    "demo".parse().unwrap()
}

pub(crate) fn authority() -> Arc<Authority> {
    let spec = AuthoritySpec::new([7; 32], &["127.0.0.1", "controller.example"]);
    Arc::new(Authority::generate(spec).unwrap())
}

pub(crate) fn start(scenario: Scenario) -> Stub {
    Stub::start(StubSpec { scenario, ..StubSpec::new(authority(), pool()) }).unwrap()
}

/// A scenario that makes every server a `web` and holds no status for longer than it must.
pub(crate) fn all_web() -> Scenario {
    Scenario {
        enrolments: vec![Enrolment {
            select: Select::Anyone,
            order: Some(purpose("web")),
            issued: None,
        }],
        poll_ms: 0,
        ..Scenario::default()
    }
}

pub(crate) fn purpose(server_type: &str) -> Order {
    Order::Purpose(Box::new(Purpose {
        server_type: server_type.into(),
        image: ImageReference {
            name: server_type.into(),
            version: 1,
            manifest: Sha256::of(server_type.as_bytes()),
        },
        sources: vec!["https://127.0.0.1:8443/library".into()],
        disk: None,
        boot: BootMethod::Auto,
        settings: Settings::default(),
    }))
}

pub(crate) fn seal_of(server_type: &str, generation: u64) -> SealReport {
    SealReport {
        generation: Generation(generation),
        server_type: server_type.into(),
        image: server_type.into(),
        version: 1,
        manifest: Sha256::of(server_type.as_bytes()),
        attempts: 0,
        alone: false,
    }
}

pub(crate) fn at(stage: Stage) -> Standing {
    Standing::Purposing { stage, done_bytes: 0, total_bytes: 0, bytes_per_s: 0 }
}

pub(crate) const LEAVING: Standing = Standing::Leaving { method: BootMethod::Firmware };

pub(crate) fn up() -> Standing {
    Standing::Up { load: Load::default() }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    /// The body, or how many bytes of it came before the connection broke.
    pub(crate) body: Result<Vec<u8>, usize>,
}

/// An HTTPS client that trusts one CA and follows nothing.
pub(crate) fn client(authority: &Authority) -> ureq::Agent {
    let ca = Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
    let roots = RootCerts::new_with_certs(&[ca]);
    ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(LIMIT))
        .build()
        .into()
}

pub(crate) fn read(answer: ureq::http::Response<ureq::Body>) -> Reply {
    let (head, body) = answer.into_parts();
    let mut bytes = Vec::new();
    let read = body.into_reader().read_to_end(&mut bytes);
    Reply {
        code: head.status.as_u16(),
        headers: head.headers,
        body: match read {
            Ok(_) => Ok(bytes),
            Err(_) => Err(bytes.len()),
        },
    }
}

/// A server.
pub(crate) struct Device {
    key: SigningKey,
    url: String,
    client: ureq::Agent,
    directive_key: repave_protocol::PublicKey,
    draws: u8,
    /// What the next status says.
    pub(crate) status: Status,
    /// What it accepted last.
    pub(crate) accepted: Option<(Generation, Sha256)>,
}

impl Device {
    pub(crate) fn new(stub: &Stub, seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let server = ServerId::of(&key.public());
        let mut device = Self {
            url: format!("{}/v1/servers/{server}/status", stub.url()),
            client: client(stub.authority()),
            directive_key: stub.authority().directive_key().public(),
            draws: 0,
            status: Status {
                crit: Vec::new(),
                pool: pool(),
                server,
                nonce: Nonce::from_random([0; 32]),
                boot: Nonce::from_random([0; 32]),
                sequence: 0,
                side: Side::Default,
                agent: "bench".into(),
                generation: None,
                seal: None,
                wiped: None,
                standing: Standing::Idle,
                log: None,
                bad_sources: Vec::new(),
                uptime_ms: 0,
                watchdog: None,
                inventory: None,
                default_partition: None,
                trust: None,
                join_token: None,
            },
            accepted: None,
            key,
        };
        device.boot(Side::Default);
        device
    }

    pub(crate) fn id(&self) -> ServerId {
        self.status.server
    }

    /// Restarts, on the side given.
    pub(crate) fn boot(&mut self, side: Side) {
        self.status.boot = self.draw();
        self.status.sequence = 0;
        self.status.side = side;
    }

    fn draw(&mut self) -> Nonce {
        self.draws += 1;
        Nonce::from_random([self.draws; 32])
    }

    /// The bytes of the next status.
    pub(crate) fn seal(&mut self, standing: Standing) -> Vec<u8> {
        self.status.nonce = self.draw();
        self.status.generation = self.accepted.map(|(generation, _)| generation);
        self.status.standing = standing;
        let bytes = seal(&self.status, &self.key);
        self.status.sequence += 1;
        bytes
    }

    pub(crate) fn post(&self, bytes: &[u8]) -> Result<Reply, ureq::Error> {
        self.client.post(&self.url).send(bytes).map(read)
    }

    /// Reports and gives the bytes of the answer.
    pub(crate) fn ask(&mut self, standing: Standing) -> Vec<u8> {
        let bytes = self.seal(standing);
        let reply = self.post(&bytes).unwrap();
        assert_eq!(reply.code, 200, "{reply:?}");
        reply.body.unwrap()
    }

    /// Reports, verifies the answer and accepts it.
    pub(crate) fn report(&mut self, standing: Standing) -> Result<(u64, Order), Refusal> {
        let answer = self.ask(standing);
        self.accept(&answer)
    }

    pub(crate) fn accept(&mut self, answer: &[u8]) -> Result<(u64, Order), Refusal> {
        let expected = DirectiveExpected {
            pool: pool(),
            server: self.id(),
            nonce: self.status.nonce,
            accepted: self.accepted,
        };
        let verified = verify::<Directive>(answer, Keys::Pinned(&[self.directive_key]), &expected)?;
        let directive = verified.message();
        if *verified.finding() == Recency::New {
            self.accepted = Some((directive.generation, directive.order_digest()));
        }
        Ok((directive.generation.0, directive.order.clone()))
    }

    /// The whole road of a purpose that was accepted, up to the running target.
    pub(crate) fn become_target(&mut self, server_type: &str) {
        let (generation, _) = self.accepted.expect("an order was accepted");
        for stage in [Stage::Accepted, Stage::Planned] {
            self.ask(at(stage));
        }
        self.status.seal = None;
        for stage in [Stage::Unsealed, Stage::Written, Stage::Audited, Stage::Configured] {
            self.ask(at(stage));
        }
        self.status.seal = Some(seal_of(server_type, generation.0));
        self.ask(at(Stage::Sealed));
        self.leave();
    }

    /// Arms, leaves and arrives.
    pub(crate) fn leave(&mut self) {
        self.ask(at(Stage::Armed));
        self.ask(LEAVING);
        self.boot(Side::Target);
    }
}
