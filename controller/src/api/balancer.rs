//! The balancer: what it wants, what it would do, and its switch.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;

use super::request::Actor;
use super::{App, Problem, policy};
use crate::control::{Active, Applied, Plan};
use crate::views::{BalancerView, TypeView};

/// Each server type and how many servers it has.
#[utoipa::path(get, path = "/v1/types", tag = "balancer",
    responses((status = 200, body = Vec<TypeView>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn types(State(app): State<App>) -> Result<Json<Vec<TypeView>>, Problem> {
    Ok(Json(app.control().types().await?))
}

/// What a round would do now.
#[utoipa::path(get, path = "/v1/plan", tag = "balancer",
    responses((status = 200, body = Plan),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn plan(State(app): State<App>) -> Result<Json<Plan>, Problem> {
    Ok(Json(app.control().plan(None).await?))
}

/// What a round would do under another policy. Nothing is changed.
#[utoipa::path(post, path = "/v1/plan", tag = "balancer",
    request_body(content((Object = "application/json"), (String = "application/toml"))),
    responses((status = 200, body = Plan),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn try_out(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Plan>, Problem> {
    let policy = policy::parse(&headers, &body)?;
    Ok(Json(app.control().plan(Some(policy)).await?))
}

/// Carry a round out now, even while the balancer is paused.
#[utoipa::path(post, path = "/v1/apply", tag = "balancer",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Applied),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn apply(
    State(app): State<App>,
    Actor(actor): Actor,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(app.control().apply(&actor).await?))
}

/// Whether the balancer runs.
#[utoipa::path(get, path = "/v1/balancer", tag = "balancer",
    responses((status = 200, body = BalancerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(app): State<App>) -> Json<BalancerView> {
    Json(view(&app, &app.control().active()))
}

/// Stop the balancer: nothing is moved until it is resumed.
#[utoipa::path(post, path = "/v1/balancer/pause", tag = "balancer",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BalancerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pause(
    State(app): State<App>,
    Actor(actor): Actor,
) -> Result<Json<BalancerView>, Problem> {
    let active = app.control().set_paused(true, &actor).await?;
    Ok(Json(view(&app, &active)))
}

/// Let the balancer go on.
#[utoipa::path(post, path = "/v1/balancer/resume", tag = "balancer",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = BalancerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume(
    State(app): State<App>,
    Actor(actor): Actor,
) -> Result<Json<BalancerView>, Problem> {
    let active = app.control().set_paused(false, &actor).await?;
    Ok(Json(view(&app, &active)))
}

fn view(app: &App, active: &Active) -> BalancerView {
    BalancerView {
        paused: active.paused,
        policy_revision: active.revision,
        leads: app.control().metrics().leads(),
    }
}
