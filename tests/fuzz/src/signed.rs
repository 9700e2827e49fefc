//! Envelopes and what is in them: directives, trust documents, image signatures. The bytes of a
//! message are signed here, since no fuzzer would get past a signature; what the receiver expects is
//! taken from the message, since none would guess a nonce.

use std::fmt::Debug;

use repave_protocol::{
    Directive, DirectiveExpected, Generation, ImageSignature, ImageSignatureExpected, Keys,
    Message, Order, Purpose, Recency, Refusal, Sha256, SigningKey, TrustDocument, TrustExpected,
    Verified, Wipe, limits, seal, verify,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::input::Input;

/// The key of the example world of the protocol's tests that signs each kind.
pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

/// What came through the door says so again when it is sealed anew, and is refused once a bit of
/// its payload, or its signer, is another.
pub(crate) fn check_sealed<M>(verified: &Verified<M>, signer: &SigningKey, expected: &M::Expected)
where
    M: Message + Debug + PartialEq,
{
    assert_eq!(verified.key(), signer.public());
    assert!(verified.message().critical().iter().all(|name| M::CRITICAL.contains(&name.as_str())));
    let sealed = seal(verified.message(), signer);
    let keys = [signer.public()];
    // Base64 and its envelope may make of a message that fitted one that does not.
    match verify::<M>(&sealed, Keys::Pinned(&keys), expected) {
        Ok(again) => assert_eq!(again.message(), verified.message()),
        Err(Refusal::Oversized { .. }) => {}
        Err(refusal) => panic!("sealed again it is refused: {refusal}"),
    }
    let others = [key(66).public()];
    let refused = verify::<M>(&sealed, Keys::Pinned(&others), expected).err();
    assert!(matches!(refused, Some(Refusal::UnknownKey { .. } | Refusal::Oversized { .. })));
}

/// A message of kind `M` whose payload is these very bytes, if they are JSON of any form.
pub(crate) fn sealed_raw<M: Message>(payload: &[u8], signer: &SigningKey) -> Option<Vec<u8>> {
    /// Serialises as the bytes that it was made of.
    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Raw<M: Message> {
        json: Box<RawValue>,
        #[serde(skip)]
        kind: std::marker::PhantomData<M>,
    }
    impl<M: Message> Message for Raw<M> {
        const PAYLOAD_TYPE: &'static str = M::PAYLOAD_TYPE;
        type Expected = ();
        type Finding = ();
        fn critical(&self) -> &[String] {
            &[]
        }
        fn check(&self, (): &()) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let json = serde_json::from_slice::<Box<RawValue>>(payload).ok()?;
    Some(seal(&Raw::<M> { json, kind: std::marker::PhantomData }, signer))
}

/// The bytes as an envelope of each kind, or as the payload of one kind that is signed here.
pub fn signed(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 4 {
        0 => unsigned(input.rest()),
        1 => directive(input),
        2 => trust(input.rest()),
        _ => image_signature(input.rest()),
    }
}

/// Nothing is believed that does not carry a signature of the key that was asked for.
fn unsigned(bytes: &[u8]) {
    let pool = || "demo".parse().expect("a name");
    let server = repave_protocol::ServerId::of(&key(1).public());
    let nonce = repave_protocol::Nonce::from_random([0xaa; 32]);
    let expected = DirectiveExpected { pool: pool(), server, nonce, accepted: None };
    match verify::<Directive>(bytes, Keys::Pinned(&[key(2).public()]), &expected) {
        Ok(verified) => check_directive(&verified, &expected),
        Err(refusal) => check_refusal(bytes, &refusal),
    }
    let expected = TrustExpected { pool: pool(), least_version: 4 };
    match verify::<TrustDocument>(bytes, Keys::Pinned(&[key(3).public()]), &expected) {
        Ok(verified) => check_sealed(&verified, &key(3), &expected),
        Err(refusal) => check_refusal(bytes, &refusal),
    }
}

fn check_refusal(bytes: &[u8], refusal: &Refusal) {
    assert!(!refusal.code().is_empty() && !refusal.to_string().is_empty());
    if let Refusal::TrailingBytes { bytes: trailing } = refusal {
        assert!((1..=bytes.len()).contains(trailing), "{trailing} of {}", bytes.len());
    }
    if bytes.len() > limits::ENVELOPE_BYTES {
        assert!(matches!(refusal, Refusal::Oversized { .. }));
    }
}

fn directive(mut input: Input<'_>) {
    let accepted = match input.u8() % 4 {
        0 => None,
        _ => Some((Generation(input.u8().into()), Sha256::of(b"another order"))),
    };
    let payload = input.rest();
    // What the receiver knows, as a receiver would that this message is meant for.
    let Ok(meant) = serde_json::from_slice::<Directive>(payload) else {
        return refused_payload::<Directive>(
            payload,
            &key(2),
            &DirectiveExpected {
                pool: "demo".parse().expect("a name"),
                server: repave_protocol::ServerId::of(&key(1).public()),
                nonce: repave_protocol::Nonce::from_random([0xaa; 32]),
                accepted: None,
            },
        );
    };
    let (pool, server, nonce) = (meant.pool, meant.server, meant.nonce);
    let expected = DirectiveExpected { pool, server, nonce, accepted };
    let Some(sealed) = sealed_raw::<Directive>(payload, &key(2)) else { return };
    match verify::<Directive>(&sealed, Keys::Pinned(&[key(2).public()]), &expected) {
        Ok(verified) => check_directive(&verified, &expected),
        Err(refusal) => check_refusal(&sealed, &refusal),
    }
}

fn refused_payload<M: Message + Debug>(
    payload: &[u8],
    signer: &SigningKey,
    expected: &M::Expected,
) {
    let Some(sealed) = sealed_raw::<M>(payload, signer) else { return };
    let found = verify::<M>(&sealed, Keys::Pinned(&[signer.public()]), expected);
    check_refusal(&sealed, &found.map(drop).expect_err("what is not a message is refused"));
}

fn check_directive(verified: &Verified<Directive>, expected: &DirectiveExpected) {
    let directive = verified.message();
    check_sealed(verified, &key(2), expected);
    assert_eq!(directive.nonce, expected.nonce);
    let (generation, digest) = (directive.generation, directive.order_digest());
    match expected.accepted {
        Some((accepted, other)) if accepted >= generation => {
            assert_eq!(
                (accepted, other, *verified.finding()),
                (generation, digest, Recency::Repeat)
            );
        }
        _ => assert_eq!(*verified.finding(), Recency::New),
    }
    let knowing = |accepted| DirectiveExpected { accepted: Some(accepted), ..expected.clone() };
    let again = |expected: &DirectiveExpected| directive.check(expected);
    assert_eq!(again(&knowing((generation, digest))), Ok(Recency::Repeat));
    let other = again(&knowing((generation, Sha256::of(b"x"))));
    assert_eq!(other, Err(Refusal::ReusedGeneration { generation }));
    if let Some(higher) = generation.0.checked_add(1).map(Generation) {
        let lower = again(&knowing((higher, digest)));
        assert_eq!(lower, Err(Refusal::LowerGeneration { found: generation, accepted: higher }));
    }
    match &directive.order {
        Order::Purpose(purpose) => check_purpose(purpose),
        Order::Wipe(Wipe { reason, .. }) | Order::Stay { reason } => {
            assert!(reason.len() <= limits::FAULT_MESSAGE_BYTES)
        }
        Order::Wait { after_ms } => assert!(*after_ms <= limits::WAIT_MS),
        Order::Boot { .. } => {}
    }
}

fn check_purpose(purpose: &Purpose) {
    assert!(purpose.server_type.len() <= limits::NAME_BYTES);
    assert!(purpose.image.name.len() <= limits::NAME_BYTES);
    assert!(purpose.sources.len() <= limits::SOURCES);
    assert!(purpose.sources.iter().all(|url| url.len() <= limits::URL_BYTES));
    assert!(purpose.settings.files.len() <= limits::SETTINGS_FILES);
    let files = purpose.settings.files.iter();
    let bytes = files.map(|file| file.bytes().expect("checked before").len()).sum::<usize>();
    assert!(bytes <= limits::SETTINGS_BYTES);
}

fn trust(payload: &[u8]) {
    let Ok(meant) = serde_json::from_slice::<TrustDocument>(payload) else { return };
    let expected = TrustExpected { pool: meant.pool, least_version: 4 };
    let Some(sealed) = sealed_raw::<TrustDocument>(payload, &key(3)) else { return };
    match verify::<TrustDocument>(&sealed, Keys::Pinned(&[key(3).public()]), &expected) {
        Err(refusal) => check_refusal(&sealed, &refusal),
        Ok(verified) => {
            check_sealed(&verified, &key(3), &expected);
            let document = verified.message();
            assert!(document.version >= expected.least_version);
            let keys = document.directive_keys.len().max(document.image_keys.len());
            assert!(keys <= limits::TRUST_KEYS && document.ca_pem.len() <= limits::CA_BYTES);
            assert!(document.least_versions.len() <= limits::LEAST_VERSIONS);
        }
    }
}

fn image_signature(payload: &[u8]) {
    let Ok(meant) = serde_json::from_slice::<ImageSignature>(payload) else { return };
    let ImageSignature { name, version, config, index, .. } = meant;
    let expected = ImageSignatureExpected { name, version, least_version: 2, config, index };
    let Some(sealed) = sealed_raw::<ImageSignature>(payload, &key(4)) else { return };
    match verify::<ImageSignature>(&sealed, Keys::Pinned(&[key(4).public()]), &expected) {
        Err(refusal) => check_refusal(&sealed, &refusal),
        Ok(verified) => {
            check_sealed(&verified, &key(4), &expected);
            assert!(verified.message().version >= expected.least_version);
        }
    }
}
