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

use super::{
    budget::{Account, Hold},
    call::{self, Answer},
    frames,
    guarded::{Flow, Guarded},
    others,
    served::{ANSWERS_BYTES, BLOCK_BYTES, Served, Services},
};
use crate::places::Seat;

/// How much may be on its way before it is read, in bytes: of a connection, and
/// of a call that nobody reads just now.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;

/// What a call takes whose answer the peer does not take, in bytes.
const ANSWER_BYTES: usize = 5 * 1024;
/// The same of all of it that does not take what is written.
const STUCK_BYTES: usize = 64 * 1024;
async fn call(
    served: Arc<Served>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    if request.uri().path() == call::PATH {
        return Ok(call::answer(&served, request).await);
    }
    Ok(Box::pin(others::answer(&served, request)).await)
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
    let mut load = Load::of(&served, &seat);
    let service = service_fn(move |request| call(Arc::clone(&served), request));
    let connection = http2::Builder::new(found.clone())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams)
        // What comes yet of a question that is denied already is reset, frame by
        // frame. To end the connection for a thousand of those would be an error
        // for all calls on it; and nothing more is read of a peer that does not
        // take what is written.
        .max_local_error_reset_streams(None)
        // A gateway resets all the questions of one client's connection when that ends,
        // before or after they are looked at here. Others ask on the same connection.
        .max_pending_accept_reset_streams(usize::try_from(limits.streams).unwrap_or(usize::MAX))
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
        // There is nobody left to deny a question to: they have been answered.
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
/// Where there is too much of that, who has held it for the longest time goes:
/// for a moment, any gateway may be too slow.
struct Load {
    seat: Arc<Seat>,
    questions: Arc<Account>,
    lasting: Arc<Account>,
    answers: Hold,
    block: Hold,
    /// Answers that may not have been written.
    unsent: usize,
}

impl Load {
    fn of(served: &Served, seat: &Arc<Seat>) -> Self {
        Self {
            seat: Arc::clone(seat),
            questions: Arc::clone(&served.questions),
            lasting: Arc::clone(&served.lasting),
            answers: Hold::new(&served.services.answers.account(ANSWERS_BYTES)),
            block: Hold::new(&served.services.blocks.account(BLOCK_BYTES)),
            unsent: 0,
        }
    }

    /// Whether it may hold what it does. Nearly always that is nothing.
    fn fits(&mut self, streams: usize, flow: &Flow) -> bool {
        let others = self.questions.waiting() + others::lasting(&self.lasting);
        let mut answers = streams.saturating_sub(others) * ANSWER_BYTES;
        if flow.is_stuck() {
            answers += self.unsent * ANSWER_BYTES + STUCK_BYTES;
        } else {
            self.unsent = 0;
        }
        let block = if flow.is_in_block() { BLOCK_BYTES } else { 0 };
        if (answers, block) == (self.answers.bytes(), self.block.bytes()) {
            return true;
        }
        self.seat.holds(answers + block > 0);
        let fits = |hold: &mut Hold, bytes| {
            hold.set(bytes) || {
                self.seat.relieve();
                hold.set_for_now(bytes)
            }
        };
        fits(&mut self.answers, answers) && fits(&mut self.block, block)
    }
}
