//! The places of the listeners: how many connections there are at a time, whose
//! they are, and what they may hold before they have asked anything.
//!
//! Nobody is turned away at the door: then whoever came first could keep all
//! others out. A network that has its share of a listener gets the place of its
//! own idlest connection, and where all places are taken the idlest of all goes:
//! the one whose last request is the longest ago, so that a head or a handshake
//! that never ends keeps no place from those who ask. What all listeners have
//! together is bounded as well; there, the one with the most connections gives
//! one up.
//!
//! The bounds are such that what they let in fits the memory limit of
//! `k8s/base`; the book has what was measured.

mod network;
mod seated;
mod table;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

pub use self::network::{Network, Standing};
use self::table::Table;
pub(crate) use self::{network::is_private, seated::Seated};

/// What a connection may read for one request, or for its handshake, and be like
/// any other, in bytes. One that reads more is long, until that is answered; of
/// those there are fewer.
pub const SHORT_BYTES: usize = 8 * 1024;
/// A request of more than this leaves its connection with long buffers, so that
/// it stays long.
const STAYS_LONG_BYTES: usize = 2 * SHORT_BYTES;
/// Connections at a time, of all listeners together.
pub const MAX_CONNECTIONS: usize = 1024;
/// Of those of a listener, such as are long.
const MAX_LONG: usize = 64;
/// Connections of a listener that have lost their place and have yet to go.
const MAX_LEAVING: usize = 32;

/// All listeners: they share one bound, and each may come up to it.
#[derive(Debug, Default)]
pub struct House {
    listeners: Mutex<Vec<Arc<Places>>>,
}

impl House {
    /// The places of one more listener; its name is for the log.
    #[must_use]
    pub fn listener(self: &Arc<Self>, name: &'static str) -> Arc<Places> {
        let places = Places::new(MAX_CONNECTIONS, Some(name), Arc::downgrade(self));
        self.listeners().push(Arc::clone(&places));
        places
    }

