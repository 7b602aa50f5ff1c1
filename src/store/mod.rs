//! What replicas share: values that work once, counters, and revocations.
//!
//! One closed enum over the backends, each of which passes the same suite of
//! tests. Whatever must happen once happens in one command or script of the
//! store; an error is an error, and never an empty answer.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kept;
mod keys;
mod link;
mod members;
mod memory;
mod page;
mod redis;
mod redis_keys;
mod scripts;
mod shelf;
mod terms;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    link::Target,
    redis_keys::{KeyPage, KeyRevoked},
    terms::{AccountState, Cursor, Hits, Key, Limit, Standing, StoreError},
};
use self::{memory::Memory, redis::Redis};
use crate::{
    clock::{Clock, Timestamp},
    metrics::StoreOperations,
    token::{Revocation, TokenRef},
};

/// As many are remembered of one key.
const MOST_REMEMBERED: usize = 32;

#[derive(Debug)]
enum Backend {
    /// In this process: for one replica.
    Memory(Box<Memory>),
    /// Redis, alone, as a cluster, or behind sentinels.
    Redis(Box<Redis>),
}

/// The store. Every question to it is counted.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    operations: StoreOperations,
    /// How long a user's cut-off is kept, in milliseconds.
    kept: AtomicU64,
}

impl Store {
    /// A store in the memory of this process. `keep_cut_offs` is how long a
    /// user's cut-off counts.
    #[must_use]
    pub fn memory(clock: Arc<dyn Clock>, keep_cut_offs: Duration) -> Self {
        Self::of(Backend::Memory(Box::new(Memory::new(clock))), keep_cut_offs)
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
        let backend = Backend::Redis(Box::new(Redis::new(target, prefix, timeout)?));
        Ok(Self::of(backend, keep_cut_offs))
    }

    fn of(backend: Backend, keep_cut_offs: Duration) -> Self {
        let store =
            Self { backend, operations: StoreOperations::default(), kept: AtomicU64::new(0) };
        store.keep_cut_offs(keep_cut_offs);
        store
    }

    /// The same, counted there.
    #[must_use]
    pub fn observed(self, operations: StoreOperations) -> Self {
        Self { operations, ..self }
    }

    /// Keeps the cut-offs from now on for as long as the tokens that are
    /// accepted may live; also those that are there already.
    pub fn keep_cut_offs(&self, span: Duration) {
        self.kept.store(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long cut-offs are kept.
    #[must_use]
    pub fn cut_offs_kept(&self) -> Duration {
        Duration::from_millis(self.kept.load(Ordering::Relaxed))
    }

    /// Whether replicas share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    async fn counted<T>(
        &self,
        operation: &'static str,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        // On the heap, so that every question costs its asker the same few bytes.
        let answer = Box::pin(question).await;
        self.operations.count(operation, answer.is_ok(), started.elapsed());
        answer
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
        self.counted("put_new", async {
            match &self.backend {
                Backend::Memory(memory) => memory.put(key, value, ttl),
                Backend::Redis(redis) => redis.put(key, &value, ttl).await,
            }
        })
        .await
    }

    /// Takes a value: it is given to one taker alone, whoever else asks.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may be gone all the same.
    pub async fn take<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let value = self
            .counted("take", async {
                Ok(match &self.backend {
                    Backend::Memory(memory) => memory.take(key),
                    Backend::Redis(redis) => redis.take(key).await?,
                })
            })
            .await?;
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
        self.counted("hit", async {
            match &self.backend {
                Backend::Memory(memory) => memory.hit(key, limit),
                Backend::Redis(redis) => redis.hit(key, limit).await,
            }
        })
        .await
    }

