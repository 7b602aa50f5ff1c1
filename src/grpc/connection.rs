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

use super::{
    budget::{Account, Budget, Hold},
    call::{self, Answer},
    check::CheckService,
    frames,
    guarded::{Flow, Guarded},
    others,
    server::Limits,
};

/// How much may be on its way before it is read, in bytes: of a connection, and
/// of a call that nobody reads just now.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;

/// What a call takes that has no end yet, beside its question, in bytes.
pub(super) const CALL_BYTES: usize = 4 * 1024;
/// The same of a block of headers: as many as there can be of the shortest.
const BLOCK_BYTES: usize = 512 * 1024;
/// The same of a peer that does not take what is written, beside the answers.
const STUCK_BYTES: usize = 64 * 1024;

/// What every connection serves, and what they may hold together.
pub(super) struct Services {
    pub(super) check: CheckService,
    /// Health and reflection.
    pub(super) others: Routes,
    pub(super) limits: Limits,
    /// For calls of Check, and all that is unfinished.
    pub(super) unfinished: Arc<Budget>,
    /// For calls of the others that last.
    pub(super) lasting: Arc<Budget>,
}

/// What one of them serves, and holds.
pub(super) struct Served {
    pub(super) services: Arc<Services>,
    pub(super) unfinished: Arc<Account>,
    pub(super) lasting: Arc<Account>,
}

impl Served {
    fn new(services: Arc<Services>) -> Arc<Self> {
        let unfinished = services.unfinished.account(services.limits.unfinished_bytes);
        let lasting = services.lasting.account(others::CONNECTION_BYTES);
        Arc::new(Self { services, unfinished, lasting })
    }

    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Infallible> {
        if request.uri().path() == call::PATH {
            return Ok(call::answer(&self, request).await);
        }
        Ok(Box::pin(others::answer(&self, request)).await)
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

/// What happens to a connection, beside its calls.
enum Event {
    /// It finishes what is in flight, and asks the peer to leave (GOAWAY).
    Leave,
    /// It ends, whatever the peer makes of that.
    End,
}

/// Those that are to come. Each is polled when it has something to say, and not
/// whenever something is read.
type Events = FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>;

/// Serves a connection. At its age, when its trust is over, and when the service
/// stops, it finishes what is in flight and asks the peer to leave; a peer that
/// stays is cut off after the grace.
pub(super) async fn serve(stream: Guarded, services: Arc<Services>, stop: CancellationToken) {
    let limits = services.limits;
    let (found, flow, seat) =
        (Found::default(), Arc::clone(&stream.flow), Arc::clone(stream.seat()));
    let mut events = Events::new();
    events.push(Box::pin(leaves(limits.connection_age, stop, stream.leave.clone())));
    let place = Arc::clone(&seat);
    events.push(Box::pin(async move {
        place.lost().await;
        Event::End
    }));
    let served = Served::new(services);
    let mut load = Load::new(&served.unfinished);
    let service = service_fn(move |request| Arc::clone(&served).call(request));
    let connection = http2::Builder::new(found.clone())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(frames::MAX_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut streams = FuturesUnordered::new();
    poll_fn(|task| {
        while let Poll::Ready(Some(event)) = events.poll_next_unpin(task) {
            match event {
                Event::Leave => {
                    connection.as_mut().graceful_shutdown();
                    events.push(Box::pin(async move {
                        tokio::time::sleep(limits.connection_age_grace).await;
                        Event::End
                    }));
                }
                Event::End => return Poll::Ready(()),
            }
        }
        loop {
            flow.next_turn();
            // A peer that goes away is no news.
            if connection.as_mut().poll(task).is_ready() {
                return Poll::Ready(());
            }
            let new = found.take();
            if !new.is_empty() {
                seat.asks();
                streams.extend(new);
            }
            let mut is_any_done = false;
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(task) {
                is_any_done = true;
                load.unsent += 1;
            }
            if !is_any_done && !flow.wants_turn() {
                break;
            }
        }
        // There is nobody to deny a question to: it has been answered.
        if load.fits(streams.len(), &flow) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// When the peer should leave.
async fn leaves(age: Duration, stop: CancellationToken, leave: CancellationToken) -> Event {
    tokio::select! {
        () = tokio::time::sleep(age) => {}
        () = stop.cancelled() => {}
        () = leave.cancelled() => {}
    }
    Event::Leave
}

/// What a connection holds, beside the questions that wait for their rest:
/// answers that its peer does not take, and a block of headers that has no end.
struct Load {
    account: Arc<Account>,
    hold: Hold,
    /// Answers that may not have been written.
    unsent: usize,
}

impl Load {
    fn new(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), hold: Hold::new(account), unsent: 0 }
    }

    /// Whether that is within what it may hold. Nearly always it is nothing.
    fn fits(&mut self, streams: usize, flow: &Flow) -> bool {
        let mut bytes = streams.saturating_sub(self.account.waiting()) * CALL_BYTES;
        if flow.is_stuck() {
            bytes += self.unsent * CALL_BYTES + STUCK_BYTES;
        } else {
            self.unsent = 0;
        }
        if flow.is_in_block() {
            bytes += BLOCK_BYTES;
        }
        self.hold.set(bytes)
    }
}
