//! What calls may hold that have yet to come whole, or whose answers nobody
//! takes: for a connection, and for all of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What may be held by all connections together, in bytes. When that is held,
/// who holds less than the average still gets more: all of them half as much.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    held: AtomicUsize,
    /// Connections that hold something.
    holders: AtomicUsize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: AtomicUsize::new(0), holders: AtomicUsize::new(0) })
    }

    /// The part that one connection may hold of it, at most so many bytes.
    pub(super) fn account(self: &Arc<Self>, max: usize) -> Arc<Account> {
        Arc::new(Account {
            all: Arc::clone(self),
            max,
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Account {
    all: Arc<Budget>,
    max: usize,
    held: AtomicUsize,
    waiting: AtomicUsize,
}

impl Account {
    /// Calls that wait for the rest of their question.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes so many bytes within so many halves of what there is, and one more
    /// for who holds little.
    fn take(&self, bytes: usize, halves: usize) -> bool {
        let own = self.held.fetch_add(bytes, Ordering::Relaxed);
        if own == 0 && bytes > 0 {
            self.all.holders.fetch_add(1, Ordering::Relaxed);
        }
        let all = self.all.held.fetch_add(bytes, Ordering::Relaxed);
        let (own, all) = (own.saturating_add(bytes), all.saturating_add(bytes));
        let average = self.all.max / self.all.holders.load(Ordering::Relaxed).max(1);
        let halves = halves + usize::from(own <= average);
        let within = (self.all.max / 2).saturating_mul(halves);
        let fits = own <= self.max && all <= within;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.all.held.fetch_sub(bytes, Ordering::Relaxed);
        if self.held.fetch_sub(bytes, Ordering::Relaxed) == bytes && bytes > 0 {
            self.all.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What is held of an account, until this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    account: Arc<Account>,
    bytes: usize,
}

impl Hold {
    /// Nothing yet.
    pub(super) fn new(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), bytes: 0 }
    }

    /// Holds so many bytes from now on, or as many as before when there are not
    /// that many; says whether there are.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        self.set_within(bytes, 2)
    }

    /// The same of half as many more, where others are about to hold less.
    pub(super) fn set_for_now(&mut self, bytes: usize) -> bool {
        self.set_within(bytes, 3)
    }

    /// What is held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn set_within(&mut self, bytes: usize, halves: usize) -> bool {
        if bytes < self.bytes {
            self.account.give_back(self.bytes - bytes);
        } else if bytes > self.bytes && !self.account.take(bytes - self.bytes, halves) {
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// What a call holds that waits for the rest of its question.
#[derive(Debug)]
pub(super) struct Waiting(Hold);

impl Waiting {
    pub(super) fn new(account: &Arc<Account>) -> Self {
        account.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Hold::new(account))
    }

    /// As [`Hold::set`].
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        self.0.set(bytes)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.account.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(all: &Budget) -> (usize, usize) {
        (all.held.load(Ordering::Relaxed), all.holders.load(Ordering::Relaxed))
    }

    #[test]
    fn a_connection_and_all_of_them_have_an_end() {
        let all = Budget::new(10);
        let (one, other) = (all.account(6), all.account(6));
        let (mut a, mut b, mut c) = (Hold::new(&one), Hold::new(&one), Hold::new(&other));
        assert!(a.set(4) && b.set(2));
        assert!(!b.set(3), "the connection has no more");
        assert!(c.set(4));
        assert!(c.set(5), "it has its half");
        assert!(!c.set(6), "there is no more");
        assert!(a.set(2) && c.set(6), "what is given back is to be had");
        drop((a, b, c));
        assert_eq!(left(&all), (0, 0));
    }

    #[test]
    fn who_holds_little_gets_it_when_others_hold_all() {
        let all = Budget::new(100);
        let mut greedy = Hold::new(&all.account(500));
        assert!(greedy.set(100) && !greedy.set(101));
        let mut small = Vec::new();
        for holders in [2, 3] {
            let mut hold = Hold::new(&all.account(100));
            assert!(!hold.set(100 / holders + 1), "more than the average");
            assert_eq!(hold.set(100 / holders), holders < 3, "half as much more is the end");
            small.push(hold);
        }
        assert!(!greedy.set_for_now(101), "nor for now");
        small.clear();
        assert!(!greedy.set(101) && greedy.set_for_now(150) && !greedy.set_for_now(151));
        drop((greedy, small));
        assert_eq!(left(&all), (0, 0));
    }

    #[test]
    fn what_cannot_be_held_changes_nothing() {
        let all = Budget::new(10);
        let mut hold = Hold::new(&all.account(20));
        assert!(hold.set(10));
        assert!(!hold.set(usize::MAX) && !hold.set(11));
        assert_eq!(left(&all), (10, 1));
        assert!(hold.set(0));
        assert_eq!(left(&all), (0, 0));
        drop(hold);
        assert_eq!(left(&all), (0, 0));
    }
}
