//! What the agent's configuration says about its network, and the refusal of what cannot work.
//!
//! The default is DHCP and router advertisements on every wired interface, so that a server comes
//! up with no configuration at all. Which interface gets which entry is decided in `assignment`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Entries in a configuration at most; also the number of interfaces that are served at most.
pub(crate) const MAX_INTERFACES: usize = 64;
/// Name servers that one entry may list; the resolver reads no more.
pub(crate) const MAX_NAME_SERVERS: usize = 3;
/// The least MTU that IPv6 works with (RFC 8200 §5).
const MIN_MTU: u32 = 1280;
/// The largest MTU that fits an IPv4 packet's length.
const MAX_MTU: u32 = 65_535;
/// 0 and 4095 are reserved (IEEE 802.1Q, table 9-2).
const VLAN_IDS: std::ops::RangeInclusive<u16> = 1..=4094;

/// How to bring the network up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Entries in order of preference: for one interface and VLAN the first that matches counts,
    /// and earlier entries' default routes are preferred.
    pub interfaces: Vec<InterfaceConfig>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { interfaces: vec![InterfaceConfig::default()] }
    }
}

/// One entry: which interfaces it is for, and what they get. Without a match it is for every wired
/// interface; with both, both must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceConfig {
    /// The interface with this hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_mac: Option<MacAddress>,
    /// The interface with this kernel name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_name: Option<String>,
    /// Use this VLAN on top of the interface (1 to 4094) instead of the interface itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// How to get an IPv4 address.
    pub ipv4: Ipv4Config,
    /// How to get an IPv6 address.
    pub ipv6: Ipv6Config,
    /// MTU in bytes; the driver's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// How an interface gets its IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv4Config {
    /// From a DHCP server (RFC 2131), renewed for as long as the agent runs.
    #[default]
    Dhcp,
    /// As written here.
    Static(StaticAddress<Ipv4Addr>),
    /// Not at all.
    Off,
}

/// How an interface gets its IPv6 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6Config {
    /// From router advertisements, by the kernel (RFC 4862).
    #[default]
    Ra,
    /// As written here.
    Static(StaticAddress<Ipv6Addr>),
    /// Not at all, not even link-local.
    Off,
}

/// An address that the configuration gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "A: Address")]
pub struct StaticAddress<A: Address> {
    /// Address and prefix length, e.g. `10.0.0.2/24`.
    pub address: Prefix<A>,
    /// The default router; it may lie outside the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<A>,
    /// Name servers, at most three.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

/// An IP address family, for what differs between the two only in width.
pub trait Address:
    Copy + fmt::Debug + fmt::Display + FromStr + Eq + Into<IpAddr> + Serialize + for<'a> Deserialize<'a>
{
    /// The address' width in bits.
    const BITS: u8;
}

impl Address for Ipv4Addr {
    const BITS: u8 = 32;
}

impl Address for Ipv6Addr {
    const BITS: u8 = 128;
}

/// An interface's address together with the length of its network's prefix; as text `a/n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String", bound = "A: Address")]
pub struct Prefix<A: Address> {
    address: A,
    prefix_bits: u8,
}

impl<A: Address> Prefix<A> {
    /// Puts the two together; `None` if the length is wider than the address.
    pub fn new(address: A, prefix_bits: u8) -> Option<Self> {
        (prefix_bits <= A::BITS).then_some(Self { address, prefix_bits })
    }

    /// The interface's own address.
    pub fn address(&self) -> A {
        self.address
    }

