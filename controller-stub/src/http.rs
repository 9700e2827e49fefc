//! The HTTPS side: two addresses, and the faults on the way to each.
//!
//! `POST /v1/servers/{id}/status` · `GET|HEAD /library/blobs/sha256/{hex}`

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName,
    HeaderValue, LOCATION, RANGE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use repave_protocol::{Refusal, ServerId, Sha256, limits};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::library::{Part, part};
use crate::pool::Reply;
use crate::record::Event;
use crate::reply::Body;
use crate::scenario::{Action, Target};
use crate::shared::Shared;

/// How long the listener rests when the system has no descriptors left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connection closes without an answer.
#[derive(Clone, Copy, Debug, Error)]
#[error("closed without an answer")]
struct Closed;

type Answer = Result<Response<Body>, Closed>;

/// Serves for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, acceptor.clone(), shared.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Answers are small and awaited; without it each would wait for the peer's acknowledgement.
    let secured = match stream.set_nodelay(true) {
        Ok(()) => acceptor.accept(stream).await,
        Err(error) => Err(error),
    };
    match secured {
        Ok(stream) => {
            let service = service_fn(|request| route(&shared, request));
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // How a connection ended is seen from what was answered on it.
            let _ = served.await;
        }
        Err(error) => {
            let at_ms = shared.now_ms();
            let reason = error.to_string();
            shared.change(|pool| pool.events.push(Event::Handshake { at_ms, reason }));
        }
    }
}

fn route(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> impl Future<Output = Answer> + Send + use<> {
    let shared = shared.clone();
    async move {
        let path = request.uri().path();
        let server = path
            .strip_prefix("/v1/servers/")
            .and_then(|rest| rest.strip_suffix("/status"))
            .and_then(|id| id.parse::<ServerId>().ok());
        let blob = path
            .strip_prefix("/library/blobs/sha256/")
            .and_then(|digest| digest.parse::<Sha256>().ok());
        match (server, blob) {
            (Some(server), _) if request.method() == Method::POST => {
                status(&shared, server, request).await
            }
            (_, Some(digest)) if [Method::GET, Method::HEAD].contains(request.method()) => {
                blob_part(&shared, digest, &request).await
            }
            (None, None) => Ok(problem(StatusCode::NOT_FOUND, "no such address")),
            _ => Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "no such method here")),
        }
    }
}

async fn status(shared: &Shared, server: ServerId, request: Request<Incoming>) -> Answer {
    let received = Limited::new(request.into_body(), limits::ENVELOPE_BYTES);
    let Ok(received) = received.collect().await else {
        return Ok(problem(StatusCode::PAYLOAD_TOO_LARGE, "oversized"));
    };
    let received = received.to_bytes();
    let at_ms = shared.now_ms();
    let taken = shared.change(|pool| {
        let index = pool.receive(server, &received, at_ms)?;
        let targets = [Target::Statuses, Target::StatusesOf(server)];
        Ok::<_, Refusal>((index, pool.strike(&targets, at_ms)))
    });
    let (index, actions) = match taken {
        Ok(taken) => taken,
        Err(refusal) => {
            let text = format!("{}: {refusal}", refusal.code());
            return Ok(problem(StatusCode::BAD_REQUEST, &text));
        }
    };
    if let Some(refused) = delay_or_refuse(&actions).await {
        return Ok(refused);
    }
    let bytes = answer(shared, index, &actions).await.ok_or(Closed)?;
    damage(with_type("application/json", Body::bytes(bytes)), &actions)
}

/// The answer to the status of record `index`, as soon as there is one worth giving.
async fn answer(shared: &Shared, index: usize, actions: &[Action]) -> Option<Vec<u8>> {
    let faulty = actions.iter().find_map(|action| match action {
        Action::Answer(answer) => Some(answer),
        _ => None,
    });
    let spoiled =
        actions.iter().any(|action| !matches!(action, Action::Answer(_) | Action::DelayMs(_)));
    let mut news = shared.subscribe();
    let poll = shared.read(|pool| Duration::from_millis(pool.scenario.poll_ms));
    let deadline = Instant::now() + poll;
    loop {
        news.mark_unchanged();
        let at_ms = shared.now_ms();
        let now = Instant::now() >= deadline;
        let reply = shared.try_answer(|pool| pool.answer(index, faulty, spoiled, now, at_ms));
        match reply {
            Reply::Bytes(bytes) => return Some(bytes),
            Reply::Overtaken => return None,
            // Woken by news or by the deadline, it looks again.
            Reply::Hold => {
                let _ = tokio::time::timeout_at(deadline, news.changed()).await;
            }
        }
    }
}

