//! What is known of the links right now: written by their workers, read by whoever reports status
//! or waits for the network, and the source of the resolver's file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::config::MacAddress;
use super::resolv_conf;

/// One link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    /// The kernel's name; a VLAN has its own.
    pub name: String,
    /// Hardware address.
    pub mac: MacAddress,
    /// Whether somebody is at the other end.
    pub carrier: bool,
    /// The link's addresses with prefix length, link-local ones included, as the kernel has them.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The DHCP server that granted the IPv4 address.
    pub dhcp_server: Option<Ipv4Addr>,
    /// The default router that the lease or the configuration named.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers that the lease or the configuration named.
    pub dns: Vec<IpAddr>,
    /// What went wrong last, until it goes well.
    pub fault: Option<String>,
}

impl InterfaceState {
    /// Whether the link can carry a connection to another network or host: it has a carrier and an
    /// address that is good beyond the wire.
    pub fn is_online(&self) -> bool {
        self.carrier && self.addresses.iter().any(|(address, _)| is_routable(*address))
    }
}

/// What a worker knows of its link; the rest of the state is the kernel's.
#[derive(Clone, Debug)]
pub(super) struct LinkReport {
    pub(super) mac: MacAddress,
    pub(super) carrier: bool,
    pub(super) dhcp_server: Option<Ipv4Addr>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) dns: Vec<IpAddr>,
    pub(super) fault: Option<String>,
    /// The order in which links are preferred; lower is better.
    pub(super) metric: u32,
}

/// The reports of all links, and a way to wait for news.
#[derive(Debug)]
pub(super) struct SharedState {
    reports: Mutex<Reports>,
    news: Condvar,
    resolv_conf: PathBuf,
}

#[derive(Debug, Default)]
struct Reports {
    links: BTreeMap<String, LinkReport>,
    /// What the resolver's file was last given.
    resolv_conf: Option<String>,
    /// Counts news, so that none is missed between a look and the wait for the next.
    changes: u64,
}

impl SharedState {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        Self { reports: Mutex::default(), news: Condvar::new(), resolv_conf }
    }

    /// Replaces what is known of a link, or with `None` forgets it.
    pub(super) fn report(&self, link: &str, report: Option<LinkReport>) {
        let mut reports = self.lock();
        match report {
            Some(report) => reports.links.insert(link.to_owned(), report),
            None => reports.links.remove(link),
        };
        self.update_resolver(&mut reports);
        drop(reports);
        self.wake();
    }

    /// Tells those who wait to look again.
    pub(super) fn wake(&self) {
        let mut reports = self.lock();
        reports.changes = reports.changes.wrapping_add(1);
        drop(reports);
        self.news.notify_all();
    }

    /// Waits until a link is online, at most until `deadline`; says whether one is.
    pub(super) fn wait_online(&self, deadline: Instant) -> bool {
        loop {
            let seen = self.lock().changes;
            if self.snapshot().iter().any(InterfaceState::is_online) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let reports = self.lock();
            // Woken or timed out, the loop looks again.
            drop(self.news.wait_timeout_while(reports, left, |now| now.changes == seen));
        }
    }

    /// All links, best first.
    pub(super) fn snapshot(&self) -> Vec<InterfaceState> {
        let reports = self.lock();
        // In this order: a worker reports a lease once its address is set, so that whoever sees
        // the report here sees the address too.
        let addresses = addresses();
        let mut links: Vec<_> = reports.links.iter().collect();
        links.sort_by_key(|(_, report)| report.metric);
        let state = |(name, report): (&String, &LinkReport)| InterfaceState {
            name: name.clone(),
            mac: report.mac,
            carrier: report.carrier,
            addresses: addresses.get(name).cloned().unwrap_or_default(),
            dhcp_server: report.dhcp_server,
            gateway: report.gateway,
            dns: report.dns.clone(),
            fault: report.fault.clone(),
        };
        links.into_iter().map(state).collect()
    }

    fn update_resolver(&self, reports: &mut Reports) {
        let mut links: Vec<_> = reports.links.values().collect();
        links.sort_by_key(|report| report.metric);
        let text = resolv_conf::text(links.iter().flat_map(|report| report.dns.iter().copied()));
        // While no link knows a name server, the file that is there may still know one.
        let first_and_empty = reports.resolv_conf.is_none() && text.is_empty();
        if first_and_empty || reports.resolv_conf.as_ref() == Some(&text) {
            return;
        }
        match resolv_conf::replace(&self.resolv_conf, &text) {
            Ok(()) => reports.resolv_conf = Some(text),
            Err(error) => log::warn!("network: {}: {error}", self.resolv_conf.display()),
        }
    }

    /// A worker that panicked left its own report behind at worst, which the next one replaces.
    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every interface's addresses with prefix length, as the kernel has them now, link-local ones
/// included; empty if the kernel does not say.
pub fn addresses() -> BTreeMap<String, Vec<(IpAddr, u8)>> {
    let mut addresses: BTreeMap<String, Vec<(IpAddr, u8)>> = BTreeMap::new();
    for interface in getifaddrs().into_iter().flatten() {
        let address = interface.address.as_ref().and_then(ip);
        let mask = interface.netmask.as_ref().and_then(ip);
        if let (Some(address), Some(mask)) = (address, mask) {
            let found = addresses.entry(interface.interface_name).or_default();
            found.push((address, prefix_bits(mask)));
        }
    }
    addresses
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = address.as_sockaddr_in().map(|address| address.ip().into());
    ipv4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn prefix_bits(mask: IpAddr) -> u8 {
    let bits = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    bits as u8
}

fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !(address.is_loopback() || address.is_link_local()),
        IpAddr::V6(address) => !(address.is_loopback() || address.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{InterfaceState, addresses, prefix_bits};
    use crate::network::config::MacAddress;

    #[test]
    fn online_is_a_carrier_and_an_address_beyond_the_wire() {
        let check = |carrier, addresses: &[&str], expected| {
            let addresses = addresses.iter().map(|address| (address.parse().unwrap(), 64));
            let state = InterfaceState {
                name: "eth0".to_owned(),
                mac: MacAddress([2, 0, 0, 0, 0, 1]),
                carrier,
                addresses: addresses.collect(),
                dhcp_server: None,
                gateway: None,
                dns: Vec::new(),
                fault: None,
            };
            assert_eq!(state.is_online(), expected, "{state:?}");
        };
        check(true, &["10.0.2.15"], true);
        check(true, &["fe80::1", "fd00::1"], true);
        check(false, &["10.0.2.15"], false);
        check(true, &["fe80::1", "169.254.1.1"], false);
        check(true, &[], false);
    }

    #[test]
    fn masks_become_lengths() {
        let check =
            |mask: &str, bits| assert_eq!(prefix_bits(mask.parse::<IpAddr>().unwrap()), bits);
        check("255.255.255.0", 24);
        check("0.0.0.0", 0);
        check("ffff:ffff:ffff:ffff::", 64);
    }

    #[test]
    fn the_loopback_has_its_address() {
        let found = addresses();
        assert!(found["lo"].contains(&("127.0.0.1".parse().unwrap(), 8)), "{found:?}");
    }
}
