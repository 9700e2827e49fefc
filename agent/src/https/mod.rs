//! The agent's HTTP client: requests on the control channel, and bodies and ranges of blobs from
//! wherever the library is.
//!
//! HTTPS means the pinned CAs and a matching name, whatever the clock says. Plain HTTP is for blobs
//! only, which are checked by their digests. Redirects, encodings and answers of another length
//! than was asked for are refused by name: what a body means is for others to decide, that it is
//! whole is decided here. Nothing is retried here.

mod answer;
mod connector;
mod error;
mod verifier;

use std::io::Read;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body};

use self::answer::Expected;
use self::connector::TlsConnector;

pub use self::error::{Fault, HttpError, SetupError};

use crate::pace::SourceLimit;

/// Header bytes of an answer at most.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Buffer of each connection for what is sent.
const OUTPUT_BUFFER_BYTES: usize = 32 * 1024;
/// Buffer of each connection for what comes; chunks pass through in pieces of this size.
const INPUT_BUFFER_BYTES: usize = 128 * 1024;
/// Connections kept for the next request, in all and to one host: one for each worker that
/// transfers, and one for the controller.
const MAX_IDLE_CONNECTIONS: usize = 17;
/// A kept connection is not used again after this; servers and NATs drop idle ones silently.
const MAX_IDLE_AGE: Duration = Duration::from_secs(25);

/// A range may take longer by its length at this rate: a slow line is no fault.
const LEAST_BYTES_PER_S: u64 = 16 * 1024;

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking the name up, and then again for connecting, TLS included.
    pub connect: Duration,
    /// A whole `get`, from the look-up to the last byte; a `get_range` may take longer by its length
    /// at 16 KiB/s.
    pub transfer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), transfer: Duration::from_secs(60) }
    }
}

/// A client with kept connections. Clones share them, and may be used from any thread.
#[derive(Clone)]
pub struct Client {
    /// Replaced when other CAs are pinned. A request goes on with the one that it began with.
    agent: Arc<RwLock<Agent>>,
    timeouts: Timeouts,
    limit: Option<Arc<SourceLimit>>,
}

impl Client {
    /// A client that trusts the CA certificates in `ca_pem` and no others.
    ///
    /// # Errors
    /// If `ca_pem` is not PEM, or has no certificate, or one that cannot be a trust anchor.
    pub fn new(ca_pem: &[u8], timeouts: Timeouts) -> Result<Self, SetupError> {
        let agent = Arc::new(RwLock::new(agent(ca_pem, timeouts)?));
        Ok(Self { agent, timeouts, limit: None })
    }

    /// A client that trusts nobody: https fails, http serves.
    pub fn plain(timeouts: Timeouts) -> Self {
        let connector = ().chain(TcpConnector::default());
        let config = config(timeouts);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Self { agent: Arc::new(RwLock::new(agent)), timeouts, limit: None }
    }

    /// The same, with a limit for what is asked of each source.
    pub fn limited(self, bytes_per_s: Option<NonZeroU64>) -> Self {
        Self { limit: bytes_per_s.map(|rate| Arc::new(SourceLimit::new(rate))), ..self }
    }

    /// Books what is about to be asked of a source. Returns how long to wait before that; nobody
    /// waits here, so that no time-out counts it.
    pub fn book(&self, source: &str, bytes: u64) -> Duration {
        self.limit.as_ref().map_or(Duration::ZERO, |limit| limit.book(source, bytes))
    }

    /// Trusts the CA certificates in `ca_pem` and no others, from the next request on; this client
    /// and its clones. Connections that are kept are not used again.
    ///
    /// # Errors
    /// As [`Client::new`], and everything stays as it was.
    pub fn pin(&self, ca_pem: &[u8]) -> Result<(), SetupError> {
        let agent = agent(ca_pem, self.timeouts)?;
        *self.agent.write().unwrap_or_else(PoisonError::into_inner) = agent;
        Ok(())
    }

