//! What belongs to one key by names of its own, each with its end.

use std::{collections::HashMap, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Backend, Key, Store, StoreError,
    memory::Memory,
    redis::{Redis, millis, script},
    scripts,
};
impl Store {
    /// Puts a member in, or in the place of the one of this name, until `ttl` is
    /// over. Gives back how many there are now.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it is not to be relied upon.
    pub async fn put_member<T: Serialize + Sync>(
        &self,
        of: &Key,
        name: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<usize, StoreError> {
        let value = serde_json::to_vec(value).map_err(|_| StoreError::Garbled)?;
        self.counted("put_member", async {
            match &self.backend {
                Backend::Memory(memory) => memory.put_member(of, name, value, ttl),
                Backend::Redis(redis) => redis.put_member(of, name, &value, ttl).await,
            }
        })
        .await
    }

    /// Puts another value in the place of a member that is there, for as long as
    /// that would have been. Says whether it was.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn replace_member<T: Serialize + Sync>(
        &self,
        of: &Key,
        name: &str,
        value: &T,
    ) -> Result<bool, StoreError> {
        let value = serde_json::to_vec(value).map_err(|_| StoreError::Garbled)?;
        self.counted("replace_member", async {
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.replace_member(of, name, value)),
                Backend::Redis(redis) => redis.replace_member(of, name, &value).await,
            }
        })
        .await
    }

    /// Takes a member out.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn remove_member(&self, of: &Key, name: &str) -> Result<(), StoreError> {
        self.counted("remove_member", async {
            match &self.backend {
                Backend::Memory(memory) => {
                    memory.remove_member(of, name);
                    Ok(())
                }
                Backend::Redis(redis) => redis.remove_member(of, name).await,
            }
        })
        .await
    }

    /// All members by their names, in no order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn members<T: DeserializeOwned>(
        &self,
        of: &Key,
    ) -> Result<HashMap<String, T>, StoreError> {
        let members = self
            .counted("members", async {
                match &self.backend {
                    Backend::Memory(memory) => Ok(memory.members(of)),
                    Backend::Redis(redis) => redis.members(of).await,
                }
            })
            .await?;
        let read = |(name, value): (String, Vec<u8>)| {
            let value = serde_json::from_slice(&value).map_err(|_| StoreError::Garbled)?;
            Ok((name, value))
        };
        members.into_iter().map(read).collect()
    }
}

impl Redis {
    async fn put_member(
        &self,
        of: &Key,
        name: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<usize, StoreError> {
        let mut command = script(scripts::PUT_MEMBER, &[self.key(of)]);
        self.ask(command.arg(name).arg(value).arg(millis(ttl))).await
    }

    async fn replace_member(&self, of: &Key, name: &str, value: &[u8]) -> Result<bool, StoreError> {
        let mut command = script(scripts::REPLACE_MEMBER, &[self.key(of)]);
        self.ask(command.arg(name).arg(value)).await
    }

    async fn remove_member(&self, of: &Key, name: &str) -> Result<(), StoreError> {
        self.ask::<u64>(::redis::cmd("HDEL").arg(self.key(of)).arg(name)).await.map(drop)
    }

    async fn members(&self, of: &Key) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.ask(&script(scripts::MEMBERS, &[self.key(of)])).await
    }
}

impl Memory {
    fn put_member(
        &self,
        of: &Key,
        name: &str,
        value: Vec<u8>,
        ttl: Duration,
    ) -> Result<usize, StoreError> {
        let now = self.now();
        let until = now.plus(ttl);
        let mut state = self.state();
        let kept = state.members.entry(of.kind().to_owned()).or_default();
        let mut all = kept.take(of, now).unwrap_or_default();
        all.retain(|_, (_, until)| *until > now);
        all.insert(name.to_owned(), (value, until));
        let last = all.values().map(|(_, until)| *until).max().unwrap_or(until);
        let count = all.len();
        kept.put(of, all, last, now)?;
        Ok(count)
    }

    fn replace_member(&self, of: &Key, name: &str, value: Vec<u8>) -> bool {
        let now = self.now();
        let mut state = self.state();
        let all = state.members.get_mut(of.kind()).and_then(|shelf| shelf.get_mut(of, now));
        let known = all.and_then(|(all, _)| all.get_mut(name)).filter(|(_, until)| *until > now);
        known.map(|known| known.0 = value).is_some()
    }

    fn remove_member(&self, of: &Key, name: &str) {
        let now = self.now();
        let mut state = self.state();
        let Some(kept) = state.members.get_mut(of.kind()) else { return };
        let is_empty = kept.get_mut(of, now).is_some_and(|(all, _)| {
            all.remove(name);
            all.is_empty()
        });
        if is_empty {
            kept.take(of, now);
        }
    }

    fn members(&self, of: &Key) -> Vec<(String, Vec<u8>)> {
        let now = self.now();
        let mut state = self.state();
        let all = state.members.get_mut(of.kind()).and_then(|shelf| shelf.get_mut(of, now));
        let all = all.into_iter().flat_map(|(all, _)| all.iter());
        all.filter(|(_, (_, until))| *until > now)
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect()
    }
}
