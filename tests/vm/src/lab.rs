//! A laboratory: a pool of its own with its keys, a controller, an image library, and disks to
//! burn. Each test has one, in a folder of its own; nothing is shared, so tests run side by side.

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use repave_controller_stub::{Authority, AuthoritySpec, Fault, Scenario, Stub, StubSpec};
use repave_image::{Descriptor, OciManifest, blob_path};
use repave_image_codec::{ImportOptions, Library, import};
use repave_protocol::{
    BootMethod, ImageReference, ImageSignature, Order, PoolId, Purpose, Settings, Sha256, seal,
};
use repave_qemu::disk::Disk;
use repave_qemu::net::Nic;
use repave_qemu::spec::VmSpec;
use serde_json::Value;
use tempfile::TempDir;

use crate::made::{self, TargetImage};
use crate::server::Server;

/// This host, as a machine in QEMU's user-mode network sees it.
const GATEWAY: &str = "10.0.2.2";
/// RAM of a machine. Less would do, but emulation is slow where firmware works in memory that a
/// kernel ran in before a reset, and in more RAM they meet less often.
const MEMORY_MIB: u32 = 512;
/// Room for the default side and a small target.
const DISK_MIB: u64 = 256;
/// The only time at which the certificates are valid: neither 1970 nor 2099.
const VALID_YEARS: [i32; 2] = [2020, 2060];

/// What a lab is made of, where it is not made from nothing.
#[derive(Debug)]
pub struct LabSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its controller listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What the machines call the controller.
    pub controller: &'a str,
    /// What the controller does.
    pub scenario: Scenario,
    /// An image library that is there already.
    pub library: Option<&'a Path>,
}

/// A pool with all that belongs to it.
pub struct Lab {
    name: String,
    dir: TempDir,
    pool: PoolId,
    authority: Arc<Authority>,
    library: Library,
    stub: Stub,
    uki: PathBuf,
    /// Where the consoles go at the end.
    consoles: PathBuf,
    finished: Cell<bool>,
}

impl Lab {
    /// A lab for machines in QEMU's user-mode network.
    ///
    /// # Errors
    /// The default UKI is not built, or the controller does not start.
    pub fn new(name: &str, scenario: Scenario) -> Result<Self> {
        Self::at(name, Ipv4Addr::LOCALHOST.into(), GATEWAY, scenario)
    }

