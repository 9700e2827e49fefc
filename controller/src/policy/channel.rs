//! `name:channel`: which image a server type runs, and which of its versions. A channel is a name
//! that the controller points at versions; the balancer is told the version it points at.

use std::fmt;
use std::str::FromStr;

use repave_protocol::limits::NAME_BYTES;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An image's name and a channel of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageChannel {
    /// The image's name in the library.
    pub name: String,
    /// The channel.
    pub channel: String,
}

/// A text that names no image and channel.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not name:channel, such as web:stable")]
pub struct BadChannel {
    /// What was given.
    pub text: String,
}

/// Whether `text` may name a server type, an image or a channel: as in paths of a library.
pub(crate) fn is_name(text: &str) -> bool {
    let inside = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let first = text.bytes().next();
    text.len() <= NAME_BYTES
        && first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.bytes().all(inside)
}

impl FromStr for ImageChannel {
    type Err = BadChannel;

    fn from_str(text: &str) -> Result<Self, BadChannel> {
        match text.split_once(':') {
            Some((name, channel)) if is_name(name) && is_name(channel) => {
                Ok(Self { name: name.into(), channel: channel.into() })
            }
            _ => Err(BadChannel { text: text.into() }),
        }
    }
}

impl TryFrom<String> for ImageChannel {
    type Error = BadChannel;

    fn try_from(text: String) -> Result<Self, BadChannel> {
        text.parse()
    }
}

impl From<ImageChannel> for String {
    fn from(image: ImageChannel) -> Self {
        image.to_string()
    }
}

impl fmt::Display for ImageChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_channel() {
        for text in ["", "web", ":stable", "web:", "web:a:b", "Web:stable", "../web:stable"] {
            assert!(text.parse::<ImageChannel>().is_err(), "{text:?}");
        }
        let image: ImageChannel = "web:stable".parse().unwrap();
        assert_eq!(image.to_string(), "web:stable");
    }
}
