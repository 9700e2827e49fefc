//! A pool for a test: a library with tiny images, a trust document, and a daemon in this process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use repave_controller::authority::Authority;

use repave_controller::control::{Control, Kept, Setup};
use repave_controller::daemon::{Run, Running, start};
use repave_controller::library_place::{LibraryPlace, RegistryFiles};
use repave_controller::policy::Policy;
use repave_controller::shelf::Shelf;
use repave_controller::store;
use repave_image_codec::{BootDescriptor, ImportOptions, Library, import};
use repave_protocol::{PublicKey, SigningKey, TrustDocument, seal};
use tempfile::TempDir;

use crate::device::{Device, Wire};

/// Guards against hanging; nothing is ever expected to take so long.
const GUARD: Duration = Duration::from_secs(120);
pub(crate) const LOOK: Duration = Duration::from_millis(20);

const BOOT: &str = r#"{"server_type":"TYPE","reports":"resident",
    "boot":{"partition":"root","kexec":{"partition":"root","kernel":"/vmlinuz"}}}"#;

/// What outlives a daemon.
pub(crate) struct Pool {
    folder: TempDir,
    root_key: SigningKey,
    database_url: Option<String>,
}

impl Pool {
    /// A pool whose library has version 1 of `web` and `db`.
    pub(crate) fn new(database_url: Option<String>) -> Self {
        let pool = Self {
            folder: tempfile::tempdir().unwrap(),
            root_key: SigningKey::from_seed(&[9; 32]),
            database_url,
        };
        pool.import("web", 1);
        pool.import("db", 1);
        pool
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports a version of an image; each is another one.
    pub(crate) fn import(&self, name: &str, version: u64) {
        let tree = self.path("tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("vmlinuz"), format!("{name} {version}")).unwrap();
        let disk = self.path("disk.raw");
        let _ = fs::remove_file(&disk);
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-d"])
            .args([&tree, &disk])
            .arg("4M")
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let boot = self.path("boot.json");
        fs::write(&boot, BOOT.replace("TYPE", name)).unwrap();
        let descriptor = BootDescriptor::read(&boot).unwrap();
        let library = Library::open_or_create(&self.path("library")).unwrap();
        let options = ImportOptions::new(name, version);
        let key = SigningKey::from_seed(&[8; 32]);
        import(&disk, &descriptor, &options, &library, &key, &mut |_| {}).unwrap();
    }

    /// Starts a daemon in this process.
    pub(crate) async fn start(&self) -> Running {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at a given address.
    pub(crate) async fn start_at(&self, listen: SocketAddr) -> Running {
        let running = start(&self.run(listen)).await.unwrap();
        self.trust(&running.control).await;
        running
    }

    fn run(&self, listen: SocketAddr) -> Run {
        fs::create_dir_all(self.state()).unwrap();
        Run {
            state: self.state(),
            pool: "demo".parse().unwrap(),
            names: vec!["127.0.0.1".into()],
            listen,
            blob_listen: None,
            library: LibraryPlace::Folder(self.path("library")),
            registry: RegistryFiles::default(),
            other_sources: Vec::new(),
            root_key: self.root_key.public(),
            database_url: self.database_url.clone(),
            open_enrolment: true,
            power_commands: true,
            poll_ms: 2_000,
            wait_ms: 10,
            tick_ms: 50,
            keep_days: 1,
            rate_per_s: 0,
        }
    }

    /// The pool's operations without a daemon, for a test whose daemons are processes.
    pub(crate) async fn control(&self) -> Arc<Control> {
        let run = self.run(SocketAddr::from(([127, 0, 0, 1], 0)));
        let now = time::OffsetDateTime::now_utc();
        let authority = Authority::open_or_create(&run.state, &run.names, now).unwrap();
        let store = store::open(run.database_url.as_deref(), &run.state).await.unwrap();
        let setup = Setup {
            pool: run.pool,
            root_key: run.root_key,
            sources: Vec::new(),
            open_enrolment: true,
            power_commands: true,
            wait_ms: run.wait_ms,
        };
        let shelf = Shelf::open(&run.library, &run.registry).unwrap();
        let control = Control::open(setup, shelf, store, Arc::new(authority)).await.unwrap();
        self.trust(&control).await;
        control
    }

    async fn trust(&self, control: &Control) {
        if control.trusted().is_some() {
            return;
        }
        let document = self.trust_document(control, 1, control.authority().directive_keys());
        control.set_trust(&document, false, "test").await.unwrap();
    }

    /// A trust document with these directive keys, signed.
    pub(crate) fn trust_document(
        &self,
        control: &Control,
        version: u64,
        directive_keys: Vec<PublicKey>,
    ) -> Vec<u8> {
        let document = TrustDocument {
            crit: Vec::new(),
            pool: control.setup().pool.clone(),
            version,
            directive_keys,
            image_keys: Vec::new(),
            ca_pem: control.authority().ca_pem().into(),
            least_versions: [].into(),
        };
        seal(&document, &self.root_key)
    }

    /// Starts a daemon as a process of its own.
    pub(crate) fn spawn(&self) -> Replica {
        let run = self.run(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_repave-controller"));
        command.args(["run", "--pool", "demo", "--name", "127.0.0.1", "--listen", "127.0.0.1:0"]);
        command.args(["--open-enrolment", "--log-json", "--tick-ms", "50", "--poll-ms", "2000"]);
        command.args(["--wait-ms", "10", "--root-key", &run.root_key.to_string()]);
        command.arg("--state").arg(&run.state).arg("--library").arg(run.library.to_string());
        command.envs(run.database_url.map(|url| ("REPAVE_DATABASE_URL", url)));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (told, address) = mpsc::channel();
        let log_lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log_lines);
        // Read for as long as it writes, or it would stop at a full pipe.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if line["fields"]["message"] == "listening" {
                    let _ = told.send(line["fields"]["address"].as_str().unwrap().to_owned());
                }
            }
        });
        let url = format!("https://{}", address.recv().expect("the daemon ended at its start"));
        Replica { child, url, log: log_lines }
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }
}

