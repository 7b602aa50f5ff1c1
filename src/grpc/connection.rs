//! One connection of a gateway: HTTP/2, whose streams are polled by the task
//! of the connection itself. All answers that are ready leave in one write; a
//! task for each stream would wake the connection for each of them.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{
    call::{self, Answer},
    check::CheckService,
    incoming::Guarded,
    server::Limits,
};

/// How much of a message may be on its way before it is read, in bytes.
const WINDOW: u32 = 1024 * 1024;

/// What every connection serves.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) check: CheckService,
    /// Health and reflection.
    pub(super) others: Routes,
}

impl Services {
    async fn call(
        self,
        request: Request<Incoming>,
        max_bytes: usize,
    ) -> Result<Response<Answer>, Infallible> {
        if request.uri().path() == call::PATH {
            return Ok(call::answer(&self.check, request, max_bytes).await);
        }
        let others = Box::pin(self.others.oneshot(request.map(tonic::body::Body::new)));
        Ok(others.await?.map(Answer::Other))
    }
}

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the streams that hyper has found, for the connection to poll.
#[derive(Clone, Default)]
struct Found(Arc<Mutex<Vec<Stream>>>);

impl Found {
    fn take(&self) -> Vec<Stream> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Found {
    fn execute(&self, stream: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(stream));
    }
}

/// Serves a connection. At its age, and when the service stops, it finishes
/// what is in flight and asks the peer to leave (GOAWAY).
pub(super) async fn serve(
    stream: Guarded,
    services: Services,
    limits: Limits,
    stop: CancellationToken,
) {
    let (found, stream_leave) = (Found::default(), stream.leave.clone());
    let service = service_fn(move |request| services.clone().call(request, limits.message_bytes));
    let connection = http2::Builder::new(found.clone())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_list_bytes)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut leaves = pin!(leaves(limits.connection_age, stop, stream_leave));
    let mut is_leaving = false;
    let mut streams = FuturesUnordered::new();
    poll_fn(|task| {
        if !is_leaving && leaves.as_mut().poll(task).is_ready() {
            is_leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            // A peer that goes away is no news.
            if connection.as_mut().poll(task).is_ready() {
                return Poll::Ready(());
            }
            streams.extend(found.take());
            let mut is_any_done = false;
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(task) {
                is_any_done = true;
            }
            if !is_any_done {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Ends when the connection should.
async fn leaves(age: Duration, stop: CancellationToken, leave: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(age) => {}
        () = stop.cancelled() => {}
        () = leave.cancelled() => {}
    }
}
