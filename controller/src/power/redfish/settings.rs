//! Settings of a management controller: where it is, who we are to it, and whom we take it to be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::Redfish;
use crate::power::config::Method;
use crate::power::error::limit_of;
use crate::power::{Power, PowerError};

/// A management controller is a slow computer; some take seconds for a handshake.
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// A file of certificates; all public CAs of a Linux distribution have a quarter of it.
const MAX_CA_BYTES: u64 = 1 << 20;

/// Settings of a management controller that speaks Redfish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedfishConfig {
    /// `https://host` or `https://host:port`.
    pub address: String,
    /// The Id of the ComputerSystem; may be left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Who we are; left out where nobody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// How the controller proves who it is. There is no default: either way is a decision.
    pub trust: Trust,
    /// How long one request may take; an order is a handful of them.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

/// Who we are to a management controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// How we say so.
    pub scheme: Scheme,
    /// The account; it needs the privilege ConfigureComponents, as the role Operator has it.
    pub username: String,
    /// A file with its password, which nobody but its owner may read. It is read for each order,
    /// so that a new password needs no restart.
    pub password_file: PathBuf,
}

/// How we say who we are (DSP0266, 13.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Name and password with each request.
    Basic,
    /// Once for each order; the session is closed after it, since a controller has few.
    Session,
}

/// How a management controller proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By a certificate for its name or address from one of these CAs and no others (PEM).
    CaPem(String),
    /// The same, with the PEM in a file.
    CaFile(PathBuf),
    /// Not at all: whoever can reach into the management network can take our password and play
    /// the controller. Needed for plain `http`.
    Insecure,
}

impl RedfishConfig {
    /// Checks the settings and makes them usable; nothing is sent.
    ///
    /// # Errors
    /// [`PowerError::Setting`], which names the setting.
    pub fn client(&self) -> Result<Redfish, PowerError> {
        let secure = self.check_address()?;
        if let Some(login) = &self.login {
            // RFC 7617, 2: the first colon ends the name.
            if login.username.is_empty() || login.username.contains([':', '\r', '\n']) {
                let reason = "a username is not empty and has no colon and no line break";
                return Err(PowerError::setting("login", reason));
            }
        }
        let tls = match &self.trust {
            Trust::Insecure => TlsConfig::builder().disable_verification(true),
            _ if !secure => {
                let reason = "a CA needs https; plain http is for \"trust\": \"insecure\" only";
                return Err(PowerError::setting("trust", reason));
            }
            Trust::CaPem(pem) => TlsConfig::builder().root_certs(roots_of(pem.as_bytes())?),
            Trust::CaFile(path) => TlsConfig::builder().root_certs(roots_of(&read_ca(path)?)?),
        };
        Ok(Redfish {
            origin: self.address.trim_end_matches('/').to_owned(),
            system: self.system.clone(),
            login: self.login.clone(),
            tls: tls.build(),
            limit: limit_of(self.timeout_ms, MAX_TIMEOUT)?,
        })
    }

    /// Whether the address is one of TLS.
    fn check_address(&self) -> Result<bool, PowerError> {
        let refused = || {
            // A name and password in the address are not repeated.
            let reason = "must be https://host or https://host:port and no more than that";
            PowerError::setting("address", reason)
        };
        let uri: Uri = self.address.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        let bare = uri.path().trim_end_matches('/').is_empty() && uri.query().is_none();
        if !bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(refused());
        }
        match uri.scheme_str() {
            Some("https") => Ok(true),
            Some("http") => Ok(false),
            _ => Err(refused()),
        }
    }
}

impl Method for RedfishConfig {
    fn open(&self, _server: &str) -> Result<Box<dyn Power>, PowerError> {
        Ok(Box::new(self.client()?))
    }
}

fn read_ca(path: &Path) -> Result<Vec<u8>, PowerError> {
    let failed =
        |error| PowerError::setting("trust", format!("cannot read {}: {error}", path.display()));
    let mut pem = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_CA_BYTES + 1).read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > MAX_CA_BYTES {
        let reason = format!("{} is longer than {MAX_CA_BYTES} bytes", path.display());
        return Err(PowerError::setting("trust", reason));
    }
    Ok(pem)
}

fn roots_of(pem: &[u8]) -> Result<RootCerts, PowerError> {
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(PowerError::setting("trust", format!("not PEM: {error}"))),
        }
    }
    if certificates.is_empty() {
        return Err(PowerError::setting("trust", "there is no certificate in the PEM"));
    }
    Ok(RootCerts::from(certificates))
}
