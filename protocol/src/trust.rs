//! The trust document: which keys may direct, which may vouch for images, and which CA the control
//! channel pins. Signed by the offline root key; a newer one replaces an older, never the reverse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::PoolId;
use crate::limits;
use crate::refusal::{Refusal, within};
use crate::signature::PublicKey;
use crate::verify::Message;

/// Whom a server trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDocument {
    /// Fields that the receiver must understand or refuse the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// The pool it governs.
    pub pool: PoolId,
    /// Counts up with every change.
    pub version: u64,
    /// Keys that may sign directives; two while one replaces the other.
    pub directive_keys: Vec<PublicKey>,
    /// Keys that may sign images.
    pub image_keys: Vec<PublicKey>,
    /// CA certificates of the control channel, PEM.
    pub ca_pem: String,
    /// The least version accepted of each image named here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub least_versions: BTreeMap<String, u64>,
}

/// What the receiver of a trust document knows.
#[derive(Clone, Debug)]
pub struct TrustExpected {
    /// Its pool.
    pub pool: PoolId,
    /// The version that it trusts already; an older one is a rollback.
    pub least_version: u64,
}

impl Message for TrustDocument {
    const PAYLOAD_TYPE: &'static str = "application/vnd.repave.trust.v1+json";
    type Expected = TrustExpected;
    type Finding = ();

    fn critical(&self) -> &[String] {
        &self.crit
    }

    fn check(&self, expected: &TrustExpected) -> Result<(), Refusal> {
        if self.pool != expected.pool {
            return Err(Refusal::OtherPool {
                found: self.pool.clone(),
                own: expected.pool.clone(),
            });
        }
        if self.version < expected.least_version {
            return Err(Refusal::Rollback {
                what: "trust document".into(),
                found: self.version,
                least: expected.least_version,
            });
        }
        let limit = limits::TRUST_KEYS as u64;
        within("directive keys", self.directive_keys.len() as u64, limit)?;
        within("bytes of CA certificates", self.ca_pem.len() as u64, limits::CA_BYTES as u64)?;
        let named = self.least_versions.len() as u64;
        within("least versions", named, limits::LEAST_VERSIONS as u64)?;
        for name in self.least_versions.keys() {
            within("image name", name.len() as u64, limits::NAME_BYTES as u64)?;
        }
        within("image keys", self.image_keys.len() as u64, limit)
    }
}
