//! One conversation with a management controller: requests and answers of JSON, under one deadline.
//!
//! It talks to one origin. Where a resource is, the controller says itself, but it may name paths
//! only; a redirect or a link to elsewhere is refused, since our password would go with us.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use crate::power::PowerError;
use crate::power::error::clean;

/// Bytes of an answer; a large ComputerSystem has twenty thousand.
pub(super) const MAX_BODY_BYTES: u64 = 1 << 20;
/// Bytes of its header.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Characters of a link.
const MAX_PATH_CHARS: usize = 1024;
/// Bytes of a refusal that are looked at for a reason.
const MAX_REASON_BYTES: u64 = 16 * 1024;

/// The header of a session (DSP0266, 13.3.4.1).
pub(super) const AUTH_TOKEN: &str = "x-auth-token";

/// A controller, and what we show to it.
pub(super) struct Client {
    agent: Agent,
    origin: String,
    limit: Duration,
    deadline: Instant,
    credentials: Option<(&'static str, HeaderValue)>,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// `limit` is for one request, `deadline` for them all.
    pub(super) fn new(origin: &str, tls: TlsConfig, limit: Duration, deadline: Instant) -> Self {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .accept("application/json")
            .accept_encoding("identity")
            .user_agent(concat!("repave-controller/", env!("CARGO_PKG_VERSION")))
            .max_response_header_size(MAX_HEADER_BYTES)
            .tls_config(tls)
            .build();
        let agent = config.new_agent();
        Self { agent, origin: origin.to_owned(), limit, deadline, credentials: None }
    }

    /// Shows this header from now on.
    pub(super) fn show(&mut self, credentials: Option<(&'static str, HeaderValue)>) {
        self.credentials = credentials;
    }

    /// Sets the deadline anew.
    pub(super) fn allow(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, PowerError> {
        self.exchange(Method::GET, path, None, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, PowerError> {
        self.exchange(Method::POST, path, Some(body), None)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, PowerError> {
        self.exchange(Method::DELETE, path, None, None)
    }

    /// Changes a resource, if it is still the one with this tag. An answer of 412 is one.
    pub(super) fn patch(
        &self,
        path: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Answer, PowerError> {
        self.exchange(Method::PATCH, path, Some(body), etag)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, PowerError> {
        check_path(&self.origin, path)?;
        let url = format!("{}{path}", self.origin);
        let left = self.deadline.saturating_duration_since(Instant::now()).min(self.limit);
        if left.is_zero() {
            return Err(PowerError::timed_out(&url, self.limit));
        }
        let failed = |error| failure(&url, error, left);
        let mut request = Request::builder().method(method).uri(&url);
        if let Some((name, value)) = &self.credentials {
            request = request.header(*name, value);
        }
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        let sent = match body {
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(self.timed(request, left))),
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(self.timed(request, left))),
        };
        let (head, body) = sent.map_err(failed)?.into_parts();
        judge(&url, head.status, &head.headers, body, left)
    }

    fn timed<B: ureq::AsSendBody>(&self, request: Request<B>, limit: Duration) -> Request<B> {
        self.agent.configure_request(request).timeout_global(Some(limit)).build()
    }
}

impl Answer {
    /// The body as what it should be.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        expected: &'static str,
    ) -> Result<T, PowerError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let beginning = String::from_utf8_lossy(&self.body[..self.body.len().min(80)]);
            let found = format!("{error} in {:?}", clean(&beginning));
            PowerError::malformed(&self.url, expected, &found)
        })
    }

    pub(super) fn etag(&self) -> Option<String> {
        self.header(ETAG.as_str())?.to_str().ok().map(str::to_owned)
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.header(LOCATION.as_str())?.to_str().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers.get(name)
    }
}

/// Refuses links that are no paths of this controller: with a host in them, or more than a path.
pub(super) fn check_path(origin: &str, path: &str) -> Result<(), PowerError> {
    let plain = path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '\\' | '#' | '@'));
    if path.starts_with('/') && !path.starts_with("//") && plain && path.len() <= MAX_PATH_CHARS {
        return Ok(());
    }
    Err(PowerError::Elsewhere { place: origin.to_owned(), location: clean(path) })
}

/// Tells answers from refusals.
fn judge(
    url: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: Body,
    limit: Duration,
) -> Result<Answer, PowerError> {
    let place = url.to_owned();
    if status.is_redirection() {
        let location = headers.get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let location = clean(&String::from_utf8_lossy(location));
        return Err(PowerError::Elsewhere { place, location });
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(PowerError::Denied { place, status: status.as_u16() });
    }
    if !status.is_success() && status != StatusCode::PRECONDITION_FAILED {
        let mut beginning = Vec::new();
        // The status is what counts; a reason that cannot be read is none.
        let _ = body.into_reader().take(MAX_REASON_BYTES).read_to_end(&mut beginning);
        let answer = format!("status {}: {}", status.as_u16(), reason(&beginning));
        return Err(PowerError::refused(url, &answer));
    }
    let mut bytes = Vec::new();
    let read = body.into_reader().take(MAX_BODY_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| failure(url, ureq::Error::from(error), limit))?;
    if bytes.len() as u64 > MAX_BODY_BYTES {
        return Err(PowerError::Long { place, limit_bytes: MAX_BODY_BYTES });
    }
    Ok(Answer { url: place, status, headers: headers.clone(), body: bytes })
}

/// What a refusal says (DSP0266, 8.6): the first extended message, else the message, else its text.
fn reason(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &json["error"];
    let message = error["@Message.ExtendedInfo"][0]["Message"].as_str();
    match message.or_else(|| error["message"].as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Basic credentials (RFC 7617). The value is marked as one that is not shown.
pub(super) fn basic(username: &str, password: &str) -> Option<(&'static str, HeaderValue)> {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some((AUTHORIZATION.as_str(), value))
}

fn failure(url: &str, error: ureq::Error, limit: Duration) -> PowerError {
    let place = url.to_owned();
    let unreachable = |source| PowerError::Unreachable { what: "talk to", place, source };
    match error {
        ureq::Error::Timeout(_) => PowerError::timed_out(url, limit),
        ureq::Error::HostNotFound => unreachable(ErrorKind::HostUnreachable.into()),
        ureq::Error::Rustls(error) => {
            PowerError::Tls { place: url.to_owned(), reason: clean(&error.to_string()) }
        }
        ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
            Ok(error) => failure(url, ureq::Error::Rustls(error), limit),
            Err(error) => match error.downcast::<ureq::Error>() {
                Ok(error) => failure(url, error, limit),
                Err(error) => unreachable(error),
            },
        },
        other => PowerError::malformed(url, "HTTP", &other.to_string()),
    }
}
