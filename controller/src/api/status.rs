//! Statuses in, directives out. A status without news for its server is held until there is some,
//! or until the poll is over; what is answered is on record before it is signed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use repave_protocol::{Directive, Keys, ServerId, Status, StatusExpected, verify};
use tokio::time::{Instant, timeout_at};

use super::{App, Problem};
use crate::clock;
use crate::engine::{Call, Outcome};

/// `POST /v1/servers/{id}/status`
pub(super) async fn report(
    State(app): State<App>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let server: ServerId = id
        .parse()
        .map_err(|_| Problem::new(StatusCode::NOT_FOUND, "not-found", "that is no server's id"))?;
    let expected = StatusExpected { pool: app.control.setup().pool.clone(), server };
    let status = verify::<Status>(&body, Keys::Device(&server), &expected).map_err(|refusal| {
        let detail = format!("{}: {refusal}", refusal.code());
        Problem::new(StatusCode::BAD_REQUEST, refusal.code(), detail)
    })?;
    drop(body);
    let status = Arc::new(status.into_message());
    let known = status.trust;
    let mut directive = answer(&app, status).await?;
    let news = app.control.trusted().filter(|trusted| known < Some(trusted.document.version));
    directive.trust = news.map(|trusted| trusted.envelope.clone());
    let bytes = app.control.authority().sign(&directive);
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// The answer to a status, once there is one.
async fn answer(app: &App, status: Arc<Status>) -> Result<Directive, Problem> {
    let news = app.control.waiting().register(status.server);
    let deadline = Instant::now() + app.poll;
    let mut call = if app.poll.is_zero() { Call::ArrivedAndNow } else { Call::Arrived };
    loop {
        let reported = app.engine.report(Arc::clone(&status), call).await;
        let outcome = reported.map_err(|busy| Problem::unavailable(busy.to_string()))?;
        let until_ms = match outcome {
            Outcome::Answer(directive) => return Ok(*directive),
            Outcome::Hold { until_ms } => until_ms,
            Outcome::Overtaken => {
                let detail = "a newer status of this server waits for the answer";
                return Err(Problem::new(StatusCode::CONFLICT, "overtaken", detail));
            }
            Outcome::NotAdmitted(refused) => {
                let detail = refused.to_string();
                return Err(Problem::new(StatusCode::FORBIDDEN, "not-admitted", detail));
            }
        };
        let wake = until_ms.map_or(deadline, |until_ms| {
            let left_ms = until_ms.saturating_sub(clock::now_ms());
            deadline.min(Instant::now() + Duration::from_millis(left_ms))
        });
        let woken = timeout_at(wake, news.come()).await;
        let is_over = woken.is_err() && Instant::now() >= deadline;
        call = if is_over { Call::Now } else { Call::Again };
    }
}