    /// A lab whose controller listens on `address`, and is called `controller` by the machines.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn at(name: &str, address: IpAddr, controller: &str, scenario: Scenario) -> Result<Self> {
        let listen = SocketAddr::new(address, 0);
        Self::with(LabSpec { name, listen, controller, scenario, library: None })
    }

    /// A lab with what another one left: its keys derive from the same seed, so at the same address
    /// it is the same pool to the servers.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn with(spec: LabSpec<'_>) -> Result<Self> {
        let LabSpec { name, listen, controller, scenario, library } = spec;
        let uki = made::default_uki()?;
        let dir = tempfile::Builder::new().prefix("repave-lab-").tempdir()?;
        let pool: PoolId = "lab".parse()?;
        let [not_before, not_after] = VALID_YEARS.map(|year| (year, 1, 1));
        let authority = Arc::new(Authority::generate(AuthoritySpec {
            not_before,
            not_after,
            ..AuthoritySpec::new([7; 32], &[controller])
        })?);
        let fresh = dir.path().join("library");
        let library = Library::open_or_create(library.unwrap_or(&fresh))?;
        let mut spec = StubSpec::new(authority.clone(), pool.clone());
        spec.listen = listen;
        spec.library = Some(library.root().into());
        spec.scenario = scenario;
        let stub = Stub::start(spec)?;
        let consoles = made::build_folder().join("vm").join(name);
        let (name, finished) = (name.into(), Cell::new(false));
        Ok(Self { name, dir, pool, authority, library, stub, uki, consoles, finished })
    }

    /// The controller.
    pub const fn stub(&self) -> &Stub {
        &self.stub
    }

    /// Another source of the same library, with faults of its own, until it is dropped.
    ///
    /// # Errors
    /// It does not start.
    pub fn mirror(&self, faults: Vec<Fault>) -> Result<Stub> {
        let mut spec = StubSpec::new(self.authority.clone(), self.pool.clone());
        spec.library = Some(self.library.root().into());
        spec.scenario.faults = faults;
        Ok(Stub::start(spec)?)
    }

    /// The image library that the controller serves.
    pub const fn library(&self) -> &Library {
        &self.library
    }

    /// The default UKI, as it is burned.
    pub fn uki(&self) -> &Path {
        &self.uki
    }

    /// The lab's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Imports a target image into the library, as version 1.
    ///
    /// # Errors
    /// The importer refuses it.
    pub fn import(&self, name: &str, target: &TargetImage) -> Result<ImageReference> {
        let options = ImportOptions::new(name, 1);
        let key = self.authority.image_key();
        let imported =
            import(&target.disk, &target.descriptor, &options, &self.library, key, &mut |_| {})
                .with_context(|| format!("cannot import {name}"))?;
        Ok(imported.reference)
    }

    /// A variant of an image whose manifest was changed by `lie` and properly signed again: what
    /// an importer with a fault, or a captured one, could release.
    ///
    /// # Errors
    /// The library cannot be read or written.
    pub fn forge(
        &self,
        image: &ImageReference,
        lie: impl FnOnce(&mut Value),
    ) -> Result<ImageReference> {
        let mut oci = OciManifest::parse(&self.blob(&image.manifest)?)?;
        let mut config: Value = serde_json::from_slice(&self.blob(&oci.config.sha256)?)?;
        lie(&mut config);
        oci.config = self.add_blob(&serde_json::to_vec(&config)?)?;
        let signature = ImageSignature {
            crit: Vec::new(),
            name: image.name.clone(),
            version: image.version,
            config: oci.config.sha256,
            index: oci.index.sha256,
        };
        oci.signature = self.add_blob(&seal(&signature, self.authority.image_key()))?;
        let manifest = self.add_blob(&oci.to_bytes())?.sha256;
        Ok(ImageReference { manifest, ..image.clone() })
    }

    fn blob(&self, sha256: &Sha256) -> Result<Vec<u8>> {
        Ok(fs::read(self.library.root().join(blob_path(sha256)))?)
    }

    fn add_blob(&self, bytes: &[u8]) -> Result<Descriptor> {
        let blob = Descriptor::of(bytes);
        fs::write(self.library.root().join(blob_path(&blob.sha256)), bytes)?;
        Ok(blob)
    }

    /// The purpose to become what an image is named after: by firmware, without settings.
    pub fn purpose(&self, image: &ImageReference) -> Purpose {
        Purpose {
            server_type: image.name.clone(),
            image: image.clone(),
            sources: vec![self.stub.library_url()],
            disk: None,
            boot: BootMethod::Firmware,
            settings: Settings::default(),
        }
    }

    /// The order to become what an image is, without settings.
    pub fn order(&self, image: &ImageReference) -> Order {
        Order::Purpose(Box::new(self.purpose(image)))
    }

    /// A disk as it comes from `make image`, for this lab's pool and controller.
    ///
    /// # Errors
    /// The disk cannot be burned.
    pub fn burn(&self, name: &str, size_mib: u64) -> Result<Disk> {
        self.burn_with(name, size_mib, &self.config())
    }

    /// The same with another `agent.json`.
    ///
    /// # Errors
    /// The disk cannot be burned.
    pub fn burn_with(&self, name: &str, size_mib: u64, config: &[u8]) -> Result<Disk> {
        self.burn_blocks(name, size_mib, config, 512)
    }

    /// A burned disk for blocks of 4,096 bytes.
    ///
    /// # Errors
    /// The disk cannot be burned.
    pub fn burn_large_blocks(&self, name: &str, size_mib: u64) -> Result<Disk> {
        self.burn_blocks(name, size_mib, &self.config(), 4096)
    }

    /// The `agent.json` that is burned unless another one is given.
    pub fn config(&self) -> Vec<u8> {
        self.authority.agent_config(&self.pool, &[self.stub.url()], None)
    }

    fn burn_blocks(
        &self,
        name: &str,
        size_mib: u64,
        config: &[u8],
        block_bytes: u32,
    ) -> Result<Disk> {
        let path = self.dir().join(format!("{name}.img"));
        let trust = self.authority.trust_document(&self.pool);
        made::burn(&path, [size_mib, block_bytes.into()], &self.uki, [config, &trust])?;
        Ok(Disk::existing(&path)?.serial(name.to_uppercase()))
    }

    /// A machine without disks and network cards.
    pub fn bare(&self, name: &str) -> VmSpec {
        let mut spec = VmSpec::new(name, self.dir().join(name));
        spec.memory_mib = MEMORY_MIB;
        spec
    }

    /// A machine with one burned disk and one network card.
    ///
    /// # Errors
    /// The disk cannot be burned.
    pub fn spec(&self, name: &str) -> Result<VmSpec> {
        let mut spec = self.bare(name);
        spec.disks.push(self.burn(name, DISK_MIB)?);
        spec.nics.push(Nic::slirp());
        Ok(spec)
    }

    /// A server of this lab; it is off.
    ///
    /// # Errors
    /// QEMU cannot build the machine.
    pub fn server(&self, spec: VmSpec) -> Result<Server<'_>> {
        Server::new(self, spec)
    }

    /// The end of a test: no server may have said what it cannot have. The consoles are left in
    /// `build/vm/`; a lab that does not come here says so.
    ///
    /// # Errors
    /// The violations.
    pub fn finish(&self) -> Result<()> {
        let violations = self.stub.violations();
        if !violations.is_empty() {
            let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
            bail!("the stub's oracle objects:\n{}", lines.join("\n"));
        }
        self.finished.set(true);
        Ok(())
    }

    /// Has the consoles left in `folder` instead.
    pub fn keep_consoles_in(&mut self, folder: PathBuf) {
        self.consoles = folder;
    }

    fn save_consoles(&self) -> Result<()> {
        fs::create_dir_all(&self.consoles)?;
        for machine in fs::read_dir(self.dir())? {
            let machine = machine?;
            let console = machine.path().join("console.log");
            if console.exists() {
                let name = machine.file_name().to_string_lossy().into_owned();
                fs::copy(&console, self.consoles.join(name + ".log"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.save_consoles().is_ok() && !self.finished.get() {
            let folder = self.consoles.display();
            crate::say(&format!("{}: did not finish; its consoles are in {folder}", self.name));
        }
    }
}
