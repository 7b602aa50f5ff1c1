//! Connections of the gateway, over TCP or a Unix socket.

use std::{fmt, io, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::{either::Either, sync::CancellationToken};

use super::guarded::Guarded;
use crate::{
    config::Listen,
    places::{Network, Place, Places, Room, Seated, Standing},
    socket::{self, SocketFile},
    tls::TlsSwitch,
};

/// How long to wait when no connection could be accepted, as when the process
/// has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub enum Listener {
    /// On an IP address.
    Tcp(TcpListener),
    /// On a Unix socket, whose file goes when the listener does.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds. The file of a Unix socket on which nobody listens any more is
    /// replaced; any other file stays.
    ///
    /// # Errors
    ///
    /// Those of `bind`, such as an address that is in use.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                let (listener, file) = socket::bind(path).await?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    async fn accept(&self) -> io::Result<Either<(TcpStream, Network), UnixStream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left((stream, Network::of(peer.ip()))))
            }
            Self::Unix(listener, _) => Ok(Either::Right(listener.accept().await?.0)),
        }
    }

    /// The connections that come, each at one of these places.
    pub(super) fn incoming(
        self,
        places: Arc<Places>,
        tls: Arc<TlsSwitch>,
    ) -> Pin<Box<dyn Stream<Item = Guarded> + Send>> {
        Box::pin(futures_util::stream::unfold(
            (self, places, tls),
            async move |(listener, places, tls)| {
                // There is always room for a next one, at some time.
                let room = places.room().await?;
                loop {
                    match listener.accept().await {
                        Ok(stream) => {
                            let guarded = guarded(stream, &places, room, &tls);
                            return Some((guarded, (listener, places, tls)));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            },
        ))
    }
}

/// Gives a place to whoever has come. Each is a gateway, and asks for many.
fn guarded(
    stream: Either<(TcpStream, Network), UnixStream>,
    places: &Arc<Places>,
    room: Room,
    tls: &Arc<TlsSwitch>,
) -> Guarded {
    let take = |room, network| -> Place { places.take(room, network, Standing::Crowd) };
    match stream {
        Either::Left((stream, network)) => {
            let place = take(room, Some(network));
            let (wire, leave) = tls.accept(Seated::new(stream, place.seat()));
            Guarded::new(Either::Left(wire), leave, place)
        }
        // Who may open its file has no address.
        Either::Right(stream) => {
            Guarded::new(Either::Right(stream), CancellationToken::new(), take(room, None))
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("unknown"),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.path().display()),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({self})")
    }
}
