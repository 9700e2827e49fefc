//! Puts the edges of the running system together, for PID 1 and for the resident. Nothing is
//! decided and nothing is done here.

use std::io::Read;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use repave_core::default_side::DefaultSide;
use repave_core::edges::{Disk, Volume};
use repave_core::gpt::Entry;
use repave_protocol::ServerId;
use rustix::fs::OFlags;

use crate::configurator::VolumeConfigurator;
use crate::crew::ThreadCrew;
use crate::disk::OpenDisk;
use crate::host::RunningHost;
use crate::http::Http;
use crate::https::{Client, Timeouts};
use crate::link::ControlLink;
use crate::mount::{Access, Mounter, open_in_root};
use crate::power::KernelPower;

/// What this agent was built for, by Debian's and OCI's name.
pub(crate) const ARCHITECTURE: &str = "amd64";
/// The agent's own binary, whatever name it was started by.
const OWN_BINARY: &str = "/proc/self/exe";
/// Largest file read from a default partition; its limits refuse smaller ones by their own names.
const FILE_BYTES: u64 = 1024 * 1024;

/// The edges of PID 1 that need a controller, or disks in a fixed order.
pub(crate) struct World {
    pub(crate) link: ControlLink,
    pub(crate) crew: ThreadCrew,
    pub(crate) configurator: VolumeConfigurator,
    pub(crate) power: KernelPower,
}

impl World {
    pub(crate) fn new(
        disks: &[OpenDisk],
        controllers: &[String],
        server: ServerId,
        ca_pem: &str,
        source_bytes_per_s: Option<NonZeroU64>,
    ) -> Result<Self> {
        let client = client(ca_pem, source_bytes_per_s)?;
        Ok(Self {
            link: ControlLink::new(Arc::clone(&client), controllers, server)?,
            crew: ThreadCrew::new(disks.to_vec(), client),
            configurator: VolumeConfigurator::new(mounter(disks), Path::new(OWN_BINARY)),
            power: KernelPower::new(mounter(disks)),
        })
    }
}

/// The link alone, which is all that a resident needs.
pub(crate) fn link(controllers: &[String], server: ServerId, ca_pem: &str) -> Result<ControlLink> {
    Ok(ControlLink::new(client(ca_pem, None)?, controllers, server)?)
}

fn client(ca_pem: &str, source_bytes_per_s: Option<NonZeroU64>) -> Result<Arc<dyn Http>> {
    let client = Client::new(ca_pem.as_bytes(), Timeouts::default());
    Ok(Arc::new(client.context("CA of the trust document")?.limited(source_bytes_per_s)))
}

pub(crate) fn host() -> RunningHost {
    RunningHost::new(Path::new("/sys"), Path::new("/proc"))
}

/// Tells the host which range the default partition is.
pub(crate) fn watch_default(
    host: &mut RunningHost,
    disk: &OpenDisk,
    block_bytes: u64,
    default: &Entry,
) {
    let [offset_bytes, size_bytes] =
        [default.first_lba, default.blocks()].map(|blocks| blocks * block_bytes);
    host.set_default_partition(disk, offset_bytes, size_bytes);
}

/// The default partition, for mounting.
pub(crate) fn default_volume(default: &DefaultSide) -> Volume {
    let block_bytes = default.table.block_bytes;
    Volume {
        disk: default.disk,
        guid: default.default.guid,
        offset_bytes: default.default.first_lba * block_bytes,
        size_bytes: default.default.blocks() * block_bytes,
        file_system: "vfat".into(),
    }
}

pub(crate) fn boxed(disks: &[OpenDisk]) -> Vec<Box<dyn Disk>> {
    disks.iter().map(|disk| Box::new(disk.clone()) as Box<dyn Disk>).collect()
}

/// Whole small files of a volume, in the order of `paths`.
pub(crate) fn read_files(
    disks: &[OpenDisk],
    volume: &Volume,
    paths: &[&str],
) -> Result<Vec<Vec<u8>>> {
    let root = mounter(disks).mount(volume, Access::ReadOnly)?;
    let read = |path: &&str| {
        let file = open_in_root(std::os::fd::AsFd::as_fd(&root), path, OFlags::RDONLY)
            .with_context(|| format!("cannot open {path}"))?;
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= FILE_BYTES, "{path} is larger than {FILE_BYTES} bytes");
        Ok(bytes)
    };
    paths.iter().map(read).collect()
}

fn mounter(disks: &[OpenDisk]) -> Mounter {
    Mounter::new(disks.to_vec(), Path::new("/sys"), Path::new("/dev"))
}
