//! What the store is asked with and answers with.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use thiserror::Error;

use crate::{clock::Timestamp, hex};

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// It could not be reached, or answered with an error.
    #[error("the store failed: {0}")]
    Failed(String),
    /// It holds as much as it may.
    #[error("the store is full")]
    Full,
    /// It answered with something that was not put there.
    #[error("the store answered with something that is not understood")]
    Garbled,
}

/// A key: what it is for, and the hash of what it is about, so that whoever
/// reads the store's keys learns no code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) String);

impl Key {
    /// The key of this secret or name, among those of this kind.
    #[must_use]
    pub fn new(kind: &str, about: &str) -> Self {
        Self(format!("{kind}:{}", hex::encode(digest(&SHA256, about.as_bytes()).as_ref())))
    }

    /// What it is for.
    pub(super) fn kind(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

/// How often something was tried, and when the count starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hits {
    /// This try included.
    pub count: u64,
    /// How long until the count is forgotten.
    pub resets_in: Duration,
}

/// When tries are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// As many are fine.
    pub tries: u64,
    /// Within this span from the first one.
    pub window: Duration,
    /// One more keeps the count for so long.
    pub lockout: Duration,
}

/// What a token of an account depends on, as all replicas can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// The name of its role, `disabled` or `removed`.
    pub state: String,
    /// What its password is told apart by, which is no hash that could be
    /// guessed at. `None` where nobody has noted it, as former versions do not.
    pub password: Option<String>,
}

impl AccountState {
    /// Whether the account was something else then. A password that was not
    /// noted is no other one.
    #[must_use]
    pub fn differs_from(&self, known: &Self) -> bool {
        let passwords = self.password.as_ref().zip(known.password.as_ref());
        self.state != known.state || passwords.is_some_and(|(own, known)| own != known)
    }
}

/// How a user stands. All times are the store's, so that the order of a
/// cut-off and of a sign-in does not hang on the clocks of the replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The time now.
    pub now: Timestamp,
    /// What the user was issued up to and in that second is refused.
    pub cut_off: Option<Timestamp>,
    /// What the user's account was noted to be.
    pub account: Option<AccountState>,
}

impl Standing {
    /// When a token can be issued that no earlier cut-off voids.
    #[must_use]
    pub fn issue_at(&self) -> Timestamp {
        let after = self.cut_off.map(|at| at.plus(Duration::from_secs(1)));
        after.map_or(self.now, |after| self.now.max(after))
    }
}

/// Where the reader of a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last entry that was read; empty before the first.
    pub(super) last: String,
    /// Whose numbers these are: another master may give lower ones. Empty where nobody
    /// says so.
    pub(super) history: String,
    /// Whether its reader has been at the end.
    pub(super) is_caught_up: bool,
}

impl Cursor {
    /// Behind this entry, as this history numbers it; where there is none, the reader
    /// stands where it stood.
    pub(super) fn behind(&self, last: String, history: String) -> Self {
        let is_same = last.is_empty() && history == self.history;
        let is_caught_up = self.is_caught_up && history == self.history;
        Self { last: if is_same { self.last.clone() } else { last }, history, is_caught_up }
    }

    /// Whether the reader has been at the end.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// The reader is at the end: what comes from now on is new to everybody, and read in
    /// small pages.
    pub fn catch_up(&mut self) {
        self.is_caught_up = true;
    }
}
