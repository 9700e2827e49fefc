//! Requests to one repository of a registry (OCI distribution-spec 1.1): authentication, bounded
//! retries, limits of time and size. What is asked for, and what it means, is not known here.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use super::error::RegistryError;
use super::place::{Credentials, RegistryUrl};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer; storing a large blob takes a registry some time.
const ANSWER: Duration = Duration::from_secs(120);
/// Longest pause within a body, either way.
const PAUSE: Duration = Duration::from_secs(60);
/// Attempts at one request that meets a broken connection, 429 or 5xx.
pub(super) const ATTEMPTS: u32 = 4;
/// Redirects to where a registry keeps its blobs. Credentials do not go along.
const REDIRECTS: u32 = 3;
/// Bytes of a header.
const HEADER_BYTES: usize = 32 * 1024;
/// Bytes of a token's answer, or of a registry's words about a failure.
const WORDS_BYTES: u64 = 64 * 1024;
/// Characters of those words that are passed on.
const WORDS_CHARS: usize = 200;

/// How a registry is reached.
#[derive(Clone, Debug)]
pub struct RegistryAccess {
    /// PEM certificates of the CA that vouches for it; the web's CAs if `None`.
    pub ca: Option<Vec<u8>>,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
    /// First pause before a repeat; it doubles.
    pub pause: Duration,
}

impl Default for RegistryAccess {
    fn default() -> Self {
        Self { ca: None, credentials: None, pause: Duration::from_millis(250) }
    }
}

/// A client of one repository.
pub(super) struct Client {
    pub(super) url: RegistryUrl,
    agent: Agent,
    access: RegistryAccess,
    /// The header that the last challenge was answered with.
    authorization: Mutex<Option<HeaderValue>>,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    File(&'a File, u64),
}

/// One request.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Below the repository, or a whole URL where an answer named one.
    pub(super) path: String,
    pub(super) accept: Option<&'static str>,
    pub(super) content_type: Option<&'static str>,
    pub(super) range: Option<String>,
    pub(super) payload: Payload<'a>,
    /// How often it may be tried.
    pub(super) attempts: u32,
    /// For errors.
    pub(super) what: String,
}

impl Ask<'_> {
    pub(super) fn new(method: Method, path: String, what: String) -> Self {
        let (accept, content_type, range) = (None, None, None);
        let (payload, attempts) = (Payload::None, ATTEMPTS);
        Self { method, path, accept, content_type, range, payload, what, attempts }
    }
}

