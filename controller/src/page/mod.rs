//! The pool at a glance, in a browser: a read-only page that the server renders, which needs no
//! script, and a page for the log of each server's last failure. Whoever looks gives a token once; a cookie keeps it until the browser is closed. The API
//! takes no cookie, so a page elsewhere can make nobody's browser change anything. What is shown is
//! put together in [`view`]; nothing is decided here.

mod view;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, REFERRER_POLICY, RETRY_AFTER,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;

use crate::api::{App, Problem, identify};
use crate::clock;
use crate::control::{Control, ControlError, Identity};
use crate::fleet::Event;
use crate::store::EventFilter;
use crate::views::LogView;
use view::{Entrance, Seen};

/// Browsers take a cookie of such a name only over TLS, from this very host and for all its paths
/// (RFC 6265bis, 4.1.3.2).
const COOKIE_NAME: &str = "__Host-repave";
/// Without an age, so that it ends with the browser's session.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
/// Bytes of the login form: a token has at most some 140.
const LOGIN_BYTES: usize = 4 * 1024;
/// Decisions and notes that are shown.
const EVENTS: usize = 30;
/// Kinds of events that say what was decided, and why, and what nobody decided.
const KINDS: [&str; 6] = ["decision", "balancer", "operator", "quarantine", "watchdog", "source"];
/// The page may use its own style sheet and send its own forms, and nothing else at all.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";
const STYLE: &str = include_str!("page.css");

/// What browsers are served.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(pool))
        .route("/servers/{server}/log", get(log))
        .route("/login", get(entrance).post(login))
        .route("/logout", post(logout))
        .route("/style.css", get(style))
        .layer(DefaultBodyLimit::max(LOGIN_BYTES))
        .layer(map_response(secure))
}

/// Says to browsers what a page may do, which is little.
async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // What is on a page is for whoever has a token; the style sheet says otherwise of itself.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn style() -> impl IntoResponse {
    // Not for long: the next version of the controller may bring another.
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=60")];
    (headers, STYLE)
}

/// The pool. Every token there is may look: viewer is the least of the roles.
async fn pool(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let looked = look(&app, peer.ip(), &headers, async |identity| {
        Ok(view::pool(&glance(app.control(), &identity).await?))
    });
    // A screen on a wall has to come back by itself.
    looked.await.or_else(|problem| refusal(&problem, After::Reload))
}

/// The log that a server's last failure came with.
async fn log(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path(server): Path<String>,
) -> Result<Response, Problem> {
    let looked = look(&app, peer.ip(), &headers, async |_| {
        let id = app.control().find_server(&server).await?;
        Ok(view::log(&LogView::of(id, app.control().failure_log(id).await?)))
    });
    looked.await.or_else(|problem| refusal(&problem, After::Nothing))
}

/// A page for whoever has a good token; for others, the way to the login.
async fn look(
    app: &App,
    client: IpAddr,
    headers: &HeaderMap,
    render: impl AsyncFnOnce(Identity) -> Result<Result<String, minijinja::Error>, ControlError>,
) -> Result<Response, Problem> {
    let Some(token) = cookie(headers) else { return Ok(Redirect::to("/login").into_response()) };
    match identify(app, client, token).await {
        Ok(identity) => Ok(page(render(identity).await?)?.into_response()),
        // The token came to its end: a cookie that is no good would only be counted as a guess.
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            Ok((set_cookie("", "; Max-Age=0")?, Redirect::to("/login")).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// All that the page shows.
async fn glance(control: &Control, identity: &Identity) -> Result<Seen, ControlError> {
    let mut events: Vec<(i64, Event)> = Vec::new();
    for kind in KINDS {
        let filter = EventFilter { server: None, kind: Some(kind.into()) };
        events.extend(control.newest_events(&filter, None, EVENTS).await?);
    }
    events.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
    events.truncate(EVENTS);
    Ok(Seen {
        pool: control.setup().pool.to_string(),
        active: control.active(),
        leads: control.metrics().leads(),
        overview: control.overview().await?,
        events: events.into_iter().map(|(_, event)| event).collect(),
        identity: identity.clone(),
        now_ms: clock::now_ms(),
    })
}

/// The form that takes a token.
async fn entrance() -> Result<Response, Problem> {
    let entrance = Entrance { title: "Log in".into(), fault: None, form: true, refresh: false };
    Ok(page(view::entrance(&entrance))?.into_response())
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn login(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, Problem> {
    refuse_foreign(&headers)?;
    // Pasted, and so perhaps with a line's end.
    match enter(&app, peer.ip(), login.token.trim()).await {
        Ok(response) => Ok(response),
        Err(problem) => refusal(&problem, After::Login),
    }
}

async fn enter(app: &App, client: IpAddr, token: &str) -> Result<Response, Problem> {
    identify(app, client, token).await?;
    Ok((set_cookie(token, "")?, Redirect::to("/")).into_response())
}

async fn logout(headers: HeaderMap) -> Result<Response, Problem> {
    refuse_foreign(&headers)?;
    Ok((set_cookie("", "; Max-Age=0")?, Redirect::to("/login")).into_response())
}

/// A form on somebody else's page must not log anybody in or out. Browsers say where a request
/// comes from; what is no browser has no cookie to lose.
fn refuse_foreign(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => {
            let detail = "this form was sent from another site";
            Err(Problem::new(StatusCode::FORBIDDEN, "foreign", detail))
        }
    }
}

/// The token that a browser brings.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|one| one.split_once('='));
    let found = pairs.find(|(name, _)| name.trim() == COOKIE_NAME)?;
    Some(found.1.trim()).filter(|token| !token.is_empty())
}

/// Tokens that are good have only letters, digits, `_` and `-` in them, all good in a cookie.
fn set_cookie(
    token: &str,
    more: &str,
) -> Result<[(axum::http::HeaderName, HeaderValue); 1], Problem> {
    let text = format!("{COOKIE_NAME}={token}; {ATTRIBUTES}{more}");
    let value = HeaderValue::from_str(&text).map_err(|_| Problem::bad_request("not a token"))?;
    Ok([(SET_COOKIE, value)])
}

/// What follows a problem.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The form to try again.
    Login,
    /// A later look, by itself.
    Reload,
    /// It is told, and that is all.
    Nothing,
}

/// A problem as a page.
fn refusal(problem: &Problem, after: After) -> Result<Response, Problem> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let form = after == After::Login;
    let entrance = Entrance {
        title: if form { "Log in".into() } else { problem.title.clone() },
        fault: Some(problem.detail.clone()),
        form,
        refresh: after == After::Reload,
    };
    let mut response = (status, page(view::entrance(&entrance))?).into_response();
    if let Some(after_s) = problem.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, after_s.into());
    }
    Ok(response)
}

fn page(rendered: Result<String, minijinja::Error>) -> Result<Html<String>, Problem> {
    rendered.map(Html).map_err(|error| {
        let detail = format!("this page could not be made: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page", detail)
    })
}
