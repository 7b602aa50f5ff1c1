//! The keys for machines that the store has: each change is told to all replicas,
//! and each replica holds them whole.

use std::collections::HashMap;

use super::{
    Backend, Cursor, Store, StoreError,
    redis_keys::{KeyPage, KeyRevoked},
};
use crate::{
    api_key::{ApiKey, KeyId},
    clock::Timestamp,
};

impl Store {
    /// Adds a key. Whether there was none of its id.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Failed`] for the memory of a process, to which
    /// nobody can add any.
    pub async fn add_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.counted("add_key", async {
            match &self.backend {
                Backend::Memory(_) => Err(no_keys()),
                Backend::Redis(redis) => redis.add_key(key).await,
            }
        })
        .await
    }

    /// The key of this id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.counted("key", async {
            match &self.backend {
                Backend::Memory(_) => Err(no_keys()),
                Backend::Redis(redis) => redis.look_up_key(id).await,
            }
        })
        .await
    }

    /// Revokes a key on every replica, also one of a file.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may go on being accepted.
    pub async fn revoke_key(&self, id: KeyId) -> Result<KeyRevoked, StoreError> {
        self.counted("revoke_key", async {
            match &self.backend {
                Backend::Memory(_) => Err(no_keys()),
                Backend::Redis(redis) => redis.revoke_key(id).await,
            }
        })
        .await
    }

    /// Puts a key in the place of another one, which ends at a time, unless it ends
    /// before. Whether the other one was there, and not revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn rotate_key(
        &self,
        old: KeyId,
        ends: Timestamp,
        new: &ApiKey,
    ) -> Result<bool, StoreError> {
        self.counted("rotate_key", async {
            match &self.backend {
                Backend::Memory(_) => Err(no_keys()),
                Backend::Redis(redis) => redis.rotate_key(old, ends, new).await,
            }
        })
        .await
    }

    /// The changes behind the cursor, oldest first, and where the reader stands then;
    /// when that is where it stood, there are no more. One may come twice.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn key_changes(&self, after: &Cursor) -> Result<(KeyPage, Cursor), StoreError> {
        self.counted("key_changes", async {
            match &self.backend {
                Backend::Memory(_) => Ok((KeyPage::default(), after.clone())),
                Backend::Redis(redis) => redis.key_changes(after).await,
            }
        })
        .await
    }

    /// Notes on which days keys were used last, counted from 1970.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn note_key_uses(&self, uses: &[(KeyId, i64)]) -> Result<(), StoreError> {
        self.counted("note_key_uses", async {
            match &self.backend {
                Backend::Memory(_) => Ok(()),
                Backend::Redis(redis) => redis.note_key_uses(uses).await,
            }
        })
        .await
    }

    /// On which day a key was used last, counted from 1970.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn key_use(&self, id: KeyId) -> Result<Option<i64>, StoreError> {
        self.counted("key_use", async {
            match &self.backend {
                Backend::Memory(_) => Ok(None),
                Backend::Redis(redis) => redis.key_use(id).await,
            }
        })
        .await
    }

    /// On which days keys were used last.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn key_uses(&self) -> Result<HashMap<KeyId, i64>, StoreError> {
        self.counted("key_uses", async {
            match &self.backend {
                Backend::Memory(_) => Ok(HashMap::new()),
                Backend::Redis(redis) => redis.key_uses().await,
            }
        })
        .await
    }
}

fn no_keys() -> StoreError {
    StoreError::Failed("the memory of a process holds no keys".to_owned())
}
