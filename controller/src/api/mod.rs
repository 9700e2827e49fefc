//! The HTTP side of the controller: servers post their statuses to one address, operators use the
//! rest. Handlers turn requests into operations of [`Control`] and their results into JSON; nothing
//! is decided here.

mod problem;
mod status;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::State;
use axum::routing::{get, post};
use repave_protocol::limits;
use tower_http::services::ServeDir;

pub use problem::Problem;

use crate::control::Control;
use crate::engine::Engine;

/// What every handler is given.
#[derive(Clone)]
pub struct App {
    /// The pool's operations.
    pub control: Arc<Control>,
    /// Where statuses go.
    pub engine: Engine,
    /// How long a status without news is held.
    pub poll: Duration,
}

/// Everything that is served over TLS.
pub fn router(app: App, library: &Path) -> Router {
    Router::new()
        .route("/v1/servers/{id}/status", post(status::report))
        .layer(DefaultBodyLimit::max(limits::ENVELOPE_BYTES))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(app)
        .merge(blobs(library))
}

/// The image library, read-only: what is in it is public, and checked by whoever fetches it.
pub fn blobs(library: &Path) -> Router {
    Router::new()
        .nest_service("/library", ServeDir::new(library).append_index_html_on_directories(false))
}

/// Whether this controller can answer servers: its store answers, and it has a trust document.
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.control.refresh().await?;
    match app.control.trusted() {
        Some(_) => Ok("ready\n"),
        None => Err(Problem::unavailable(
            "no trust document yet: sign one with `repave trust sign` and give it to `repave trust set`",
        )),
    }
}
