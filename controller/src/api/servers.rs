//! Servers: lists of them, one of them, and what operators do to one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use repave_protocol::{DiskSelector, ServerId};
use serde::{Deserialize, Serialize};

use super::request::{Actor, IfMatch, page_size, tagged, word};
use super::{App, Problem};
use crate::control::{Kept, Wiping};
use crate::fleet::Standing;
use crate::policy::is_name;
use crate::store::ServerFilter;
use crate::views::{LogView, Page, ServerView};

/// Which servers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those of this standing.
    standing: Option<String>,
    /// Only those of this server type.
    #[serde(rename = "type")]
    server_type: Option<String>,
    /// Those behind this id.
    #[param(value_type = Option<String>)]
    after: Option<ServerId>,
    /// How many, 1 to 500; 100 without it.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// A page of servers, by id.
#[utoipa::path(get, path = "/v1/servers", tag = "servers", params(Which),
    responses((status = 200, body = Page<ServerView>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<Page<ServerView>>, Problem> {
    let limit = page_size(which.limit)?;
    word("standing", which.standing.as_deref(), &Standing::NAMES)?;
    if which.server_type.as_deref().is_some_and(|name| !is_name(name)) {
        return Err(Problem::bad_request("type is the name of a server type, such as web"));
    }
    let (standing, server_type) = (which.standing, which.server_type);
    let filter = ServerFilter { standing, server_type, seen_before_ms: None };
    let mut found = app.control().servers(&filter, which.after, limit + 1).await?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let last = found.last().map(|kept| kept.server.id.to_string());
    let items = found.iter().map(ServerView::from).collect();
    Ok(Json(Page { items, next: last.filter(|_| !is_last) }))
}

/// One server.
#[utoipa::path(get, path = "/v1/servers/{server}", tag = "servers",
    params(("server" = String, Path, description = "Id, the beginning of it, or name")),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(app): State<App>,
    Path(server): Path<String>,
) -> Result<Response, Problem> {
    let id = app.control().find_server(&server).await?;
    Ok(shown(&app.control().server(id).await?))
}

/// What its logs said when a server last failed: kept beyond a success, until it fails again, for 30
/// days at most.
#[utoipa::path(get, path = "/v1/servers/{server}/log", tag = "servers",
    params(("server" = String, Path, description = "Id, the beginning of it, or name")),
    responses((status = 200, body = LogView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn log(
    State(app): State<App>,
    Path(server): Path<String>,
) -> Result<Json<LogView>, Problem> {
    let id = app.control().find_server(&server).await?;
    // So that one that nobody knows is not said to be well.
    app.control().server(id).await?;
    Ok(Json(LogView::of(id, app.control().failure_log(id).await?)))
}

fn shown(kept: &Kept) -> Response {
    tagged(Some(kept.revision), ServerView::from(kept))
}

/// What is done to a server, where the word says all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// Let it in, or back in.
    Approve,
    /// Reject it while it is pending, revoke it after.
    Expel,
    /// Keep the balancer from it.
    Cordon,
    /// Let the balancer at it again.
    Uncordon,
    /// Let it be of any type again.
    Unpin,
    /// Take its purpose away, and cordon it.
    Drain,
    /// Take it out of the pool.
    Retire,
    /// Forget what failed on it.
    Clear,
}

/// Why it is done.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reason {
    /// One line, 256 bytes at most; kept and shown while a cordon lasts.
    note: Option<String>,
}

/// Do something to a server. A note is for `cordon` and `drain` only.
#[utoipa::path(post, path = "/v1/servers/{server}/{action}", tag = "servers",
    request_body = Option<Reason>,
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("action" = Action, Path), ("If-Match" = Option<String>, Header),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn act(
    State(app): State<App>,
    Path((server, action)): Path<(String, String)>,
    if_match: IfMatch,
    Actor(actor): Actor,
    reason: Option<Json<Reason>>,
) -> Result<Response, Problem> {
    let note = reason.and_then(|Json(reason)| reason.note);
    let action = serde_json::from_value(action.into())
        .map_err(|_| Problem::not_found("such thing to do to a server"))?;
    if note.is_some() && !matches!(action, Action::Cordon | Action::Drain) {
        return Err(Problem::bad_request("a note is for cordon and drain"));
    }
    let (control, note) = (app.control(), note.as_deref());
    let (id, expected) = (control.find_server(&server).await?, if_match.0);
    let done = match action {
        Action::Approve => control.approve(id, expected, &actor).await,
        Action::Expel => control.expel(id, expected, &actor).await,
        Action::Cordon => control.cordon(id, expected, (true, note), &actor).await,
        Action::Uncordon => control.cordon(id, expected, (false, None), &actor).await,
        Action::Unpin => control.pin(id, expected, (None, None), &actor).await,
        Action::Drain => control.drain(id, expected, note, &actor).await,
        Action::Retire => control.retire(id, expected, &actor).await,
        Action::Clear => control.clear(id, expected, &actor).await,
    };
    Ok(shown(&done.map_err(|error| if_match.problem(error))?))
}

/// How a server is to be wiped.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wipe {
    /// Serial number of the one disk to wipe; without it, all that are known to have held a target.
    disk_serial: Option<String>,
    /// Take the server out of the pool, too.
    retire: bool,
    /// Also if the policy guards its data.
    force: bool,
}

