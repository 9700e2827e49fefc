//! Names that could be swapped for one another if they were plain strings or numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Sha256;
use crate::limits;
use crate::signature::PublicKey;

/// A name or identifier that is not of its form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadId {
    /// Not the right number of lower-case hexadecimal digits.
    #[error("{text:?} is not {digits} lower-case hexadecimal digits")]
    Hex {
        /// What was given, shortened.
        text: String,
        /// How many digits it needs.
        digits: usize,
    },
    /// Not a name.
    #[error("{text:?} is not a name: 1 to {most} of a-z, 0-9 and '-', beginning with a letter", most = limits::NAME_BYTES)]
    Name {
        /// What was given, shortened.
        text: String,
    },
    /// Not a GUID.
    #[error("{text:?} is not a GUID in the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
    Guid {
        /// What was given, shortened.
        text: String,
    },
}

fn shortened(text: &str) -> String {
    text.chars().take(limits::NAME_BYTES).collect()
}

/// Bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub(crate) fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bad = || BadId::Hex { text: shortened(text), digits: N * 2 };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(bad()),
    };
    if text.len() != N * 2 {
        return Err(bad());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

/// Gives a newtype over text or bytes its string form on the wire and in messages.
macro_rules! wire_string {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// The pool a server belongs to: 1 to 64 of `a-z0-9-`, beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolId(String);

wire_string!(PoolId);

impl PoolId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PoolId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let fits = text.len() <= limits::NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(BadId::Name { text: shortened(text) }) }
    }
}

/// A server: the SHA-256 of its device public key, so that a name cannot be borrowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerId(Sha256);

wire_string!(ServerId);

impl ServerId {
    /// The id that `key` gives its server.
    pub fn of(key: &PublicKey) -> Self {
        Self(Sha256::of(key.as_bytes()))
    }

    /// The first twelve digits, enough for people to tell servers apart.
    pub fn short(&self) -> String {
        let mut text = self.0.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ServerId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(Self)
    }
}

/// 32 random bytes that one status carries and only its answer may repeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 32]);

wire_string!(Nonce);

impl Nonce {
    /// A nonce of bytes that the caller drew from a good source.
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl FromStr for Nonce {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        from_hex(text).map(Self)
    }
}

/// A server's directive counter. Rewriting a target takes a higher one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A GUID as GPT and UEFI use it, kept in its mixed-endian disk form (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid([u8; 16]);

wire_string!(Guid);

/// Where each byte of the text form lies on disk: the first three groups are little-endian.
const GUID_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// From the 16 bytes as they stand in a GPT entry or a device path.
    pub const fn from_disk_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they stand in a GPT entry or a device path.
    pub const fn as_disk_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A version 4 GUID (RFC 9562, 5.4) of bytes that the caller drew from a good source.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(GUID_ORDER.map(|place| bytes[place]))
    }

    /// Whether all bits are zero, which marks an unused GPT entry.
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = to_hex(&GUID_ORDER.map(|place| self.0[place]));
        let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.write_str(&groups.join("-"))
    }
}

impl FromStr for Guid {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId::Guid { text: shortened(text) };
        let dashes = [8, 13, 18, 23];
        if text.len() != 36
            || !text.is_ascii()
            || dashes.iter().any(|&at| text.as_bytes()[at] != b'-')
        {
            return Err(bad());
        }
        // Upper case is common in the field (GPT tools print it); the wire form is lower.
        let hex: String = text.to_ascii_lowercase().chars().filter(|&c| c != '-').collect();
        let bytes: [u8; 16] = from_hex(&hex).map_err(|_| bad())?;
        Ok(Self(GUID_ORDER.map(|place| bytes[place])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_keeps_the_mixed_endian_form() {
        let esp: Guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse().unwrap();
        assert_eq!(esp.as_disk_bytes()[..4], [0x28, 0x73, 0x2a, 0xc1]);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn random_guids_are_version_4() {
        let text = Guid::from_random([0xff; 16]).to_string();
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn names_and_digits_outside_their_form_are_refused() {
        for text in ["", "Demo", "1st", "a b", "a/b", &"a".repeat(65)] {
            assert!(text.parse::<PoolId>().is_err(), "{text:?}");
        }
        for text in ["", "00", &"0".repeat(63), &"A".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Nonce>().is_err(), "{text:?}");
        }
        for text in ["", "c12a7328f81f11d2ba4b00a0c93ec93b", &"é".repeat(18)] {
            assert!(text.parse::<Guid>().is_err(), "{text:?}");
        }
    }
}