/// The head of an answer, and its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Client {
    pub(super) fn new(url: RegistryUrl, access: RegistryAccess) -> Result<Self, RegistryError> {
        let roots = match &access.ca {
            Some(pem) => roots(pem)?,
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .proxy(None)
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(PAUSE))
            .timeout_per_write(Some(PAUSE))
            .max_response_header_size(HEADER_BYTES)
            .user_agent(concat!("repave/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Ok(Self { url, agent, access, authorization: Mutex::new(None) })
    }

    /// Sends a request until it is answered with one of these statuses.
    pub(super) fn ask(&self, ask: &Ask<'_>, wanted: &[u16]) -> Result<Answer, RegistryError> {
        let mut reason = String::new();
        let mut challenged = false;
        for attempt in 0..ask.attempts {
            self.rest_before(attempt);
            let mut answer = self.send(ask);
            if let Ok(found) = &answer
                && found.status == StatusCode::UNAUTHORIZED
                && !challenged
            {
                challenged = true;
                self.authorise(&found.headers, ask)?;
                answer = self.send(ask);
            }
            match answer {
                Ok(answer) if wanted.contains(&answer.status.as_u16()) => return Ok(answer),
                Ok(answer) if is_passing(answer.status) => {
                    reason = format!("status {}{}", answer.status.as_u16(), words(answer.body));
                }
                Ok(answer) => return Err(self.refused(ask, answer)),
                Err(error) => reason = error.to_string(),
            }
        }
        let registry = self.url.to_string();
        Err(RegistryError::Unreachable { registry, attempts: ask.attempts, reason })
    }

    /// Waits before another attempt; the first one is made at once.
    pub(super) fn rest_before(&self, attempt: u32) {
        if let Some(repeats) = attempt.checked_sub(1) {
            thread::sleep(self.access.pause.saturating_mul(1 << repeats.min(8)));
        }
    }

    /// An answer's whole body of at most `limit` bytes.
    pub(super) fn body(
        &self,
        ask: &Ask<'_>,
        answer: Answer,
        limit: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let body = answer.body.into_reader().take(limit as u64 + 1);
        let read = { body }.read_to_end(&mut bytes);
        read.map_err(|error| self.bad(&ask.what, error.to_string()))?;
        if bytes.len() > limit {
            return Err(self.bad(&ask.what, format!("it has more than {limit} bytes")));
        }
        Ok(bytes)
    }

    pub(super) fn bad(&self, what: &str, reason: String) -> RegistryError {
        RegistryError::BadAnswer { registry: self.url.to_string(), what: what.into(), reason }
    }

    /// Where an answer says that something goes on; on the registry itself, since our credentials
    /// go there.
    pub(super) fn location(&self, ask: &Ask<'_>, answer: &Answer) -> Result<String, RegistryError> {
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.bad(&ask.what, "it has no Location".into()))?;
        let path = location.strip_prefix(&self.url.origin).unwrap_or(location);
        if path.starts_with('/') && !path.starts_with("//") {
            return Ok(format!("{}{path}", self.url.origin));
        }
        Err(self.bad(&ask.what, format!("its Location {location:?} is elsewhere")))
    }

    fn send(&self, ask: &Ask<'_>) -> Result<Answer, ureq::Error> {
        let url = match ask.path.starts_with(&self.url.origin) {
            true => ask.path.clone(),
            false => format!("{}/v2/{}/{}", self.url.origin, self.url.repository, ask.path),
        };
        let mut request = Request::builder().method(ask.method.clone()).uri(url);
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, value) in [
            (AUTHORIZATION, known),
            (ACCEPT, ask.accept.map(HeaderValue::from_static)),
            (CONTENT_TYPE, ask.content_type.map(HeaderValue::from_static)),
            (RANGE, ask.range.as_deref().and_then(|range| HeaderValue::from_str(range).ok())),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = match ask.payload {
            Payload::None if ask.method == Method::POST => {
                self.agent.run(request.header(CONTENT_LENGTH, 0).body(&[] as &[u8])?)
            }
            Payload::None => self.agent.run(request.body(())?),
            Payload::Bytes(bytes) => self.agent.run(request.body(bytes)?),
            Payload::File(file, len) => {
                let mut part = At { file, offset_bytes: 0, end: len };
                let body = SendBody::from_reader(&mut part);
                self.agent.run(request.header(CONTENT_LENGTH, len).body(body)?)
            }
        }?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Answers a challenge (RFC 7235, and the distribution project's token authentication).
    fn authorise(&self, headers: &HeaderMap, ask: &Ask<'_>) -> Result<(), RegistryError> {
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default();
        let basic = self.access.credentials.as_ref().map(|known| format!("Basic {}", known.basic));
        let header = match challenge.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
                format!("Bearer {}", self.token(rest, basic.as_deref(), ask)?)
            }
            _ => basic.ok_or_else(|| self.denied(ask, 401))?,
        };
        let mut header = HeaderValue::from_str(&header)
            .map_err(|_| self.bad(&ask.what, "its token is none".into()))?;
        header.set_sensitive(true);
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    /// A short-lived token from the place that the registry names.
    fn token(
        &self,
        challenge: &str,
        basic: Option<&str>,
        ask: &Ask<'_>,
    ) -> Result<String, RegistryError> {
        let parameter = |name: &str| {
            let at = challenge.find(&format!("{name}=\""))? + name.len() + 2;
            challenge[at..].split('"').next()
        };
        let realm = parameter("realm").unwrap_or_default();
        // A password goes by TLS, or no further than the registry itself.
        let own = format!("{}/", self.url.origin);
        if !realm.starts_with("https://") && !realm.starts_with(&own) {
            return Err(self.bad(&ask.what, format!("tokens are at {realm:?}, which is not TLS")));
        }
        let mut query = Vec::new();
        for name in ["service", "scope"] {
            query.extend(parameter(name).map(|value| format!("{name}={}", escaped(value))));
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let mut request = Request::get(format!("{realm}{joint}{}", query.join("&")));
        if let Some(mut basic) = basic.and_then(|basic| HeaderValue::from_str(basic).ok()) {
            basic.set_sensitive(true);
            request = request.header(AUTHORIZATION, basic);
        }
        let request = request.body(()).map_err(|error| self.bad(&ask.what, error.to_string()))?;
        let failed = |error: ureq::Error| self.bad("a request for a token", error.to_string());
        let answer = self.agent.run(request).map_err(failed)?;
        if !answer.status().is_success() {
            return Err(self.denied(ask, answer.status().as_u16()));
        }
        let mut bytes = Vec::new();
        let body = answer.into_body().into_reader().take(WORDS_BYTES);
        { body }.read_to_end(&mut bytes).map_err(|error| failed(error.into()))?;
        let token: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = token.get("token").or(token.get("access_token")).and_then(Value::as_str);
        let missing = || self.bad("a request for a token", "it holds no token".into());
        Ok(token.ok_or_else(missing)?.into())
    }

    fn denied(&self, ask: &Ask<'_>, status: u16) -> RegistryError {
        RegistryError::Denied { registry: self.url.to_string(), what: ask.what.clone(), status }
    }

    fn refused(&self, ask: &Ask<'_>, answer: Answer) -> RegistryError {
        let status = answer.status.as_u16();
        if matches!(status, 401 | 403) {
            return self.denied(ask, status);
        }
        RegistryError::Status {
            registry: self.url.to_string(),
            what: ask.what.clone(),
            status,
            words: words(answer.body),
        }
    }
}

/// Reads a file from its start whatever others have read of it: a request may be sent twice.
struct At<'a> {
    file: &'a File,
    offset_bytes: u64,
    end: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let left = usize::try_from(self.end - self.offset_bytes).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..len], self.offset_bytes)?;
        self.offset_bytes += read as u64;
        Ok(read)
    }
}

/// Whether a later attempt may be answered otherwise.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// What a registry says of a failure, cut short and without control characters.
fn words(body: Body) -> String {
    let mut bytes = Vec::new();
    let _ = body.into_reader().take(WORDS_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(WORDS_CHARS).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

fn roots(pem: &[u8]) -> Result<RootCerts, RegistryError> {
    let certificates = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect::<Vec<Certificate<'static>>>();
    if certificates.is_empty() {
        return Err(RegistryError::NoCertificate);
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
