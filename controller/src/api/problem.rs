//! Errors as they are answered: problem details (RFC 9457), each with a stable type.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::control::ControlError;

/// An error, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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
        }
    }

    /// Not now; come again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
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
            Changed { .. } => (StatusCode::PRECONDITION_FAILED, "changed"),
            Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            Policy(_) => (StatusCode::UNPROCESSABLE_ENTITY, "policy"),
            Trust(_) => (StatusCode::UNPROCESSABLE_ENTITY, "trust"),
            Library(_) => (StatusCode::UNPROCESSABLE_ENTITY, "library"),
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
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
