//! Images of the library, and the channels that point at their versions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::request::Actor;
use super::{App, Problem};
use crate::control::{Channel, ImageDetail, ImageInfo};
use crate::policy::ImageChannel;

/// Every image of the library.
#[utoipa::path(get, path = "/v1/images", tag = "images",
    responses((status = 200, body = Vec<ImageInfo>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<ImageInfo>>, Problem> {
    Ok(Json(app.control().images().await?))
}

/// One image of the library.
#[utoipa::path(get, path = "/v1/images/{image}/{version}", tag = "images",
    params(("image" = String, Path), ("version" = u64, Path)),
    responses((status = 200, body = ImageDetail),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(app): State<App>,
    Path((image, version)): Path<(String, u64)>,
) -> Result<Json<ImageDetail>, Problem> {
    Ok(Json(app.control().image(&image, version).await?))
}

/// Every channel, as name:channel.
#[utoipa::path(get, path = "/v1/channels", tag = "images",
    responses((status = 200, body = BTreeMap<String, Channel>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn channels(
    State(app): State<App>,
) -> Result<Json<BTreeMap<String, Channel>>, Problem> {
    Ok(Json(app.control().channels().await?))
}

/// Where a channel is to point.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The version.
    version: u64,
}

/// Point a channel at a version of the library.
#[utoipa::path(put, path = "/v1/channels/{image}/{channel}", tag = "images",
    request_body = Target, params(("image" = String, Path), ("channel" = String, Path)),
    responses((status = 200, body = Channel),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_channel(
    State(app): State<App>,
    Path((image, channel)): Path<(String, String)>,
    Actor(actor): Actor,
    Json(target): Json<Target>,
) -> Result<Json<Channel>, Problem> {
    let image: ImageChannel = format!("{image}:{channel}")
        .parse()
        .map_err(|error: crate::policy::BadChannel| Problem::bad_request(error.to_string()))?;
    Ok(Json(app.control().set_channel(&image, target.version, &actor).await?))
}
