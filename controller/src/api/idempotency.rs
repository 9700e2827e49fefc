//! `Idempotency-Key`: a POST that is repeated with the same key is not done twice, and gets the
//! answer of the first. What is kept is in [`Control`]; here requests and answers are taken apart
//! and put together.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use repave_protocol::Sha256;
use tracing::warn;

use super::{App, Problem, limits};
use crate::control::{Answered, Begun, Identity};

const KEY: &str = "idempotency-key";
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Headers of an answer that are kept with it.
const KEPT: [HeaderName; 2] = [CONTENT_TYPE, ETAG];

/// Does a POST with a key once.
pub(super) async fn once(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let name = name(&parts)?;
    let body = to_bytes(body, limits::POLICY_BYTES).await.map_err(|error| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error.to_string())
    })?;
    let of = Sha256::of(&body);
    let revision = match app.control().begin_once(&name, of).await? {
        Begun::New { revision } => revision,
        Begun::Answered(answered) => return Ok(again(answered)),
        Begun::OtherBody => {
            let detail = "this Idempotency-Key was used with another body; draw a new one";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail));
        }
        Begun::UnderWay => {
            let detail = "the first request with this Idempotency-Key is under way; ask again";
            return Err(Problem::new(StatusCode::CONFLICT, "under-way", detail));
        }
    };
    let request = Request::from_parts(parts, Body::from(body));
    // A task of its own: whoever hangs up would else leave it half done and its answer unkept.
    let doing =
        tokio::spawn(async move { finish(&app, &name, revision, next.run(request).await).await });
    doing.await.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", format!("a handler: {error}"))
    })
}

/// Under which name the answer is kept: nobody gets somebody else's.
fn name(parts: &Parts) -> Result<String, Problem> {
    let path = parts.uri.path();
    if matches!(path, "/v1/tokens" | "/v1/join-tokens") {
        let detail = "this answer holds a secret and is not kept: leave Idempotency-Key out; if \
                      the answer was lost, remove the token and draw another";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "secret", detail));
    }
    let key = parts.headers.get(KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if !(1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&key.len()) {
        let most = limits::IDEMPOTENCY_KEY_BYTES;
        let detail = format!("Idempotency-Key is 1 to {most} visible ASCII characters");
        return Err(Problem::bad_request(detail));
    }
    let actor = parts.extensions.get::<Identity>().map_or("", |identity| identity.name.as_str());
    // None of the parts has a zero byte in it, so no two requests have one name.
    let text = [actor, parts.method.as_str(), path, key].join("\0");
    Ok(Sha256::of(text.as_bytes()).to_string())
}

/// Keeps the answer, unless it says that nothing was done and to come again.
async fn finish(app: &App, name: &str, revision: i64, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let is_final = !parts.status.is_server_error() && body.len() <= limits::ANSWER_BYTES;
    let text = str::from_utf8(&body).ok().filter(|_| is_final);
    let header = |name: HeaderName| {
        let value = parts.headers.get(&name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let answered = text.map(|text| Answered {
        status: parts.status.as_u16(),
        headers: KEPT.into_iter().filter_map(header).collect(),
        body: text.into(),
    });
    if let Err(error) = app.control().end_once(name, revision, answered).await {
        warn!("an answer was not kept for its Idempotency-Key: {error}");
    }
    Response::from_parts(parts, Body::from(body))
}

/// The answer of the first time.
fn again(answered: Answered) -> Response {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Bytes::from(answered.body)).into_response();
    let headers = response.headers_mut();
    for name in KEPT {
        headers.remove(&name);
        let value = answered.headers.get(name.as_str());
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
