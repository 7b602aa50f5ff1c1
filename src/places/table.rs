//! Who has a place, and who has asked nothing for the longest time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Network, Seat};

/// All connections that have a place.
#[derive(Debug, Default)]
pub(super) struct Table {
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
        self.dismiss(id);
    }

    /// The idlest of a network loses its place.
    pub(super) fn drop_idlest_of(&mut self, network: Network) {
        let id = self.networks.get_mut(&network).and_then(|order| order.idlest(&self.taken));
        self.dismiss(id);
    }

    /// The idlest of those that are long loses its place.
    pub(super) fn drop_idlest_long(&mut self) {
        let id = self.long.idlest(&self.taken);
        self.dismiss(id);
    }

    fn dismiss(&mut self, id: Option<u64>) {
        if let Some(seat) = id.and_then(|id| self.remove(id)) {
            seat.lost.cancel();
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
