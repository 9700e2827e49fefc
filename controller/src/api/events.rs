//! What happened, page by page.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::request::{page_size, word};
use super::{App, Problem};
use crate::fleet::EventKind;
use crate::store::EventFilter;
use crate::views::{EventView, Page};

/// Which events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those of this server: id, the beginning of it, or name.
    server: Option<String>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Those behind this sequence, oldest first; `next` goes here again.
    after: Option<i64>,
    /// Those below this sequence, newest first; `next` goes here again.
    before: Option<i64>,
    /// How many, 1 to 500; 100 without it.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// A page of events: oldest first behind `after`, else newest first.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Which),
    responses((status = 200, body = Page<EventView>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<Page<EventView>>, Problem> {
    let limit = page_size(which.limit)?;
    let filter = filter(&app, which.server.as_deref(), which.kind).await?;
    let control = app.control();
    let mut found = match (which.after, which.before) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("give after or before, not both")),
        (Some(after), None) => control.events(&filter, after, limit + 1).await?,
        (None, before) => control.newest_events(&filter, before, limit + 1).await?,
    };
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let items: Vec<EventView> = found.into_iter().map(EventView::from).collect();
    let next = items.last().filter(|_| !is_last).map(|event| event.sequence.to_string());
    Ok(Json(Page { items, next }))
}

/// The filter that these words mean.
pub(super) async fn filter(
    app: &App,
    server: Option<&str>,
    kind: Option<String>,
) -> Result<EventFilter, Problem> {
    word("kind", kind.as_deref(), &EventKind::NAMES)?;
    let server = match server {
        Some(text) => Some(app.control().find_server(text).await?),
        None => None,
    };
    Ok(EventFilter { server, kind })
}
