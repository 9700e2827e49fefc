//! The network against the real kernel and a real DHCP server: two network namespaces, a veth pair
//! for the cable, dnsmasq at its far end. Needs root, ip(8) and dnsmasq(8), and fails without.
//!
//! Renewal takes a minute at least with a real server; `network::dhcp` tests it in simulated time.
//! VLANs need a kernel that has them, so they are tested in a VM.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use repave_agent::network::{InterfaceState, Network, NetworkConfig, Paths, start};

/// How long anything here may take before it has failed; the slowest, duplicate address detection
/// after a router advertisement, takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Our end of the cable is `near`, in this thread's namespace; `far` is in another thread's.
struct Cable {
    far_end: mpsc::Sender<FarEnd>,
    folder: PathBuf,
    paths: Paths,
}

/// What the far end's thread does, one after the other.
enum FarEnd {
    Run(&'static str, mpsc::Sender<()>),
    Dnsmasq(Vec<String>, mpsc::Sender<Child>),
}

impl Cable {
    /// Runs `test` in a namespace of its own, with the far end switched off.
    fn lay(name: &str, test: impl FnOnce(&Cable) + Send + 'static) {
        assert!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        // The network is never stopped, and may write its files until the process ends: what is
        // left is removed by the next run.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(folder.join("sys")).unwrap();
        // Namespaces belong to threads, and end with them and their children.
        let thread = std::thread::spawn(move || test(&Self::new(folder)));
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn new(folder: PathBuf) -> Self {
        let (far_end, far_thread_id) = start_far_end();
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
        // A sysfs shows the network namespace that it was mounted in.
        let sys = folder.join("sys");
        mount(Some("sysfs"), &sys, Some("sysfs"), MsFlags::empty(), None::<&str>).unwrap();
        run(&format!("link add near type veth peer name far netns {far_thread_id}"));
        let paths = Paths { sys, proc: "/proc".into(), resolv_conf: folder.join("resolv.conf") };
        Self { far_end, folder, paths }
    }

    fn start(&self, config: &str) -> Network {
        let config: NetworkConfig = serde_json::from_str(config).unwrap();
        start(config, self.paths.clone()).unwrap()
    }

    fn at_far_end(&self, arguments: &'static str) {
        let (done, wait) = mpsc::channel();
        self.far_end.send(FarEnd::Run(arguments, done)).unwrap();
        wait.recv().unwrap();
    }

    fn dnsmasq(&self) -> Dnsmasq {
        let leases = self.folder.join("leases").display().to_string();
        let arguments = [
            "--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --port=0 --no-ping",
            "--user=root --pid-file --interface=far --bind-dynamic --enable-ra",
            "--dhcp-range=10.99.0.10,10.99.0.20,2m --dhcp-option=3,10.99.0.1",
            "--dhcp-option=6,10.99.0.53 --dhcp-range=fd99::,ra-only --log-facility=/dev/null",
        ];
        let mut arguments: Vec<_> =
            arguments.iter().flat_map(|line| line.split(' ')).map(str::to_owned).collect();
        arguments.push(format!("--dhcp-leasefile={leases}"));
        let (done, wait) = mpsc::channel();
        self.far_end.send(FarEnd::Dnsmasq(arguments, done)).unwrap();
        Dnsmasq(wait.recv().unwrap())
    }

    fn resolv_conf(&self) -> String {
        std::fs::read_to_string(self.folder.join("resolv.conf")).unwrap_or_default()
    }
}

struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start_far_end() -> (mpsc::Sender<FarEnd>, i32) {
    let (far_end, orders) = mpsc::channel();
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ready.send(nix::unistd::gettid().as_raw()).unwrap();
        for order in orders {
            match order {
                FarEnd::Run(arguments, done) => {
                    run(arguments);
                    done.send(()).unwrap();
                }
                FarEnd::Dnsmasq(arguments, done) => {
                    let mut command = Command::new("dnsmasq");
                    done.send(command.args(arguments).spawn().unwrap()).unwrap();
                }
            }
        }
    });
    (far_end, wait.recv().unwrap())
}

