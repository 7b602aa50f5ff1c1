//! A server of HTTP/1.1 within limits.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::address::Peer;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4096;
/// How long a connection may last.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// How long its last answer may take then.
const LAST_ANSWER: Duration = Duration::from_secs(35);
/// How long the head of a request may take, also the next one's.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    name: &'static str,
}

impl HttpServer {
    /// Binds; the name is for the log.
    ///
    /// # Errors
    ///
    /// Those of `bind`.
    pub async fn bind(name: &'static str, address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, name })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is told to stop, then finishes what is in flight.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        if let Ok(address) = self.address() {
            tracing::info!(listener = self.name, %address, "listening");
        }
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = stop.cancelled() => break,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                connection(stream, peer, router, stop).await;
                drop(place);
            });
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// Serves a connection. At its age, and when the service stops, it finishes
/// what is in flight and says that it is the last; a client that never reads
/// its answers keeps its place no longer than a while.
async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(axum::body::Body::new)).await;
            Ok::<_, Infallible>(match response {
                Ok(response) => response,
                Err(never) => match never {},
            })
        }
    });
    // Answers are small, and whoever asks waits for them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that goes away is no news.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(MAX_CONNECTION_AGE) => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
}
