//! What the network reads from sysfs and writes to sysctl. Both roots are passed in.

use std::io;
use std::path::{Path, PathBuf};

use super::assignment::Nic;
use super::config::{Ipv6Config, MacAddress};

/// ARPHRD_ETHER (linux/if_arp.h).
const ETHERNET: &str = "1";

/// What sysfs says of a link just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// There is no such interface (any more).
    Gone,
    /// It is switched off.
    Down,
    /// It is switched on and sees nobody at the other end.
    NoCarrier,
    /// It can send.
    Carrier,
}

/// The Ethernet interfaces of `sys`, by name. Bridges, bonds, VLANs and radios (what has a
/// DEVTYPE) are left out, and what disappears while it is being looked at.
pub(super) fn nics(sys: &Path) -> Vec<Nic> {
    let Ok(entries) = std::fs::read_dir(sys.join("class/net")) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut nics: Vec<_> = names.filter_map(|name| nic(sys, name)).collect();
    nics.sort_by_key(|nic| nic.index);
    nics
}

fn nic(sys: &Path, name: String) -> Option<Nic> {
    let folder = folder(sys, &name);
    let plain =
        read(&folder, "type")? == ETHERNET && !read(&folder, "uevent")?.contains("DEVTYPE=");
    let mac = read(&folder, "address")?.parse().ok()?;
    let wired = folder.join("device").exists();
    plain.then_some(Nic { index: read(&folder, "ifindex")?.parse().ok()?, name, mac, wired })
}

/// The kernel's index and the hardware address of a link, as long as it is there.
pub(super) fn index_and_mac(sys: &Path, link: &str) -> Option<(u32, MacAddress)> {
    let folder = folder(sys, link);
    Some((read(&folder, "ifindex")?.parse().ok()?, read(&folder, "address")?.parse().ok()?))
}

/// The state of a link. The kernel refuses to read `carrier` of a link that is switched off.
pub(super) fn link_state(sys: &Path, link: &str) -> LinkState {
    match std::fs::read_to_string(folder(sys, link).join("carrier")) {
        Ok(text) if text.trim() == "1" => LinkState::Carrier,
        Ok(_) => LinkState::NoCarrier,
        Err(error) if error.kind() == io::ErrorKind::NotFound => LinkState::Gone,
        Err(_) => LinkState::Down,
    }
}

/// Tells the kernel how to handle IPv6 on a link, and that a route through a link without carrier
/// does not count (ip-sysctl.rst). To be called before the link is switched on. Gives the settings
/// that the kernel did not take, which it lacks if it was built without them.
pub(super) fn prepare_link(
    proc: &Path,
    link: &str,
    ipv6: &Ipv6Config,
) -> Vec<(PathBuf, io::Error)> {
    let ipv6_settings: &[(&str, &str)] = match ipv6 {
        Ipv6Config::Off => &[("disable_ipv6", "1")],
        Ipv6Config::Static(_) => &[
            ("disable_ipv6", "0"),
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("ignore_routes_with_linkdown", "1"),
        ],
        // 2: even if the kernel forwards packets, as it does on a host of containers.
        Ipv6Config::Ra => &[
            ("disable_ipv6", "0"),
            ("accept_ra", "2"),
            ("autoconf", "1"),
            ("ignore_routes_with_linkdown", "1"),
        ],
    };
    let ipv4_settings = [("ignore_routes_with_linkdown", "1")];
    let families = [("ipv4", &ipv4_settings[..]), ("ipv6", ipv6_settings)];
    let mut refused = Vec::new();
    for (family, settings) in families {
        let folder = proc.join("sys/net").join(family).join("conf").join(link);
        for (name, value) in settings {
            let path = folder.join(name);
            if let Err(error) = std::fs::write(&path, value) {
                refused.push((path, error));
            }
        }
    }
    refused
}

fn folder(sys: &Path, link: &str) -> PathBuf {
    sys.join("class/net").join(link)
}

fn read(folder: &Path, name: &str) -> Option<String> {
    Some(std::fs::read_to_string(folder.join(name)).ok()?.trim().to_owned())
}
