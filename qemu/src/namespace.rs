//! A network of its own, in which machines, DHCP, names and this process meet.
//!
//! A namespace has no name and no file: it lives as long as the processes in it, and these die
//! with us. So nothing is left behind by a crash, and there is nothing to tidy up at a start.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use crate::HANG_GUARD;
use crate::console::{Console, WaitError};
use crate::net::{Backend, Nic};
use crate::process::{Process, mortal};
use crate::spec::SpecError;

/// The addresses inside a namespace are 10.201.x.0/24, where x tells the namespaces apart.
const SUBNET_PREFIX: [u8; 2] = [10, 201];
/// The bridge: DHCP, DNS and TFTP server.
const BRIDGE_HOST: u8 = 1;
/// This process, as the machines see it.
const OUTSIDE_HOST: u8 = 2;
/// What DHCP gives away.
const LEASED_HOSTS: [u8; 2] = [100, 199];
/// dnsmasq's shortest lease, so that a test can see a renewal.
const LEASE: &str = "2m";

/// Why a namespace could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The namespace was refused.
    #[error("cannot make a network namespace; it needs root")]
    Refused {
        /// What came in place of the namespace's sign of life.
        source: io::Error,
    },
    /// A change of links or addresses was refused.
    #[error("ip refused a line of {commands:?}: {complaint}")]
    Ip {
        /// The commands given to `ip`.
        commands: String,
        /// What it said.
        complaint: String,
    },
    /// All 256 networks are in use.
    #[error("every network of 10.201.0.0/16 is in use")]
    NoFreeNetwork,
    /// A file of dnsmasq's.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// dnsmasq did not start.
    #[error("dnsmasq did not start")]
    Dnsmasq(#[source] WaitError),
}

/// What a namespace offers.
#[derive(Debug, Clone)]
pub struct NamespaceSpec {
    /// A folder for dnsmasq's log and leases; made when missing.
    pub dir: PathBuf,
    /// Names that lead to this process, at [`Namespace::outside`].
    pub outside_names: Vec<String>,
    /// What machines without a disk boot, by PXE; its whole folder is offered by TFTP.
    pub boot_file: Option<PathBuf>,
    /// More arguments for dnsmasq.
    pub dnsmasq_args: Vec<String>,
}

impl NamespaceSpec {
    /// DHCP only.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), outside_names: vec![], boot_file: None, dnsmasq_args: vec![] }
    }
}

/// A network namespace with a bridge, dnsmasq on it, and a cable to the namespace that we are in.
/// It ends when this and every machine in it is dropped.
pub struct Namespace {
    network: Network,
    log: Console,
    taps: AtomicU32,
    /// Dropped before the namespace's last process.
    _dnsmasq: Arc<Process>,
    holder: Arc<Holder>,
}

impl Namespace {
    /// Makes it, with dnsmasq ready to answer.
    ///
    /// # Errors
    /// [`NetError`]; without root it is `Refused`.
    pub fn new(spec: &NamespaceSpec) -> Result<Self, NetError> {
        let holder = Arc::new(Holder::start()?);
        let network = Network::claim(&holder)?;
        holder.ip(&network.inside())?;
        let (dnsmasq, log) = start_dnsmasq(&holder, &network.dnsmasq_args(spec), &spec.dir)?;
        Ok(Self { network, log, taps: AtomicU32::new(0), _dnsmasq: dnsmasq, holder })
    }

    /// The address at which the machines reach this process.
    pub fn outside(&self) -> Ipv4Addr {
        self.network.address(OUTSIDE_HOST)
    }

    /// The address of the bridge: the machines' DNS server.
    pub fn bridge(&self) -> Ipv4Addr {
        self.network.address(BRIDGE_HOST)
    }

    /// dnsmasq's log: a line for each DHCP message, query and file.
    pub fn log(&self) -> &Console {
        &self.log
    }

