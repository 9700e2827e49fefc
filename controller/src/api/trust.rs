//! The trust document, in the envelope that the root key signed.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use repave_protocol::Envelope;
use serde::Deserialize;

use super::request::Actor;
use super::{App, Problem};
use crate::control::TrustUse;

/// The trust document in force, as it was signed.
#[utoipa::path(get, path = "/v1/trust", tag = "trust",
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(app): State<App>) -> Result<Json<Envelope>, Problem> {
    let trusted =
        app.control().trusted().ok_or_else(|| Problem::not_found("trust document yet"))?;
    Ok(Json(trusted.envelope.clone()))
}

/// Which servers go by it, and which do not yet.
#[utoipa::path(get, path = "/v1/trust/servers", tag = "trust",
    responses((status = 200, body = TrustUse),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn servers(State(app): State<App>) -> Result<Json<TrustUse>, Problem> {
    Ok(Json(app.control().trust_use().await?))
}

/// How a trust document is put in force.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Drop a directive key even though servers do not know of another one yet.
    #[serde(default)]
    force: bool,
}

/// Put a newer trust document in force. One that drops a directive key is refused while servers go
/// by a document that may name no other.
#[utoipa::path(put, path = "/v1/trust", tag = "trust", request_body = Object, params(How),
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(app): State<App>,
    Query(how): Query<How>,
    Actor(actor): Actor,
    body: Bytes,
) -> Result<Json<Envelope>, Problem> {
    let trusted = app.control().set_trust(&body, how.force, &actor).await?;
    Ok(Json(trusted.envelope.clone()))
}
