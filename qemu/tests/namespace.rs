//! A real network namespace: names are answered to us, and a machine finds DHCP and TFTP in it.

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use repave_qemu::HANG_GUARD;
use repave_qemu::net::{Namespace, NamespaceSpec};
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
    assert_eq!(
        ask_for_controller_test(namespace.bridge())?,
        namespace.outside()
    );

    let mut spec = VmSpec::new("pxe", dir.path().join("pxe"));
    (spec.memory_mib, spec.network_boot) = (256, true);
    spec.nics = vec![namespace.nic()?, other.nic()?];
    let refused = Machine::new(spec.clone()).unwrap_err();
    assert!(
        matches!(refused, VmError::Spec(SpecError::TwoNamespaces)),
        "{refused:?}"
    );
    spec.nics.truncate(1);
    let vm = Machine::new(spec)?.power_on()?;
    namespace.log().wait_for("DHCPACK", HANG_GUARD)?;
    namespace
        .log()
        .wait_for(&format!("sent {EFI_PROGRAM}"), HANG_GUARD)?;
    vm.kill()?;

    let link = format!("repave-{}", namespace.outside().octets()[2]);
    assert!(link_exists(&link)?);
    drop(namespace);
    // The kernel takes a namespace apart in its own time after the last process has left it.
    let start = std::time::Instant::now();
    while link_exists(&link)? {
        assert!(start.elapsed() < HANG_GUARD, "{link} is left behind");
    }
    Ok(())
}

fn link_exists(link: &str) -> std::io::Result<bool> {
    Ok(Command::new("ip")
        .args(["link", "show", "dev", link])
        .output()?
        .status
        .success())
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
