//! What holds for any message and any damage to it, not for chosen ones only.

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assert_ne, proptest};
use repave_protocol::{Directive, Envelope, Generation, Keys, Nonce, Order, Refusal, seal, verify};

use crate::example;

fn open(bytes: &[u8]) -> Result<Directive, Refusal> {
    let keys = [example::directive_key().public()];
    verify::<Directive>(bytes, Keys::Pinned(&keys), &example::directive_expected())
        .map(|verified| verified.into_message())
}

/// Every position once with every bit flipped by itself: no sampling where all can be had.
#[test]
fn any_flipped_bit_is_refused() {
    let sealed = seal(&example::directive_boot(), &example::directive_key());
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut altered = sealed.clone();
            altered[at] ^= 1 << bit;
            assert!(open(&altered).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn truncation_at_every_length_is_refused_by_name() {
    let sealed = seal(&example::directive_purpose(), &example::directive_key());
    assert!(open(&sealed).is_ok());
    for bytes in 0..sealed.len() {
        assert_eq!(open(&sealed[..bytes]), Err(Refusal::Truncated { bytes }));
    }
}

proptest! {
    /// White space between JSON tokens is the only byte that may change an envelope and leave the
    /// message; whatever opens is the message that was sealed.
    #[test]
    fn an_altered_byte_never_yields_another_message(
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        insert in any::<bool>(),
    ) {
        let directive = example::directive_purpose();
        let mut altered = seal(&directive, &example::directive_key());
        let at = at.index(altered.len());
        if insert {
            altered.insert(at, byte);
        } else {
            altered[at] = byte;
        }
        if let Ok(opened) = open(&altered) {
            prop_assert_eq!(opened, directive);
        }
    }

    #[test]
    fn bytes_that_nobody_sealed_never_open(bytes in any::<Vec<u8>>()) {
        prop_assert!(open(&bytes).is_err());
    }

    /// A repeat answers another nonce and may bring a trust document along; it is one order still.
    #[test]
    fn an_order_is_the_same_under_any_nonce(nonce in any::<[u8; 32]>(), trust in any::<bool>()) {
        let first = example::directive_purpose();
        let envelope: Envelope =
            serde_json::from_slice(&seal(&example::trust_document(), &example::root_key()))
                .expect("an envelope");
        let again = Directive {
            nonce: Nonce::from_random(nonce),
            trust: trust.then_some(envelope),
            ..first.clone()
        };
        prop_assert_eq!(again.order_digest(), first.order_digest());
    }

    #[test]
    fn other_orders_have_other_digests(
        a in any::<(u64, u64)>(),
        b in any::<(u64, u64)>(),
    ) {
        let digest = |(generation, after_ms): (u64, u64)| {
            let order = Order::Wait { after_ms };
            Directive { generation: Generation(generation), ..example::directive(order) }
                .order_digest()
        };
        if a == b {
            prop_assert_eq!(digest(a), digest(b));
        } else {
            prop_assert_ne!(digest(a), digest(b));
        }
    }
}
