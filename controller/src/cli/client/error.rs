//! Why the controller did not do what it was asked, from the address that does not answer to the
//! problem that it names itself.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::cli::failure::{EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE};
use crate::cli::table::shown;

/// What the controller says of a request that it did not carry out (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    title: String,
    detail: String,
    faults: Vec<String>,
}

/// Why the controller did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The controller's URL cannot be used.
    #[error("{url:?} is no controller: it should be https://HOST or https://HOST:PORT")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The CA's file.
    #[error("cannot read CA {}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A CA's file without a CA.
    #[error("{} holds no certificate; give the controller's ca.pem", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Not a token.
    #[error("the token is not one: it should be one line of letters, as rpv_NAME_SECRET")]
    NotAToken,
    /// No connection.
    #[error("cannot reach the controller at {url}; is it running, and the URL right?")]
    Unreachable {
        /// Where.
        url: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the controller at {url} gave no answer within {} s", limit.as_secs())]
    TimedOut {
        /// Where.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Somebody whom the CA does not know.
    #[error(
        "the server at {url} is not the controller that the CA file vouches for ({reason}); give \
         this controller's ca.pem with --ca, and call it by a name that it was started with"
    )]
    NotTrusted {
        /// Where.
        url: String,
        /// The TLS library's reason.
        reason: String,
    },
    /// An answer that is not HTTP.
    #[error("the server at {url} does not speak as a controller does: {reason}")]
    NotHttp {
        /// Where.
        url: String,
        /// The HTTP library's reason.
        reason: String,
    },
    /// An answer that is not the API's.
    #[error("the answer of {url} is not one that this version of repave understands")]
    NotOurs {
        /// Where.
        url: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// 401
    #[error(
        "the controller does not know the token ({url}): it is wrong, it has ended, or it was \
         removed; an admin can make another with `repave token create`"
    )]
    Unknown {
        /// What was asked for.
        url: String,
    },
    /// 403
    #[error("the token does not allow that ({url}){}", words(problem))]
    Denied {
        /// What was asked for.
        url: String,
        /// What the controller says.
        problem: Problem,
    },
    /// 404
    #[error("not found ({url}){}", words(problem))]
    NotFound {
        /// What was asked for.
        url: String,
        /// What the controller says.
        problem: Problem,
    },
    /// Another 4xx.
    #[error("refused ({url}, status {status}){}", words(problem))]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the controller says.
        problem: Problem,
    },
    /// 5xx, or what no API of ours answers.
    #[error("the controller could not do it ({url}, status {status}){}", words(problem))]
    Failed {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the controller says.
        problem: Problem,
    },
}

impl ClientError {
    /// The exit code that says it.
    pub(in crate::cli) const fn exit_code(&self) -> u8 {
        match self {
            Self::Ca { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotHttp { .. }
            | Self::NotOurs { .. }
            | Self::Failed { .. } => EXIT_FAILED,
            Self::BadUrl { .. } => EXIT_USAGE,
            Self::NotFound { .. } => EXIT_NOT_FOUND,
            Self::NoCertificate { .. }
            | Self::NotAToken
            | Self::NotTrusted { .. }
            | Self::Unknown { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => EXIT_REFUSED,
        }
    }

    /// Whether the same may go better soon: the network, the controller's restart,
    /// or its limit on how often it is asked.
    pub(in crate::cli) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Failed { .. }
                | Self::Refused { status: 429, .. }
        )
    }

    /// Whether somebody changed what was asked about in between.
    pub(in crate::cli) const fn is_changed(&self) -> bool {
        matches!(self, Self::Refused { status: 412, .. })
    }
}

/// The controller's own words: its sentence, and each fault on a line.
fn words(problem: &Problem) -> String {
    let said = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let mut text = String::new();
    if !said.is_empty() {
        text.push_str(&format!(": {}", shown(said)));
    }
    for fault in &problem.faults {
        text.push_str(&format!("\n  {}", shown(fault)));
    }
    text
}

pub(super) fn of_transport(url: &str, error: ureq::Error, limit: Duration) -> ClientError {
    let unreachable = |source| ClientError::Unreachable { url: url.into(), source };
    match error {
        ureq::Error::Timeout(_) => ClientError::TimedOut { url: url.into(), limit },
        ureq::Error::HostNotFound => {
            unreachable(io::Error::new(ErrorKind::NotFound, "no such host"))
        }
        ureq::Error::ConnectionFailed => unreachable(ErrorKind::ConnectionRefused.into()),
        ureq::Error::Rustls(error) => {
            ClientError::NotTrusted { url: url.into(), reason: error.to_string() }
        }
        ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
            Ok(error) => of_transport(url, ureq::Error::Rustls(error), limit),
            Err(error) => match error.downcast::<ureq::Error>() {
                Ok(error) => of_transport(url, error, limit),
                Err(error) => unreachable(error),
            },
        },
        other => {
            let cause = other.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            ClientError::NotHttp { url: url.into(), reason: format!("{other}{cause}") }
        }
    }
}
