//! Brings the network up and keeps it up: DHCPv4, static addresses, IPv6 router advertisements,
//! VLANs, on every interface that the configuration is for, each on its own.
//!
//! One thread watches which interfaces there are; each link has a thread that serves it until it is
//! gone. Nothing here gives up: a server without its network can be helped by nobody. What carries
//! data over the network is not here.

mod assignment;
mod backoff;
mod config;
mod dhcp;
mod frame_filter;
mod kernel_files;
mod resolv_conf;
mod route_message;
mod route_socket;
mod state;
mod worker;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use self::assignment::assign;
use self::route_message::RouteMessage;
use self::route_socket::{ChangeSocket, RouteSocket};
use self::state::SharedState;
use self::worker::Worker;

pub use self::config::{
    Address, ConfigError, InterfaceConfig, Ipv4Config, Ipv6Config, MacAddress, NetworkConfig,
    Prefix, StaticAddress,
};
pub use self::dhcp::{DhcpClient, Lease, LeaseChange};
pub use self::state::{InterfaceState, addresses};

/// The loopback's index in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// The metric of the most preferred link's default route; each next link has one more.
const FIRST_METRIC: u32 = 100;
/// How often the interfaces are looked at even if the kernel reports no change, for a worker that
/// panicked and must be replaced.
const LOOK_INTERVAL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// The pause after a fault of the watching thread itself.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
const DHCP_CLIENT_PORT: u16 = 68;

/// Where the kernel's file systems and the resolver's file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where sysfs is mounted.
    pub sys: PathBuf,
    /// Where procfs is mounted.
    pub proc: PathBuf,
    /// The file that is rewritten as name servers come and go.
    pub resolv_conf: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), resolv_conf: "/etc/resolv.conf".into() }
    }
}

/// Why the network could not be started. Faults after that are retried for ever and show in
/// [`InterfaceState::fault`].
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no thread to be had.
    #[error("network: cannot start a thread")]
    Thread(#[source] io::Error),
}

/// The running network. Dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Network {
    shared: Arc<SharedState>,
}

/// Starts to bring the network up, and returns at once.
///
/// # Errors
/// Only what no retry can mend: a configuration that cannot work, or no thread to be had.
pub fn start(config: NetworkConfig, paths: Paths) -> Result<Network, NetworkError> {
    config.check()?;
    let shared = Arc::new(SharedState::new(paths.resolv_conf.clone()));
    let watcher = Watcher {
        config,
        paths: Arc::new(paths),
        shared: Arc::clone(&shared),
        workers: BTreeMap::new(),
    };
    std::thread::Builder::new()
        .name("network".to_owned())
        .spawn(move || watcher.run())
        .map_err(NetworkError::Thread)?;
    Ok(Network { shared })
}

impl Network {
    /// Waits until some link is online, at most until `deadline`; says whether one is.
    pub fn wait_online(&self, deadline: Instant) -> bool {
        self.shared.wait_online(deadline)
    }

    /// All links that are served, most preferred first.
    pub fn snapshot(&self) -> Vec<InterfaceState> {
        self.shared.snapshot()
    }
}

/// Keeps one worker alive for each link that the configuration is for.
struct Watcher {
    config: NetworkConfig,
    paths: Arc<Paths>,
    shared: Arc<SharedState>,
    workers: BTreeMap<String, JoinHandle<()>>,
}

impl Watcher {
    fn run(mut self) {
        // Held and never read: without it the kernel answers a renewal, which comes by unicast to
        // an address that is ours by now, with "port unreachable".
        let _port_68 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DHCP_CLIENT_PORT));
        loop {
            let Err(error) = self.watch();
            log::warn!("network: cannot watch the interfaces: {error}");
            std::thread::sleep(FAULT_PAUSE);
        }
    }

    fn watch(&mut self) -> rustix::io::Result<Infallible> {
        let changes = ChangeSocket::links_and_addresses()?;
        RouteSocket::open()?.request(RouteMessage::link_up(LOOPBACK_INDEX, None))?;
        let mut found_none = false;
        loop {
            changes.drain();
            self.shared.wake();
            self.replace_workers();
            if self.workers.is_empty() && !found_none {
                log::info!("network: no interface to use yet, waiting for one");
            }
            found_none = self.workers.is_empty();
            let mut files = [PollFd::new(&changes, PollFlags::IN)];
            match poll(&mut files, Some(&LOOK_INTERVAL)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a worker for each link that has none, or whose worker has ended.
    fn replace_workers(&mut self) {
        self.workers.retain(|_, worker| !worker.is_finished());
        let nics = kernel_files::nics(&self.paths.sys);
        let assignments = assign(&self.config, &nics);
        for (assignment, metric) in assignments.into_iter().zip(FIRST_METRIC..) {
            let link = assignment.link.clone();
            if self.workers.contains_key(&link) {
                continue;
            }
            let (paths, shared) = (Arc::clone(&self.paths), Arc::clone(&self.shared));
            let worker = Worker::new(assignment, paths, shared, random_seed(), metric);
            let thread = std::thread::Builder::new().name(format!("net-{link}"));
            match thread.spawn(move || worker.run()) {
                Ok(handle) => drop(self.workers.insert(link, handle)),
                // The next look tries again.
                Err(error) => log::warn!("{link}: cannot start a thread: {error}"),
            }
        }
    }
}

/// A seed that differs between servers and starts, from the keys that the standard library draws
/// for its hash tables. It spreads retries and numbers DHCP exchanges, and keeps no secret.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
