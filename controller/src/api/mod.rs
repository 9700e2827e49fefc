//! The HTTP side of the controller: servers post their statuses to one address, operators use the
//! rest. Handlers turn requests into operations of [`Control`] and their results into JSON; nothing
//! is decided here. See docs/decisions/0011.

mod access;
mod auth;
mod balancer;
pub(crate) mod blobs;
mod enrolment;
mod events;
mod idempotency;
mod images;
mod limiter;
mod limits;
mod metrics;
mod openapi;
mod policy;
mod power;
mod problem;
mod request;
mod servers;
mod status;
mod stream;
mod trust;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post, put};
use repave_protocol::limits::ENVELOPE_BYTES;
use tokio::sync::{Semaphore, watch};

pub use openapi::document;
pub use problem::Problem;

pub(crate) use auth::identify;

use crate::control::Control;
use crate::engine::Engine;
use crate::page;
use crate::shelf::Shelf;
use auth::Identities;
use limiter::Limiter;

/// What every handler is given.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
struct Parts {
    control: Arc<Control>,
    engine: Engine,
    poll: Duration,
    stopped: watch::Receiver<bool>,
    identities: Identities,
    requests: Limiter,
    failed_logins: Limiter,
    refused_statuses: Limiter,
    streams: Arc<Semaphore>,
}

impl App {
    /// The API of `control`. A status without news is held for `poll`; one address may ask
    /// `rate_per_s` times in a second (0: as often as it likes).
    pub fn new(
        control: Arc<Control>,
        engine: Engine,
        poll: Duration,
        rate_per_s: u32,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self(Arc::new(Parts {
            control,
            engine,
            poll,
            stopped,
            identities: Identities::default(),
            requests: Limiter::new(rate_per_s, rate_per_s.saturating_mul(2)),
            failed_logins: Limiter::new(limits::FAILED_LOGINS.0, limits::FAILED_LOGINS.1),
            refused_statuses: Limiter::new(limits::REFUSED_STATUSES.0, limits::REFUSED_STATUSES.1),
            streams: Arc::new(Semaphore::new(limits::STREAMS)),
        }))
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }
}

/// Everything that is served over TLS.
pub fn router(app: App, shelf: &Shelf) -> Router {
    let public = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::serve));
    let statuses = Router::new()
        .route("/v1/servers/{server}/status", post(status::report))
        .layer(DefaultBodyLimit::max(ENVELOPE_BYTES));
    Router::new()
        .merge(operators())
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(from_fn_with_state(app.clone(), auth::guard))
        .merge(statuses)
        .merge(public)
        .merge(page::router())
        .layer(from_fn_with_state(app.clone(), request::limit))
        .with_state(app)
        .merge(blobs::routes(shelf))
        .layer(map_response(problem::dress))
        .layer(from_fn(unread::drain))
}

/// What operators use; who may use what is said in [`auth`].
fn operators() -> Router<App> {
    let policies = Router::new()
        .route("/v1/policy", get(policy::get).put(policy::set))
        .route("/v1/plan", get(balancer::plan).post(balancer::try_out))
        .layer(DefaultBodyLimit::max(limits::POLICY_BYTES));
    Router::new()
        .route("/v1/servers", get(servers::list))
        .route("/v1/servers/{server}", get(servers::get))
        .route("/v1/servers/{server}/log", get(servers::log))
        .route("/v1/servers/{server}/pin", post(servers::pin))
        .route("/v1/servers/{server}/wipe", post(servers::wipe))
        .route("/v1/servers/{server}/rekey", post(servers::rekey))
        .route("/v1/servers/{server}/description", put(servers::describe))
        .route("/v1/servers/{server}/power", get(power::get).put(power::set).delete(power::unset))
        .route("/v1/servers/{server}/power/{order}", post(power::order))
        .route("/v1/servers/{server}/{action}", post(servers::act))
        .route("/v1/types", get(balancer::types))
        .route("/v1/apply", post(balancer::apply))
        .route("/v1/balancer", get(balancer::get))
        .route("/v1/balancer/pause", post(balancer::pause))
        .route("/v1/balancer/resume", post(balancer::resume))
        .route("/v1/images", get(images::list))
        .route("/v1/images/{image}/{version}", get(images::get))
        .route("/v1/channels", get(images::channels))
        .route("/v1/channels/{image}/{channel}", put(images::set_channel))
        .route("/v1/events", get(events::list))
        .route("/v1/events/stream", get(stream::follow))
        .route("/v1/tokens", get(access::tokens).post(access::create_token))
        .route("/v1/tokens/{name}", axum::routing::delete(access::remove_token))
        .route("/v1/join-tokens", get(enrolment::join_tokens).post(enrolment::create_join_token))
        .route("/v1/join-tokens/{name}", axum::routing::delete(enrolment::remove_join_token))
        .route("/v1/invitations", get(enrolment::invitations))
        .route(
            "/v1/invitations/{machine}",
            get(enrolment::invitation).put(enrolment::invite).delete(enrolment::uninvite),
        )
        .route("/v1/trust", get(trust::get).put(trust::set))
        .route("/v1/trust/servers", get(trust::servers))
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .merge(policies)
}

/// Whether this controller can answer servers: its store answers, and it has a trust document.
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.control().refresh().await?;
    match app.control().trusted() {
        Some(_) => Ok("ready\n"),
        None => Err(Problem::unavailable(
            "no trust document yet: sign one with `repave trust sign` and give it to `repave trust set`",
        )),
    }
}
