//! Statuses in, directives out. A status without news for its server is held until there is some,
//! or until the poll is over; what is answered is on record before it is signed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use repave_protocol::{Directive, Keys, Order, ServerId, Status, StatusExpected, verify};
use tokio::time::{Instant, timeout_at};

use super::request::ended;
use super::{App, Problem};
use crate::clock;
use crate::engine::{Call, Outcome};

/// `POST /v1/servers/{server}/status`
pub(super) async fn report(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let allowed = app.0.refused_statuses.has(peer.ip(), clock::now_ms());
    allowed.map_err(|after_ms| {
        app.control().metrics().status("limited");
        Problem::too_many(after_ms, "refused statuses")
    })?;
    let server: ServerId = id.parse().map_err(|_| {
        refused(&app, peer.ip(), "refused");
        Problem::not_found("server with such an id")
    })?;
    let expected = StatusExpected { pool: app.control().setup().pool.clone(), server };
    let status = verify::<Status>(&body, Keys::Device(&server), &expected).map_err(|refusal| {
        refused(&app, peer.ip(), "refused");
        let detail = format!("{}: {refusal}", refusal.code());
        Problem::new(StatusCode::BAD_REQUEST, refusal.code(), detail)
    })?;
    drop(body);
    let status = Arc::new(status.into_message());
    let known = status.trust;
    let mut directive = answer(&app, peer.ip(), status).await?;
    let news = app.control().trusted().filter(|trusted| known < Some(trusted.document.version));
    directive.trust = news.map(|trusted| trusted.envelope.clone());
    let bytes = app.control().authority().sign(&directive);
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// Counts a status against its sender. That this one was one too many is told to the next.
fn refused(app: &App, client: IpAddr, outcome: &'static str) {
    app.control().metrics().status(outcome);
    let _ = app.0.refused_statuses.take(client, clock::now_ms());
}

/// The answer to a status, once there is one.
async fn answer(app: &App, client: IpAddr, status: Arc<Status>) -> Result<Directive, Problem> {
    let metrics = app.control().metrics();
    let news = app.control().waiting().register(status.server);
    let mut stopped = app.0.stopped.clone();
    let deadline = Instant::now() + app.0.poll;
    let mut call = if app.0.poll.is_zero() { Call::ArrivedAndNow } else { Call::Arrived };
    let mut worked = Duration::ZERO;
    loop {
        let began = Instant::now();
        let reported = app.0.engine.report(Arc::clone(&status), call).await;
        worked += began.elapsed();
        let outcome = reported.map_err(|busy| {
            metrics.status("busy");
            Problem::unavailable(busy.to_string())
        })?;
        let until_ms = match outcome {
            Outcome::Answer(directive) => {
                metrics.status("answered");
                metrics.answered(worked.as_secs_f64(), order(&directive.order));
                return Ok(*directive);
            }
            Outcome::Hold { until_ms } => until_ms,
            Outcome::Overtaken => {
                metrics.status("overtaken");
                let detail = "a newer status of this server waits for the answer";
                return Err(Problem::new(StatusCode::CONFLICT, "overtaken", detail));
            }
            Outcome::Unreadable => {
                metrics.status("unreadable");
                let detail = "the record of this server cannot be read; the log says why";
                return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "record", detail));
            }
            Outcome::NotAdmitted(why) => {
                refused(app, client, "not_admitted");
                return Err(Problem::new(StatusCode::FORBIDDEN, "not-admitted", why.to_string()));
            }
        };
        let wake = until_ms.map_or(deadline, |until_ms| {
            let left_ms = until_ms.saturating_sub(clock::now_ms());
            deadline.min(Instant::now() + Duration::from_millis(left_ms))
        });
        let is_over = tokio::select! {
            woken = timeout_at(wake, news.come()) => woken.is_err() && Instant::now() >= deadline,
            // Nobody is held over the end: the server asks again, and finds another controller.
            () = ended(&mut stopped) => true,
        };
        call = if is_over { Call::Now } else { Call::Again };
    }
}

const fn order(order: &Order) -> &'static str {
    match order {
        Order::Purpose(_) => "purpose",
        Order::Boot { .. } => "boot",
        Order::Stay { .. } => "stay",
        Order::Wipe(_) => "wipe",
        Order::Wait { .. } => "wait",
    }
}
