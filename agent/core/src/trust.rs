//! Which trust document counts: the newest of the one burned beside the configuration and the one
//! in the journal. Each must come through the one door; a journal that a target's root has written
//! to can at worst be ignored.

use repave_protocol::{
    Envelope, Keys, PoolId, PublicKey, Refusal, TrustDocument, TrustExpected, Verified, verify,
};

use crate::edges::Link;
use crate::failure::Failure;

/// The document that came along with a directive, if it is newer than `current`; the link believes
/// its CA from now on. One whose CA is of no use is not taken: who kept it could not even be told.
pub(crate) fn newer(
    envelope: Option<&Envelope>,
    current: &TrustDocument,
    root_key: PublicKey,
    link: &mut dyn Link,
) -> Result<Option<(TrustDocument, String)>, Failure> {
    let Some(envelope) = envelope else {
        return Ok(None);
    };
    let text = serde_json::to_string(envelope).expect("an envelope is always JSON");
    let candidates = std::iter::once(text.as_bytes());
    let (found, _) = newest(candidates, root_key, &current.pool)?;
    let document = found.into_message();
    if document.version <= current.version {
        return Ok(None);
    }
    // Kept connections end with the old CA, so an equal one is left alone.
    if document.ca_pem != current.ca_pem {
        link.trust_ca(&document.ca_pem)?;
        log::info!("trust document {}: another CA", document.version);
    }
    Ok(Some((document, text)))
}

/// The newest acceptable document among `candidates`, and the envelope it came in. Of equally new
/// ones it is the first.
pub fn newest<'a>(
    candidates: impl Iterator<Item = &'a [u8]>,
    root_key: PublicKey,
    pool: &PoolId,
) -> Result<(Verified<TrustDocument>, &'a [u8]), Refusal> {
    let mut newest: Option<(Verified<TrustDocument>, &[u8])> = None;
    let mut refusal = Refusal::Unsigned;
    for bytes in candidates {
        let least_version = newest.as_ref().map_or(0, |(found, _)| found.message().version + 1);
        let expected = TrustExpected { pool: pool.clone(), least_version };
        match verify(bytes, Keys::Pinned(&[root_key]), &expected) {
            Ok(found) => newest = Some((found, bytes)),
            Err(error @ Refusal::Rollback { .. }) => log::debug!("{error}"),
            Err(error) => {
                log::warn!("trust document refused: {error}");
                refusal = error;
            }
        }
    }
    newest.ok_or(refusal)
}
