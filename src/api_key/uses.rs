//! On which day a key was used last: noted beside the path, and handed on in
//! batches.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::text::KeyId;
use crate::clock::Timestamp;

/// As many keys are known to be noted already; each has one place.
const PLACES: usize = 8192;
/// The most that wait to be handed on: more are noted when they are met again.
const MAX_WAITING: usize = 100_000;
/// In seconds.
const DAY: i64 = 24 * 60 * 60;

/// The keys that were used, each with the day, counted from 1970.
pub struct Uses {
    places: Box<[AtomicU64]>,
    waiting: Mutex<HashMap<KeyId, i64>>,
}

impl Default for Uses {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { places, waiting: Mutex::default() }
    }
}

impl fmt::Debug for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uses")
    }
}

impl Uses {
    /// Notes that a key was used. Most are noted already, which costs a look.
    pub(super) fn note(&self, id: KeyId, now: Timestamp) {
        let day = now.as_secs().div_euclid(DAY);
        let mixed = id.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = usize::try_from(mixed >> 32).unwrap_or_default() % PLACES;
        let Some(place) = self.places.get(at) else { return };
        let noted = mixed.wrapping_add(day.unsigned_abs());
        if place.load(Ordering::Relaxed) == noted {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING || waiting.contains_key(&id) {
            waiting.insert(id, day);
            place.store(noted, Ordering::Relaxed);
        }
    }

    /// What was noted since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<(KeyId, i64)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain().collect()
    }

    /// Puts back what could not be handed on.
    pub fn put_back(&self, uses: Vec<(KeyId, i64)>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, day) in uses {
            if waiting.len() < MAX_WAITING {
                waiting.entry(id).or_insert(day);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_once_a_day() {
        let uses = Uses::default();
        let (id, at) = (KeyId::from_bits(7), Timestamp::from_secs);
        for now in [0, 1, 86_399] {
            uses.note(id, at(now));
        }
        assert_eq!(uses.take(), [(id, 0)]);
        uses.note(id, at(86_399));
        assert_eq!(uses.take(), []);
        uses.note(id, at(86_400));
        uses.put_back(vec![(id, 0), (KeyId::from_bits(8), 0)]);
        let mut taken = uses.take();
        taken.sort_unstable();
        assert_eq!(taken, [(id, 1), (KeyId::from_bits(8), 0)]);
    }
}
