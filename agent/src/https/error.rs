//! What can be wrong with a request or its answer. Whose fault it is follows from the variant:
//! ours before the request is sent, the network's up to the answer, the server's after it.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// A request that failed.
#[derive(Debug, Error)]
#[error("{url}: {fault}")]
pub struct HttpError {
    /// What was asked for.
    pub url: String,
    /// What went wrong.
    pub fault: Fault,
}

impl HttpError {
    pub(super) fn new(url: &str, fault: Fault) -> Self {
        Self { url: url.to_owned(), fault }
    }
}

/// What went wrong with a request. Texts that a server sent are cut and cleaned.
#[derive(Debug, Error)]
pub enum Fault {
    /// The URL cannot be used.
    #[error("not a URL with a host")]
    Url,
    /// The URL's scheme is not allowed for this request.
    #[error("only {} is allowed here", allowed.join(" or "))]
    Scheme {
        /// What is.
        allowed: &'static [&'static str],
    },
    /// The range's end is past 2^64.
    #[error("the range ends past the largest offset")]
    RangeOverflow,
    /// The name server knows no such host.
    #[error("host not found")]
    HostNotFound,
    /// The connection could not be made, or broke.
    #[error("the connection failed: {0}")]
    Connection(io::Error),
    /// The server's certificate is not for this name, or not from a pinned CA, or TLS failed
    /// otherwise.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// It took too long.
    #[error("timed out ({stage}); the whole may take {limit_ms} ms")]
    Timeout {
        /// Which part of the exchange.
        stage: String,
        /// The limit of the whole exchange; the part's own may be shorter.
        limit_ms: u128,
    },
    /// What came is not HTTP as it should be.
    #[error("HTTP: {0}")]
    Protocol(Box<ureq::Error>),
    /// The server refused.
    #[error("status {status}: {problem}")]
    Status {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        problem: String,
    },
    /// The server sent us elsewhere. Addresses come from signed directives only.
    #[error("status {status} to {location:?}: redirects are not followed")]
    Redirect {
        /// The status code.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The server sent the whole instead of a range.
    #[error("status 200 with the whole body: the server does not serve ranges")]
    RangeIgnored,
    /// The range is not the one that was asked for.
    #[error("asked for bytes {first} to {last}, answered Content-Range {found:?}")]
    ContentRange {
        /// First byte asked for.
        first: u64,
        /// Last byte asked for.
        last: u64,
        /// What the answer says.
        found: String,
    },
    /// The body is encoded although no encoding was allowed.
    #[error("Content-Encoding {found:?} was not asked for")]
    ContentEncoding {
        /// What the answer says.
        found: String,
    },
    /// The answer gives no length, so that a body that was cut off would look whole.
    #[error("neither Content-Length nor chunks: a cut would not be seen")]
    Unframed,
    /// The body ended early.
    #[error("the body ended after {received_bytes} bytes{}", of(*expected_bytes))]
    Short {
        /// How many came.
        received_bytes: u64,
        /// How many should have, if that is known.
        expected_bytes: Option<u64>,
    },
    /// The body is longer than allowed or asked for.
    #[error("the body is longer than {limit_bytes} bytes")]
    Long {
        /// How long it may be.
        limit_bytes: u64,
    },
}

fn of(expected_bytes: Option<u64>) -> String {
    expected_bytes.map(|bytes| format!(" of {bytes}")).unwrap_or_default()
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The text is not PEM.
    #[error("the pinned CA certificates are not PEM: {reason}")]
    Pem {
        /// What the parser says.
        reason: String,
    },
    /// There is no certificate in it, so nothing could be trusted.
    #[error("there is no CA certificate to pin")]
    NoCertificate,
    /// A certificate cannot be used as a trust anchor. Counted from 0.
    #[error("pinned CA certificate {number} cannot be used")]
    Certificate {
        /// Which one.
        number: usize,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up with what is compiled in.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// What rustls says.
        reason: String,
    },
}

/// Refuses other schemes than those allowed. Schemes are case-insensitive (RFC 3986 §3.1).
pub(super) fn check_scheme(url: &str, allowed: &'static [&'static str]) -> Result<(), Fault> {
    let (scheme, rest) = url.split_once("://").ok_or(Fault::Url)?;
    if rest.is_empty() {
        return Err(Fault::Url);
    }
    match allowed.iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed)) {
        true => Ok(()),
        false => Err(Fault::Scheme { allowed }),
    }
}

impl Fault {
    /// Whether the server answered with something else than it was asked for, and so will again. All
    /// else is trouble, a refusal included: a mirror may be behind, or busy.
    pub(crate) const fn is_lie(&self) -> bool {
        match self {
            Self::Redirect { .. }
            | Self::RangeIgnored
            | Self::ContentRange { .. }
            | Self::ContentEncoding { .. }
            | Self::Unframed
            | Self::Long { .. } => true,
            Self::Url
            | Self::Scheme { .. }
            | Self::RangeOverflow
            | Self::HostNotFound
            | Self::Connection(_)
            | Self::Tls(_)
            | Self::Timeout { .. }
            | Self::Protocol(_)
            | Self::Status { .. }
            | Self::Short { .. } => false,
        }
    }

    /// What ureq's error means while a request is made; `limit` is what the whole may take.
    pub(super) fn of_request(error: ureq::Error, limit: Duration) -> Self {
        match error {
            ureq::Error::Io(error) => Self::of_io(error, limit),
            ureq::Error::Timeout(stage) => {
                Self::Timeout { stage: stage.to_string(), limit_ms: limit.as_millis() }
            }
            ureq::Error::HostNotFound => Self::HostNotFound,
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Self::Url,
            other => Self::Protocol(Box::new(other)),
        }
    }

    /// The same for an error that passed through a reader, which may carry ureq's or rustls' own.
    pub(super) fn of_io(error: io::Error, limit: Duration) -> Self {
        let error = match error.downcast::<ureq::Error>() {
            Ok(error) => return Self::of_request(error, limit),
            Err(error) => error,
        };
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Connection(error),
        }
    }
}
