//! The one door for trust: from received bytes to a message that may be acted on. Every signed
//! thing in the house comes through here, in this order: size, JSON shape, payload type,
//! signature, critical fields, then what the kind of message itself demands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Envelope, pre_authentication};
use crate::id::ServerId;
use crate::limits;
use crate::refusal::Refusal;
use crate::signature::PublicKey;
use crate::strict;

/// A kind of signed message.
pub trait Message: Serialize + DeserializeOwned {
    /// Media type, signed together with the payload, so that no message passes for another kind.
    const PAYLOAD_TYPE: &'static str;
    /// Names that this version understands when a sender lists them as critical.
    const CRITICAL: &'static [&'static str] = &[];
    /// What the verifier already knows and the message must agree with.
    type Expected: ?Sized;
    /// What agreeing means: a fact that only this check can establish.
    type Finding;

    /// The fields that the sender demands be understood (as RFC 7515, 4.1.11).
    fn critical(&self) -> &[String];

    /// Compares the message with what is expected. Called on genuine messages only.
    fn check(&self, expected: &Self::Expected) -> Result<Self::Finding, Refusal>;
}

/// Whose signature counts.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// Any one of these.
    Pinned(&'a [PublicKey]),
    /// The key whose hash is this id: how a device vouches for its own statuses.
    Device(&'a ServerId),
}

impl Keys<'_> {
    fn trust(&self, key: &PublicKey) -> bool {
        match self {
            Self::Pinned(keys) => keys.contains(key),
            Self::Device(id) => ServerId::of(key) == **id,
        }
    }
}

/// A message that came through [`verify`]. There is no other way to make one.
#[derive(Clone, Debug)]
pub struct Verified<M: Message> {
    message: M,
    finding: M::Finding,
    key: PublicKey,
}

impl<M: Message> Verified<M> {
    /// The message.
    pub const fn message(&self) -> &M {
        &self.message
    }

    /// What its check established.
    pub const fn finding(&self) -> &M::Finding {
        &self.finding
    }

    /// The key that signed it.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The message, given up together with the proof.
    pub fn into_message(self) -> M {
        self.message
    }
}

/// From bytes to a verified message, or the name of what is wrong with it.
pub fn verify<M: Message>(
    bytes: &[u8],
    keys: Keys<'_>,
    expected: &M::Expected,
) -> Result<Verified<M>, Refusal> {
    if bytes.len() > limits::ENVELOPE_BYTES {
        return Err(Refusal::Oversized { bytes: bytes.len(), limit: limits::ENVELOPE_BYTES });
    }
    let envelope: Envelope = strict::from_slice(bytes)?;
    if envelope.payload_type != M::PAYLOAD_TYPE {
        return Err(Refusal::OtherType { found: envelope.payload_type, wanted: M::PAYLOAD_TYPE });
    }
    let payload = decode(&envelope.payload)?;
    let key = signer(&envelope, &payload, keys)?;
    let message: M = strict::from_slice(&payload)?;
    if let Some(name) = message.critical().iter().find(|name| !M::CRITICAL.contains(&name.as_str()))
    {
        return Err(Refusal::UnknownCritical { name: name.clone() });
    }
    let finding = message.check(expected)?;
    Ok(Verified { message, finding, key })
}

/// The trusted key whose signature fits; one is enough, which is what lets keys overlap.
fn signer(envelope: &Envelope, payload: &[u8], keys: Keys<'_>) -> Result<PublicKey, Refusal> {
    let found = envelope.signatures.len();
    if found > limits::SIGNATURES {
        return Err(Refusal::TooManySignatures { found, limit: limits::SIGNATURES });
    }
    let first = envelope.signatures.first().ok_or(Refusal::Unsigned)?;
    let mut refusal = Refusal::UnknownKey { key: first.keyid };
    let signed = pre_authentication(&envelope.payload_type, payload);
    for signature in envelope.signatures.iter().filter(|s| keys.trust(&s.keyid)) {
        if signature.keyid.verifies(&signed, &decode(&signature.sig)?) {
            return Ok(signature.keyid);
        }
        refusal = Refusal::BadSignature { key: signature.keyid };
    }
    Err(refusal)
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|error| Refusal::Malformed { reason: error.to_string() })
}
