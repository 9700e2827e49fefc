//! The policy: JSON both ways, and TOML in, as people write it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::request::{Actor, IfMatch, tagged};
use super::{App, Problem};
use crate::policy::Policy;

/// The policy in force; without a tag before there is one.
#[utoipa::path(get, path = "/v1/policy", tag = "policy",
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(app): State<App>) -> Response {
    let active = app.control().active();
    tagged(active.revision, &active.policy)
}

/// Declare the pool anew. `policy.example.toml` shows every field; JSON has the same.
#[utoipa::path(put, path = "/v1/policy", tag = "policy",
    params(("If-Match" = Option<String>, Header)),
    request_body(content((Object = "application/json"), (String = "application/toml"))),
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(app): State<App>,
    if_match: IfMatch,
    Actor(actor): Actor,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let policy = parse(&headers, &body)?;
    let set = app.control().set_policy(&policy, if_match.0, &actor).await;
    let active = set.map_err(|error| if_match.problem(error))?;
    Ok(tagged(active.revision, &active.policy))
}

/// A policy as it was sent; not checked yet.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Policy, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the policy is not in order: {error}"))),
        "application/toml" => {
            let text = str::from_utf8(body)
                .map_err(|error| Problem::bad_request(format!("the policy is no text: {error}")))?;
            Policy::from_toml(text).map_err(|error| {
                Problem::bad_request(format!("the policy is not in order: {error}"))
            })
        }
        _ => {
            let detail = "send a policy as application/json or application/toml";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail))
        }
    }
}