/// Runs ip(8) in the calling thread's namespace.
fn run(arguments: &str) -> String {
    let output =
        Command::new("ip").args(arguments.split(' ')).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the link's state is as asked for, and gives it.
fn wait_for(network: &Network, what: &str, is: impl Fn(&InterfaceState) -> bool) -> InterfaceState {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let states = network.snapshot();
        if let Some(state) = states.iter().find(|state| is(state)) {
            return state.clone();
        }
        assert!(Instant::now() < deadline, "{what} did not come about: {states:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_address(state: &InterfaceState, starts_with: &str) -> bool {
    state.addresses.iter().any(|(address, _)| address.to_string().starts_with(starts_with))
}

#[test]
fn a_lease_and_an_advertised_prefix_from_dnsmasq() {
    Cable::lay("dnsmasq", |cable| {
        cable.at_far_end("link set far up");
        cable.at_far_end("addr add 10.99.0.1/24 dev far");
        cable.at_far_end("addr add fd99::1/64 dev far nodad");
        let _dnsmasq = cable.dnsmasq();
        let network = cable.start(r#"{"interfaces":[{"match_name":"near"}]}"#);

        assert!(network.wait_online(Instant::now() + PATIENCE));
        let state = wait_for(&network, "a lease", |state| state.dhcp_server.is_some());
        assert!(has_address(&state, "10.99.0."), "{state:?}");
        assert_eq!(state.gateway, Some([10, 99, 0, 1].into()));
        assert_eq!(state.dns, ["10.99.0.53".parse::<IpAddr>().unwrap()]);
        assert_eq!(state.fault, None);
        assert!(cable.resolv_conf().starts_with("nameserver 10.99.0.53\n"));
        let routes = run("-4 route show default");
        assert_eq!(routes.trim_end(), "default via 10.99.0.1 dev near proto static metric 100");
        wait_for(&network, "an advertised address", |state| has_address(state, "fd99:"));
    });
}

#[test]
fn a_link_that_comes_late_goes_and_comes_back() {
    Cable::lay("late", |cable| {
        cable.at_far_end("addr add 10.99.0.1/24 dev far");
        let _dnsmasq = cable.dnsmasq();
        let network = cable.start(r#"{"interfaces":[{"match_name":"near","ipv6":"off"}]}"#);
        wait_for(&network, "a link without carrier", |state| {
            !state.carrier && state.fault.is_none()
        });
        assert!(!network.wait_online(Instant::now()));

        cable.at_far_end("link set far up");
        wait_for(&network, "a lease", InterfaceState::is_online);
        cable.at_far_end("link set far down");
        wait_for(&network, "the loss of the carrier", |state| !state.is_online());
        cable.at_far_end("link set far up");
        let state = wait_for(&network, "the second lease", InterfaceState::is_online);
        assert!(!has_address(&state, "fe80:"), "IPv6 is off: {state:?}");

        // What somebody else switches off is switched on again.
        run("link set near down");
        wait_for(&network, "the link's return", InterfaceState::is_online);
        run("link delete near");
        let deadline = Instant::now() + PATIENCE;
        while !network.snapshot().is_empty() {
            assert!(Instant::now() < deadline, "{:?}", network.snapshot());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn static_addresses_routes_and_mtu() {
    Cable::lay("static", |cable| {
        cable.at_far_end("link set far up");
        let network = cable.start(
            r#"{"interfaces":[{"match_name":"near","mtu":1400,
                "ipv4":{"static":{"address":"10.98.0.2/24","gateway":"192.0.2.1","dns":["10.98.0.53"]}},
                "ipv6":{"static":{"address":"fd98::2/64","gateway":"fe80::1","dns":["fd98::53"]}}}]}"#,
        );
        let state = wait_for(&network, "the addresses", |state| {
            state.is_online() && has_address(state, "fd98::2")
        });
        assert_eq!(state.name, "near");
        assert!(has_address(&state, "10.98.0.2"), "{state:?}");
        let link = run("link show near");
        assert!(link.contains("mtu 1400"), "{link}");
        let routes = run("-4 route show default");
        assert!(routes.starts_with("default via 192.0.2.1 dev near"), "{routes}");
        assert!(routes.contains("onlink"), "{routes}");
        let routes = run("-6 route show default");
        assert!(routes.starts_with("default via fe80::1 dev near"), "{routes}");
        assert_eq!(
            cable.resolv_conf(),
            "nameserver 10.98.0.53\nnameserver fd98::53\noptions timeout:2 attempts:2\n"
        );
        // The agent may be started again: nothing that is there already is an error.
        let again = cable.start(r#"{"interfaces":[{"match_name":"near","ipv6":"off"}]}"#);
        let state = wait_for(&again, "the link", |state| state.carrier);
        assert_eq!(state.fault, None);
    });
}
