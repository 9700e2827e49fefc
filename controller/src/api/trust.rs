//! The trust document, in the envelope that the root key signed.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use repave_protocol::Envelope;

use super::request::Actor;
use super::{App, Problem};

/// The trust document in force, as it was signed.
#[utoipa::path(get, path = "/v1/trust", tag = "trust",
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(app): State<App>) -> Result<Json<Envelope>, Problem> {
    let trusted =
        app.control().trusted().ok_or_else(|| Problem::not_found("trust document yet"))?;
    Ok(Json(trusted.envelope.clone()))
}

/// Put a newer trust document in force.
#[utoipa::path(put, path = "/v1/trust", tag = "trust", request_body = Object,
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(app): State<App>,
    Actor(actor): Actor,
    body: Bytes,
) -> Result<Json<Envelope>, Problem> {
    let trusted = app.control().set_trust(&body, &actor).await?;
    Ok(Json(trusted.envelope.clone()))
}