    /// Takes one try back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn give_back(&self, key: &Key) -> Result<(), StoreError> {
        self.counted("give_back", async {
            match &self.backend {
                Backend::Memory(memory) => {
                    memory.give_back(key);
                    Ok(())
                }
                Backend::Redis(redis) => redis.give_back(key).await,
            }
        })
        .await
    }

    /// Forgets all tries.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn forget(&self, key: &Key) -> Result<(), StoreError> {
        self.counted("forget", async {
            match &self.backend {
                Backend::Memory(memory) => {
                    memory.take(key);
                    memory.forget(key);
                    Ok(())
                }
                Backend::Redis(redis) => redis.forget(key).await,
            }
        })
        .await
    }

    /// Remembers that something belongs to a key, for `ttl` from now. Of one
    /// key the last 32 are remembered.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may not be.
    pub async fn remember(&self, key: &Key, what: &Key, ttl: Duration) -> Result<(), StoreError> {
        self.counted("remember", async {
            match &self.backend {
                Backend::Memory(memory) => memory.remember(key, what, ttl),
                Backend::Redis(redis) => redis.remember(key, what, ttl).await,
            }
        })
        .await
    }

    /// Whether it is remembered that something belongs to a key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn remembers(&self, key: &Key, what: &Key) -> Result<bool, StoreError> {
        self.counted("remembers", async {
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.remembers(key, what)),
                Backend::Redis(redis) => redis.remembers(key, what).await,
            }
        })
        .await
    }

    /// Tells all replicas that a token is refused until it expires, and for as
    /// long after that as any leeway can be.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may go on being accepted.
    pub async fn revoke(&self, token: TokenRef, until: Timestamp) -> Result<(), StoreError> {
        self.counted("revoke", async {
            match &self.backend {
                Backend::Memory(memory) => memory.revoke(token, until, self.cut_offs_kept()),
                Backend::Redis(redis) => redis.revoke(token, until, self.cut_offs_kept()).await,
            }
        })
        .await
    }

    /// Tells all replicas that whatever the user was issued until now, by the
    /// store's clock, is refused. Gives back that time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn cut_off(&self, user_id: &str) -> Result<Timestamp, StoreError> {
        self.counted("cut_off", async {
            match &self.backend {
                Backend::Memory(memory) => memory.cut_off(user_id, self.cut_offs_kept()),
                Backend::Redis(redis) => redis.cut_off(user_id, self.cut_offs_kept()).await,
            }
        })
        .await
    }

    /// How a user stands, by the store's clock. What may be issued by that is noted: a
    /// later cut-off is not before it, though the clock may be by then.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn standing(&self, user_id: &str) -> Result<Standing, StoreError> {
        let kept = self.cut_offs_kept();
        self.counted("standing", async {
            match &self.backend {
                Backend::Memory(memory) => memory.standing(user_id, kept),
                Backend::Redis(redis) => redis.standing(user_id, kept).await,
            }
        })
        .await
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
        account: &AccountState,
    ) -> Result<Option<Timestamp>, StoreError> {
        let kept = self.cut_offs_kept();
        self.counted("note_account", async {
            match &self.backend {
                Backend::Memory(memory) => memory.note_account(user_id, account, kept),
                Backend::Redis(redis) => redis.note_account(user_id, account, kept).await,
            }
        })
        .await
    }

    /// What every account was noted to be, by the user's id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn accounts(&self) -> Result<HashMap<String, AccountState>, StoreError> {
        self.counted("accounts", async {
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.accounts()),
                Backend::Redis(redis) => redis.accounts().await,
            }
        })
        .await
    }

    /// The revocations behind the cursor, oldest first, and where the reader
    /// stands then; when that is where it stood, there are no more. One may come
    /// twice: another master tells all of its own.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revocations(
        &self,
        after: &Cursor,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        self.counted("revocations", async {
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.revocations(after)),
                Backend::Redis(redis) => redis.revocations(after).await,
            }
        })
        .await
    }

    /// What about the store's settings could lose or repeat something; each
    /// is a sentence for the operator.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn concerns(&self) -> Result<Vec<String>, StoreError> {
        self.counted("concerns", async {
            match &self.backend {
                Backend::Memory(_) => Ok(Vec::new()),
                Backend::Redis(redis) => redis.concerns().await,
            }
        })
        .await
    }
}
