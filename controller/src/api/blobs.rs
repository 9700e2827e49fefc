//! The image library's blobs, read-only: what is in it is public to servers, and checked by whoever
//! fetches it. Those of a folder are files. Those of a registry are passed on, so that servers need
//! neither its address nor its credentials; a cache in front of this controller spares it both.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use repave_image_codec::Fetched;
use repave_protocol::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tower_http::services::ServeDir;
use tracing::warn;

use crate::shelf::{RemoteShelf, Shelf};

/// Blobs that are passed on at once; each has a thread. More wait for their turn.
const AT_ONCE: usize = 64;
/// Bytes that are passed on in one piece, and pieces that wait for a slow server.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES: usize = 4;
/// Longest `Range` that is passed on.
const RANGE_BYTES: usize = 100;

/// The routes below `/library`.
pub(crate) fn routes(shelf: &Shelf) -> Router {
    match shelf {
        Shelf::Folder(library) => Router::new().nest_service(
            "/library",
            ServeDir::new(library.root()).append_index_html_on_directories(false),
        ),
        Shelf::Registry(remote) => {
            Router::new().route("/library/blobs/sha256/{digest}", get(pass_on)).with_state(
                Passing { remote: Arc::clone(remote), turns: Arc::new(Semaphore::new(AT_ONCE)) },
            )
        }
    }
}

#[derive(Clone)]
struct Passing {
    remote: Arc<RemoteShelf>,
    turns: Arc<Semaphore>,
}

async fn pass_on(
    State(passing): State<Passing>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(sha256) = digest.parse::<Sha256>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = range.filter(|range| range.len() <= RANGE_BYTES).map(str::to_owned);
    let Ok(turn) = passing.turns.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let remote = passing.remote;
    let fetched = tokio::task::spawn_blocking(move || {
        let fetched = remote.registry().fetch(&sha256, range.as_deref());
        if let Err(error) = &fetched {
            warn!("{error}");
        }
        fetched
    });
    match fetched.await {
        Ok(Ok(Some(fetched))) => answer(fetched, turn),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn answer(fetched: Fetched, turn: OwnedSemaphorePermit) -> Response {
    let status = StatusCode::from_u16(fetched.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(len) = fetched.len_bytes {
        headers.insert(CONTENT_LENGTH, len.into());
    }
    let part = fetched.content_range.and_then(|part| HeaderValue::from_str(&part).ok());
    if let Some(part) = part {
        headers.insert(CONTENT_RANGE, part);
    }
    (status, headers, stream(fetched.body, turn)).into_response()
}

/// A body that a thread fills, as fast as the server takes it.
fn stream(mut from: Box<dyn Read + Send>, turn: OwnedSemaphorePermit) -> Body {
    let (pieces, mut taken) = mpsc::channel::<std::io::Result<Bytes>>(PIECES);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let piece = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(len) => {
                    piece.truncate(len);
                    Ok(Bytes::from(piece))
                }
                Err(error) => Err(error),
            };
            let ends = piece.is_err();
            // Nobody takes it any more when the server went away.
            if pieces.blocking_send(piece).is_err() || ends {
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::poll_fn(move |context| taken.poll_recv(context)))
}
