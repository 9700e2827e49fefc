//! The power of servers: how it is reached, and orders to it. Where its passwords lie is said here,
//! what they are is not.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::request::Actor;
use super::{App, Problem};
use crate::power::PowerConfig;
use crate::power::home;

/// How a server's power is reached.
#[utoipa::path(get, path = "/v1/servers/{server}/power", tag = "power",
    params(("server" = String, Path, description = "Id, the beginning of it, or name")),
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(app): State<App>,
    Path(server): Path<String>,
) -> Result<Json<PowerConfig>, Problem> {
    let control = app.control();
    let id = control.find_server(&server).await?;
    let config = control.power(id).await?;
    config.map(Json).ok_or_else(|| Problem::not_found("way to the power of this server"))
}

/// Say how a server's power is reached.
#[utoipa::path(put, path = "/v1/servers/{server}/power", tag = "power", request_body = Object,
    params(("server" = String, Path, description = "Id, the beginning of it, or name")),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(app): State<App>,
    Path(server): Path<String>,
    Actor(actor): Actor,
    Json(config): Json<PowerConfig>,
) -> Result<StatusCode, Problem> {
    let control = app.control();
    let id = control.find_server(&server).await?;
    control.set_power(id, Some(&config), &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say that a server's power cannot be reached any more.
#[utoipa::path(delete, path = "/v1/servers/{server}/power", tag = "power",
    params(("server" = String, Path, description = "Id, the beginning of it, or name")),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn unset(
    State(app): State<App>,
    Path(server): Path<String>,
    Actor(actor): Actor,
) -> Result<StatusCode, Problem> {
    let id = app.control().find_server(&server).await?;
    app.control().set_power(id, None, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An order to a server's power.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PowerOrder {
    /// Switch it on.
    On,
    /// Switch it off at once.
    Off,
    /// Ask its operating system to switch it off.
    Shutdown,
    /// Make it start anew.
    Cycle,
}

/// Order a server's power; the answer is the order's record, with how it ended.
#[utoipa::path(post, path = "/v1/servers/{server}/power/{order}", tag = "power",
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("order" = PowerOrder, Path)),
    responses((status = 200, body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn order(
    State(app): State<App>,
    Path((server, order)): Path<(String, String)>,
    Actor(actor): Actor,
) -> Result<Json<home::Record>, Problem> {
    let order = serde_json::from_value(order.into())
        .map_err(|_| Problem::not_found("such order to a server's power"))?;
    let action = match order {
        PowerOrder::On => home::Action::On,
        PowerOrder::Off => home::Action::Off,
        PowerOrder::Shutdown => home::Action::Shutdown,
        PowerOrder::Cycle => home::Action::Cycle,
    };
    let id = app.control().find_server(&server).await?;
    Ok(Json(app.0.control.order_power(id, action, &actor).await?))
}