/// Wipe what a server was from its disks, and keep it in default. Nothing brings the data back.
#[utoipa::path(post, path = "/v1/servers/{server}/wipe", tag = "servers", request_body = Wipe,
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn wipe(
    State(app): State<App>,
    Path(server): Path<String>,
    if_match: IfMatch,
    Actor(actor): Actor,
    Json(Wipe { disk_serial, retire, force }): Json<Wipe>,
) -> Result<Response, Problem> {
    if disk_serial.as_deref().is_some_and(|serial| serial.trim().is_empty()) {
        return Err(Problem::bad_request("disk_serial is empty; leave it out to wipe every disk"));
    }
    let disk =
        disk_serial.map(|serial| DiskSelector { serial: Some(serial), ..Default::default() });
    let id = app.control().find_server(&server).await?;
    let how = Wiping { disk, retire, force };
    let done = app.control().wipe(id, if_match.0, &how, &actor).await;
    Ok(shown(&done.map_err(|error| if_match.problem(error))?))
}

/// Which type a server is to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    /// The server type.
    #[serde(rename = "type")]
    server_type: String,
    /// Why: one line, 256 bytes at most; kept and shown while the pin lasts.
    #[serde(default)]
    note: Option<String>,
}

/// Say that a server is to be of one type and no other.
#[utoipa::path(post, path = "/v1/servers/{server}/pin", tag = "servers", request_body = Pin,
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pin(
    State(app): State<App>,
    Path(server): Path<String>,
    if_match: IfMatch,
    Actor(actor): Actor,
    Json(pin): Json<Pin>,
) -> Result<Response, Problem> {
    let id = app.control().find_server(&server).await?;
    let done = {
        let to = (Some(pin.server_type.as_str()), pin.note.as_deref());
        app.control().pin(id, if_match.0, to, &actor).await
    };
    Ok(shown(&done.map_err(|error| if_match.problem(error))?))
}

/// Which server a server takes over from.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rekey {
    /// The same machine's record under its old key: id, the beginning of it, or name.
    old: String,
}

/// Let a machine that has a new device key take over from its old record.
#[utoipa::path(post, path = "/v1/servers/{server}/rekey", tag = "servers", request_body = Rekey,
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rekey(
    State(app): State<App>,
    Path(server): Path<String>,
    if_match: IfMatch,
    Actor(actor): Actor,
    Json(rekey): Json<Rekey>,
) -> Result<Response, Problem> {
    let control = app.control();
    let (old, new) = (control.find_server(&rekey.old).await?, control.find_server(&server).await?);
    let done = control.rekey(old, new, if_match.0, &actor).await;
    Ok(shown(&done.map_err(|error| if_match.problem(error))?))
}

/// What people say of a server.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// What it is called; nothing takes the name away.
    #[serde(default)]
    name: Option<String>,
    /// Its labels, in place of those it has.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Give a server a name and labels.
#[utoipa::path(put, path = "/v1/servers/{server}/description", tag = "servers",
    request_body = Description,
    params(("server" = String, Path, description = "Id, the beginning of it, or name"),
        ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ServerView),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn describe(
    State(app): State<App>,
    Path(server): Path<String>,
    if_match: IfMatch,
    Actor(actor): Actor,
    Json(description): Json<Description>,
) -> Result<Response, Problem> {
    let id = app.control().find_server(&server).await?;
    let words = (description.name, description.labels);
    let done = app.control().describe(id, if_match.0, words, &actor).await;
    Ok(shown(&done.map_err(|error| if_match.problem(error))?))
}
