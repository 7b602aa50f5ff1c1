//! A connection of the gateway as HTTP/2 reads it: it has to begin in time, its
//! frames are followed, and no more is read than is answered.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::Sleep,
};
use tokio_util::{either::Either, sync::CancellationToken};

use super::frames::Frames;
use crate::{
    places::{Place, Seat},
    tls::Wire,
};

/// How long a peer may take to say that it speaks HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of what it says then (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How much is read before what has come is answered, in bytes. One byte can
/// stand for a whole header (RFC 7541, section 6.1).
const TURN_BYTES: usize = 64 * 1024;

type Connection = Either<Wire, UnixStream>;

/// What a connection and the task that serves it tell each other. Nobody else
/// looks at it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// How much may be read yet.
    left: AtomicUsize,
    /// Nothing was read, though there may be something.
    held_back: AtomicBool,
    /// The peer does not take what is written.
    is_stuck: AtomicBool,
    /// A block of headers has begun and not ended.
    is_in_block: AtomicBool,
}

impl Flow {
    /// What has come is answered: more may be read.
    pub(super) fn next_turn(&self) {
        self.left.store(TURN_BYTES, Ordering::Relaxed);
        self.held_back.store(false, Ordering::Relaxed);
    }

    /// Whether there may be more to read, and may be read.
    pub(super) fn wants_turn(&self) -> bool {
        self.held_back.load(Ordering::Relaxed) && !self.is_stuck()
    }

    /// Whether the peer does not take what is written.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// Whether a block of headers has begun and not ended.
    pub(super) fn is_in_block(&self) -> bool {
        self.is_in_block.load(Ordering::Relaxed)
    }

    fn may_read(&self) -> bool {
        let may = self.left.load(Ordering::Relaxed) > 0 && !self.is_stuck();
        if !may {
            self.held_back.store(true, Ordering::Relaxed);
        }
        may
    }

    fn has_read(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(bytes);
        self.left.store(left, Ordering::Relaxed);
    }
}

/// A connection that has a place, and has to begin with HTTP/2 in time.
pub(super) struct Guarded {
    connection: Connection,
    /// When it is to end, since it came by a trust that is over.
    pub(super) leave: CancellationToken,
    pub(super) flow: Arc<Flow>,
    frames: Frames,
    preface_missing: usize,
    /// For the preface.
    deadline: Option<Pin<Box<Sleep>>>,
    place: Place,
}

impl Guarded {
    pub(super) fn new(connection: Connection, leave: CancellationToken, place: Place) -> Self {
        Self {
            connection,
            leave,
            flow: Arc::default(),
            frames: Frames::default(),
            preface_missing: PREFACE_BYTES,
            deadline: Some(Box::pin(tokio::time::sleep(PREFACE_TIMEOUT))),
            place,
        }
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        self.place.seat()
    }

    fn stream(&mut self) -> Pin<&mut Connection> {
        Pin::new(&mut self.connection)
    }

    /// Ready when the handshake of TLS is done, where there is one: within
    /// the time that there is for the preface.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Either::Left(wire) = &mut self.connection else { return Poll::Ready(Ok(())) };
        match wire.poll_ready(task) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll_deadline(task),
        }
    }

    fn poll_deadline(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(task));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at what has come.
    fn follow(&mut self, mut came: &[u8]) -> io::Result<()> {
        self.flow.has_read(came.len());
        if self.preface_missing > 0 {
            let preface = self.preface_missing.min(came.len());
            self.preface_missing -= preface;
            came = came.get(preface..).unwrap_or_default();
            if self.preface_missing == 0 {
                self.deadline = None;
                // From here on, what is read is looked at by frames and calls.
                self.place.seat().settle();
            }
        }
        let followed = self.frames.follow(came);
        self.flow.is_in_block.store(self.frames.is_in_block(), Ordering::Relaxed);
        followed.map_err(|endless| io::Error::new(io::ErrorKind::InvalidData, endless))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        if !self.flow.may_read() {
            // Its task comes back by itself, or when the peer has taken something.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.stream().poll_read(task, buffer)?.is_pending() {
            return self.poll_deadline(task);
        }
        Poll::Ready(self.follow(buffer.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(task))?;
        let written = self.stream().poll_write(task, bytes);
        self.flow.is_stuck.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        // With vectors, every answer of over 256 bytes would be a write of its
        // own. Copied into one buffer, all that are ready leave together.
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        let flushed = self.stream().poll_flush(task);
        self.flow.is_stuck.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(task)
    }
}
