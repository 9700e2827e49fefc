//! A daemon in this process, its admin's client, and servers that report to it.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use repave_controller::control::Role;
use repave_controller::daemon::{Run, Running, start};
use repave_controller::library_place::{LibraryPlace, RegistryFiles};
use repave_image_codec::Library;
use repave_protocol::{
    Blame, Dmi, Fault, Generation, Inventory, Load, LogTail, Nonce, PoolId, SealReport, ServerId,
    Sha256, Side, SigningKey, Standing, Status, TrustDocument, seal,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long anything may take before a test gives up on it; nothing waits this long that works.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// The pool's root key.
fn root() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A daemon.
pub(crate) struct Daemon {
    pub(crate) runtime: Runtime,
    running: Option<Running>,
    folder: TempDir,
    pub(crate) agent: ureq::Agent,
    pub(crate) admin: String,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Run)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("library");
        Library::open_or_create(&library).unwrap();
        let mut run = Run {
            state: folder.path().join("state"),
            pool: pool(),
            names: vec!["127.0.0.1".into()],
            listen: "127.0.0.1:0".parse().unwrap(),
            blob_listen: None,
            library: LibraryPlace::Folder(library),
            registry: RegistryFiles::default(),
            other_sources: Vec::new(),
            root_key: root().public(),
            database_url: None,
            open_enrolment: true,
            power_commands: true,
            poll_ms: 0,
            wait_ms: 1_000,
            tick_ms: 50,
            keep_days: 90,
            rate_per_s: 0,
        };
        std::fs::create_dir(&run.state).unwrap();
        change(&mut run);
        let runtime = Runtime::new().unwrap();
        let running = runtime.block_on(start(&run)).unwrap();
        let pem = std::fs::read(run.state.join("ca.pem")).unwrap();
        let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]);
        let agent = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .timeout_global(Some(GUARD))
            .build()
            .into();
        let admin = std::fs::read_to_string(run.state.join("admin.token")).unwrap();
        let admin = admin.trim().to_owned();
        Self { runtime, running: Some(running), folder, agent, admin }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.stop());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running().address)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("state/ca.pem")
    }

    /// A token of this role.
    pub(crate) fn token(&self, name: &str, role: Role, expires_ms: Option<u64>) -> String {
        let control = &self.running().control;
        let made = control.create_token(name, role, expires_ms, "a test");
        self.runtime.block_on(made).unwrap().token
    }

    /// A request by the admin: `GET /v1/servers`.
    pub(crate) fn ask(&self, what: &str) -> Asking<'_> {
        let (method, path) = what.split_once(' ').unwrap();
        let (method, path) = (method.into(), path.into());
        let headers = vec![("authorization".into(), format!("Bearer {}", self.admin))];
        Asking { daemon: self, method, path, headers, body: Vec::new() }
    }

    /// Answers an asking of the admin must give: `200`.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask(&format!("GET {path}")).expect(200).json()
    }

    /// A server reports for the first time and is pending; its id.
    pub(crate) fn report(&self, seed: u8) -> ServerId {
        self.send(status(seed))
    }

    /// A server reports for the first time, with a target of that type on its disk.
    pub(crate) fn report_sealed(&self, seed: u8, server_type: &str) -> ServerId {
        self.send(status_of(seed, |status| {
            status.seal = Some(SealReport {
                generation: Generation(1),
                server_type: server_type.into(),
                image: server_type.into(),
                version: 1,
                manifest: Sha256::of(b"manifest"),
                attempts: 0,
                alone: false,
            });
        }))
    }

    /// A server reports that something failed, as its status number `sequence`.
    pub(crate) fn report_failed(&self, seed: u8, sequence: u64, log: &LogTail) -> ServerId {
        self.send(status_of(seed, |status| {
            let message = "sim0: <b>read</b> of 4096 bytes failed";
            let fault = Fault::new(Blame::Device, "disk-read", message, None);
            status.standing = Standing::Failed { fault };
            status.log = Some(log.clone());
            status.sequence = sequence;
        }))
    }

    /// The same server is up.
    pub(crate) fn report_up(&self, seed: u8, sequence: u64) -> ServerId {
        self.send(status_of(seed, |status| {
            status.standing = Standing::Up { load: Load::default() };
            status.side = Side::Target;
            status.sequence = sequence;
        }))
    }

    fn send(&self, (id, bytes): (ServerId, Vec<u8>)) -> ServerId {
        let path = format!("POST /v1/servers/{id}/status");
        self.ask(&path).without("authorization").raw("application/json", &bytes).expect(200);
        id
    }

    /// A trust document that names this daemon's keys.
    pub(crate) fn trust(&self, version: u64) -> Vec<u8> {
        let authority = self.running().control.authority();
        let document = TrustDocument {
            crit: Vec::new(),
            pool: pool(),
            version,
            directive_keys: authority.directive_keys(),
            image_keys: vec![root().public()],
            ca_pem: authority.ca_pem().into(),
            least_versions: Default::default(),
        };
        seal(&document, &root())
    }
}

