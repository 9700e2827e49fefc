//! What is left of a request's body when its answer is known: a request that is refused is refused by
//! its head. A client that is still sending loses the answer if the connection ends now (RFC 9112,
//! 9.6), and one that has sent all of it its next request. So the rest is read and thrown away before
//! the answer goes out, within limits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::timeout;

use super::limits;

/// Answers once nothing is left, or says that the connection ends.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let request = Request::from_parts(parts, Body::new(body.clone()));
    let mut response = next.run(request).await;
    if !matches!(timeout(limits::REST, body.read_rest()).await, Ok(true)) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that whoever handles the request may leave half read.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    /// Whether it came to its end.
    async fn read_rest(mut self) -> bool {
        let mut left_bytes = limits::REST_BYTES;
        while let Some(frame) = self.frame().await {
            let length_bytes = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match length_bytes.map(|length_bytes| left_bytes.checked_sub(length_bytes)) {
                Ok(Some(left)) => left_bytes = left,
                _ => return false,
            }
        }
        true
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
