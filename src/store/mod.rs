//! What replicas share: values that work once, counters, and revocations.
//!
//! One closed enum over the backends, each of which passes the same suite of
//! tests. Whatever must happen once happens in one command or script of the
//! store; an error is an error, and never an empty answer.

mod link;
mod memory;
mod redis;
mod shelf;

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

pub use self::link::Target;
use self::{memory::Memory, redis::Redis};
use crate::{clock::Timestamp, token::TokenRef};

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
pub struct Key(String);

impl Key {
    /// The key of this secret or name, among those of this kind.
    #[must_use]
    pub fn new(kind: &str, about: &str) -> Self {
        Self(format!("{kind}:{}", hex(digest(&SHA256, about.as_bytes()).as_ref())))
    }

    /// What it is for.
    fn kind(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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

/// Somebody who is shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// A token, until it expires by itself.
    Token(TokenRef, Timestamp),
    /// All that a user was issued up to and in that second.
    User(String, Timestamp),
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
    pub account: Option<String>,
}

impl Standing {
    /// When a token can be issued that no earlier cut-off voids.
    #[must_use]
    pub fn issue_at(&self) -> Timestamp {
        let after = self.cut_off.map(|at| at.plus(Duration::from_secs(1)));
        after.map_or(self.now, |after| self.now.max(after))
    }
}

/// Where the reader of the revocations stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(String);

/// The store.
#[derive(Debug)]
pub enum Store {
    /// In this process: for one replica.
    Memory(Memory),
    /// Redis, alone, as a cluster, or behind sentinels.
    Redis(Redis),
}

impl Store {
    /// A store in the memory of this process.
    #[must_use]
    pub fn memory(clock: std::sync::Arc<dyn crate::clock::Clock>) -> Self {
        Self::Memory(Memory::new(clock))
    }

    /// A store in Redis. Nothing is connected before it is needed, so that it
    /// may be down now. `keep_cut_offs` is how long a user's cut-off counts.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] for an address that is none.
    pub fn redis(
        target: &Target,
        prefix: &str,
        timeout: Duration,
        keep_cut_offs: Duration,
    ) -> Result<Self, StoreError> {
        Redis::new(target, prefix, timeout, keep_cut_offs).map(Self::Redis)
    }

    /// Whether replicas share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Keeps a value until it is taken, and for no longer than `ttl`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then the value is not to be relied upon.
    pub async fn put<T: Serialize + Sync>(
        &self,
        key: &Key,
        value: &T,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(value).map_err(|_| StoreError::Garbled)?;
        match self {
            Self::Memory(memory) => memory.put(key, value, ttl),
            Self::Redis(redis) => redis.put(key, &value, ttl).await,
        }
    }

    /// Takes a value: it is given to one taker alone, whoever else asks.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may be gone all the same.
    pub async fn take<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let value = match self {
            Self::Memory(memory) => memory.take(key),
            Self::Redis(redis) => redis.take(key).await?,
        };
        value
            .map(|value| serde_json::from_slice(&value).map_err(|_| StoreError::Garbled))
            .transpose()
    }

    /// Counts a try.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn hit(&self, key: &Key, limit: Limit) -> Result<Hits, StoreError> {
        match self {
            Self::Memory(memory) => memory.hit(key, limit),
            Self::Redis(redis) => redis.hit(key, limit).await,
        }
    }

    /// Takes one try back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn give_back(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.give_back(key);
                Ok(())
            }
            Self::Redis(redis) => redis.give_back(key).await,
        }
    }

    /// Forgets all tries.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn forget(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.take(key);
                memory.forget(key);
                Ok(())
            }
            Self::Redis(redis) => redis.forget(key).await,
        }
    }

    /// Tells all replicas that a token is refused until it expires.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may go on being accepted.
    pub async fn revoke(&self, token: TokenRef, until: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.revoke(token, until),
            Self::Redis(redis) => redis.revoke(token, until).await,
        }
    }

    /// Tells all replicas that whatever the user was issued until now, by the
    /// store's clock, is refused. Gives back that time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn cut_off(&self, user_id: &str) -> Result<Timestamp, StoreError> {
        match self {
            Self::Memory(memory) => memory.cut_off(user_id),
            Self::Redis(redis) => redis.cut_off(user_id).await,
        }
    }

    /// How a user stands, by the store's clock.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn standing(&self, user_id: &str) -> Result<Standing, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.standing(user_id)),
            Self::Redis(redis) => redis.standing(user_id).await,
        }
    }

    /// Notes what an account is now. When it was something else before, all
    /// that its user was issued is cut off, once, whichever of the replicas
    /// notices first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn note_account(
        &self,
        user_id: &str,
        state: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Memory(memory) => memory.note_account(user_id, state),
            Self::Redis(redis) => redis.note_account(user_id, state).await,
        }
    }

    /// What every account was noted to be, by the user's id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn accounts(&self) -> Result<HashMap<String, String>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.accounts()),
            Self::Redis(redis) => redis.accounts().await,
        }
    }

    /// The revocations behind the cursor, oldest first, and where the reader
    /// stands then; an empty page is the end.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revocations(
        &self,
        after: &Cursor,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.revocations(after)),
            Self::Redis(redis) => redis.revocations(after).await,
        }
    }

    /// What about the store's settings could lose or repeat something; each
    /// is a sentence for the operator.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn concerns(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.concerns().await,
        }
    }
}
