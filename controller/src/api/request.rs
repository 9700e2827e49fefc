//! Parts of requests and answers that many handlers have in common: who asks, which revision they
//! have seen, how much they ask for, and the limit on how often.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;

use super::{App, Problem, limits};
use crate::clock;
use crate::control::{ControlError, Identity};

/// Refuses what is too much from one address.
pub(super) async fn limit(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let taken = app.0.requests.take(peer.ip(), clock::now_ms());
    taken.map_err(|after_ms| Problem::too_many(after_ms, "requests"))?;
    Ok(next.run(request).await)
}

/// Returns once the daemon is told to end.
pub(super) async fn ended(stopped: &mut watch::Receiver<bool>) {
    // An error says that whoever could tell is gone, which is the end, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The token's name, under which everything goes on record.
pub(super) struct Actor(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Identity>() {
            Some(identity) => Ok(Self(identity.name.clone())),
            // Closed, should a route ever stand outside of the guard.
            None => Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "who asks?")),
        }
    }
}

/// The revision that the caller has seen (RFC 9110, 13.1.1).
pub(super) struct IfMatch(pub(super) Option<i64>);

/// No commit has it: the tag of something else never matches.
const NO_REVISION: i64 = -1;

impl IfMatch {
    /// A conflict is a failed precondition only for those who set one.
    pub(super) fn problem(&self, error: ControlError) -> Problem {
        let is_ours = self.0.is_some() && matches!(error, ControlError::Changed { .. });
        let mut problem = Problem::from(error);
        if is_ours {
            let status = StatusCode::PRECONDITION_FAILED;
            problem = Problem::new(status, "changed", problem.detail);
        }
        problem
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        // A weak tag does not match strongly, whatever is in it.
        if text.starts_with("W/\"") && text.ends_with('"') {
            return Ok(Self(Some(NO_REVISION)));
        }
        let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match inside.filter(|inside| !inside.contains('"')) {
            Some(inside) => Ok(Self(Some(inside.parse().unwrap_or(NO_REVISION)))),
            None => Err(Problem::bad_request("If-Match is one entity tag, such as \"17\", or *")),
        }
    }
}

/// A JSON answer with the revision as its tag.
pub(super) fn tagged(revision: Option<i64>, body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    if let Some(tag) = revision.and_then(|r| HeaderValue::from_str(&format!("\"{r}\"")).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// How many entries a page has.
pub(super) fn page_size(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(limits::PAGE) {
        limit @ 1..=limits::PAGE_MOST => Ok(limit),
        limit => {
            let most = limits::PAGE_MOST;
            Err(Problem::bad_request(format!("limit is {limit}; it is 1 to {most}")))
        }
    }
}

/// One of a few words, or an error that names them.
pub(super) fn word(name: &str, value: Option<&str>, known: &[&str]) -> Result<(), Problem> {
    match value {
        Some(value) if !known.contains(&value) => {
            let shown: String = value.chars().take(64).collect();
            let detail = format!("{name} {shown:?} is none of {}", known.join(", "));
            Err(Problem::bad_request(detail))
        }
        _ => Ok(()),
    }
}
