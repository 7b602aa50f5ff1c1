//! The sessions that were renewed within the last minute, and what they got.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;

use super::{claims::Claims, known::Verified, revocation::TokenRef};
use crate::clock::Timestamp;

/// For how long a new token is handed out in the place of signing another.
const KEEP: Duration = Duration::from_secs(60);
/// How often those that are over are looked for, and how often when it is full.
const SWEEP: Duration = Duration::from_secs(10);
const SWEEP_FULL: Duration = Duration::from_secs(1);
/// The most sessions at a time; when it is full, none is renewed.
const MOST: usize = 8192;
/// The most that all of them take, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What one takes beside its token and what that says, in bytes.
const OVERHEAD: usize = 512;

/// A token that was made in the place of another one.
#[derive(Debug)]
pub struct RenewedToken {
    /// Itself.
    pub token: SecretString,
    /// Its `exp`.
    pub expires_at: Timestamp,
}

/// A session that was renewed: that somebody was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedSession {
    /// Whose it is.
    pub user_id: String,
    /// Its `sid`.
    pub sid: String,
    /// When.
    pub at: Timestamp,
}

/// The place of a session: the first who comes signs, the others wait for that.
pub(super) struct Slot {
    /// Those of the token that was renewed.
    claims: Arc<Claims>,
    made: Timestamp,
    weight: usize,
    pub(super) token: OnceLock<Option<Arc<RenewedToken>>>,
    is_told: AtomicBool,
}

impl Slot {
    /// Also when the clock was set back: then not for longer than before.
    fn is_of_now(&self, now: Timestamp) -> bool {
        now < self.made.plus(KEEP) && self.made < now.plus(KEEP)
    }

    /// Whether these are of the same user as the token that was renewed: whoever
    /// has the key might sign two users into one session.
    pub(super) fn is_for(&self, claims: &Claims) -> bool {
        self.claims.user_id == claims.user_id && self.claims.role == claims.role
    }
}

#[derive(Default)]
struct Slots {
    all: HashMap<TokenRef, Arc<Slot>>,
    bytes: usize,
    swept: Option<Timestamp>,
}

impl Slots {
    fn sweep(&mut self, now: Timestamp) {
        let is_full = self.all.len() >= MOST || self.bytes >= MAX_BYTES;
        let every = if is_full { SWEEP_FULL } else { SWEEP };
        if self.swept.is_some_and(|at| now < at.plus(every) && at < now.plus(every)) {
            return;
        }
        self.swept = Some(now);
        self.all.retain(|_, slot| slot.is_of_now(now));
        self.bytes = self.all.values().map(|slot| slot.weight).sum();
    }
}

/// The sessions that were renewed within the last minute.
#[derive(Default)]
pub(super) struct Renewals(Mutex<Slots>);

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewals")
    }
}

impl Renewals {
    /// The place of this token's session; `None` when there is no room.
    pub(super) fn slot(
        &self,
        name: TokenRef,
        verified: &Verified,
        now: Timestamp,
    ) -> Option<Arc<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.all.get(&name)
            && slot.is_of_now(now)
        {
            return Some(Arc::clone(slot));
        }
        slots.sweep(now);
        let weight = 2 * verified.text().len() + OVERHEAD;
        let before = slots.all.get(&name).map_or(0, |slot| slot.weight);
        let bytes = slots.bytes - before.min(slots.bytes) + weight;
        let is_new = before == 0;
        if bytes > MAX_BYTES || (is_new && slots.all.len() >= MOST) {
            return None;
        }
        let slot = Arc::new(Slot {
            claims: Arc::clone(&verified.claims),
            made: now,
            weight,
            token: OnceLock::new(),
            is_told: AtomicBool::new(false),
        });
        slots.all.insert(name, Arc::clone(&slot));
        slots.bytes = bytes;
        Some(slot)
    }

    /// Those that were renewed since this was asked last.
    pub(super) fn told(&self) -> Vec<RenewedSession> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |slot: &&Arc<Slot>| {
            slot.token.get().is_some_and(Option::is_some)
                && !slot.is_told.swap(true, Ordering::Relaxed)
        };
        let told = |slot: &Arc<Slot>| {
            let (sid, _) = slot.claims.session()?;
            let user_id = slot.claims.user_id.to_string();
            Some(RenewedSession { user_id, sid: sid.to_owned(), at: slot.made })
        };
        slots.all.values().filter(is_new).filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;

    fn of(length: usize) -> Verified {
        Verified::new(&"x".repeat(length), claims_of("ann"), None, None)
    }

    fn name(number: usize) -> TokenRef {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        TokenRef::from_bytes(bytes)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_session_keeps_its_place_for_a_minute_of_either_side() {
        for (now, stays) in [(159, true), (160, false), (41, true), (40, false)] {
            let renewals = Renewals::default();
            let first = renewals.slot(name(1), &of(9), at(100)).unwrap();
            let again = renewals.slot(name(1), &of(9), at(now)).unwrap();
            assert_eq!(Arc::ptr_eq(&first, &again), stays, "{now}");
            assert_eq!(format!("{renewals:?}"), "Renewals");
        }
    }

    #[test]
    fn so_many_have_a_place_until_theirs_are_over() {
        let renewals = Renewals::default();
        for number in 0..8192 {
            assert!(renewals.slot(name(number), &of(9), at(0)).is_some());
        }
        assert!(renewals.slot(name(8192), &of(9), at(0)).is_none());
        // Whoever has a place keeps it.
        assert!(renewals.slot(name(0), &of(9), at(0)).is_some());
        // Those that are over are looked for once a second, while there is no room.
        let after = |millis| renewals.slot(name(8192), &of(9), Timestamp::from_millis(millis));
        assert!(after(59_500).is_none() && after(60_000).is_none() && after(60_499).is_none());
        assert!(after(60_500).is_some());
    }

    #[test]
    fn one_that_is_over_gives_its_own_room_back_though_nobody_has_looked_for_it() {
        let (renewals, long) = (Renewals::default(), of(4 * 1024 * 1024 - 256));
        assert!(renewals.slot(name(1), &long, at(0)).is_some());
        // Those that are over were looked for just before that one was.
        assert!(renewals.slot(name(2), &of(1), at(59)).is_some());
        for now in [60, 120, 180] {
            assert!(renewals.slot(name(1), &long, at(now)).is_some(), "{now}");
        }
    }

    #[test]
    fn they_take_no_more_than_so_much() {
        let renewals = Renewals::default();
        // Twice the text and 512: 8 MiB each.
        let long = of(4 * 1024 * 1024 - 256);
        assert!(renewals.slot(name(1), &long, at(0)).is_some());
        assert!(renewals.slot(name(2), &long, at(0)).is_some());
        assert!(renewals.slot(name(3), &of(1), at(0)).is_none());
        // In the place of its own.
        assert!(renewals.slot(name(2), &long, at(60)).is_some());
        assert!(renewals.slot(name(1), &long, at(60)).is_some());
        assert!(renewals.slot(name(3), &of(1), at(60)).is_none());
        assert!(renewals.slot(name(3), &of(1), at(119)).is_none());
        assert!(renewals.slot(name(3), &of(1), at(120)).is_some());
    }
}
