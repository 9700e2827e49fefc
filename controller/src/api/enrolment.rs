//! Join tokens and invitations.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::access::check_end;
use super::request::Actor;
use super::{App, Problem};
use crate::control::{JoinToken, NewJoinToken};
use crate::fleet::Invitation;

/// Every join token, without its secret.
#[utoipa::path(get, path = "/v1/join-tokens", tag = "enrolment",
    responses((status = 200, body = Vec<JoinToken>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn join_tokens(State(app): State<App>) -> Result<Json<Vec<JoinToken>>, Problem> {
    Ok(Json(app.control().join_tokens().await?))
}

/// A join token to be drawn.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedJoin {
    /// What people call it: 1 to 64 of a-z, 0-9 and '-'.
    name: String,
    /// When it ends, in milliseconds since 1970.
    expires_ms: u64,
}

/// Draw a join token. Its secret is shown this once, so an Idempotency-Key is refused.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "enrolment", request_body = WantedJoin,
    responses((status = 201, body = NewJoinToken),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_join_token(
    State(app): State<App>,
    Actor(actor): Actor,
    Json(wanted): Json<WantedJoin>,
) -> Result<(StatusCode, Json<NewJoinToken>), Problem> {
    check_end(wanted.expires_ms)?;
    let made = app.control().create_join_token(&wanted.name, wanted.expires_ms, &actor).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// End every join token of a name.
#[utoipa::path(delete, path = "/v1/join-tokens/{name}", tag = "enrolment",
    params(("name" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_join_token(
    State(app): State<App>,
    Path(name): Path<String>,
    Actor(actor): Actor,
) -> Result<StatusCode, Problem> {
    app.control().remove_join_tokens(&name, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every invitation.
#[utoipa::path(get, path = "/v1/invitations", tag = "enrolment",
    responses((status = 200, body = Vec<Invitation>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn invitations(State(app): State<App>) -> Result<Json<Vec<Invitation>>, Problem> {
    Ok(Json(app.control().invitations().await?))
}

/// One invitation.
#[utoipa::path(get, path = "/v1/invitations/{machine}", tag = "enrolment",
    params(("machine" = String, Path, description = "Serial number or hardware address")),
    responses((status = 200, body = Invitation),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn invitation(
    State(app): State<App>,
    Path(machine): Path<String>,
) -> Result<Json<Invitation>, Problem> {
    Ok(Json(app.control().invitation(&machine).await?))
}

/// What an invitation says of a machine.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// How many servers may come by it; 1 without it.
    #[serde(default = "Terms::default_uses")]
    uses: u32,
    /// When it ends, in milliseconds since 1970.
    expires_ms: u64,
    /// What the server is called.
    #[serde(default)]
    name: Option<String>,
    /// Labels that the server gets.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Terms {
    const fn default_uses() -> u32 {
        1
    }
}

/// Expect a machine: its server is approved at its first status.
#[utoipa::path(put, path = "/v1/invitations/{machine}", tag = "enrolment", request_body = Terms,
    params(("machine" = String, Path, description = "Serial number or hardware address")),
    responses((status = 200, body = Invitation),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn invite(
    State(app): State<App>,
    Path(machine): Path<String>,
    Actor(actor): Actor,
    Json(terms): Json<Terms>,
) -> Result<Json<Invitation>, Problem> {
    check_end(terms.expires_ms)?;
    let Terms { uses, expires_ms, name, labels } = terms;
    let invitation = Invitation { machine, uses, expires_ms, name, labels };
    app.control().invite(&invitation, &actor).await?;
    Ok(Json(invitation))
}

/// Expect a machine no longer.
#[utoipa::path(delete, path = "/v1/invitations/{machine}", tag = "enrolment",
    params(("machine" = String, Path, description = "Serial number or hardware address")),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn uninvite(
    State(app): State<App>,
    Path(machine): Path<String>,
    Actor(actor): Actor,
) -> Result<StatusCode, Problem> {
    app.control().uninvite(&machine, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
