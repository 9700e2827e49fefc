//! Which interface gets which entry of the configuration. Pure: the list of interfaces comes in,
//! the list of links to serve goes out, in order of preference.

use super::config::{InterfaceConfig, MAX_INTERFACES, MacAddress, NetworkConfig};

/// Kernel names are at most 15 bytes (IFNAMSIZ less the closing NUL, linux/if.h).
const MAX_NAME_BYTES: usize = 15;

/// An Ethernet interface that the kernel shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nic {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: MacAddress,
    /// Whether a device is behind it. Entries without a match are for these only.
    pub(super) wired: bool,
}

/// One link to serve: an interface, or a VLAN on top of it, and the entry that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The interface that is used: `parent`'s, or the VLAN's.
    pub(super) link: String,
    pub(super) parent: String,
    pub(super) config: InterfaceConfig,
}

/// Gives each interface, and each VLAN on it, the first entry that is for it. Interfaces that no
/// entry is for are left alone.
pub(super) fn assign(config: &NetworkConfig, nics: &[Nic]) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for entry in &config.interfaces {
        for nic in nics.iter().filter(|nic| is_for(entry, nic)) {
            let link = match entry.vlan {
                None => nic.name.clone(),
                Some(id) => vlan_name(nic, id),
            };
            let taken = assignments.iter().any(|earlier| earlier.link == link);
            if !taken && assignments.len() < MAX_INTERFACES {
                let parent = nic.name.clone();
                assignments.push(Assignment { link, parent, config: entry.clone() });
            }
        }
    }
    assignments
}

fn is_for(entry: &InterfaceConfig, nic: &Nic) -> bool {
    match (&entry.match_mac, &entry.match_name) {
        (None, None) => nic.wired,
        (mac, name) => {
            mac.is_none_or(|mac| mac == nic.mac)
                && name.as_ref().is_none_or(|name| *name == nic.name)
        }
    }
}

/// The customary name, or a short one where that would be too long for the kernel.
fn vlan_name(nic: &Nic, id: u16) -> String {
    let name = format!("{}.{id}", nic.name);
    if name.len() <= MAX_NAME_BYTES { name } else { format!("v{id}.{}", nic.index) }
}

#[cfg(test)]
mod tests {
    use super::{MacAddress, Nic, assign};

    fn nic(name: &str, index: u32, wired: bool) -> Nic {
        let mac = MacAddress([2, 0, 0, 0, 0, index as u8]);
        Nic { name: name.to_owned(), index, mac, wired }
    }

    fn check(config: &str, expected: &[(&str, &str, usize)]) {
        let nics = [nic("eth0", 2, true), nic("enp129s0f1npffff", 3, true), nic("veth0", 4, false)];
        let config = serde_json::from_str(config).unwrap();
        let found: Vec<_> = assign(&config, &nics)
            .into_iter()
            .map(|found| {
                let entry = config.interfaces.iter().position(|entry| *entry == found.config);
                (found.link, found.parent, entry.unwrap())
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(link, parent, entry)| (link.to_string(), parent.to_string(), *entry))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_default_is_for_every_wired_interface() {
        check("{}", &[("eth0", "eth0", 0), ("enp129s0f1npffff", "enp129s0f1npffff", 0)]);
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        check(
            r#"{"interfaces":[{"match_name":"eth0","ipv6":"off"},{}]}"#,
            &[("eth0", "eth0", 0), ("enp129s0f1npffff", "enp129s0f1npffff", 1)],
        );
    }

    #[test]
    fn a_named_interface_needs_no_device_behind_it() {
        check(r#"{"interfaces":[{"match_name":"veth0"}]}"#, &[("veth0", "veth0", 0)]);
        check(r#"{"interfaces":[{"match_mac":"02:00:00:00:00:04"}]}"#, &[("veth0", "veth0", 0)]);
        check(r#"{"interfaces":[{"match_mac":"02:00:00:00:00:04","match_name":"eth0"}]}"#, &[]);
    }

    #[test]
    fn vlans_stand_beside_their_interface_and_have_names_that_fit() {
        check(
            r#"{"interfaces":[{"vlan":100},{"match_name":"eth0"},{"match_name":"eth0","vlan":100}]}"#,
            &[("eth0.100", "eth0", 0), ("v100.3", "enp129s0f1npffff", 0), ("eth0", "eth0", 1)],
        );
    }
}
