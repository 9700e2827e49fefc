//! A server without hardware: it keeps a real key, checks each answer as the agent does, and lives
//! by its orders in no time. What it cannot have been ordered ends the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use repave_controller::authority::Trusted;
use repave_protocol::{
    Blame, BootMethod, Coverage, Directive, DirectiveExpected, Dmi, Fault, Generation, Inventory,
    Keys, Load, Nonce, Order, PoolId, PublicKey, SealReport, ServerId, Sha256, Side, SigningKey,
    Stage, Standing, Status, WipePass, seal, verify,
};

/// Pause after an answer that was not had.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a slow one writes.
const WRITING: Duration = Duration::from_secs(2);

/// Where devices report, and whom they believe.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) pool: PoolId,
    pub(crate) urls: Vec<String>,
    pub(crate) ca_pem: String,
    pub(crate) directive_keys: Vec<PublicKey>,
    /// The trust document that they were burned with says the same.
    pub(crate) trust: u64,
    pub(crate) root_key: PublicKey,
}

/// What a test may do to a running device.
#[derive(Default)]
pub(crate) struct Strings {
    /// It ends.
    pub(crate) stop: AtomicBool,
    /// It says nothing, and hears nothing.
    pub(crate) silent: AtomicBool,
    /// Every purposing fails.
    pub(crate) fails: AtomicBool,
    /// A purposing takes a while.
    pub(crate) slow: AtomicBool,
    /// Its load average, in thousandths.
    pub(crate) load_milli: AtomicU64,
    /// How often its target was written.
    pub(crate) written: AtomicU64,
}

/// A running device.
pub(crate) struct Device {
    pub(crate) id: ServerId,
    pub(crate) strings: Arc<Strings>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Powers a device on. Its number makes its key and its serial number.
    pub(crate) fn start(number: u8, wire: &Wire) -> Self {
        let key = SigningKey::from_seed(&[number; 32]);
        let id = ServerId::of(&key.public());
        let strings = Arc::new(Strings::default());
        // Each prefers another controller, as servers that were burned with other lists do.
        let mut wire = wire.clone();
        let first = usize::from(number) % wire.urls.len();
        wire.urls.rotate_left(first);
        let mut life = Life {
            client: client(&wire.ca_pem),
            strings: Arc::clone(&strings),
            key,
            id,
            number,
            nonces: 0,
            boot: 0,
            sequence: 0,
            side: Side::Default,
            accepted: None,
            seal: None,
            wiped: None,
            staying: false,
            fault: None,
            kept: (wire.trust, wire.directive_keys.clone()),
            goes_by: (wire.trust, wire.directive_keys.clone()),
            wire,
        };
        let thread = thread::spawn(move || life.live());
        Self { id, strings, thread: Some(thread) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.strings.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

fn client(ca_pem: &str) -> ureq::Agent {
    let ca = ureq::tls::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
    let roots = ureq::tls::RootCerts::Specific(Arc::new(vec![ca]));
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(30))).build().new_agent()
}

struct Life {
    wire: Wire,
    client: ureq::Agent,
    strings: Arc<Strings>,
    key: SigningKey,
    id: ServerId,
    number: u8,
    nonces: u64,
    boot: u64,
    sequence: u64,
    side: Side,
    accepted: Option<(Generation, Sha256)>,
    seal: Option<SealReport>,
    wiped: Option<Coverage>,
    staying: bool,
    fault: Option<Fault>,
    /// Version and directive keys of the trust document that the default side keeps.
    kept: (u64, Vec<PublicKey>),
    /// The same of the one that the running side goes by.
    goes_by: (u64, Vec<PublicKey>),
}

impl Life {
    fn live(&mut self) {
        while !self.strings.stop.load(Ordering::Relaxed) {
            if self.strings.silent.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
                continue;
            }
            let standing = self.standing();
            match self.ask(standing) {
                Some(directive) => self.obey(&directive),
                None => thread::sleep(PAUSE),
            }
        }
    }

    fn standing(&self) -> Standing {
        if self.side == Side::Target {
            let load_milli = self.strings.load_milli.load(Ordering::Relaxed);
            return Standing::Up { load: Load { load_milli, cpus: 1, ..Load::default() } };
        }
        match &self.fault {
            Some(fault) => Standing::Failed { fault: fault.clone() },
            None if self.staying => Standing::Staying,
            None => Standing::Idle,
        }
    }