    /// The length of the network's prefix in bits.
    pub fn prefix_bits(&self) -> u8 {
        self.prefix_bits
    }
}

impl<A: Address> Prefix<A> {
    /// Whether `other` lies in this address' network, so that it is reached without a router.
    pub fn contains(&self, other: A) -> bool {
        let host_bits = u32::from(A::BITS - self.prefix_bits);
        // Shifting all 128 bits out leaves nothing to differ.
        (bits(self.address) ^ bits(other)).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

fn bits<A: Address>(address: A) -> u128 {
    match address.into() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl<A: Address> fmt::Display for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl<A: Address> From<Prefix<A>> for String {
    fn from(prefix: Prefix<A>) -> Self {
        prefix.to_string()
    }
}

impl<A: Address> TryFrom<String> for Prefix<A> {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        let parse = || {
            let (address, prefix_bits) = text.split_once('/')?;
            Self::new(address.parse().ok()?, prefix_bits.parse().ok()?)
        };
        parse().ok_or_else(|| ConfigError::Prefix { text: text.clone(), max_bits: A::BITS })
    }
}

/// An Ethernet hardware address; as text six pairs of hexadecimal digits with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = || ConfigError::Mac { text: text.to_owned() };
        let mut pairs = text.split([':', '-']);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let is_pair = |pair: &&str| {
                pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            let pair = pairs.next().filter(is_pair).ok_or_else(refuse)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(refuse()),
        }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// Why a network configuration is refused. Entries are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A server without a network would never be heard of again.
    #[error("network: no interface entry")]
    NoEntry,
    /// More entries than the limit.
    #[error("network: {count} interface entries, at most {MAX_INTERFACES} are allowed")]
    TooManyEntries {
        /// Entries that the configuration has.
        count: usize,
    },
    /// A reserved VLAN number.
    #[error("network: interface entry {entry}: VLAN {vlan} is not in 1 to 4094")]
    Vlan {
        /// Which entry.
        entry: usize,
        /// The number it gives.
        vlan: u16,
    },
    /// An MTU that no network has.
    #[error("network: interface entry {entry}: MTU {mtu} is not in {MIN_MTU} to {MAX_MTU}")]
    Mtu {
        /// Which entry.
        entry: usize,
        /// The number it gives.
        mtu: u32,
    },
    /// More name servers than a resolver reads.
    #[error(
        "network: interface entry {entry}: {count} name servers, at most {MAX_NAME_SERVERS} are read"
    )]
    TooManyNameServers {
        /// Which entry.
        entry: usize,
        /// How many it lists.
        count: usize,
    },
    /// A static address that no host can have.
    #[error("network: interface entry {entry}: {address} is not a host's address")]
    NotAHost {
        /// Which entry.
        entry: usize,
        /// The address it gives.
        address: IpAddr,
    },
    /// Not an address with a prefix length.
    #[error("{text:?} is not an address with a prefix length of 0 to {max_bits}")]
    Prefix {
        /// What stood there.
        text: String,
        /// The family's width.
        max_bits: u8,
    },
    /// Not a hardware address.
    #[error("{text:?} is not a hardware address of six hexadecimal pairs")]
    Mac {
        /// What stood there.
        text: String,
    },
}

impl NetworkConfig {
    /// Refuses what cannot work; [`start`](super::start) calls it before it touches anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.interfaces.len() {
            0 => return Err(ConfigError::NoEntry),
            count if count > MAX_INTERFACES => return Err(ConfigError::TooManyEntries { count }),
            _ => {}
        }
        for (entry, interface) in self.interfaces.iter().enumerate() {
            if let Some(vlan) = interface.vlan.filter(|vlan| !VLAN_IDS.contains(vlan)) {
                return Err(ConfigError::Vlan { entry, vlan });
            }
            if let Some(mtu) = interface.mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
                return Err(ConfigError::Mtu { entry, mtu });
            }
            if let Ipv4Config::Static(address) = &interface.ipv4 {
                address.check(entry)?;
            }
            if let Ipv6Config::Static(address) = &interface.ipv6 {
                address.check(entry)?;
            }
        }
        Ok(())
    }
}

