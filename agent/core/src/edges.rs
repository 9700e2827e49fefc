//! What the core may ask of the world, as narrow traits passed in. The agent implements them with
//! system calls, the simulator with a seed; the core cannot tell which. Nothing here decides, and
//! every call may fail.

use repave_image::ChunkDigest;
use repave_protocol::{Guid, Inventory, Sha256, WatchdogReport};
use thiserror::Error;

use crate::event::Event;
use crate::settings::Rendered;
use crate::watchdog::Stretch;

/// A device that did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{device}: {operation}{}: {reason}", extent(*length_bytes, *offset_bytes))]
pub struct DeviceError {
    /// Which device, by the name that people use for it.
    pub device: String,
    /// `read`, `write`, `flush`, …
    pub operation: &'static str,
    /// Where.
    pub offset_bytes: u64,
    /// How much; nothing where the operation is the whole device's, as an open or a flush is.
    pub length_bytes: u64,
    /// The system's words.
    pub reason: String,
}

fn extent(length_bytes: u64, offset_bytes: u64) -> String {
    match length_bytes {
        0 => String::new(),
        _ => format!(" of {length_bytes} bytes at byte {offset_bytes}"),
    }
}

/// One whole disk.
pub trait Disk {
    /// Identity, size and block size, as they were when the disk was opened.
    fn facts(&self) -> &repave_protocol::Disk;
    /// Fills `into` from the medium, past the page cache. Offset and length are whole blocks.
    fn read(&mut self, offset_bytes: u64, into: &mut [u8]) -> Result<(), DeviceError>;
    /// Writes to the device, past the page cache. Durable only after [`Disk::flush`].
    fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DeviceError>;
    /// Returns once everything written before is on stable storage.
    fn flush(&mut self) -> Result<(), DeviceError>;
    /// Makes the system forget and read again the partition table, after it changed.
    fn reread_partitions(&mut self) -> Result<(), DeviceError>;
}

/// A firmware variable that could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("firmware variable {name}: {operation}: {reason}")]
pub struct FirmwareError {
    /// Variable name.
    pub name: String,
    /// `read`, `write`, `list` or `delete`.
    pub operation: &'static str,
    /// The system's words.
    pub reason: String,
}

/// UEFI variables of the global vendor (UEFI 2.10, 3.3), and the boot loader's one about itself.
pub trait Firmware {
    /// Names of all variables of the global vendor.
    fn names(&mut self) -> Result<Vec<String>, FirmwareError>;
    /// The value, without the attributes; `None` if there is no such variable.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError>;
    /// Creates or replaces a non-volatile boot-service and runtime variable.
    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError>;
    /// Removes it; to remove what is not there is no error.
    fn delete(&mut self, name: &str) -> Result<(), FirmwareError>;
    /// `LoaderDevicePartUUID`: the partition that this boot's UKI was read from, if it said so
    /// (systemd's Boot Loader Interface). Absent after a network boot.
    fn loader_partition(&mut self) -> Option<Guid>;
}

/// The controller or a source of blobs could not be reached, or did not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{peer}: {reason}")]
pub struct LinkError {
    /// URL of the peer.
    pub peer: String,
    /// What happened.
    pub reason: String,
    /// Whether it is to be asked again.
    pub kind: LinkErrorKind,
}

/// What kind of failure one of a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkErrorKind {
    /// It was not reached, refused, or did not come to an end in time; it may the next time.
    Trouble,
    /// It answered, with something else than was asked for, and so it will again.
    Lie,
}

impl LinkError {
    /// Of a peer that may do better the next time.
    pub fn trouble(peer: &str, reason: String) -> Self {
        Self { peer: peer.into(), reason, kind: LinkErrorKind::Trouble }
    }

    /// Of a peer that gave something else than it was asked for.
    pub fn lie(peer: &str, reason: String) -> Self {
        Self { peer: peer.into(), reason, kind: LinkErrorKind::Lie }
    }
}

/// A trust document's CA that nothing can be checked against.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the CA of the trust document cannot be used: {reason}")]
pub struct BadCa {
    /// The system's words.
    pub reason: String,
}

/// The way to the controller and to the image library.
pub trait Link {
    /// From the next exchange on, believes peers that the CA certificates in `ca_pem` vouch for, and
    /// no others. After an error it believes whom it did before.
    fn trust_ca(&mut self, ca_pem: &str) -> Result<(), BadCa>;
    /// Sends a sealed status and returns the bytes of the answer, unjudged. May take as long as
    /// the controller's long poll.
    fn ask(&mut self, status: &[u8]) -> Result<Vec<u8>, LinkError>;
    /// Sends a sealed status whose answer nobody waits for. Kept in order; never blocks.
    fn tell(&mut self, status: Vec<u8>);
    /// Waits, for a bounded time, until what was told has left.
    fn settle(&mut self);
    /// Reads a whole small blob from one source, refusing more than `limit_bytes`.
    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError>;
    /// Reads exactly `length_bytes` of a blob from one source.
    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError>;
}