    /// A network card whose cable is in the bridge.
    ///
    /// # Errors
    /// The tap device is refused.
    pub fn nic(&self) -> Result<Nic, NetError> {
        let name = format!("tap{}", self.taps.fetch_add(1, Ordering::Relaxed));
        self.holder
            .ip(&format!("tuntap add dev {name} mode tap\nlink set dev {name} master br0 up\n"))?;
        Ok(Nic::new(Backend::Tap { name, holder: Arc::clone(&self.holder) }))
    }
}

/// The process that a namespace lives in until a machine does: a `cat` between us and us.
#[derive(Debug)]
pub(crate) struct Holder {
    process: Process,
    /// Its end is the cat's end.
    _stdio: UnixStream,
}

impl Holder {
    /// The one namespace that these cards are in, if any.
    pub(crate) fn shared_by(nics: &[Nic]) -> Result<Option<&Arc<Self>>, SpecError> {
        let mut holders = nics.iter().filter_map(|nic| match &nic.backend {
            Backend::Tap { holder, .. } => Some(holder),
            Backend::Slirp { .. } => None,
        });
        let first = holders.next();
        match holders.all(|holder| first.is_some_and(|first| Arc::ptr_eq(first, holder))) {
            true => Ok(first),
            false => Err(SpecError::TwoNamespaces),
        }
    }

    /// What to put before a program so that it runs in the namespace.
    pub(crate) fn enter(&self) -> Vec<String> {
        let id = self.process.id().to_string();
        ["nsenter", "--target", &id, "--net", "--"].map(str::to_owned).to_vec()
    }

    fn start() -> Result<Self, NetError> {
        let failed = |source| NetError::Spawn { program: "unshare", source };
        let (mut stdio, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = mortal(&[], "unshare");
        command
            .args(["--net", "--", "cat"])
            .stdin(OwnedFd::from(theirs.try_clone().map_err(failed)?))
            .stdout(OwnedFd::from(theirs));
        let process = Process::spawn(command).map_err(failed)?;
        // The echo says that the cat runs, and so that the namespace is there.
        stdio
            .set_read_timeout(Some(HANG_GUARD))
            .and_then(|()| stdio.write_all(b"\n"))
            .and_then(|()| stdio.read_exact(&mut [0]))
            .map_err(|source| NetError::Refused { source })?;
        Ok(Self { process, _stdio: stdio })
    }

    /// Gives lines to `ip` inside the namespace.
    fn ip(&self, lines: &str) -> Result<(), NetError> {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg("ip");
        ip(command, lines)
    }
}

/// One of the 256 networks.
#[derive(Debug, Clone, Copy)]
struct Network(u8);

impl Network {
    /// Lays the cable between us and the namespace. The name of our end is the claim: the kernel
    /// gives it to one process only, and takes it back when the namespace ends.
    fn claim(holder: &Holder) -> Result<Self, NetError> {
        let first = process::id().to_le_bytes()[0];
        for network in (0..=u8::MAX).map(|x| Self(first.wrapping_add(x))) {
            if network.is_routed()? {
                continue;
            }
            match ip(Command::new("ip"), &network.cable(holder.process.id())) {
                Err(NetError::Ip { complaint, .. }) if complaint.contains("File exists") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(network),
            }
        }
        Err(NetError::NoFreeNetwork)
    }

    /// Whether this host sends the network's packets somewhere, other than by its default route.
    fn is_routed(self) -> Result<bool, NetError> {
        let output = Command::new("ip")
            .args(["-4", "route", "show", "to", "match", &self.address(OUTSIDE_HOST).to_string()])
            .output()
            .map_err(|source| NetError::Spawn { program: "ip", source })?;
        let routes = String::from_utf8_lossy(&output.stdout);
        Ok(routes.lines().any(|route| !route.starts_with("default")))
    }

    fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(SUBNET_PREFIX[0], SUBNET_PREFIX[1], self.0, host)
    }

