//! A map of what expires, of a bounded size.

use std::{collections::HashMap, time::Duration};

use super::{Key, StoreError};
use crate::clock::Timestamp;

/// The most entries. A live one is never dropped to make room.
pub(super) const CAPACITY: usize = 100_000;
/// Below this many nobody looks for what has expired.
const FEW: usize = 1024;
/// How often a full one is looked through.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Values with the time at which they expire. What has expired is dropped as
/// others come, so that it is never more than what lives and a few.
#[derive(Debug)]
pub(super) struct Shelf<V> {
    entries: HashMap<Key, (V, Timestamp)>,
    /// How many entries there are when it is looked through next.
    look_at: usize,
    looked: Timestamp,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), look_at: FEW, looked: Timestamp::from_secs(0) }
    }
}

impl<V> Shelf<V> {
    /// Puts a value in, or in the place of another one.
    pub(super) fn put(
        &mut self,
        key: &Key,
        value: V,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.entries.len() >= self.look_at && now.since(self.looked) >= LOOK_AGAIN {
            self.entries.retain(|_, (_, until)| *until > now);
            self.look_at = (2 * self.entries.len()).clamp(FEW, CAPACITY);
            self.looked = now;
        }
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(key) {
            return Err(StoreError::Full);
        }
        self.entries.insert(key.clone(), (value, until));
        Ok(())
    }

    /// Takes a value out, unless it has expired.
    pub(super) fn take(&mut self, key: &Key, now: Timestamp) -> Option<V> {
        let (value, until) = self.entries.remove(key)?;
        (until > now).then_some(value)
    }

    /// The value and its end, unless it has expired.
    pub(super) fn get_mut(&mut self, key: &Key, now: Timestamp) -> Option<&mut (V, Timestamp)> {
        self.entries.get_mut(key).filter(|(_, until)| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_makes_room_and_what_lives_is_kept() {
        let mut shelf = Shelf::default();
        let at = Timestamp::from_secs;
        let key = |n: usize| Key::new("test", &n.to_string());
        // A stream of values that live a second never fills it.
        for n in 0..20 * FEW {
            let now = at(i64::try_from(n / 64).unwrap());
            shelf.put(&key(n), n, now.plus(Duration::from_secs(1)), now).unwrap();
        }
        assert!(shelf.entries.len() <= 2 * FEW, "{}", shelf.entries.len());
        // One of values that live does, and takes no more.
        let now = at(1_000_000);
        for n in 0..CAPACITY {
            shelf.put(&key(n), n, at(2_000_000), now).unwrap();
        }
        assert_eq!(shelf.put(&key(CAPACITY), 0, at(2_000_000), now), Err(StoreError::Full));
        assert_eq!(shelf.put(&key(7), 0, at(2_000_000), now), Ok(()));
        assert_eq!(shelf.take(&key(7), now), Some(0));
        assert_eq!(shelf.take(&key(7), now), None);
        // When they have expired there is room.
        assert_eq!(shelf.put(&key(7), 0, at(4_000_000), at(3_000_000)), Ok(()));
        assert_eq!(shelf.entries.len(), 1);
    }
}
