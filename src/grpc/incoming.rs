//! Connections of the gateway, over TCP or a Unix socket, within limits.

use std::{
    fmt, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::{either::Either, sync::CancellationToken};

use crate::{
    config::Listen,
    tls::{TlsSwitch, Wire},
};

/// How long a peer may take to say that it speaks HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of what it says then (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
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

/// The file of a Unix socket.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone; there is nobody to tell.
        let _ = std::fs::remove_file(&self.0);
    }
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
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    async fn accept(&self, tls: &Arc<TlsSwitch>) -> io::Result<(Connection, CancellationToken)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (wire, leave) = tls.accept(stream);
                Ok((Connection::Left(wire), leave))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Connection::Right(stream), CancellationToken::new()))
            }
        }
    }

    /// The connections that come, at most `max` at a time, each for at most
    /// `lifetime`; the next waits.
    pub(super) fn incoming(
        self,
        max: usize,
        lifetime: Duration,
        tls: Arc<TlsSwitch>,
    ) -> Pin<Box<dyn Stream<Item = Guarded> + Send>> {
        let places = Arc::new(Semaphore::new(max));
        Box::pin(futures_util::stream::unfold(
            (self, places, tls),
            move |(listener, places, tls)| async move {
                // The semaphore is never closed, so there is always a next one.
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                loop {
                    match listener.accept(&tls).await {
                        Ok((connection, leave)) => {
                            let guarded = Guarded::new(connection, leave, place, lifetime);
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

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("unknown"),
            },
            Self::Unix(_, SocketFile(path)) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({self})")
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(_) => std::fs::remove_file(path),
    }
}

type Connection = Either<Wire, UnixStream>;

/// A connection that takes one of the places, that has to begin with HTTP/2
/// in time, and that ends when its time is over.
pub(super) struct Guarded {
    connection: Connection,
    /// When it is to end, since it came by a trust that is over.
    pub(super) leave: CancellationToken,
    /// First for the preface, then for the whole connection.
    deadline: Pin<Box<Sleep>>,
    ends_at: Instant,
    preface_missing: usize,
    _place: OwnedSemaphorePermit,
}

impl Guarded {
    fn new(
        connection: Connection,
        leave: CancellationToken,
        place: OwnedSemaphorePermit,
        lifetime: Duration,
    ) -> Self {
        Self {
            connection,
            leave,
            deadline: Box::pin(tokio::time::sleep(PREFACE_TIMEOUT)),
            ends_at: Instant::now() + lifetime,
            preface_missing: PREFACE_BYTES,
            _place: place,
        }
    }

    fn stream(&mut self) -> Pin<&mut Connection> {
        Pin::new(&mut self.connection)
    }

    /// Ready when the handshake of TLS is done, where there is one: within
    /// the time that there is for the preface.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Either::Left(wire) = &mut self.connection else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(done) = wire.poll_ready(task) {
            return Poll::Ready(done);
        }
        ready!(self.deadline.as_mut().poll(task));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        let before = buffer.filled().len();
        let read = self.stream().poll_read(task, buffer);
        if read.is_pending() {
            ready!(self.deadline.as_mut().poll(task));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.preface_missing > 0 {
            let came = buffer.filled().len() - before;
            self.preface_missing = self.preface_missing.saturating_sub(came);
            if self.preface_missing == 0 {
                let ends_at = self.ends_at;
                self.deadline.as_mut().reset(ends_at);
            }
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(task))?;
        self.stream().poll_write(task, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        // With vectors, every answer of over 256 bytes would be a write of its
        // own. Copied into one buffer, all that are ready leave together.
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        self.stream().poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(task)
    }
}