async fn blob_part(shared: &Shared, digest: Sha256, request: &Request<Incoming>) -> Answer {
    let range = request.headers().get(RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    let at_ms = shared.now_ms();
    let actions = shared.change(|pool| {
        pool.events.push(Event::Blob { at_ms, digest, range: range.map(Into::into) });
        pool.strike(&[Target::Blobs, Target::Blob(digest)], at_ms)
    });
    if let Some(refused) = delay_or_refuse(&actions).await {
        return Ok(refused);
    }
    let Some((file, length)) = shared.library.as_ref().and_then(|library| library.open(&digest))
    else {
        return Ok(problem(StatusCode::NOT_FOUND, "no such blob"));
    };
    let part = if actions.contains(&Action::FullBody) { Part::Whole } else { part(range, length) };
    let (code, first, bytes, content_range) = match part {
        Part::Whole => (StatusCode::OK, 0, length, None),
        Part::Range { first, last } => {
            let shift = u64::from(actions.contains(&Action::WrongRange));
            let said = format!("bytes {}-{}/{length}", first + shift, last + shift);
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(said))
        }
        Part::Unsatisfiable => {
            let mut answer = problem(StatusCode::RANGE_NOT_SATISFIABLE, "outside of the blob");
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(answer);
        }
    };
    let body = Body::file(file, first, bytes).map_err(|_| Closed)?;
    let mut answer = with_type("application/octet-stream", body);
    *answer.status_mut() = code;
    set(&mut answer, ACCEPT_RANGES, "bytes");
    if let Some(said) = content_range {
        set(&mut answer, CONTENT_RANGE, &said);
    }
    damage(answer, &actions)
}

/// The faults that come before anything is done.
async fn delay_or_refuse(actions: &[Action]) -> Option<Response<Body>> {
    for action in actions {
        match action {
            Action::DelayMs(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Action::Refuse(code) => {
                let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                return Some(problem(code, "refused by a fault"));
            }
            _ => {}
        }
    }
    None
}

/// The faults on an answer's way back.
fn damage(mut answer: Response<Body>, actions: &[Action]) -> Answer {
    for action in actions {
        match action {
            Action::Drop => return Err(Closed),
            Action::TruncateAt(bytes) => answer.body_mut().truncate_at(*bytes),
            Action::ShortenTo(bytes) => {
                answer.body_mut().shorten_to(*bytes);
                set_length(&mut answer);
            }
            Action::CorruptAt(offset) => answer.body_mut().corrupt_at(*offset),
            Action::ContentEncoding(coding) => set(&mut answer, CONTENT_ENCODING, coding),
            Action::RedirectTo(url) => {
                answer = problem(StatusCode::TEMPORARY_REDIRECT, "redirected by a fault");
                set(&mut answer, LOCATION, url);
            }
            Action::Page => {
                let page = b"<html><body>Please log in.</body></html>\n";
                answer = with_type("text/html", Body::bytes(page.to_vec()));
            }
            // Done by now.
            Action::Refuse(_)
            | Action::DelayMs(_)
            | Action::WrongRange
            | Action::FullBody
            | Action::Answer(_) => {}
        }
    }
    Ok(answer)
}

fn problem(code: StatusCode, text: &str) -> Response<Body> {
    let mut answer = with_type("text/plain", Body::bytes(format!("{text}\n").into_bytes()));
    *answer.status_mut() = code;
    answer
}

fn with_type(media_type: &str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    set(&mut answer, CONTENT_TYPE, media_type);
    set_length(&mut answer);
    answer
}

/// Said explicitly, so that the answer to HEAD says it as well.
fn set_length(answer: &mut Response<Body>) {
    let length = answer.body().length_bytes();
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
}

/// Sets a header; what cannot be one, out of a scenario, is left out.
fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
