//! Why a message was not believed. One name per attack, so that a status, a log and a test can
//! say which one it was.

use thiserror::Error;

use crate::id::{Generation, Nonce, PoolId, ServerId};
use crate::signature::PublicKey;

/// A named reason not to believe a message. Nothing was changed because of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Larger than its kind of message may be.
    #[error("message of {bytes} bytes exceeds the limit of {limit}")]
    Oversized {
        /// Its size.
        bytes: usize,
        /// The limit of its kind.
        limit: usize,
    },
    /// It ends in the middle of a value.
    #[error("message ends after {bytes} bytes in the middle of a value")]
    Truncated {
        /// Bytes received.
        bytes: usize,
    },
    /// Something follows the message.
    #[error("{bytes} bytes follow the message")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Nested deeper than any of our messages.
    #[error("message nests deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An object names a key twice.
    #[error("message names the key {key:?} twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Not the JSON that this kind of message is.
    #[error("message is malformed: {reason}")]
    Malformed {
        /// The parser's words.
        reason: String,
    },
    /// An envelope around another kind of message.
    #[error("envelope holds {found:?} where {wanted:?} was expected")]
    OtherType {
        /// What it says it is.
        found: String,
        /// What was expected here.
        wanted: &'static str,
    },
    /// No signature at all.
    #[error("envelope carries no signature")]
    Unsigned,
    /// More signatures than anyone needs.
    #[error("envelope carries {found} signatures, more than {limit}")]
    TooManySignatures {
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Signed by somebody, but by nobody trusted for this.
    #[error("signed by {key}, which is not trusted for this kind of message")]
    UnknownKey {
        /// The first key that the envelope names.
        key: PublicKey,
    },
    /// A trusted key is named, but it did not sign these bytes.
    #[error("signature of {key} does not fit the message")]
    BadSignature {
        /// The key.
        key: PublicKey,
    },
    /// The sender demands that a field be understood, and it is not.
    #[error("message requires {name:?} to be understood, which this version does not")]
    UnknownCritical {
        /// The field.
        name: String,
    },
    /// For another pool.
    #[error("message is for pool {found}, this is pool {own}")]
    OtherPool {
        /// The pool it names.
        found: PoolId,
        /// Our pool.
        own: PoolId,
    },
    /// For or from another server.
    #[error("message is for server {found}, this is server {own}")]
    OtherServer {
        /// The server it names.
        found: ServerId,
        /// The server expected.
        own: ServerId,
    },
    /// An answer to another status: a replay, or an answer that was overtaken.
    #[error("directive answers the nonce {found}, the one outstanding is {own}")]
    OtherNonce {
        /// The nonce it answers.
        found: Nonce,
        /// The nonce of the outstanding status.
        own: Nonce,
    },
    /// Older than what was already accepted.
    #[error("directive has generation {found}, {accepted} was already accepted")]
    LowerGeneration {
        /// Its generation.
        found: Generation,
        /// The generation accepted last.
        accepted: Generation,
    },
    /// A second, different order under a generation already used.
    #[error("generation {generation} was already used for a different order")]
    ReusedGeneration {
        /// The generation.
        generation: Generation,
    },
    /// A trust document or image older than one already trusted.
    #[error("{what} has version {found}, at least {least} is required")]
    Rollback {
        /// What was rolled back.
        what: String,
        /// Its version.
        found: u64,
        /// The least version accepted.
        least: u64,
    },
    /// It names other content than what it should vouch for.
    #[error("{what} is {found}, expected {wanted}")]
    OtherContent {
        /// Which digest.
        what: &'static str,
        /// The digest it names.
        found: String,
        /// The digest of what we hold.
        wanted: String,
    },
    /// A list, text or number outside its limit.
    #[error("{what} is {found}, the limit is {limit}")]
    OutsideLimit {
        /// Which field.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

impl Refusal {
    /// The refusal's stable name, for statuses, counters and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::Truncated { .. } => "truncated",
            Self::TrailingBytes { .. } => "trailing-bytes",
            Self::TooDeep { .. } => "too-deep",
            Self::DuplicateKey { .. } => "duplicate-key",
            Self::Malformed { .. } => "malformed",
            Self::OtherType { .. } => "other-type",
            Self::Unsigned => "unsigned",
            Self::TooManySignatures { .. } => "too-many-signatures",
            Self::UnknownKey { .. } => "unknown-key",
            Self::BadSignature { .. } => "bad-signature",
            Self::UnknownCritical { .. } => "unknown-critical",
            Self::OtherPool { .. } => "other-pool",
            Self::OtherServer { .. } => "other-server",
            Self::OtherNonce { .. } => "other-nonce",
            Self::LowerGeneration { .. } => "lower-generation",
            Self::ReusedGeneration { .. } => "reused-generation",
            Self::Rollback { .. } => "rollback",
            Self::OtherContent { .. } => "other-content",
            Self::OutsideLimit { .. } => "outside-limit",
        }
    }
}

/// Refuses `found` above `limit`, naming the field.
pub(crate) fn within(what: &'static str, found: u64, limit: u64) -> Result<(), Refusal> {
    if found <= limit { Ok(()) } else { Err(Refusal::OutsideLimit { what, found, limit }) }
}
