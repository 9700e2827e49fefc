//! Events as they happen: server-sent events (HTML Living Standard, 9.2), each with its sequence as
//! id, so that a client that comes back goes on where it was. A stream ends with the daemon, and
//! with its token.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::sleep;

use super::auth::Bearer;
use super::request::ended;
use super::{App, Problem, events, limits};
use crate::store::{Changed, EventFilter};
use crate::views::EventView;

/// From where on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Only those of this server: id, the beginning of it, or name.
    server: Option<String>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Those behind this sequence; without it, those from now on.
    after: Option<i64>,
}

/// Events as they happen.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events",
    params(From, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn follow(
    State(app): State<App>,
    Extension(Bearer(token)): Extension<Bearer>,
    headers: HeaderMap,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    let permit = app.0.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable(format!("{} streams are open already", limits::STREAMS))
    })?;
    let filter = events::filter(&app, from.server.as_deref(), from.kind).await?;
    // News from here on is heard; so nothing falls between the first read and the wait.
    let changes = app.control().store().changes();
    let after = match last_id(&headers)?.or(from.after) {
        Some(after) => after,
        None => newest(&app).await?,
    };
    let stopped = app.0.stopped.clone();
    let ready = VecDeque::new();
    let follower = Follower { app, token, filter, after, ready, changes, stopped, _permit: permit };
    let stream = unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let alive = KeepAlive::new().interval(limits::STREAM_ALIVE).text("alive");
    Ok(Sse::new(stream).keep_alive(alive).into_response())
}

fn last_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let bad = || Problem::bad_request("Last-Event-ID is the sequence of an event");
    number.map(Some).ok_or_else(bad)
}

async fn newest(app: &App) -> Result<i64, Problem> {
    let found = app.control().newest_events(&EventFilter::default(), None, 1).await?;
    Ok(found.first().map_or(0, |(sequence, _)| *sequence))
}

/// One that follows the events.
struct Follower {
    app: App,
    token: String,
    filter: EventFilter,
    after: i64,
    ready: VecDeque<EventView>,
    changes: broadcast::Receiver<Changed>,
    stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event, once there is one; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if *self.stopped.borrow() {
                return None;
            }
            if let Some(view) = self.ready.pop_front() {
                let event = Event::default().id(view.sequence.to_string());
                // Views are strings and numbers, which are always JSON.
                return event.event("event").json_data(&view).ok();
            }
            let control = self.app.control();
            // A store that does not answer ends the stream; its client comes again.
            let page = control.events(&self.filter, self.after, limits::PAGE_MOST).await.ok()?;
            if let Some((last, _)) = page.last() {
                self.after = *last;
                self.ready.extend(page.into_iter().map(EventView::from));
                continue;
            }
            self.news().await;
            if !self.app.0.identities.is_good(self.app.control(), &self.token).await {
                return None;
            }
        }
    }

    /// Returns when there may be something new, or a look at the token is due.
    async fn news(&mut self) {
        let look = sleep(limits::STREAM_ALIVE);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = &mut look => return,
                () = ended(&mut self.stopped) => return,
                changed = self.changes.recv() => match changed {
                    Ok(Changed::Rows { events_to: Some(to), .. }) if to > self.after => return,
                    Ok(Changed::Rows { .. }) => {}
                    Ok(Changed::Anything) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    // The store is closed, and so soon is everything; the clock says when to look.
                    Err(broadcast::error::RecvError::Closed) => {
                        look.as_mut().await;
                        return;
                    }
                },
            }
        }
    }
}
