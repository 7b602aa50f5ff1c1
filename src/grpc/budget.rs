//! What calls may hold that have yet to come whole, or whose answers nobody
//! takes: for a connection, and for all of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What may be held by all connections together, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: AtomicUsize::new(0) })
    }

    /// The part that one connection may hold of it, at most so many bytes.
    pub(super) fn account(self: &Arc<Self>, max: usize) -> Arc<Account> {
        Arc::new(Account {
            all: Arc::clone(self),
            own: Self { max, held: AtomicUsize::new(0) },
            waiting: AtomicUsize::new(0),
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.checked_add(bytes).is_some_and(|held| held <= self.max);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Account {
    all: Arc<Budget>,
    own: Budget,
    waiting: AtomicUsize,
}

impl Account {
    /// Calls that wait for the rest of their question.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        if !self.own.take(bytes) {
            return false;
        }
        let fits = self.all.take(bytes);
        if !fits {
            self.own.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.own.give_back(bytes);
        self.all.give_back(bytes);
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
        if bytes < self.bytes {
            self.account.give_back(self.bytes - bytes);
        } else if bytes > self.bytes && !self.account.take(bytes - self.bytes) {
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

    #[test]
    fn a_connection_and_all_of_them_have_an_end() {
        let all = Budget::new(10);
        let (one, other) = (all.account(6), all.account(6));
        let (mut a, mut b, mut c) = (Hold::new(&one), Hold::new(&one), Hold::new(&other));
        assert!(a.set(4) && b.set(2));
        assert!(!b.set(3), "the connection has no more");
        assert!(c.set(4));
        assert!(!c.set(5), "there is no more");
        assert!(a.set(3) && c.set(5), "what is given back is to be had");
        drop((a, b, c));
        assert_eq!([&all.held, &one.own.held].map(|held| held.load(Ordering::Relaxed)), [0, 0]);
    }

    #[test]
    fn what_cannot_be_held_changes_nothing() {
        let all = Budget::new(10);
        let mut hold = Hold::new(&all.account(20));
        assert!(hold.set(10));
        assert!(!hold.set(usize::MAX) && !hold.set(11));
        drop(hold);
        assert_eq!(all.held.load(Ordering::Relaxed), 0);
    }
}
