//! A server of HTTP/1.1 within limits.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{Router, body::Body, response::Response};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Request;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::address::Peer;
use crate::{
    places::{Network, Places, Seat, Seated, Standing},
    tls::{TlsSwitch, Wire},
};

/// Connections at a time of those who are told that they may not ask.
const MAX_STRANGERS: usize = 16;
/// How long a connection may last.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// How long its last answer may take then.
const LAST_ANSWER: Duration = Duration::from_secs(35);
/// How long a request may still come that is on its way then.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// How long the head of a request may take, also the next one's; at most twice
/// as long when it began just after a look.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The body of a connection that is like any other, in bytes: a name and a
/// password are shorter.
const SHORT_BODY_BYTES: u64 = 1024;
/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// What answers requests.
pub trait Answers: Clone + Send + Sync + 'static {
    /// An answer that needs no waiting and no body: the way of most requests,
    /// where there is such a way.
    fn at_once(&self, _: &Request<Incoming>, _: Peer) -> Option<Response> {
        None
    }

    /// All other answers.
    fn router(&self) -> Router;

    /// What whoever connects from there may take of the places.
    fn standing(&self, address: IpAddr) -> Standing;
}

/// Answers by the router of the moment: a request has one from its start to
/// its end.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The router.
    pub router: Arc<ArcSwap<Router>>,
    /// Who may stand for many.
    pub proxies: Arc<ArcSwap<Vec<IpNet>>>,
}

impl Answers for Routed {
    fn router(&self) -> Router {
        Router::clone(&self.router.load())
    }

    fn standing(&self, address: IpAddr) -> Standing {
        Standing::of(address, &self.proxies.load())
    }
}

/// A request that nobody answers, which cannot be.
#[derive(Debug, thiserror::Error)]
#[error("there is no answer")]
struct NoAnswer;

async fn routed(router: Router, mut request: Request<Incoming>, peer: SocketAddr) -> Response {
    request.extensions_mut().insert(Peer(peer));
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    name: &'static str,
    places: Arc<Places>,
}

impl HttpServer {
    /// Binds; the name is for the log.
    ///
    /// # Errors
    ///
    /// Those of `bind`.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        places: Arc<Places>,
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, name, places })
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
    pub async fn serve(self, answers: impl Answers, tls: Arc<TlsSwitch>, stop: CancellationToken) {
        if let Ok(address) = self.address() {
            tracing::info!(listener = self.name, %address, "listening");
        }
        let strangers = Places::few(MAX_STRANGERS);
        let connections = TaskTracker::new();
        loop {
            let room = tokio::select! {
                room = self.places.room() => room,
                () = stop.cancelled() => break,
            };
            let Some(room) = room else { return };
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
            let (network, standing) = (Network::of(peer.ip()), answers.standing(peer.ip()));
            let place = match standing {
                // Told so where there is room; it is no place of those who may ask.
                Standing::Stranger => {
                    strangers.room_now().map(|room| strangers.take(room, Some(network), standing))
                }
                _ => Some(self.places.take(room, Some(network), standing)),
            };
            let Some(place) = place else { continue };
            // Answers are small, and whoever asks waits for them.
            let _ = stream.set_nodelay(true);
            let (answers, stop) = (answers.clone(), stop.clone());
            let (wire, leave) = tls.accept(Seated::new(stream, place.seat()));
            connections.spawn(async move {
                let seat = Arc::clone(place.seat());
                connection(wire, peer, answers, seat, [stop, leave]).await;
                drop(place);
            });
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// The requests of a connection.
#[derive(Default)]
struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// How many there were; `None` while one is answered.
    fn when_idle(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed) == ended).then_some(ended)
    }
}

/// Whether what comes of a request yet is short.
fn is_short(request: &Request<Incoming>) -> bool {
    request.body().size_hint().upper().is_some_and(|bytes| bytes <= SHORT_BODY_BYTES)
}

/// What happens to a connection, beside its requests.
enum Event {
    /// Its place is another's: there is nothing to finish.
    Lost,
    /// It finishes what is in flight.
    Leave,
    /// It is time to look at it.
    Look,
}

/// Those that are to come. Each is polled when it has something to say, and not
/// whenever something is read.
type Events = FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>;

/// Serves a connection. At its age, when the service stops, and when no whole
/// head has come for a while, it finishes what is in flight and says that it is
/// the last; a client that never reads its answers keeps its place no longer
/// than that. One timer watches the connection, and none each request.
async fn connection(
    mut stream: Wire,
    peer: SocketAddr,
    answers: impl Answers,
    seat: Arc<Seat>,
    [stop, leave]: [CancellationToken; 2],
) {
    let shaken = poll_fn(|task| stream.poll_ready(task));
    tokio::select! {
        biased;
        () = seat.lost() => return,
        shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken) => {
            let Ok(Ok(())) = shaken else { return };
        }
    }
    let mut events = Events::new();
    let (place, own) = (Arc::clone(&seat), Arc::clone(&seat));
    events.push(Box::pin(async move {
        place.lost().await;
        Event::Lost
    }));
    events.push(Box::pin(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = leave.cancelled() => {}
        }
        Event::Leave
    }));
    events.push(Box::pin(look()));
    let requests = Arc::new(Requests::default());
    let counted = Arc::clone(&requests);
    let service = hyper::service::service_fn(move |request| {
        counted.begun.fetch_add(1, Ordering::Relaxed);
        let at_once = answers.at_once(&request, Peer(peer));
        let may_come = at_once.is_some() || is_short(&request) || seat.is_long().is_ok();
        if at_once.is_none() {
            seat.asks();
        }
        let router = (at_once.is_none() && may_come).then(|| answers.router());
        let (counted, seat) = (Arc::clone(&counted), Arc::clone(&seat));
        async move {
            let response = match (at_once, router) {
                (Some(response), _) => Ok(response),
                (None, Some(router)) => Ok(routed(router, request, peer).await),
                (None, None) => Err(NoAnswer),
            };
            counted.ended.fetch_add(1, Ordering::Relaxed);
            seat.is_answered();
            response
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let (born, mut before) = (Instant::now(), None);
    loop {
        tokio::select! {
            biased;
            // A client that goes away is no news.
            _ = connection.as_mut() => return,
            event = events.next() => match event {
                Some(Event::Look) => events.push(Box::pin(look())),
                Some(Event::Leave) => break,
                Some(Event::Lost) | None => return,
            },
        }
        let idle = requests.when_idle();
        if (idle.is_some() && idle == before) || born.elapsed() >= MAX_CONNECTION_AGE {
            break;
        }
        before = idle;
    }
    connection.as_mut().graceful_shutdown();
    let closing = Instant::now();
    let finish = async {
        while tokio::time::timeout(LAST_MOMENT, connection.as_mut()).await.is_err() {
            if requests.when_idle().is_some() || closing.elapsed() >= LAST_ANSWER {
                return;
            }
        }
    };
    tokio::select! {
        () = finish => {}
        () = own.lost() => {}
    }
}

/// Ends when it is time to look at a connection again.
async fn look() -> Event {
    tokio::time::sleep(HEAD_TIMEOUT).await;
    Event::Look
}