impl<A: Address> StaticAddress<A> {
    fn check(&self, entry: usize) -> Result<(), ConfigError> {
        let count = self.dns.len();
        if count > MAX_NAME_SERVERS {
            return Err(ConfigError::TooManyNameServers { entry, count });
        }
        let address: IpAddr = self.address.address().into();
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(ConfigError::NotAHost { entry, address });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{ConfigError, Ipv4Config, MacAddress, NetworkConfig, Prefix};

    fn parse(text: &str) -> Result<NetworkConfig, String> {
        let config: NetworkConfig = serde_json::from_str(text).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    fn check_refused(text: &str, expected: &str) {
        let refusal = parse(text).expect_err(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }

    #[test]
    fn nothing_said_is_dhcp_and_ra_everywhere() {
        let config = parse("{}").unwrap();
        assert_eq!(config, NetworkConfig::default());
        assert_eq!(config, parse(r#"{"interfaces":[{"ipv4":"dhcp","ipv6":"ra"}]}"#).unwrap());
    }

    #[test]
    fn a_whole_entry_reads_and_writes_the_same() {
        let text = r#"{"interfaces":[{"match_mac":"52:54:00:AB:cd:01","vlan":42,
            "ipv4":{"static":{"address":"10.0.0.2/24","gateway":"10.0.0.1","dns":["10.0.0.1","fd00::1"]}},
            "ipv6":{"static":{"address":"fd00::2/64","gateway":"fe80::1"}},"mtu":9000}]}"#;
        let config = parse(text).unwrap();
        let entry = &config.interfaces[0];
        assert_eq!(entry.match_mac, Some(MacAddress([0x52, 0x54, 0, 0xab, 0xcd, 1])));
        let Ipv4Config::Static(address) = &entry.ipv4 else { panic!("{:?}", entry.ipv4) };
        assert_eq!(address.address.to_string(), "10.0.0.2/24");
        assert_eq!(parse(&serde_json::to_string(&config).unwrap()), Ok(config));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        check_refused(r#"{"interfaces":[]}"#, "no interface entry");
        check_refused(r#"{"interface":[]}"#, "unknown field");
        check_refused(r#"{"interfaces":[{},{"vlan":4095}]}"#, "entry 1: VLAN 4095");
        check_refused(r#"{"interfaces":[{"vlan":0}]}"#, "VLAN 0");
        check_refused(r#"{"interfaces":[{"mtu":576}]}"#, "MTU 576");
        check_refused(r#"{"interfaces":[{"match_mac":"52:54:00:12:34"}]}"#, "hardware address");
        check_refused(r#"{"interfaces":[{"match_mac":"52:54:00:12:34:5g"}]}"#, "hardware address");
        for address in ["10.0.0.2", "10.0.0.2/33", "10.0.0/8", "fd00::1/64"] {
            let text =
                format!(r#"{{"interfaces":[{{"ipv4":{{"static":{{"address":"{address}"}}}}}}]}}"#);
            check_refused(&text, address);
        }
        check_refused(
            r#"{"interfaces":[{"ipv4":{"static":{"address":"0.0.0.0/0"}}}]}"#,
            "not a host's address",
        );
        check_refused(
            r#"{"interfaces":[{"ipv6":{"static":{"address":"fd00::2/64",
                "dns":["fd00::1","fd00::2","fd00::3","fd00::4"]}}}]}"#,
            "4 name servers",
        );
        let many = format!(r#"{{"interfaces":[{}{{}}]}}"#, "{},".repeat(64));
        check_refused(&many, "65 interface entries");
    }

    #[test]
    fn a_prefix_knows_its_neighbours() {
        let own = Ipv4Addr::new(10, 1, 2, 3);
        let check = |bits, other: [u8; 4], expected| {
            let prefix = Prefix::new(own, bits).unwrap();
            assert_eq!(prefix.contains(other.into()), expected, "{prefix} {other:?}");
        };
        check(24, [10, 1, 2, 254], true);
        check(24, [10, 1, 3, 1], false);
        check(23, [10, 1, 3, 1], true);
        check(32, [10, 1, 2, 3], true);
        check(32, [10, 1, 2, 2], false);
        check(0, [192, 168, 0, 1], true);
        let own6: Prefix<Ipv6Addr> = "fd00::2/64".to_owned().try_into().unwrap();
        assert!(own6.contains("fd00::ffff:0:0:1".parse().unwrap()));
        assert!(!own6.contains("fe80::1".parse().unwrap()));
        assert!(Prefix::new(own6.address(), 0).unwrap().contains("fe80::1".parse().unwrap()));
        assert_eq!(Prefix::new(own, 33), None);
    }

    #[test]
    fn hardware_addresses_have_one_written_form() {
        let parse = |text: &str| text.parse::<MacAddress>().map(|mac| mac.to_string());
        assert_eq!(parse("52-54-00-AB-CD-EF"), Ok("52:54:00:ab:cd:ef".to_owned()));
        for text in ["", "52:54:00:ab:cd:ef:00", "+2:54:00:ab:cd:ef", "5:254:00:ab:cd:ef"] {
            assert_eq!(parse(text), Err(ConfigError::Mac { text: text.to_owned() }));
        }
    }
}
