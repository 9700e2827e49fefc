//! A real network namespace: names are answered to us, and a machine finds DHCP and TFTP in it.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

use repave_qemu::HANG_GUARD;
use repave_qemu::namespace::{Namespace, NamespaceSpec};
use repave_qemu::spec::{SpecError, VmSpec};
use repave_qemu::vm::{Machine, VmError};

/// Any EFI program will do; this one comes with the package that the UKI's stub is in.
const EFI_PROGRAM: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

#[test]
fn a_machine_boots_from_the_network_in_a_namespace() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut spec = NamespaceSpec::new(dir.path().join("net"));
    spec.outside_names = vec!["controller.test".to_owned()];
    spec.boot_file = Some(EFI_PROGRAM.into());
    let namespace = Namespace::new(&spec)?;
    let other = Namespace::new(&NamespaceSpec::new(dir.path().join("other")))?;
    assert_ne!(namespace.outside(), other.outside());
    assert_eq!(ask_for_controller_test(namespace.bridge())?, namespace.outside());

    let mut spec = VmSpec::new("pxe", dir.path().join("pxe"));
    (spec.memory_mib, spec.network_boot) = (256, true);
    spec.nics = vec![namespace.nic()?, other.nic()?];
    let refused = Machine::new(spec.clone()).unwrap_err();
    assert!(matches!(refused, VmError::Spec(SpecError::TwoNamespaces)), "{refused:?}");
    spec.nics.truncate(1);
    let vm = Machine::new(spec)?.power_on()?;
    namespace.log().wait_for("DHCPACK", HANG_GUARD)?;
    namespace.log().wait_for(&format!("sent {EFI_PROGRAM}"), HANG_GUARD)?;
    vm.kill()?;

    let link = link_name(&namespace);
    assert!(link_exists(&link)?);
    drop(namespace);
    wait_until_gone(&link)?;
    Ok(())
}

/// Set in the process that [`a_killed_owner_leaves_nothing_behind`] kills.
const OWNER_DIR: &str = "REPAVE_TEST_NAMESPACE_OWNER";

#[test]
fn a_killed_owner_leaves_nothing_behind() -> Result<(), Box<dyn Error>> {
    if let Ok(dir) = std::env::var(OWNER_DIR) {
        let namespace = Namespace::new(&NamespaceSpec::new(dir))?;
        println!("owner of {}", link_name(&namespace));
        // Until we are killed.
        loop {
            std::thread::park();
        }
    }
    let dir = tempfile::tempdir()?;
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_killed_owner_leaves_nothing_behind", "--nocapture"])
        .env(OWNER_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(owner.stdout.take().ok_or("no output")?).lines();
    let link = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("owner of ")?.1.to_owned()))
        .ok_or("the owner has made no namespace")?;
    assert!(link_exists(&link)?);
    owner.kill()?;
    owner.wait()?;
    wait_until_gone(&link)?;
    Ok(())
}

fn link_name(namespace: &Namespace) -> String {
    format!("repave-{}", namespace.outside().octets()[2])
}

/// The kernel takes a namespace apart in its own time after the last process has left it.
fn wait_until_gone(link: &str) -> std::io::Result<()> {
    let start = Instant::now();
    while link_exists(link)? {
        assert!(start.elapsed() < HANG_GUARD, "{link} is left behind");
    }
    Ok(())
}

fn link_exists(link: &str) -> std::io::Result<bool> {
    Ok(Command::new("ip").args(["link", "show", "dev", link]).output()?.status.success())
}

/// One DNS question (RFC 1035 §4) for the address of `controller.test`.
fn ask_for_controller_test(server: Ipv4Addr) -> Result<Ipv4Addr, Box<dyn Error>> {
    const QUERY: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x0acontroller\x04test\0\0\x01\0\x01";
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(HANG_GUARD))?;
    socket.send_to(QUERY, (server, 53))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    // The answer's record is last, and its address ends it.
    let address: [u8; 4] = answer[..length].last_chunk().copied().ok_or("no address")?;
    Ok(address.into())
}