fn pool() -> PoolId {
    "demo".parse().unwrap()
}

/// A first status.
pub(crate) fn status(seed: u8) -> (ServerId, Vec<u8>) {
    status_of(seed, |_| {})
}

fn status_of(seed: u8, change: impl FnOnce(&mut Status)) -> (ServerId, Vec<u8>) {
    let key = SigningKey::from_seed(&[seed; 32]);
    let id = ServerId::of(&key.public());
    let dmi = Dmi { serial: Some(format!("S{seed}")), ..Dmi::default() };
    let mut status = Status {
        crit: Vec::new(),
        pool: pool(),
        server: id,
        nonce: Nonce::from_random([seed; 32]),
        boot: Nonce::from_random([seed; 32]),
        sequence: 0,
        side: Side::Default,
        agent: "1".into(),
        generation: None,
        seal: None,
        wiped: None,
        standing: Standing::Idle,
        log: None,
        bad_sources: Vec::new(),
        uptime_ms: 1,
        watchdog: None,
        inventory: Some(Inventory { dmi, architecture: "amd64".into(), ..Inventory::default() }),
        default_partition: None,
        trust: None,
        join_token: None,
    };
    change(&mut status);
    (id, seal(&status, &key))
}

/// A request that is put together.
pub(crate) struct Asking<'a> {
    daemon: &'a Daemon,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asking<'_> {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn by(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(self, body: &Value) -> Self {
        self.raw("application/json", &serde_json::to_vec(body).unwrap())
    }

    pub(crate) fn raw(mut self, kind: &str, body: &[u8]) -> Self {
        self.body = body.into();
        self.with("content-type", kind)
    }

    /// The answer, whose status must be this; an error must be a problem.
    pub(crate) fn expect(self, code: u16) -> Answer {
        let (method, path) = (self.method.clone(), self.path.clone());
        let answer = self.page(code);
        let what = format!("{method} {path}: {}", answer.text());
        if code >= 400 && method != "HEAD" {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
            let problem = answer.json();
            assert_eq!(problem["status"], code, "{what}");
            for field in ["type", "title", "detail"] {
                assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{what}");
            }
        }
        answer
    }

    /// The same for people, whose errors are pages.
    pub(crate) fn page(self, code: u16) -> Answer {
        let uri = self.daemon.url(&self.path);
        let mut request = Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = self.daemon.agent.run(request.body(self.body.as_slice()).unwrap()).unwrap();
        let (head, body) = sent.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().read_to_end(&mut bytes).unwrap();
        let answer = Answer { headers: head.headers, body: bytes };
        let what = format!("{} {}: {}", self.method, self.path, answer.text());
        assert_eq!(head.status.as_u16(), code, "{what}");
        answer
    }
}

/// An answer.
pub(crate) struct Answer {
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
