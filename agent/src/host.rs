//! Facts about the running system, time and chance.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use repave_core::edges::{DeviceError, Host, Logs};
use repave_protocol::{Digester, Inventory, Sha256, limits};
use repave_sys::{AlignedBuffer, kernel_log};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

use crate::direct_file::{ALIGNMENT_BYTES, DirectFile};
use crate::disk::OpenDisk;
use crate::{console, inventory};

/// Piece in which the default partition is read.
const PIECE_BYTES: usize = 256 * 1024;
/// Between two digests of the default partition: the root of a target can write to it at any time.
const DIGEST_EVERY_MS: u64 = 60 * 60 * 1000;
/// Lowest priority there is (setpriority(2)): the digest is wanted, but nobody waits for it.
const NICE: i32 = 19;

/// The running system.
pub struct RunningHost {
    sys_root: PathBuf,
    proc_root: PathBuf,
    /// The disks that were attached when this was made.
    attached: Vec<(String, Option<u64>)>,
    default_disk: Option<String>,
    default_partition: Option<Partition>,
    /// The latest digest, and the one that is worked out.
    latest: Option<Sha256>,
    digest: Option<Arc<Digest>>,
    /// When the next one is begun.
    digest_due_ms: u64,
}

/// A digest that a thread works out.
#[derive(Default)]
struct Digest {
    /// Set once reading has ended, with or without it.
    outcome: Mutex<Option<Option<Sha256>>>,
    has_ended: Condvar,
}

/// A range of a disk.
#[derive(Clone)]
struct Partition {
    file: Arc<DirectFile>,
    offset_bytes: u64,
    size_bytes: u64,
}

impl RunningHost {
    /// A host that takes its inventory from `sys_root` (`/sys`) and `proc_root` (`/proc`).
    pub fn new(sys_root: &Path, proc_root: &Path) -> Self {
        Self {
            sys_root: sys_root.into(),
            proc_root: proc_root.into(),
            attached: inventory::attached(sys_root),
            default_disk: None,
            default_partition: None,
            latest: None,
            digest: None,
            digest_due_ms: 0,
        }
    }

    /// Says which range of which disk is the default partition. The inventory marks that disk, and
    /// the partition's digest is worked out in the background once it is asked for, and again every
    /// hour; without this call there never is one.
    pub fn set_default_partition(&mut self, disk: &OpenDisk, offset_bytes: u64, size_bytes: u64) {
        self.default_disk = Some(disk.name().into());
        self.default_partition = Some(Partition { file: disk.file(), offset_bytes, size_bytes });
        (self.digest, self.digest_due_ms) = (None, 0);
    }
}

/// Milliseconds since the kernel started.
pub(crate) fn uptime_ms() -> u64 {
    // BOOTTIME counts suspended time too, never goes back and is never negative.
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

impl Host for RunningHost {
    fn uptime_ms(&self) -> u64 {
        uptime_ms()
    }

    fn sleep(&mut self, duration_ms: u64) {
        thread::sleep(Duration::from_millis(duration_ms));
    }

    fn entropy(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // For ever: the call waits until the kernel has entropy and gives 32 bytes whole or not
        // at all, only a signal can cut it short, and there is nothing to go on with instead.
        while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
        bytes
    }

    fn inventory(&mut self) -> Inventory {
        let mut inventory = inventory::take(&self.sys_root, &self.proc_root);
        for disk in &mut inventory.disks {
            disk.holds_default = self.default_disk.as_ref() == Some(&disk.name);
        }
        inventory
    }

    fn has_other_disks(&mut self) -> bool {
        inventory::attached(&self.sys_root) != self.attached
    }

    fn default_partition(&mut self, wait_ms: u64) -> Option<Sha256> {
        let now_ms = uptime_ms();
        let has_ended = |digest: &Arc<Digest>| digest.wait(Duration::ZERO).is_some();
        let is_due = now_ms >= self.digest_due_ms && self.digest.as_ref().is_none_or(has_ended);
        if let Some(partition) = self.default_partition.clone().filter(|_| is_due) {
            self.digest_due_ms = now_ms + DIGEST_EVERY_MS;
            self.digest = Some(digest_of(partition));
        }
        // While the next one is worked out, the one before it is the latest.
        if let Some(read) = self.digest.as_ref()?.wait(Duration::from_millis(wait_ms)) {
            self.latest = read;
        }
        self.latest
    }

    fn logs(&mut self) -> Logs {
        let kernel = kernel_log(limits::LOG_BYTES as u16).unwrap_or_else(|error| {
            // In its place, so that nobody takes the silence for the kernel's.
            format!("the kernel's log cannot be read: {error}").into_bytes()
        });
        Logs { agent: console::last_lines(), kernel }
    }
}

/// Begins to read a partition in the background.
fn digest_of(partition: Partition) -> Arc<Digest> {
    let digest = Arc::new(Digest::default());
    let theirs = Arc::clone(&digest);
    let thread = thread::Builder::new().name("default digest".into());
    let spawned = thread.spawn(move || {
        let read = partition.digest().inspect_err(|error| {
            log::warn!("{error}; the default partition has no digest");
        });
        theirs.end(read.ok());
    });
    if let Err(error) = spawned {
        log::warn!("no thread for the default partition's digest: {error}");
        digest.end(None);
    }
    digest
}

impl Digest {
    fn end(&self, read: Option<Sha256>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        self.has_ended.notify_all();
    }

    /// What reading came to; `None` if it goes on for longer than `limit`.
    fn wait(&self, limit: Duration) -> Option<Option<Sha256>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.has_ended.wait_timeout_while(outcome, limit, |o| o.is_none());
        let (outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *outcome
    }
}

impl Partition {
    fn digest(&self) -> Result<Sha256, DeviceError> {
        // For the calling thread only, whatever POSIX says of processes.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            log::debug!("priority {NICE}: {error}");
        }
        let mut digester = Digester::new();
        let mut buffer = AlignedBuffer::new(PIECE_BYTES, ALIGNMENT_BYTES);
        let end_bytes = self.offset_bytes + self.size_bytes;
        for offset_bytes in (self.offset_bytes..end_bytes).step_by(PIECE_BYTES) {
            let length_bytes = (end_bytes - offset_bytes).min(PIECE_BYTES as u64) as usize;
            let piece = &mut buffer[..length_bytes];
            self.file.read(offset_bytes, piece)?;
            digester.update(piece);
        }
        Ok(digester.finish())
    }
}

