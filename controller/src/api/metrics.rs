//! What is counted, for Prometheus and its kin. It names no server, and needs no token.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::App;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(super) async fn scrape(State(app): State<App>) -> impl IntoResponse {
    let control = app.control();
    ([(CONTENT_TYPE, OPEN_METRICS)], control.metrics().text(control.waiting().len()))
}
