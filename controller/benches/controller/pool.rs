//! A pool for a bench: a state folder with keys, a trust document and a database in which every
//! server is approved, and is what it will say it is. Made with the controller's own library before
//! the daemon is started on it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use repave_controller::authority::Authority;
use repave_controller::clock;
use repave_controller::control::{Control, Setup};
use repave_controller::fleet::{Credentials, Rules, Wish, admit};
use repave_controller::library_place::{LibraryPlace, RegistryFiles};
use repave_controller::policy::Policy;
use repave_controller::records;
use repave_controller::shelf::Shelf;
use repave_controller::store::{self, changes::Changes};
use repave_protocol::{
    BootMethod, ImageReference, Order, PoolId, PublicKey, Purpose, SealReport, Settings,
    SettingsFile, Sha256, SigningKey, TrustDocument, seal,
};
use time::OffsetDateTime;

use crate::server::Device;

/// One server in so many is idle in default; the others are up.
const IDLE_SHARE: usize = 10;
/// Servers in one commit of the preparation.
const AT_ONCE: usize = 500;
/// Bytes of the file that each purpose configures; a cloud-init document or so.
const SETTINGS_BYTES: usize = 512;
const RULES: Rules = Rules { retries: 3, silent_after_ms: 120_000, boot_within_ms: 600_000 };

/// A prepared pool.
pub(crate) struct Pool {
    pub(crate) folder: PathBuf,
    pub(crate) name: PoolId,
    pub(crate) root_key: PublicKey,
    pub(crate) directive_keys: Vec<PublicKey>,
    pub(crate) ca_pem: String,
}

impl Pool {
    /// Keys and trust; the database is the daemon's to make.
    pub(crate) fn empty(folder: PathBuf) -> Result<Self> {
        let state = folder.join("state");
        std::fs::create_dir_all(&state)?;
        let root = SigningKey::from_seed(&[9; 32]);
        let now = OffsetDateTime::now_utc();
        let authority = Authority::open_or_create(&state, &["127.0.0.1".into()], now)?;
        let pool = Self {
            folder,
            name: "bench".parse()?,
            root_key: root.public(),
            directive_keys: authority.directive_keys(),
            ca_pem: authority.ca_pem().into(),
        };
        let document = TrustDocument {
            crit: Vec::new(),
            pool: pool.name.clone(),
            version: 1,
            directive_keys: pool.directive_keys.clone(),
            image_keys: vec![SigningKey::from_seed(&[8; 32]).public()],
            ca_pem: pool.ca_pem.clone(),
            least_versions: [].into(),
        };
        std::fs::write(state.join("trust.json"), seal(&document, &root))?;
        Ok(pool)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.folder.join("library")
    }

    /// Puts `count` servers and a policy that wants just what they are into the database.
    pub(crate) async fn fill(&self, count: usize) -> Result<Vec<Device>> {
        let store = store::open(None, &self.state()).await?;
        let mut devices: Vec<Device> = (0..count)
            .map(|number| Device::new(number, self.name.clone(), number % IDLE_SHARE == 0))
            .collect();
        for devices in devices.chunks_mut(AT_ONCE) {
            let mut changes = Changes::default();
            for device in devices {
                changes.servers.push(records::put(&enrolled(device)?, None));
            }
            store.commit(changes).await?;
        }
        self.declare(store, count - count.div_ceil(IDLE_SHARE)).await?;
        Ok(devices)
    }

    async fn declare(&self, store: std::sync::Arc<dyn store::Store>, wanted: usize) -> Result<()> {
        let now = OffsetDateTime::now_utc();
        let names = ["127.0.0.1".into()];
        let authority = Authority::open_or_create(&self.state(), &names, now)?;
        let setup = Setup {
            pool: self.name.clone(),
            root_key: self.root_key,
            sources: Vec::new(),
            power_commands: false,
            open_enrolment: false,
            wait_ms: 1000,
        };
        let place = LibraryPlace::Folder(self.library());
        let shelf = Shelf::open(&place, &RegistryFiles::default())?;
        let control = Control::open(setup, shelf, store, authority.into()).await?;
        let policy = format!(
            "[pool]\nname='{}'\n[[type]]\nname='web'\nimage='web:stable'\nmax={max}\nwanted={wanted}\n",
            self.name,
            max = wanted.max(1)
        );
        control.set_policy(&Policy::from_toml(&policy)?, None, "bench").await?;
        control.store().close().await;
        Ok(())
    }
}

/// The record of a server that has been approved and, unless it is idle, purposed.
fn enrolled(device: &mut Device) -> Result<repave_controller::fleet::Server> {
    let now_ms = clock::now_ms();
    let shown = Credentials { open: true, ..Credentials::default() };
    let (mut server, _) = admit(&device.status(), &shown, now_ms)?;
    server.approve("bench", now_ms);
    if device.is_idle {
        server.assign(Wish::Spare, "nobody needs it", None, now_ms, 0);
        return Ok(server);
    }
    let purpose = purpose();
    let wish = Wish::Be { purpose: Box::new(purpose.clone()) };
    server.assign(wish, "web is short of it", None, now_ms, 0);
    let order = Order::Purpose(Box::new(purpose.clone()));
    let (generation, _) = server.issue(order, &device.status(), now_ms);
    device.seal = Some(SealReport {
        generation,
        server_type: purpose.server_type,
        image: purpose.image.name,
        version: purpose.image.version,
        manifest: purpose.image.manifest,
        attempts: 0,
        alone: false,
    });
    device.generation = Some(generation);
    server.observe(&device.status(), now_ms, &RULES);
    Ok(server)
}

fn purpose() -> Purpose {
    let image =
        ImageReference { name: "web".into(), version: 1, manifest: Sha256::of(b"manifest of web") };
    let file = SettingsFile {
        path: "/etc/cloud/cloud.cfg.d/90-bench.cfg".into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        content: "eA==".repeat(SETTINGS_BYTES / 4),
    };
    Purpose {
        server_type: "web".into(),
        image,
        sources: vec!["https://controller.bench.example:8443/library".into()],
        disk: None,
        boot: BootMethod::Auto,
        settings: Settings {
            hostname: Some("web".into()),
            files: vec![file],
            ..Settings::default()
        },
    }
}

/// Removes what a run before this one left.
pub(crate) fn fresh(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(std::fs::create_dir_all(folder)?),
    }
}