    fn agent(&self) -> Agent {
        self.agent.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Posts a JSON body over HTTPS and gives the answer's, at most `max_answer_bytes` long. The
    /// whole exchange may take `limit`, so a long poll is a long limit.
    pub fn post(
        &self,
        url: &str,
        body: &[u8],
        max_answer_bytes: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, HttpError> {
        let exchange = || {
            error::check_scheme(url, &["https"])?;
            let request = self.agent().post(url).content_type("application/json");
            let request = request.config().timeout_global(Some(limit)).build();
            let response = request.send(body).map_err(|error| Fault::of_request(error, limit))?;
            read_whole(response, max_answer_bytes, limit)
        };
        exchange().map_err(|fault| HttpError::new(url, fault))
    }

    /// Gets a whole body of at most `max_bytes`.
    pub fn get(&self, url: &str, max_bytes: usize) -> Result<Vec<u8>, HttpError> {
        let limit = self.timeouts.transfer;
        let exchange = || read_whole(self.send_get(url, None, limit)?, max_bytes, limit);
        exchange().map_err(|fault| HttpError::new(url, fault))
    }

    /// Fills `into` with the bytes from `offset_bytes` on; asks for nothing if it is empty. After
    /// an error the contents of `into` are undefined.
    pub fn get_range(
        &self,
        url: &str,
        offset_bytes: u64,
        into: &mut [u8],
    ) -> Result<(), HttpError> {
        self.read_range(url, offset_bytes, into.len() as u64, &mut |body, limit| {
            answer::fill(body, into, limit)?;
            answer::expect_end(body, into.len() as u64, limit)
        })
    }

    /// Gets the bytes from `offset_bytes` on in pieces of `lengths` with one request, and gives each
    /// to `each` when it is whole. After an error the pieces that it was not given are missing.
    pub fn get_pieces(
        &self,
        url: &str,
        offset_bytes: u64,
        lengths: &[usize],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), HttpError> {
        let length_bytes = lengths.iter().map(|length| *length as u64).sum();
        let mut piece = vec![0; lengths.iter().copied().max().unwrap_or(0)];
        self.read_range(url, offset_bytes, length_bytes, &mut |body, limit| {
            for (number, length) in lengths.iter().enumerate() {
                answer::fill(body, &mut piece[..*length], limit)?;
                // The last piece is good only if it is the last.
                if number + 1 == lengths.len() {
                    answer::expect_end(body, length_bytes, limit)?;
                }
                each(&piece[..*length]);
            }
            Ok(())
        })
    }

    /// Gets a range, whose body `take` reads to its end.
    fn read_range(
        &self,
        url: &str,
        offset_bytes: u64,
        length_bytes: u64,
        take: &mut dyn FnMut(&mut dyn Read, Duration) -> Result<(), Fault>,
    ) -> Result<(), HttpError> {
        if length_bytes == 0 {
            return Ok(());
        }
        let mut exchange = || {
            let last = offset_bytes.checked_add(length_bytes - 1).ok_or(Fault::RangeOverflow)?;
            let range = format!("bytes={offset_bytes}-{last}");
            let limit = range_limit(self.timeouts.transfer, length_bytes);
            let response = self.send_get(url, Some(range), limit)?;
            let expected = Expected::Range { first: offset_bytes, last };
            let mut reader = reader(response, expected, limit)?;
            take(&mut reader, limit)
        };
        exchange().map_err(|fault| HttpError::new(url, fault))
    }

    fn send_get(
        &self,
        url: &str,
        range: Option<String>,
        limit: Duration,
    ) -> Result<Response<Body>, Fault> {
        error::check_scheme(url, &["https", "http"])?;
        let mut request = self.agent().get(url);
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        let request = request.config().timeout_global(Some(limit)).build();
        request.call().map_err(|error| Fault::of_request(error, limit))
    }
}

fn agent(ca_pem: &[u8], timeouts: Timeouts) -> Result<Agent, SetupError> {
    let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(ca_pem)?);
    Ok(Agent::with_parts(config(timeouts), connector, DefaultResolver::default()))
}

fn config(timeouts: Timeouts) -> Config {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .accept_encoding("identity")
        .user_agent(concat!("repave-agent/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(MAX_HEADER_BYTES)
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(OUTPUT_BUFFER_BYTES)
        .max_idle_connections(MAX_IDLE_CONNECTIONS)
        .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
        .max_idle_age(MAX_IDLE_AGE)
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .build()
}

/// How long a range of `length_bytes` may take.
fn range_limit(transfer: Duration, length_bytes: u64) -> Duration {
    transfer.saturating_add(Duration::from_millis(
        length_bytes.saturating_mul(1000) / LEAST_BYTES_PER_S,
    ))
}

fn read_whole(
    response: Response<Body>,
    max_bytes: usize,
    limit: Duration,
) -> Result<Vec<u8>, Fault> {
    let mut reader = reader(response, Expected::Whole { max_bytes }, limit)?;
    answer::read_at_most(&mut reader, max_bytes, limit)
}

/// Checks the answer's head, and gives its body to read; of a refusal the beginning of the body
/// becomes part of the fault.
fn reader(
    response: Response<Body>,
    expected: Expected,
    limit: Duration,
) -> Result<impl Read, Fault> {
    let (head, body) = response.into_parts();
    let mut reader = body.into_reader();
    match answer::check_head(head.status.as_u16(), &head.headers, expected) {
        Ok(()) => Ok(reader),
        Err(Fault::Status { status, .. }) => {
            let problem = answer::read_problem(&mut reader, limit);
            Err(Fault::Status { status, problem })
        }
        Err(fault) => Err(fault),
    }
}

/// The provider of cryptography, named here so that no default is looked up at run time.
fn crypto_provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::{Timeouts, range_limit};

    #[test]
    fn a_longer_range_may_take_longer() {
        let limit_ms = |bytes| range_limit(Timeouts::default().transfer, bytes).as_millis();
        assert_eq!(limit_ms(1), 60_000);
        assert_eq!(limit_ms(16 * 1024), 61_000);
        assert_eq!(limit_ms(4 << 20), 60_000 + 256_000);
        assert!(limit_ms(u64::MAX) > 60_000);
    }
}