/// A daemon that is a process; dropped, it is killed.
pub(crate) struct Replica {
    child: Child,
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Replica {
    /// What it has logged so far, one JSON object a line.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// How devices reach controllers at these URLs.
pub(crate) fn wire(control: &Control, urls: Vec<String>) -> Wire {
    Wire {
        pool: control.setup().pool.clone(),
        urls,
        ca_pem: control.authority().ca_pem().into(),
        directive_keys: control.authority().directive_keys(),
        trust: 1,
        root_key: control.setup().root_key,
    }
}

/// Puts a policy in force.
pub(crate) async fn declare(control: &Control, text: &str) {
    let policy = Policy::from_toml(text).unwrap();
    control.set_policy(&policy, None, "test").await.unwrap();
}

/// Powers devices on, and approves each.
pub(crate) async fn devices(
    control: &Control,
    wire: &Wire,
    numbers: std::ops::Range<u8>,
) -> Vec<Device> {
    let devices: Vec<Device> = numbers.map(|number| Device::start(number, wire)).collect();
    for device in &devices {
        until(control, "a pending server", |servers| {
            servers.iter().any(|kept| kept.server.id == device.id)
        })
        .await;
        control.approve(device.id, None, "test").await.unwrap();
    }
    devices
}

/// Waits until the servers' records fit; gives them.
pub(crate) async fn until(
    control: &Control,
    what: &str,
    mut fits: impl FnMut(&[Kept]) -> bool,
) -> Vec<Kept> {
    let deadline = Instant::now() + GUARD;
    loop {
        let servers = control.servers(&Default::default(), None, 500).await.unwrap();
        if fits(&servers) {
            return servers;
        }
        if Instant::now() > deadline {
            let lines: Vec<String> = servers
                .iter()
                .map(|Kept { server, .. }| {
                    let kind = server.server_type().unwrap_or("-");
                    format!("{} {kind} {:?}", server.title(), server.standing)
                })
                .collect();
            panic!("no {what}:\n{}", lines.join("\n"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many servers are up as that type.
pub(crate) fn up(servers: &[Kept], name: &str) -> usize {
    let is = |kept: &&Kept| {
        let server = &kept.server;
        server.standing.name() == "up"
            && server.is_fulfilled()
            && server.server_type() == Some(name)
    };
    servers.iter().filter(is).count()
}

/// How many servers stand there.
pub(crate) fn stand(servers: &[Kept], name: &str) -> usize {
    servers.iter().filter(|kept| kept.server.standing.name() == name).count()
}
