//! Errors as they are answered: problem details (RFC 9457), each with a stable type. What axum and
//! its kin answer by themselves (no such route, no such method, a body that is not JSON) is dressed
//! in the same way on its way out, so that there is no other form of error.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::store::StoreError;

const MEDIA_TYPE: &str = "application/problem+json";
const HTML: &str = "text/html";
/// Bytes of a foreign error's text that are passed on; they are sentences.
const FOREIGN_BYTES: usize = 4 * 1024;

/// An error, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A stable name, as a relative URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This very problem, in a sentence.
    pub detail: String,
    /// More than one fault, each in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// After how many seconds to come again.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of some kind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{kind}"),
            title: status.canonical_reason().unwrap_or("problem").into(),
            status: status.as_u16(),
            detail: detail.into(),
            faults: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Not now; come again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The request itself is not in order.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {what}"))
    }

    /// Too much from one address.
    pub(super) fn too_many(after_ms: u64, of_what: &str) -> Self {
        let after_s = after_ms.div_ceil(1000).max(1);
        let detail = format!("too many {of_what} from this address; come again in {after_s} s");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail);
        Self { retry_after_s: Some(after_s), ..problem }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        use ControlError::{
            Ambiguous, Changed, Library, NotFound, Policy, Record, Refused, Store, Trust,
        };
        let (status, kind) = match &error {
            NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            Ambiguous { .. } => (StatusCode::CONFLICT, "ambiguous"),
            Changed { .. } => (StatusCode::CONFLICT, "changed"),
            Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            Policy(_) => (StatusCode::UNPROCESSABLE_ENTITY, "policy"),
            Trust(_) => (StatusCode::UNPROCESSABLE_ENTITY, "trust"),
            Library(_) => (StatusCode::UNPROCESSABLE_ENTITY, "library"),
            Store(StoreError::TooLarge { .. } | StoreError::ZeroByte { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refused")
            }
            Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
            Record(_) => (StatusCode::INTERNAL_SERVER_ERROR, "record"),
        };
        let mut problem = Self::new(status, kind, error.to_string());
        if let Policy(faults) = &error {
            problem.faults = faults.iter().map(ToString::to_string).collect();
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"repave\""));
        }
        if let Some(after_s) = self.retry_after_s {
            headers.insert(RETRY_AFTER, after_s.into());
        }
        response
    }
}

/// Makes a problem of an error that somebody else answered; its text becomes the detail.
pub(super) async fn dress(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    // A page of ours says what is wrong to people, and nobody else answers in HTML.
    let is_dressed = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == MEDIA_TYPE || kind.as_bytes().starts_with(HTML.as_bytes()));
    if !is_error || is_dressed {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, FOREIGN_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match text.trim() {
        "" => status.canonical_reason().unwrap_or("refused"),
        text => text,
    };
    let problem = Problem::new(status, name(status), detail);
    let dressed = problem.into_response();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Response::from_parts(parts, Body::new(dressed.into_body()))
}

const fn name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "media-type",
        StatusCode::UNPROCESSABLE_ENTITY => "shape",
        StatusCode::RANGE_NOT_SATISFIABLE => "range",
        _ => "bad-request",
    }
}