    /// At most 15 bytes, the kernel's limit for a link's name.
    fn outside_link(self) -> String {
        format!("repave-{}", self.0)
    }

    fn cable(self, namespace_process: u32) -> String {
        let (link, outside) = (self.outside_link(), self.address(OUTSIDE_HOST));
        format!(
            "link add {link} type veth peer name outside netns {namespace_process}\n\
             address add {outside}/24 dev {link}\n\
             link set dev {link} up\n"
        )
    }

    fn inside(self) -> String {
        let bridge = self.address(BRIDGE_HOST);
        format!(
            "link set dev lo up\n\
             link add br0 type bridge\n\
             address add {bridge}/24 dev br0\n\
             link set dev br0 up\n\
             link set dev outside master br0 up\n"
        )
    }

    fn dnsmasq_args(self, spec: &NamespaceSpec) -> Vec<String> {
        let [first, last] = LEASED_HOSTS.map(|host| self.address(host));
        let mut args: Vec<String> = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--interface=br0",
            "--except-interface=lo",
            "--bind-interfaces",
            // A process that changes its user or group loses its parent-death signal.
            "--user=root",
            "--group=root",
            "--pid-file",
            "--log-facility=-",
            "--log-queries",
            "--dhcp-authoritative",
            "--dhcp-leasefile=leases",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--dhcp-range={first},{last},255.255.255.0,{LEASE}"));
        for name in &spec.outside_names {
            args.push(format!("--host-record={name},{}", self.address(OUTSIDE_HOST)));
        }
        if let Some(file) = &spec.boot_file {
            let folder = file.parent().unwrap_or(Path::new("/"));
            let name = file.file_name().map(Path::new).unwrap_or(file);
            args.push("--enable-tftp".to_owned());
            args.push(format!("--tftp-root={}", folder.display()));
            args.push(format!("--dhcp-boot={}", name.display()));
        }
        args.extend(spec.dnsmasq_args.iter().cloned());
        args
    }
}

fn start_dnsmasq(
    holder: &Holder,
    args: &[String],
    dir: &Path,
) -> Result<(Arc<Process>, Console), NetError> {
    let log_path = dir.join("dnsmasq.log");
    let log = fs::create_dir_all(dir)
        .and_then(|()| fs::File::create(&log_path))
        .map_err(|source| NetError::File { path: log_path.clone(), source })?;
    let mut command = mortal(&holder.enter(), "dnsmasq");
    command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let process = Process::spawn(command)
        .map(Arc::new)
        .map_err(|source| NetError::Spawn { program: "dnsmasq", source })?;
    let writer = Arc::clone(&process);
    let log = Console::open(&log_path, 0, move || matches!(writer.exited(), Ok(None)))
        .map_err(NetError::Dnsmasq)?;
    // Its last words before it answers; its sockets are bound by then.
    log.wait_for("started, version", HANG_GUARD).map_err(NetError::Dnsmasq)?;
    Ok((process, log))
}

/// Runs `ip -batch`, which stops at the first line that is refused.
fn ip(mut command: Command, lines: &str) -> Result<(), NetError> {
    let failed = |source| NetError::Spawn { program: "ip", source };
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetError::Ip { commands: lines.to_owned(), complaint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_the_kernels_limit() {
        const IFNAMSIZ: usize = 16; // linux/if.h, with the final zero
        for network in (0..=u8::MAX).map(Network) {
            assert!(network.outside_link().len() < IFNAMSIZ);
        }
    }

    #[test]
    fn golden_arguments_of_dnsmasq() {
        let mut spec = NamespaceSpec::new("/vms/net");
        spec.outside_names = vec!["controller.test".to_owned()];
        spec.boot_file = Some(PathBuf::from("/srv/boot/default.efi"));
        let args = Network(7).dnsmasq_args(&spec).join("\n");
        assert_eq!(args, include_str!("../tests/golden/dnsmasq.args").trim_end(), "\n{args}");
    }
}
