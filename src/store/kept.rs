//! Values that stay: each replaces the one before it, and can be looked at by
//! every replica.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{Backend, Key, Store, StoreError};

impl Store {
    /// Puts a value in the place of whatever was there, to be looked at until
    /// `ttl` is over.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn replace<T: Serialize + Sync>(
        &self,
        key: &Key,
        value: &T,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(value).map_err(|_| StoreError::Garbled)?;
        self.counted("replace", async {
            match &self.backend {
                Backend::Memory(memory) => memory.put(key, value, ttl),
                Backend::Redis(redis) => redis.replace(key, &value, ttl).await,
            }
        })
        .await
    }

    /// Looks at a value, which stays there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn look<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let value = self.counted("look", async {
            Ok(match &self.backend {
                Backend::Memory(memory) => memory.look(key),
                Backend::Redis(redis) => redis.look(key).await?,
            })
        });
        let garbled = |_| StoreError::Garbled;
        value.await?.map(|value| serde_json::from_slice(&value).map_err(garbled)).transpose()
    }
}
