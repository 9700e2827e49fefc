//! The second signature of an image, made offline: the key that directs servers cannot by itself
//! make them run something that nobody released.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::refusal::Refusal;
use crate::verify::Message;

/// What the image key vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSignature {
    /// Fields that the receiver must understand or refuse the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// Image name.
    pub name: String,
    /// Image version.
    pub version: u64,
    /// SHA-256 of the image's configuration (its manifest of partitions).
    pub config: Sha256,
    /// SHA-256 of the chunk index.
    pub index: Sha256,
}

/// What the receiver holds and wants vouched for.
#[derive(Clone, Debug)]
pub struct ImageSignatureExpected {
    /// Image name that the directive gave.
    pub name: String,
    /// Image version that the directive gave.
    pub version: u64,
    /// The least version that the trust document accepts of this image.
    pub least_version: u64,
    /// Digest of the configuration received.
    pub config: Sha256,
    /// Digest of the index that the OCI manifest names.
    pub index: Sha256,
}

impl Message for ImageSignature {
    const PAYLOAD_TYPE: &'static str = "application/vnd.repave.image-signature.v1+json";
    type Expected = ImageSignatureExpected;
    type Finding = ();

    fn critical(&self) -> &[String] {
        &self.crit
    }

    fn check(&self, expected: &ImageSignatureExpected) -> Result<(), Refusal> {
        let same = |what, found: String, wanted: String| {
            if found == wanted {
                Ok(())
            } else {
                Err(Refusal::OtherContent { what, found, wanted })
            }
        };
        same("image name", self.name.clone(), expected.name.clone())?;
        same("image version", self.version.to_string(), expected.version.to_string())?;
        same("image configuration", self.config.to_string(), expected.config.to_string())?;
        same("chunk index", self.index.to_string(), expected.index.to_string())?;
        if self.version < expected.least_version {
            return Err(Refusal::Rollback {
                what: format!("image {}", self.name),
                found: self.version,
                least: expected.least_version,
            });
        }
        Ok(())
    }
}
