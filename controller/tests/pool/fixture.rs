//! A pool for a test: a library with tiny images, a trust document, and a daemon in this process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use repave_controller::control::Kept;
use repave_controller::daemon::{Run, Running, start};
use repave_controller::policy::Policy;
use repave_image_codec::{BootDescriptor, ImportOptions, Library, import};
use repave_protocol::{SigningKey, TrustDocument, seal};
use tempfile::TempDir;

use crate::device::{Device, Wire};

/// Guards against hanging; nothing is ever expected to take so long.
const GUARD: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

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

    /// Starts a daemon; all of one pool share keys and certificate authority.
    pub(crate) async fn start(&self) -> Running {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at a given address.
    pub(crate) async fn start_at(&self, listen: SocketAddr) -> Running {
        let state = self.path("state");
        fs::create_dir_all(&state).unwrap();
        let run = Run {
            state: state.clone(),
            pool: "demo".parse().unwrap(),
            names: vec!["127.0.0.1".into()],
            listen,
            blob_listen: None,
            library: self.path("library"),
            other_sources: Vec::new(),
            root_key: self.root_key.public(),
            database_url: self.database_url.clone(),
            open_enrolment: true,
            poll_ms: 2_000,
            wait_ms: 10,
            tick_ms: 50,
            keep_days: 1,
        };
        let running = start(&run).await.unwrap();
        if running.control.trusted().is_none() {
            let document = TrustDocument {
                crit: Vec::new(),
                pool: run.pool.clone(),
                version: 1,
                directive_keys: running.control.authority().directive_keys(),
                image_keys: Vec::new(),
                ca_pem: running.control.authority().ca_pem().into(),
                least_versions: [].into(),
            };
            let bytes = seal(&document, &self.root_key);
            running.control.set_trust(&bytes, "test").await.unwrap();
        }
        running
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }
}

/// How devices reach these daemons.
pub(crate) fn wire(daemons: &[&Running]) -> Wire {
    let control = &daemons[0].control;
    Wire {
        pool: control.setup().pool.clone(),
        urls: daemons.iter().map(|daemon| format!("https://{}", daemon.address)).collect(),
        ca_pem: control.authority().ca_pem().into(),
        directive_keys: control.authority().directive_keys(),
    }
}

/// Puts a policy in force.
pub(crate) async fn declare(daemon: &Running, text: &str) {
    let policy = Policy::from_toml(text).unwrap();
    daemon.control.set_policy(&policy, None, "test").await.unwrap();
}

/// Powers devices on, and approves each.
pub(crate) async fn devices(
    daemon: &Running,
    wire: &Wire,
    numbers: std::ops::Range<u8>,
) -> Vec<Device> {
    let devices: Vec<Device> = numbers.map(|number| Device::start(number, wire)).collect();
    for device in &devices {
        until(daemon, "a pending server", |servers| {
            servers.iter().any(|kept| kept.server.id == device.id)
        })
        .await;
        daemon.control.approve(device.id, None, "test").await.unwrap();
    }
    devices
}

/// Waits until the servers' records fit; gives them.
pub(crate) async fn until(
    daemon: &Running,
    what: &str,
    mut fits: impl FnMut(&[Kept]) -> bool,
) -> Vec<Kept> {
    let deadline = Instant::now() + GUARD;
    loop {
        let servers = daemon.control.servers(&Default::default(), None, 500).await.unwrap();
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

/// A library's path, for those who look into it.
pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
