//! Network interfaces with hardware behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use repave_protocol::{Nic, limits};

use super::text::{identity, link_name, number};

/// The interfaces in `class/net` that have a device, by name, with the addresses that they have in
/// `addresses`. Cut at the inventory's limit.
pub(super) fn nics(sys_root: &Path, addresses: &BTreeMap<String, Vec<(IpAddr, u8)>>) -> Vec<Nic> {
    let Ok(entries) = sys_root.join("class/net").read_dir() else {
        return Vec::new();
    };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut nics: Vec<_> = folders.filter_map(|folder| nic(&folder, addresses)).collect();
    nics.sort_by(|one, other| one.name.cmp(&other.name));
    nics.truncate(limits::INVENTORY_ENTRIES);
    nics
}

fn nic(folder: &Path, addresses: &BTreeMap<String, Vec<(IpAddr, u8)>>) -> Option<Nic> {
    if !folder.join("device").exists() {
        return None;
    }
    let name = folder.file_name()?.to_str()?.to_owned();
    let own = addresses.get(&name).into_iter().flatten();
    Some(Nic {
        mac: identity(&folder.join("address"))?.to_ascii_lowercase(),
        driver: link_name(&folder.join("device/driver")),
        // -1 says that the driver does not know, and so does an error while the link is down.
        speed_mbit: number(&folder.join("speed")),
        carrier: number::<u8>(&folder.join("carrier")) == Some(1),
        addresses: own
            .take(limits::INVENTORY_ENTRIES)
            .map(|(address, prefix_bits)| format!("{address}/{prefix_bits}"))
            .collect(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use repave_protocol::Nic;

    use super::super::tree::{Entry::File, Entry::Link, Tree};
    use super::nics;

    #[test]
    fn hardware_only_in_the_order_of_names() {
        let tree = Tree::new(&[
            ("class/net/eth1/device/driver", Link("../../../bus/pci/drivers/igb")),
            ("class/net/eth1/address", File(b"52:54:00:AA:00:02\n")),
            ("class/net/eth1/speed", File(b"-1\n")),
            ("class/net/eth1/carrier", File(b"0\n")),
            ("class/net/eth0/device/driver", Link("../../../bus/virtio/drivers/virtio_net")),
            ("class/net/eth0/address", File(b"52:54:00:aa:00:01\n")),
            ("class/net/eth0/speed", File(b"10000\n")),
            ("class/net/eth0/carrier", File(b"1\n")),
            ("class/net/lo/address", File(b"00:00:00:00:00:00\n")),
            ("class/net/eth0.100/address", File(b"52:54:00:aa:00:01\n")),
            ("class/net/odd/device/driver", Link("nowhere")),
        ]);
        let addresses = vec![("10.0.2.15".parse().unwrap(), 24), ("fe80::1".parse().unwrap(), 64)];
        let found = nics(tree.root(), &BTreeMap::from([("eth0".to_owned(), addresses)]));
        let expected = [
            Nic {
                name: "eth0".to_owned(),
                mac: "52:54:00:aa:00:01".to_owned(),
                driver: Some("virtio_net".to_owned()),
                speed_mbit: Some(10_000),
                carrier: true,
                addresses: vec!["10.0.2.15/24".to_owned(), "fe80::1/64".to_owned()],
            },
            Nic {
                name: "eth1".to_owned(),
                mac: "52:54:00:aa:00:02".to_owned(),
                driver: Some("igb".to_owned()),
                ..Nic::default()
            },
        ];
        assert_eq!(found, expected);
    }
}
