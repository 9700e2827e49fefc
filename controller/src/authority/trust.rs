//! The trust document that servers are sent: signed offline by the root key, checked here as they
//! will check it, and of use only if it names the keys that this controller signs with.

use repave_protocol::{
    Envelope, Keys, PoolId, PublicKey, Refusal, TrustDocument, TrustExpected, verify,
};
use thiserror::Error;

/// Why a trust document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// It does not come through the one door.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Servers that believed it would no longer believe us.
    #[error("version {version} names none of this controller's directive keys ({own})")]
    NotOurs {
        /// The document's version.
        version: u64,
        /// Our keys.
        own: String,
    },
    /// Servers that believed it would no longer connect to us.
    #[error("version {version} does not hold this controller's CA certificate")]
    OtherCa {
        /// The document's version.
        version: u64,
    },
}

/// A trust document and the envelope that it travels in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// What it says.
    pub document: TrustDocument,
    /// As it is sent.
    pub envelope: Envelope,
}

impl Trusted {
    /// From its bytes. `least_version` is that of the one in use.
    pub fn parse(
        bytes: &[u8],
        root_key: PublicKey,
        pool: &PoolId,
        least_version: u64,
    ) -> Result<Self, TrustError> {
        let expected = TrustExpected { pool: pool.clone(), least_version };
        let document = verify::<TrustDocument>(bytes, Keys::Pinned(&[root_key]), &expected)?;
        // What came through the door is an envelope.
        let envelope = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::Malformed { reason: error.to_string() })?;
        Ok(Self { document: document.into_message(), envelope })
    }

    /// Whether servers that believe it go on believing this controller.
    pub fn check_ours(&self, keys: &[PublicKey], ca_pem: &str) -> Result<(), TrustError> {
        let version = self.document.version;
        if !keys.iter().any(|key| self.document.directive_keys.contains(key)) {
            let own: Vec<String> = keys.iter().map(PublicKey::to_string).collect();
            return Err(TrustError::NotOurs { version, own: own.join(", ") });
        }
        if !self.document.ca_pem.contains(ca_pem.trim()) {
            return Err(TrustError::OtherCa { version });
        }
        Ok(())
    }
}
