//! The DSSE envelope (Dead Simple Signing Envelope 1.0.2) in its JSON form, and how a message is
//! sealed into one. Opening is in `verify`, on purpose the only place that can.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::signature::{PublicKey, SigningKey};
use crate::verify::Message;

/// The envelope as it travels. Nothing in it may be believed before [`crate::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Media type of the payload; signed together with it.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The message's exact bytes, standard base64.
    pub payload: String,
    /// One or more signatures over both.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The public key that made it. Unsigned by DSSE's design: it selects among keys already
    /// trusted and never brings a key along.
    pub keyid: PublicKey,
    /// The signature, standard base64.
    pub sig: String,
}

/// DSSE's pre-authentication encoding: what is signed instead of the bare payload.
pub(crate) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs `message` and returns the envelope's bytes. Equal inputs give equal bytes.
pub fn seal<M: Message>(message: &M, key: &SigningKey) -> Vec<u8> {
    seal_by(message, &[key])
}

/// Signs `message` with each of `keys`, so that it is believed by those who know only one of them:
/// this is how one key replaces another while both are about.
pub fn seal_by<M: Message>(message: &M, keys: &[&SigningKey]) -> Vec<u8> {
    // Our messages hold strings, numbers, lists and structs only: JSON can say all of them.
    let payload = serde_json::to_vec(message).expect("a message is always JSON");
    let signed = pre_authentication(M::PAYLOAD_TYPE, &payload);
    let sign = |key: &&SigningKey| Signature {
        keyid: key.public(),
        sig: STANDARD.encode(key.sign(&signed)),
    };
    let envelope = Envelope {
        payload_type: M::PAYLOAD_TYPE.into(),
        payload: STANDARD.encode(&payload),
        signatures: keys.iter().map(sign).collect(),
    };
    serde_json::to_vec(&envelope).expect("an envelope is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_follows_the_specification() {
        // The example in the DSSE protocol document.
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
