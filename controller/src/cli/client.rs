//! Talking to the controller's API: requests with the operator's token, over TLS that one CA
//! vouches for, and answers that are either what was asked for or a problem (RFC 9457) with its own words.

mod error;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, BodyReader};

pub use error::ClientError;

/// The longest wait for an answer; planning for a large pool takes a few seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest wait for a connection, so that a wrong address is known soon.
const CONNECT: Duration = Duration::from_secs(10);
/// An event stream is begun anew after this long, so that a connection that died is noticed.
const STREAM: Duration = Duration::from_secs(120);
/// Bytes of an answer: a page of servers with their inventories has about one million.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Bytes of a problem.
const MAX_PROBLEM_BYTES: u64 = 1 << 20;

/// A controller, and who we are to it.
pub(super) struct Client {
    agent: Agent,
    origin: String,
    authorization: HeaderValue,
}

/// An answer that is no problem.
#[derive(Debug)]
pub(super) struct Answer {
    /// The resource's tag, for `If-Match`.
    pub(super) etag: Option<String>,
    url: String,
    body: Vec<u8>,
}

impl Client {
    /// `origin` is the controller's URL without a path, and `ca` a PEM file.
    pub(super) fn new(origin: &str, ca: &Path, token: &str) -> Result<Self, ClientError> {
        check_origin(origin)?;
        let tls = TlsConfig::builder().root_certs(roots(ca)?).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .https_only(true)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("repave/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ClientError::NotAToken)?;
        authorization.set_sensitive(true);
        Ok(Self { agent, origin: origin.trim_end_matches('/').into(), authorization })
    }

    /// Asks for something.
    pub(super) fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, None, None)
    }

    /// Asks for something of a known shape.
    pub(super) fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.get(path)?.json()
    }

    /// Has something done.
    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
        self.send(Method::POST, path, body, None)
    }

    /// Puts something in the place of what is there, if that still has the tag.
    pub(super) fn put(
        &self,
        path: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Answer, ClientError> {
        self.send(Method::PUT, path, Some(body), etag)
    }

    /// Ends something.
    pub(super) fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::DELETE, path, None, None)
    }

    /// One request and its answer.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.origin);
        let mut request = self.request(method, &url).header(ACCEPT, "application/json");
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        let (headers, body) = match body {
            None => self.run(&url, request.body(()), ANSWER),
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                self.run(&url, request.body(body.to_string()), ANSWER)
            }
        }?;
        let body = all(&url, body, MAX_ANSWER_BYTES)?;
        let etag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(Into::into);
        Ok(Answer { etag, url, body })
    }

    /// The body of an event stream, which ends after some time.
    pub(super) fn stream(&self, path: &str) -> Result<BodyReader<'static>, ClientError> {
        let url = format!("{}{path}", self.origin);
        let request = self.request(Method::GET, &url).header(ACCEPT, "text/event-stream");
        let (_, body) = self.run(&url, request.body(()), STREAM)?;
        Ok(body.into_reader())
    }

    /// A part of an answer as what it should be.
    pub(super) fn understand<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value)
            .map_err(|source| ClientError::NotOurs { url: self.origin.clone(), source })
    }

    fn request(&self, method: Method, url: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(url);
        request.header(AUTHORIZATION, self.authorization.clone())
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        url: &str,
        request: Result<Request<B>, ureq::http::Error>,
        limit: Duration,
    ) -> Result<(HeaderMap, Body), ClientError> {
        let failed = |error| error::of_transport(url, error, limit);
        let request = request.map_err(ureq::Error::from).map_err(failed)?;
        let timed = self.agent.configure_request(request).timeout_global(Some(limit)).build();
        let (head, body) = self.agent.run(timed).map_err(failed)?.into_parts();
        match head.status {
            status if status.is_success() => Ok((head.headers, body)),
            status => Err(problem(url, status, body)),
        }
    }
}

impl Answer {
    /// The body as what it should be.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| ClientError::NotOurs { url: self.url.clone(), source })
    }

    /// The body, if there is one.
    pub(super) fn value(&self) -> Result<Option<Value>, ClientError> {
        if self.body.is_empty() { Ok(None) } else { self.json().map(Some) }
    }
}

fn all(url: &str, body: Body, limit: u64) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    body.into_reader()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| error::of_transport(url, error.into(), ANSWER))?;
    Ok(bytes)
}

fn problem(url: &str, status: StatusCode, body: Body) -> ClientError {
    let url = url.to_owned();
    // A problem that cannot be read is one without words; the status still says which.
    let words = all(&url, body, MAX_PROBLEM_BYTES).unwrap_or_default();
    let problem = serde_json::from_slice(&words).unwrap_or_default();
    match status.as_u16() {
        401 => ClientError::Unknown { url },
        403 => ClientError::Denied { url, problem },
        404 => ClientError::NotFound { url, problem },
        status @ 400..500 => ClientError::Refused { url, status, problem },
        status => ClientError::Failed { url, status, problem },
    }
}

/// A token goes nowhere but to a host, by TLS.
fn check_origin(origin: &str) -> Result<(), ClientError> {
    let bad = || ClientError::BadUrl { url: origin.into() };
    let uri: ureq::http::Uri = origin.parse().map_err(|_| bad())?;
    let host = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let bare = uri.path().trim_end_matches('/').is_empty() && uri.query().is_none();
    let fits = uri.scheme_str() == Some("https") && host.is_some() && bare;
    if fits { Ok(()) } else { Err(bad()) }
}

fn roots(path: &Path) -> Result<RootCerts, ClientError> {
    let pem =
        std::fs::read(path).map_err(|source| ClientError::Ca { path: path.into(), source })?;
    let certificates = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect::<Vec<Certificate<'static>>>();
    if certificates.is_empty() {
        return Err(ClientError::NoCertificate { path: path.into() });
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// A piece of a path, escaped (RFC 3986, 2.1): names of people may hold anything.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let escaped = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escaped).collect()
}

/// A path with those parameters that have a value.
pub(super) fn query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut text = path.to_owned();
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (place, (name, value)) in given.enumerate() {
        let before = if place == 0 { '?' } else { '&' };
        text.push_str(&format!("{before}{name}={}", segment(value)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_https_url_is_a_controller() {
        let check = |origin, fits: bool| assert_eq!(check_origin(origin).is_ok(), fits, "{origin}");
        check("https://controller.test", true);
        check("https://[::1]:8443/", true);
        check("http://controller.test", false);
        check("https://controller.test/v1", false);
        check("https://me:secret@controller.test", false);
        check("controller.test", false);
        check("", false);
    }

    #[test]
    fn paths_hold_what_people_write() {
        let none: &[(&str, Option<String>)] = &[("after", None)];
        assert_eq!(query("/v1/servers", none), "/v1/servers");
        let some = [("type", Some("a b&c".into())), ("after", None), ("limit", Some("5".into()))];
        assert_eq!(query("/v1/servers", &some), "/v1/servers?type=a%20b%26c&limit=5");
        assert_eq!(segment("../ü"), "..%2F%C3%BC");
    }
}
