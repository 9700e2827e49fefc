//! What default and resident make of an answer in the same way: whether it is believed, and how
//! short a pause it can order.

use repave_protocol::{
    Directive, DirectiveExpected, Keys, Nonce, Refusal, TrustDocument, Verified, verify,
};

use crate::journal::Accepted;
use crate::report::Voice;

/// Shortest pause that a controller can order.
const LEAST_WAIT_MS: u64 = 250;

/// The directive in `answer`, if it is for the one who spoke with `voice` and asked with `nonce`.
pub(crate) fn believe(
    answer: &[u8],
    voice: &Voice,
    nonce: Nonce,
    trust: &TrustDocument,
    accepted: Option<Accepted>,
) -> Result<Verified<Directive>, Refusal> {
    let expected = DirectiveExpected {
        pool: voice.pool().clone(),
        server: voice.server(),
        nonce,
        accepted: accepted.map(|accepted| (accepted.generation, accepted.digest)),
    };
    verify(answer, Keys::Pinned(&trust.directive_keys), &expected)
}

/// The pause that a `wait` comes to.
pub(crate) fn wait_ms(after_ms: u64) -> u64 {
    after_ms.max(LEAST_WAIT_MS)
}
