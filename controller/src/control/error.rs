//! Why something was not done, in the terms of whoever asked for it.

use repave_image_codec::LibraryError;
use thiserror::Error;

use crate::authority::TrustError;
use crate::policy::Fault;
use crate::records::BadRecord;
use crate::store::StoreError;

/// Why an operation was not carried out.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Several things answer to it.
    #[error("{what} fits more than one: {found}")]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// Some that fit.
        found: String,
    },
    /// It was changed since it was read.
    #[error("{what} has changed meanwhile; read it again")]
    Changed {
        /// What.
        what: String,
    },
    /// It cannot be done, as things stand.
    #[error("{0}")]
    Refused(String),
    /// A policy that is not in order.
    #[error("the policy is not in order")]
    Policy(Vec<Fault>),
    /// A trust document that is of no use.
    #[error("trust document: {0}")]
    Trust(#[from] TrustError),
    /// The database.
    #[error(transparent)]
    Store(StoreError),
    /// A record.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The image library.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { key, .. } => Self::Changed { what: key.to_string() },
            error => Self::Store(error),
        }
    }
}
