//! Operators' tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::request::Actor;
use super::{App, Problem};
use crate::clock;
use crate::control::{NewToken, Role, TokenInfo};

/// Every token, without its secret.
#[utoipa::path(get, path = "/v1/tokens", tag = "access",
    responses((status = 200, body = Vec<TokenInfo>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn tokens(State(app): State<App>) -> Result<Json<Vec<TokenInfo>>, Problem> {
    Ok(Json(app.control().tokens().await?))
}

/// A token to be drawn.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Its name: 1 to 64 of a-z, 0-9 and '-'.
    name: String,
    /// What it may do.
    role: Role,
    /// When it ends, in milliseconds since 1970; without it, never.
    #[serde(default)]
    expires_ms: Option<u64>,
}

/// Draw a token. Its secret is shown this once, so an Idempotency-Key is refused.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = Wanted,
    responses((status = 201, body = NewToken),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_token(
    State(app): State<App>,
    Actor(actor): Actor,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    let Wanted { name, role, expires_ms } = wanted;
    if let Some(at_ms) = expires_ms {
        check_end(at_ms)?;
    }
    let token = app.control().create_token(&name, role, expires_ms, &actor).await?;
    Ok((StatusCode::CREATED, Json(token)))
}

/// End a token; its holder is refused within seconds.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "access",
    params(("name" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_token(
    State(app): State<App>,
    Path(name): Path<String>,
    Actor(actor): Actor,
) -> Result<StatusCode, Problem> {
    app.control().remove_token(&name, &actor).await?;
    app.0.identities.forget(&name);
    Ok(StatusCode::NO_CONTENT)
}

/// An end lies ahead, and where the database can write it down.
pub(super) fn check_end(at_ms: u64) -> Result<(), Problem> {
    if at_ms > clock::now_ms() && i64::try_from(at_ms).is_ok() {
        return Ok(());
    }
    let detail = format!("expires_ms is {at_ms}: it is milliseconds since 1970, and ahead of now");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", detail))
}