    /// Reports, to whichever controller answers; the directive of the answer, if there was one.
    fn ask(&mut self, standing: Standing) -> Option<Directive> {
        self.nonces += 1;
        let nonce = Nonce::from_random(*Sha256::of(&self.nonces.to_le_bytes()).as_bytes());
        let mut boot = [self.number; 32];
        boot[..8].copy_from_slice(&self.boot.to_le_bytes());
        let dmi = Dmi { serial: Some(format!("SERIAL-{}", self.number)), ..Dmi::default() };
        let inventory = Inventory { dmi, architecture: "amd64".into(), ..Inventory::default() };
        let status = Status {
            crit: Vec::new(),
            pool: self.wire.pool.clone(),
            server: self.id,
            nonce,
            boot: Nonce::from_random(boot),
            sequence: self.sequence,
            side: self.side,
            agent: "device".into(),
            generation: self.accepted.map(|(generation, _)| generation),
            seal: self.seal.clone(),
            wiped: self.wiped.clone(),
            standing,
            log: None,
            bad_sources: Vec::new(),
            uptime_ms: 0,
            watchdog: None,
            inventory: (self.sequence == 0).then_some(inventory),
            default_partition: None,
            trust: Some(self.goes_by.0),
            join_token: None,
        };
        let bytes = seal(&status, &self.key);
        let body = self.post(&bytes)?;
        self.sequence += 1;
        let (pool, server) = (self.wire.pool.clone(), self.id);
        let expected = DirectiveExpected { pool, server, nonce, accepted: self.accepted };
        let keys = Keys::Pinned(&self.goes_by.1);
        let directive = verify::<Directive>(&body, keys, &expected).unwrap().into_message();
        self.accepted = Some((directive.generation, directive.order_digest()));
        self.learn(&directive);
        Some(directive)
    }

    /// Takes the trust document that came along; a resident in memory only, as the real one does.
    fn learn(&mut self, directive: &Directive) {
        let Some(envelope) = &directive.trust else { return };
        let bytes = serde_json::to_vec(envelope).unwrap();
        let least = self.goes_by.0;
        let trusted = Trusted::parse(&bytes, self.wire.root_key, &self.wire.pool, least).unwrap();
        self.goes_by = (trusted.document.version, trusted.document.directive_keys);
        if self.side == Side::Default {
            self.kept = self.goes_by.clone();
        }
    }

    fn post(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        for url in &self.wire.urls {
            let url = format!("{url}/v1/servers/{}/status", self.id);
            if let Ok(mut answer) = self.client.post(&url).send(bytes)
                && answer.status() == 200
            {
                return answer.body_mut().read_to_vec().ok();
            }
        }
        None
    }

    fn tell(&mut self, standing: Standing) {
        // What is only told may be lost.
        let _ = self.ask(standing);
    }

    fn obey(&mut self, directive: &Directive) {
        if self.side == Side::Target {
            let own = self.seal.as_ref().map(|seal| seal.generation);
            let leaves = match &directive.order {
                Order::Wait { .. } => false,
                Order::Purpose(_) => own != Some(directive.generation),
                Order::Boot { sealed } => own != Some(*sealed),
                Order::Stay { .. } | Order::Wipe(_) => true,
            };
            if leaves {
                self.tell(Standing::Returning);
                self.reboot(Side::Default);
            }
            return;
        }
        match &directive.order {
            Order::Wait { after_ms } => thread::sleep(Duration::from_millis(*after_ms)),
            Order::Stay { .. } => (self.staying, self.fault) = (true, None),
            Order::Wipe(_) => {
                let pass = WipePass::ReadingBack;
                let (done_bytes, total_bytes, bytes_per_s) = (1, 2, 0);
                self.tell(Standing::Wiping { pass, done_bytes, total_bytes, bytes_per_s });
                (self.seal, self.staying, self.fault) = (None, true, None);
                let (generation, ranges, missing) = (directive.generation, vec![], vec![]);
                self.wiped = Some(Coverage { generation, ranges, missing });
            }
            Order::Boot { sealed } => {
                assert_eq!(self.seal.as_ref().map(|seal| seal.generation), Some(*sealed));
                self.leave();
            }
            Order::Purpose(purpose) => {
                if self.strings.fails.load(Ordering::Relaxed) {
                    (self.seal, self.staying) = (None, false);
                    self.fault = Some(Fault::new(Blame::Image, "broken", "it is broken", None));
                    return;
                }
                if self.seal.as_ref().map(|seal| seal.generation) != Some(directive.generation) {
                    (self.seal, self.wiped) = (None, None);
                    self.tell(at(Stage::Accepted));
                    if self.strings.slow.load(Ordering::Relaxed) {
                        thread::sleep(WRITING);
                    }
                    self.strings.written.fetch_add(1, Ordering::Relaxed);
                    self.seal = Some(SealReport {
                        generation: directive.generation,
                        server_type: purpose.server_type.clone(),
                        image: purpose.image.name.clone(),
                        version: purpose.image.version,
                        manifest: purpose.image.manifest,
                        attempts: 0,
                        alone: false,
                    });
                }
                self.leave();
            }
        }
    }

    fn leave(&mut self) {
        (self.staying, self.fault) = (false, None);
        self.tell(Standing::Leaving { method: BootMethod::Firmware });
        self.reboot(Side::Target);
    }

    fn reboot(&mut self, side: Side) {
        self.side = side;
        self.goes_by = self.kept.clone();
        self.boot += 1;
        self.sequence = 0;
    }
}

const fn at(stage: Stage) -> Standing {
    Standing::Purposing { stage, done_bytes: 0, total_bytes: 0, bytes_per_s: 0 }
}
