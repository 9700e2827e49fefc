//! What is configured inside a target before it first boots. The manifest of the image says which
//! engines and which path prefixes it allows; a directive cannot widen that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::refusal::{Refusal, within};

/// One server's settings. The same settings twice give the same files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Lines for root's `authorized_keys`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
    /// Network interfaces of the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<InterfaceSettings>,
    /// Says that the target's systemd feeds the hardware watchdog, which resets the server when it
    /// was not fed for so many seconds; and that the image can (it has systemd, and the driver).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_s: Option<u32>,
    /// Whole files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SettingsFile>,
}

/// One network interface of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceSettings {
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// Static addresses with prefix length; none means DHCP and router advertisements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
}

/// One file, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// Absolute path in the target.
    pub path: String,
    /// Permission bits, decimal on the wire (`0o644` is 420).
    pub mode: u32,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// The bytes, standard base64.
    pub content: String,
}

impl SettingsFile {
    /// A text or binary file owned by root.
    pub fn new(path: &str, mode: u32, content: &[u8]) -> Self {
        Self { path: path.into(), mode, uid: 0, gid: 0, content: STANDARD.encode(content) }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, Refusal> {
        STANDARD.decode(&self.content).map_err(|error| Refusal::Malformed {
            reason: format!("content of settings file {:?}: {error}", self.path),
        })
    }
}

impl Settings {
    pub(crate) fn check_limits(&self) -> Result<(), Refusal> {
        within("settings files", self.files.len() as u64, limits::SETTINGS_FILES as u64)?;
        let mut total = 0;
        for file in &self.files {
            total += file.bytes()?.len() as u64;
        }
        within("bytes of settings files", total, limits::SETTINGS_BYTES as u64)
    }
}
