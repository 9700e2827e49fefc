//! Accepting connections, over TLS or plain, until told to end; then those that are under way are
//! let finish.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;
use tracing::debug;

/// How long the listener rests when the system has no descriptors left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest handshake; whoever takes longer is no server of ours.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for a request's head.
const HEAD: Duration = Duration::from_secs(120);
/// Bytes of a connection's read buffer at most: heads are small, and bodies are read in pieces.
const BUFFER_BYTES: usize = 16 * 1024;

/// Serves over TLS, each new connection with the newest certificate.
pub(super) async fn tls(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    routes: Router,
    stopped: watch::Receiver<bool>,
) {
    accept(listener, stopped, |stream, peer, graceful| {
        let acceptor = TlsAcceptor::from(config.borrow().clone());
        let routes = routes.clone();
        async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => connection(stream, peer, routes, graceful).await,
                Ok(Err(error)) => debug!(%peer, "handshake: {error}"),
                Err(_) => debug!(%peer, "no handshake in time"),
            }
        }
    })
    .await;
}

/// Serves without TLS.
pub(super) async fn plain(listener: TcpListener, routes: Router, stopped: watch::Receiver<bool>) {
    accept(listener, stopped, |stream, peer, graceful| {
        let routes = routes.clone();
        async move { connection(stream, peer, routes, graceful).await }
    })
    .await;
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr, Watcher) -> F,
) {
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Answers are small and awaited; Nagle's algorithm would hold each back.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(serve(stream, peer, graceful.watcher()));
                }
                Err(error) => {
                    debug!("accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = super::told_to_end(&mut stopped) => break,
        }
    }
    drop(listener);
    if timeout(super::GRACE, graceful.shutdown()).await.is_err() {
        debug!("some connections did not end in time");
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, routes: Router, graceful: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = routes.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = graceful.watch(served).await {
        debug!(%peer, "connection: {error}");
    }
}
