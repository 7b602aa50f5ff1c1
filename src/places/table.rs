//! Who has a place, and who has asked nothing for the longest time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Network, Seat};

/// How often it is told of that a connection has to go: whoever connects can
/// have one go.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// All connections that have a place.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The listener, where it is told of who has to go.
    name: Option<&'static str>,
    complained: Option<Instant>,
    taken: HashMap<u64, Taken>,
    all: Order,
    long: Order,
    networks: HashMap<Network, Order>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    seat: Arc<Seat>,
    network: Option<Network>,
}

impl Table {
    pub(super) fn new(name: Option<&'static str>) -> Self {
        Self { name, ..Self::default() }
    }

    /// How many have a place.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// How many of a network have one.
    pub(super) fn of(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, Order::len)
    }

    /// How many of them are long.
    pub(super) fn long(&self) -> usize {
        self.long.len()
    }

    /// A name for the next one.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A connection takes a place.
    pub(super) fn add(&mut self, network: Option<Network>, seat: Arc<Seat>) {
        let (id, since) = (seat.id, seat.since());
        self.all.add(id, since);
        if let Some(network) = network {
            self.networks.entry(network).or_default().add(id, since);
        }
        self.taken.insert(id, Taken { seat, network });
    }

    /// A connection is long from here on.
    pub(super) fn add_long(&mut self, id: u64) {
        if let Some(taken) = self.taken.get(&id) {
            self.long.add(id, taken.seat.since());
        }
    }

    /// It is so no more.
    pub(super) fn remove_long(&mut self, id: u64) {
        self.long.remove(id);
    }

    /// A connection gives its place up. It may have lost it before.
    pub(super) fn remove(&mut self, id: u64) -> Option<Arc<Seat>> {
        let Taken { seat, network } = self.taken.remove(&id)?;
        self.all.remove(id);
        self.long.remove(id);
        if let Some(network) = network
            && let Some(order) = self.networks.get_mut(&network)
        {
            order.remove(id);
            if order.len() == 0 {
                self.networks.remove(&network);
            }
        }
        Some(seat)
    }

    /// The idlest of all loses its place.
    pub(super) fn drop_idlest(&mut self) {
        let id = self.all.idlest(&self.taken);
        self.dismiss(id, "all places are taken");
    }

    /// The idlest of a network loses its place.
    pub(super) fn drop_idlest_of(&mut self, network: Network) {
        let id = self.networks.get_mut(&network).and_then(|order| order.idlest(&self.taken));
        self.dismiss(id, "its network has its share of the places");
    }

    /// The idlest of those that are long loses its place.
    pub(super) fn drop_idlest_long(&mut self) {
        let id = self.long.idlest(&self.taken);
        self.dismiss(id, "there are too many requests that are long");
    }

    /// Who holds something for the longest time loses its place.
    pub(super) fn drop_longest_holder(&mut self) {
        let holders = self.taken.iter();
        let holders = holders.filter_map(|(id, taken)| Some((taken.seat.holds_since()?, *id)));
        let id = holders.min().map(|(_, id)| id);
        self.dismiss(id, "its peer takes no answers, or ends no headers, and too many do so");
    }

    fn dismiss(&mut self, id: Option<u64>, cause: &'static str) {
        let Some(seat) = id.and_then(|id| self.remove(id)) else { return };
        seat.lost.cancel();
        let is_due = self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_PAUSE);
        if let Some(listener) = self.name.filter(|_| is_due) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                listener,
                cause,
                fix = "let clients keep fewer connections, find out who floods the service, or run more replicas",
                "a connection was ended to make room for another"
            );
        }
    }
}

/// Connections by when they asked last, as far as that is known here: asking
/// takes no lock, so the order is put right when somebody has to go.
#[derive(Debug, Default)]
struct Order {
    known: HashMap<u64, u64>,
    queue: BTreeSet<(u64, u64)>,
}

impl Order {
    fn len(&self) -> usize {
        self.known.len()
    }

    fn add(&mut self, id: u64, since: u64) {
        self.known.insert(id, since);
        self.queue.insert((since, id));
    }

    fn remove(&mut self, id: u64) {
        if let Some(since) = self.known.remove(&id) {
            self.queue.remove(&(since, id));
        }
    }

    /// The one that asked last the longest ago.
    fn idlest(&mut self, taken: &HashMap<u64, Taken>) -> Option<u64> {
        loop {
            let (known, id) = *self.queue.first()?;
            match taken.get(&id).map(|taken| taken.seat.since()) {
                Some(since) if since > known => {
                    self.remove(id);
                    self.add(id, since);
                }
                _ => return Some(id),
            }
        }
    }
}
