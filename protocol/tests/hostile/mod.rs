//! One folder for each attack, named after it. `original.json` is what an honest peer sent, and
//! must open; `envelope.json` is what arrived instead, and must be refused with exactly the code
//! in `expected.json`, by a receiver that knows what the same file says. `generate` made them all.

mod generate;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use repave_protocol::{
    Directive, DirectiveExpected, Generation, ImageSignature, ImageSignatureExpected, Keys, Nonce,
    PoolId, PublicKey, Refusal, ServerId, Sha256, Status, StatusExpected, TrustDocument,
    TrustExpected, verify,
};
use serde::{Deserialize, Serialize};

use crate::example;

/// `expected.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// What the attacker did, for people.
    attack: String,
    /// [`Refusal::code`].
    refusal: String,
    /// White space is appended to `envelope.json` up to this size; keeps large files out of here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    padded_to_bytes: Option<usize>,
    /// What the receiver knew when the original arrived, where it has learned something since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiver_before: Option<Receiver>,
    /// What the receiver knows.
    receiver: Receiver,
}

/// What the receiver of a message waits for, whom it trusts and what it already knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "awaits", rename_all = "kebab-case", deny_unknown_fields)]
enum Receiver {
    Status {
        pool: PoolId,
        server: ServerId,
    },
    Directive {
        keys: Vec<PublicKey>,
        pool: PoolId,
        server: ServerId,
        nonce: Nonce,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accepted: Option<(Generation, Sha256)>,
    },
    TrustDocument {
        keys: Vec<PublicKey>,
        pool: PoolId,
        least_version: u64,
    },
    ImageSignature {
        keys: Vec<PublicKey>,
        name: String,
        version: u64,
        least_version: u64,
        config: Sha256,
        index: Sha256,
    },
}

impl Receiver {
    fn open(&self, bytes: &[u8]) -> Result<(), Refusal> {
        match self.clone() {
            Self::Status { pool, server } => {
                let expected = StatusExpected { pool, server };
                verify::<Status>(bytes, Keys::Device(&server), &expected).map(drop)
            }
            Self::Directive { keys, pool, server, nonce, accepted } => {
                let expected = DirectiveExpected { pool, server, nonce, accepted };
                verify::<Directive>(bytes, Keys::Pinned(&keys), &expected).map(drop)
            }
            Self::TrustDocument { keys, pool, least_version } => {
                let expected = TrustExpected { pool, least_version };
                verify::<TrustDocument>(bytes, Keys::Pinned(&keys), &expected).map(drop)
            }
            Self::ImageSignature { keys, name, version, least_version, config, index } => {
                let expected =
                    ImageSignatureExpected { name, version, least_version, config, index };
                verify::<ImageSignature>(bytes, Keys::Pinned(&keys), &expected).map(drop)
            }
        }
    }
}

/// Every name a refusal can have; each must have an attack that earns it.
const CODES: [&str; 20] = [
    "bad-signature",
    "duplicate-key",
    "lower-generation",
    "malformed",
    "other-content",
    "other-nonce",
    "other-pool",
    "other-server",
    "other-type",
    "outside-limit",
    "oversized",
    "reused-generation",
    "rollback",
    "too-deep",
    "too-many-signatures",
    "trailing-bytes",
    "truncated",
    "unknown-critical",
    "unknown-key",
    "unsigned",
];

#[test]
fn every_attack_is_refused_by_its_name() {
    let home = example::tests_path("hostile");
    if example::blessing() {
        generate::write_all(&home);
    }
    let mut codes = BTreeSet::new();
    for entry in fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes.insert(check(&path));
        }
    }
    assert!(codes.iter().eq(CODES.iter()), "{codes:?}");
}

/// Checks one attack folder and returns the code of the refusal.
fn check(folder: &Path) -> String {
    let read = |file| {
        let path = folder.join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let name = folder.display();
    let expected: Expected = serde_json::from_slice(&read("expected.json")).unwrap();
    let receiver = &expected.receiver;
    let before = expected.receiver_before.as_ref().unwrap_or(receiver);
    assert_eq!(before.open(&read("original.json")), Ok(()), "{name}");

    let mut received = read("envelope.json");
    if let Some(bytes) = expected.padded_to_bytes {
        received.resize(bytes, b' ');
    }
    match receiver.open(&received) {
        Ok(()) => panic!("{name}: accepted"),
        Err(refusal) => assert_eq!(refusal.code(), expected.refusal, "{name}: {refusal}"),
    }
    expected.refusal
}