/// A buffer of the workers' fixed pool, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// One thing for a worker to do with one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The buffer it owns until the completion.
    pub slot: Slot,
    /// What to do.
    pub work: Work,
}

/// What a worker can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Get a chunk's frame from a source, inflate it into the buffer, and digest the plain bytes.
    Fetch {
        /// Base URL.
        source: String,
        /// The pack that holds it.
        pack: Sha256,
        /// Where in the pack.
        offset_bytes: u64,
        /// Length of the frame.
        stored_bytes: u32,
        /// Length when inflated; any other length is a fault of the source.
        plain_bytes: u32,
        /// Wait this long first: back-off after a failure.
        pause_ms: u64,
    },
    /// Write the buffer's first bytes to the disk.
    Write {
        /// Where on the disk.
        offset_bytes: u64,
        /// How many bytes.
        length_bytes: u32,
        /// Write the first block, which makes the rest mountable, only once the rest is flushed:
        /// no disk tears a block, and any disk may tear more. That block itself is not flushed.
        first_block_last: bool,
    },
    /// Read from the disk past the cache into the buffer, and look at the bytes.
    Read {
        /// Where on the disk.
        offset_bytes: u64,
        /// How many bytes.
        length_bytes: u32,
        /// What is looked for.
        look: Look,
    },
    /// Make a range of the disk zero. It may be longer than the buffer, which is for looking.
    Zero {
        /// Where on the disk.
        offset_bytes: u64,
        /// How many bytes.
        length_bytes: u32,
        /// Read it first, and write only if it is not zero. Whoever knows that it is not spares
        /// the read.
        look_first: bool,
    },
    /// Put everything that was written before on stable storage.
    Flush,
}

/// What is looked for in bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Their CRC-32: whether they are what this run has checked and written.
    Crc32,
    /// Their digest: whether they are an image's, whoever wrote them. Many times the work.
    Digest,
    /// Whether all of them are zero.
    Zero,
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its buffer, free again for another job.
    pub slot: Slot,
    /// What was seen.
    pub outcome: Result<Seen, WorkError>,
}