#[cfg(test)]
mod tests {
    use repave_core::edges::Host;
    use repave_protocol::Sha256;

    use super::{PIECE_BYTES, RunningHost, uptime_ms};
    use crate::disk::OpenDisk;
    use crate::loop_disk::LoopDisk;

    fn host() -> RunningHost {
        RunningHost::new("/sys".as_ref(), "/proc".as_ref())
    }

    #[test]
    fn time_goes_on_and_chance_does_not_repeat() {
        let mut host = host();
        let begin_ms = host.uptime_ms();
        host.sleep(2);
        assert!(host.uptime_ms() >= begin_ms + 2);
        assert_ne!(host.entropy(), host.entropy());
    }

    #[test]
    fn the_default_partition_is_digested_once_it_is_asked_for() {
        let mut host = host();
        assert_eq!(host.default_partition(60_000), None, "nobody said which it is");
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES).map(|at| (at % 241) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let facts = repave_protocol::Disk { name: "disk0".into(), ..Default::default() };
        let disk = OpenDisk::open(facts, file.path()).unwrap();
        host.set_default_partition(&disk, 512, 2 * PIECE_BYTES as u64);
        let expected = Sha256::of(&bytes[512..512 + 2 * PIECE_BYTES]);
        assert_eq!(host.default_partition(60_000), Some(expected));
        // An hour later it is looked at again.
        let other = vec![7; bytes.len()];
        std::fs::write(file.path(), &other).unwrap();
        assert!(host.digest_due_ms > uptime_ms());
        host.digest_due_ms = 0;
        let expected = Sha256::of(&other[..2 * PIECE_BYTES]);
        assert_eq!(host.default_partition(60_000), Some(expected));
    }

    #[test]
    fn another_disk_under_an_old_name_is_another_disk() {
        let empty = tempfile::tempdir().unwrap();
        let device = LoopDisk::new(empty.path());
        let mut host = RunningHost::new(&device.sys_root(), "/proc".as_ref());
        assert!(!host.has_other_disks());
        device.describe("vda", &[("diskseq", 8)]);
        assert!(host.has_other_disks());
        let mut host = RunningHost::new(&device.sys_root(), "/proc".as_ref());
        device.describe("vda", &[("diskseq", 9)]);
        assert!(host.has_other_disks());
        device.describe("vda", &[("diskseq", 8)]);
        assert!(!host.has_other_disks());
        device.describe("vdb", &[("size", 8)]);
        device.describe("vdb/device", &[]);
        assert!(host.has_other_disks());
    }

    #[test]
    fn what_cannot_be_read_is_not_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let facts = repave_protocol::Disk { name: "disk0".into(), ..Default::default() };
        let disk = OpenDisk::open(facts, file.path()).unwrap();
        let mut host = host();
        // There is nothing at that place.
        host.set_default_partition(&disk, 1 << 20, 4096);
        assert_eq!(host.default_partition(60_000), None);
    }

    #[test]
    fn the_logs_hold_what_the_agent_said() {
        crate::console::start();
        log::warn!("the tests say so");
        // Other tests may have said more since.
        let agent = String::from_utf8(host().logs().agent).unwrap();
        assert!(agent.lines().any(|line| line.contains("] repave ")), "{agent}");
    }

    #[test]
    fn the_inventory_marks_the_disk_that_holds_the_default_side() {
        let empty = tempfile::tempdir().unwrap();
        let device = LoopDisk::new(empty.path());
        let mut host = RunningHost::new(&device.sys_root(), "/proc".as_ref());
        let marks = |host: &mut RunningHost| -> Vec<bool> {
            host.inventory().disks.iter().map(|disk| disk.holds_default).collect()
        };
        assert_eq!(marks(&mut host), [false]);
        host.set_default_partition(&device.open(), 0, 4096);
        assert_eq!(marks(&mut host), [true]);
    }
}
