//! What a controller orders. A directive is for one server, answers one status, and carries the
//! server's generation: the same order again is a repeat, another order needs a higher generation.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::envelope::Envelope;
use crate::id::{Generation, Nonce, PoolId, ServerId};
use crate::limits;
use crate::refusal::{Refusal, within};
use crate::settings::Settings;
use crate::verify::Message;
use crate::wipe::Wipe;

/// The answer to one status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// Fields that the receiver must understand or refuse the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// The pool it is for.
    pub pool: PoolId,
    /// The one server it is for.
    pub server: ServerId,
    /// The nonce of the status it answers.
    pub nonce: Nonce,
    /// The server's directive counter.
    pub generation: Generation,
    /// What to do.
    pub order: Order,
    /// A newer trust document, in its own envelope, signed by the root key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Envelope>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Make the target equal to an image, configure it, and boot it.
    Purpose(Box<Purpose>),
    /// Boot the target that was sealed under `sealed`, without writing a byte of it.
    Boot {
        /// The generation under which it was purposed.
        sealed: Generation,
    },
    /// Stay in the default side until another order; kept across boots.
    Stay {
        /// Why, for people.
        reason: String,
    },
    /// Make the target's area of the disk zero, read it back, and stay in the default side until
    /// another order; kept across boots.
    Wipe(Wipe),
    /// Nothing to do: report again.
    Wait {
        /// After this many milliseconds.
        after_ms: u64,
    },
}

/// One purposing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// What the server becomes: `web`, `db`, …
    pub server_type: String,
    /// The image, by name and by digest.
    pub image: ImageReference,
    /// Base URLs that serve the image's blobs, best first.
    pub sources: Vec<String>,
    /// The disk that holds the target; without it, the disk that holds the default side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSelector>,
    /// How to leave for it.
    pub boot: BootMethod,
    /// What to configure inside it.
    #[serde(default)]
    pub settings: Settings,
}

/// An image, fixed by the digest of its OCI manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReference {
    /// Its name in the library.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of the OCI manifest's bytes.
    pub manifest: Sha256,
}

/// A disk by what does not change at reboot; every field given must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSelector {
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Capacity in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// How the default side leaves for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootMethod {
    /// The firmware for the first boot of an image on this server, then kexec.
    Auto,
    /// BootNext and a reboot.
    Firmware,
    /// kexec of the target's own kernel; falls to firmware when it cannot.
    Kexec,
}

/// What the server knows when an answer arrives.
#[derive(Clone, Debug)]
pub struct DirectiveExpected {
    /// Its pool.
    pub pool: PoolId,
    /// Its own id.
    pub server: ServerId,
    /// The nonce of the status that is waiting for an answer.
    pub nonce: Nonce,
    /// The last order accepted: its generation and [`Directive::order_digest`].
    pub accepted: Option<(Generation, Sha256)>,
}

/// How a genuine directive relates to the last one accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// A higher generation: accept it.
    New,
    /// The same order again: resume it, or answer as before.
    Repeat,
}

impl Directive {
    /// Digest of everything that makes an order what it is: all but the nonce, and but for the
    /// trust document that happens to travel along.
    pub fn order_digest(&self) -> Sha256 {
        let body = (&self.crit, &self.pool, &self.server, self.generation, &self.order);
        Sha256::of(&serde_json::to_vec(&body).expect("an order is always JSON"))
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        match &self.order {
            Order::Purpose(purpose) => purpose.check_limits(),
            Order::Boot { .. } => Ok(()),
            Order::Stay { reason } => {
                within("stay reason", reason.len() as u64, limits::FAULT_MESSAGE_BYTES as u64)
            }
            Order::Wipe(wipe) => wipe.check_limits(),
            Order::Wait { after_ms } => within("wait", *after_ms, limits::WAIT_MS),
        }
    }
}

impl Purpose {
    fn check_limits(&self) -> Result<(), Refusal> {
        let name = limits::NAME_BYTES as u64;
        within("server type", self.server_type.len() as u64, name)?;
        within("image name", self.image.name.len() as u64, name)?;
        within("sources", self.sources.len() as u64, limits::SOURCES as u64)?;
        for source in &self.sources {
            within("source URL", source.len() as u64, limits::URL_BYTES as u64)?;
        }
        self.settings.check_limits()
    }
}

impl Message for Directive {
    const PAYLOAD_TYPE: &'static str = "application/vnd.repave.directive.v1+json";
    type Expected = DirectiveExpected;
    type Finding = Recency;

    fn critical(&self) -> &[String] {
        &self.crit
    }

    fn check(&self, expected: &Self::Expected) -> Result<Recency, Refusal> {
        if self.pool != expected.pool {
            return Err(Refusal::OtherPool {
                found: self.pool.clone(),
                own: expected.pool.clone(),
            });
        }
        if self.server != expected.server {
            return Err(Refusal::OtherServer { found: self.server, own: expected.server });
        }
        if self.nonce != expected.nonce {
            return Err(Refusal::OtherNonce { found: self.nonce, own: expected.nonce });
        }
        self.check_limits()?;
        let Some((accepted, digest)) = expected.accepted else {
            return Ok(Recency::New);
        };
        if self.generation < accepted {
            return Err(Refusal::LowerGeneration { found: self.generation, accepted });
        }
        if self.generation > accepted {
            return Ok(Recency::New);
        }
        if self.order_digest() == digest {
            Ok(Recency::Repeat)
        } else {
            Err(Refusal::ReusedGeneration { generation: self.generation })
        }
    }
}