    /// Has a connection go, where there are as many as there may be.
    fn make_room(&self) {
        let listeners = self.listeners();
        let counts = listeners.iter().map(|places| places.table().len());
        let all: usize = counts.clone().sum();
        let most = counts.zip(listeners.iter()).max_by_key(|(count, _)| *count);
        if let Some((_, places)) = most.filter(|_| all >= MAX_CONNECTIONS) {
            places.table().drop_idlest();
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<Places>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of a listener.
#[derive(Debug)]
pub struct Places {
    max: usize,
    house: Weak<House>,
    /// Also for those that are on their way out.
    room: Arc<Semaphore>,
    /// Long connections, those that are on their way out included.
    long: AtomicUsize,
    table: Mutex<Table>,
    born: Instant,
}

impl Places {
    /// A few more, which are not counted among those of the listeners.
    pub(crate) fn few(max: usize) -> Arc<Self> {
        Self::new(max, None, Weak::new())
    }

    fn new(max: usize, name: Option<&'static str>, house: Weak<House>) -> Arc<Self> {
        Arc::new(Self {
            max,
            house,
            room: Arc::new(Semaphore::new(max + MAX_LEAVING)),
            long: AtomicUsize::new(0),
            table: Mutex::new(Table::new(name)),
            born: Instant::now(),
        })
    }

    /// Waits until enough of those who have lost their place are gone. Without
    /// this, whoever connects fast enough would be faster than they.
    pub(crate) async fn room(&self) -> Option<Room> {
        Arc::clone(&self.room).acquire_owned().await.ok().map(Room)
    }

    /// The same, where nobody waits.
    pub(crate) fn room_now(&self) -> Option<Room> {
        Arc::clone(&self.room).try_acquire_owned().ok().map(Room)
    }

    /// Gives a place to a connection from there. Whose it was is told to go.
    pub(crate) fn take(
        self: &Arc<Self>,
        room: Room,
        network: Option<Network>,
        standing: Standing,
    ) -> Place {
        if let Some(house) = self.house.upgrade() {
            house.make_room();
        }
        let mut table = self.table();
        let share = standing.share(self.max);
        if let Some(network) = network.filter(|network| table.of(*network) >= share) {
            table.drop_idlest_of(network);
        }
        if table.len() >= self.max {
            table.drop_idlest();
        }
        let seat = Arc::new(Seat {
            id: table.next_id(),
            since: AtomicU64::new(self.now()),
            read: AtomicUsize::new(0),
            is_long: AtomicBool::new(false),
            holds_since: AtomicU64::new(0),
            lost: CancellationToken::new(),
            places: Arc::clone(self),
        });
        table.add(network, Arc::clone(&seat));
        Place { seat, _room: room }
    }

    /// Microseconds since there are places.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Lets one more be long: where there are enough, the idlest makes room. It
    /// is not gone at once, so there is an end to how many are on their way out.
    fn lengthen(&self, seat: &Seat) -> io::Result<()> {
        if self.long.fetch_add(1, Ordering::Relaxed) >= MAX_LONG + MAX_LEAVING {
            self.long.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        seat.is_long.store(true, Ordering::Relaxed);
        let mut table = self.table();
        if table.long() >= MAX_LONG {
            table.drop_idlest_long();
        }
        table.add_long(seat.id);
        Ok(())
    }

    /// One is long no more.
    fn shorten(&self, seat: &Seat) {
        if seat.is_long.swap(false, Ordering::Relaxed) {
            self.long.fetch_sub(1, Ordering::Relaxed);
            self.table().remove_long(seat.id);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to take a place.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

/// A place that a connection has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    seat: Arc<Seat>,
    _room: Room,
}

impl Place {
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.seat.places;
        places.shorten(&self.seat);
        places.table().remove(self.seat.id);
    }
}

/// What is known of a connection that has a place.
#[derive(Debug)]
pub(crate) struct Seat {
    id: u64,
    /// When it asked last, or came.
    since: AtomicU64,
    /// Of the request that comes, in bytes; `usize::MAX` where that is not
    /// looked at. Only the connection itself changes it.
    read: AtomicUsize,
    is_long: AtomicBool,
    /// Since when it holds what its peer does not take; 0 for nothing.
    holds_since: AtomicU64,
    lost: CancellationToken,
    places: Arc<Places>,
}

impl Seat {
    /// A request has begun.
    pub(crate) fn asks(&self) {
        self.since.store(self.places.now(), Ordering::Relaxed);
    }

    /// A request has been answered: what comes now is of the next one.
    pub(crate) fn is_answered(&self) {
        self.asks();
        if self.read.swap(0, Ordering::Relaxed) <= STAYS_LONG_BYTES {
            self.is_short();
        }
    }

    /// So many bytes have come.
    ///
    /// # Errors
    ///
    /// When there are too many long connections.
    fn reads(&self, bytes: usize) -> io::Result<()> {
        let before = self.read.load(Ordering::Relaxed);
        if before == usize::MAX {
            return Ok(());
        }
        let read = before.saturating_add(bytes);
        self.read.store(read, Ordering::Relaxed);
        if read > SHORT_BYTES { self.is_long() } else { Ok(()) }
    }

    /// The handshake is done: from here on, somebody else looks at what is read.
    pub(crate) fn settle(&self) {
        self.read.store(usize::MAX, Ordering::Relaxed);
        self.is_short();
    }

    fn is_short(&self) {
        if self.is_long.load(Ordering::Relaxed) {
            self.places.shorten(self);
        }
    }

    /// It holds more than a short one.
    ///
    /// # Errors
    ///
    /// When there are too many of those.
    pub(crate) fn is_long(&self) -> io::Result<()> {
        if self.is_long.load(Ordering::Relaxed) { Ok(()) } else { self.places.lengthen(self) }
    }

    /// From now on it holds something that its peer does not take, or nothing.
    pub(crate) fn holds(&self, something: bool) {
        if !something {
            self.holds_since.store(0, Ordering::Relaxed);
        } else if self.holds_since.load(Ordering::Relaxed) == 0 {
            self.holds_since.store(self.places.now().max(1), Ordering::Relaxed);
        }
    }

    /// Has the one go that holds something for the longest time.
    pub(crate) fn relieve(&self) {
        self.places.table().drop_longest_holder();
    }

    /// Ends when the place is another's.
    pub(crate) fn lost(&self) -> WaitForCancellationFuture<'_> {
        self.lost.cancelled()
    }

    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    fn holds_since(&self) -> Option<u64> {
        Some(self.holds_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }
}