/// What a worker saw; whether that is right is not the worker's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A fetch's plain bytes.
    Fetched {
        /// Their digest.
        digest: ChunkDigest,
    },
    /// A write was accepted by the device.
    Wrote,
    /// The CRC-32 (IEEE) of a read's bytes.
    Crc32(u32),
    /// The digest of a read's bytes.
    Digest(ChunkDigest),
    /// Whether all of a read's bytes are zero.
    Zero(bool),
    /// A range is zero now.
    Zeroed {
        /// How much of it was written; a read past the cache found the rest to be so already.
        written_bytes: u32,
    },
    /// The device has flushed.
    Flushed,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkError {
    /// The source failed; another may not.
    #[error("source failed")]
    Source(#[source] LinkError),
    /// The device failed.
    #[error("device failed")]
    Device(#[source] DeviceError),
}

/// Workers over one disk: they fetch, inflate, write, read and digest, in any order.
pub trait Workers {
    /// How many buffers there are; each holds one chunk.
    fn slots(&self) -> usize;
    /// Hands over a job whose slot is free. Never blocks.
    fn submit(&mut self, job: Job);
    /// The next job that ended; blocks until there is one. Called only while jobs are under way.
    fn reap(&mut self) -> Completion;
}

/// Makes workers once it is known for which disk and how large a chunk.
pub trait Crew {
    /// Workers over disk number `disk` with buffers of `chunk_bytes`.
    fn start(&mut self, disk: usize, chunk_bytes: u32) -> Result<Box<dyn Workers>, DeviceError>;
}

/// A partition of the target, as those who mount it need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Number of the disk.
    pub disk: usize,
    /// Partition GUID.
    pub guid: Guid,
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Size.
    pub size_bytes: u64,
    /// `ext4`, `xfs`, `btrfs`, `vfat`.
    pub file_system: String,
}

/// Settings could not be written, or were not found as written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("settings: {operation} {path}: {reason}")]
pub struct SettingsError {
    /// `mount`, `write`, `verify`, …
    pub operation: &'static str,
    /// Path inside the target.
    pub path: String,
    /// What happened.
    pub reason: String,
    /// Whether the image is to blame (a hostile or broken tree) and not the device.
    pub image_at_fault: bool,
}

/// Writes files below a target's root.
pub trait Configurator {
    /// Mounts the volume, writes every file, syncs, unmounts.
    fn write(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError>;
    /// Mounts it again with cold caches, read-only, and compares every file.
    fn verify(&mut self, volume: &Volume, files: &[Rendered]) -> Result<(), SettingsError>;
}

/// Leaving did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{operation}: {reason}")]
pub struct PowerError {
    /// `kexec load`, `kexec`, `reboot`.
    pub operation: &'static str,
    /// The system's words.
    pub reason: String,
}

/// What is kexec'd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KexecImage {
    /// The partition that holds the files.
    pub volume: Volume,
    /// Kernel, path on that partition.
    pub kernel: String,
    /// initrd, path on that partition.
    pub initrd: Option<String>,
    /// Kernel command line.
    pub options: String,
}

/// The ways out of this kernel.
pub trait Power {
    /// Loads a kernel for [`Power::kexec`].
    fn load(&mut self, image: &KexecImage) -> Result<(), PowerError>;
    /// Starts the loaded kernel. Comes back only with an error, or in a simulation.
    fn kexec(&mut self) -> Result<(), PowerError>;
    /// Resets through the firmware. Comes back only with an error, or in a simulation.
    fn reboot(&mut self) -> Result<(), PowerError>;
}

/// A watchdog that could not be armed or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{device}: {operation}: {reason}")]
pub struct WatchdogError {
    /// What its driver calls it.
    pub device: String,
    /// `open`, `set time-out`, `stop`.
    pub operation: &'static str,
    /// The system's words.
    pub reason: String,
}

/// The hardware watchdog that was chosen, if there is one. Where there is none, nothing here fails.
pub trait Watchdog {
    /// What guards the server now.
    fn report(&self) -> WatchdogReport;
    /// A stretch begins, and the one before it has ended. Fed by a thread of its own until the
    /// bound of the stretch has passed; whoever hangs, or calls nothing any more, starves it.
    fn begin(&mut self, stretch: Stretch);
    /// Arms it, or changes the time-out of one that is armed. It then runs on if this kernel is
    /// left for another one, with nobody to feed it but that one.
    fn arm(&mut self, timeout_s: u32) -> Result<(), WatchdogError>;
    /// Stops it, and says why in later reports.
    fn disarm(&mut self, reason: &'static str) -> Result<(), WatchdogError>;
}

/// The newest bytes of what was logged, in lines, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// By the agent, in this boot.
    pub agent: Vec<u8>,
    /// By the kernel, and by whoever else writes into its log.
    pub kernel: Vec<u8>,
}

/// Facts about the running system, time and chance.
pub trait Host {
    /// Milliseconds since the kernel started; never goes back.
    fn uptime_ms(&self) -> u64;
    /// Returns after `duration_ms`.
    fn sleep(&mut self, duration_ms: u64);
    /// 32 bytes that nobody can guess.
    fn entropy(&mut self) -> [u8; 32];
    /// 16 bytes for what may be known: a GUID, or which of many things is looked at. Told in the
    /// field log, so that whoever reads it can do the same again.
    fn draw(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.entropy()[..16]);
        bytes
    }
    /// A number that nobody can guess, to spread what many servers do.
    fn seed(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.entropy();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
    /// The hardware.
    fn inventory(&mut self) -> Inventory;
    /// Whether other disks are attached than those that were opened.
    fn has_other_disks(&mut self) -> bool;
    /// SHA-256 of the default partition, once somebody has finished reading it; waited for so long
    /// at most, and not at all if reading failed.
    fn default_partition(&mut self, wait_ms: u64) -> Option<Sha256>;
    /// The logs, as far as they are kept; at least as much as a status carries of each.
    fn logs(&mut self) -> Logs;
    /// Is told what no other edge sees; a host that keeps no field log does nothing with it.
    fn saw(&mut self, _event: Event) {}
}

/// The world, as the core is given it.
pub struct Edges<'a> {
    /// All disks of the server; their order means nothing.
    pub disks: Vec<Box<dyn Disk + 'a>>,
    /// Firmware variables.
    pub firmware: &'a mut dyn Firmware,
    /// The network.
    pub link: &'a mut dyn Link,
    /// Transfer workers.
    pub crew: &'a mut dyn Crew,
    /// Settings.
    pub configurator: &'a mut dyn Configurator,
    /// The ways out.
    pub power: &'a mut dyn Power,
    /// What resets the server if it hangs.
    pub watchdog: &'a mut dyn Watchdog,
    /// Time, chance, facts.
    pub host: &'a mut dyn Host,
}
