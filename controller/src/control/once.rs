//! Requests that are to be done once, however often they are sent: the first is noted before it is
//! begun, its answer is kept for a day. Notes and answers expire; whether two controllers are asked
//! at once is settled by revisions, as everything else.

use std::collections::BTreeMap;

use repave_protocol::Sha256;
use serde::{Deserialize, Serialize};

use super::{Control, ControlError};
use crate::clock;
use crate::records::{self, kind};
use crate::store::StoreError;
use crate::store::changes::{Changes, DocumentDelete, Expected};

/// How long an answer is kept.
const KEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// After this long a request that was begun is taken for lost with its controller.
const LOST_MS: u64 = 60 * 1000;

/// An answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Some of its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

/// What is known of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Once {
    body_sha256: Sha256,
    begun_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered: Option<Answered>,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is new: do it, then say so to [`Control::end_once`].
    New {
        /// Revision of its note.
        revision: i64,
    },
    /// It was done.
    Answered(Answered),
    /// The same name stands for another request.
    OtherBody,
    /// It is being done.
    UnderWay,
}

impl Control {
    /// Notes that the request called `name` is begun, if it is new.
    pub async fn begin_once(&self, name: &str, body: Sha256) -> Result<Begun, ControlError> {
        let now_ms = clock::now_ms();
        let known = self.document::<Once>(kind::IDEMPOTENCY, name).await?;
        let expected = match known {
            None => Expected::MustNotExist,
            Some((once, revision)) if now_ms >= once.begun_ms.saturating_add(KEEP_MS) => {
                Expected::Exactly(revision)
            }
            Some((once, _)) if once.body_sha256 != body => return Ok(Begun::OtherBody),
            Some((Once { answered: Some(answered), .. }, _)) => {
                return Ok(Begun::Answered(answered));
            }
            Some((once, revision)) if now_ms >= once.begun_ms.saturating_add(LOST_MS) => {
                Expected::Exactly(revision)
            }
            Some(_) => return Ok(Begun::UnderWay),
        };
        let once = Once { body_sha256: body, begun_ms: now_ms, answered: None };
        match self.put_once(name, expected, &once).await {
            Ok(revision) => Ok(Begun::New { revision }),
            // Somebody else has just begun it.
            Err(ControlError::Changed { .. }) => Ok(Begun::UnderWay),
            Err(error) => Err(error),
        }
    }

    /// Keeps the answer of a request that was begun; without one it may be begun again.
    pub async fn end_once(
        &self,
        name: &str,
        revision: i64,
        answered: Option<Answered>,
    ) -> Result<(), ControlError> {
        let known = self.document::<Once>(kind::IDEMPOTENCY, name).await?;
        let expected = Expected::Exactly(revision);
        match (known, answered) {
            (Some((once, _)), Some(answered)) => {
                let once = Once { answered: Some(answered), ..once };
                self.put_once(name, expected, &once).await.map(drop)
            }
            (Some(_), None) => {
                let (kind, key) = (kind::IDEMPOTENCY.into(), name.into());
                let document_deletes = vec![DocumentDelete { kind, key, expected }];
                self.commit(Changes { document_deletes, ..Changes::default() }, &[]).await
            }
            (None, _) => Ok(()),
        }
    }

    async fn put_once(
        &self,
        name: &str,
        expected: Expected,
        once: &Once,
    ) -> Result<i64, ControlError> {
        let mut put = records::document(kind::IDEMPOTENCY, name, expected, once);
        put.expires_at_ms = i64::try_from(once.begun_ms.saturating_add(KEEP_MS)).ok();
        let changes = Changes { documents: vec![put], ..Changes::default() };
        let committed: Result<_, StoreError> = self.store.commit(changes).await;
        Ok(committed?.revision)
    }
}
