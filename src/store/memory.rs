//! The store in the memory of one process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    AccountState, Cursor, Hits, Key, Limit, MOST_REMEMBERED, Standing, StoreError,
    shelf::{CAPACITY, Shelf},
};
use crate::{
    clock::{Clock, Timestamp},
    token::{MAX_LEEWAY, Revocation, TokenRef},
};

/// The members of a key, each with its end.
pub(super) type Members = HashMap<String, (Vec<u8>, Timestamp)>;

/// The store in memory.
#[derive(Debug)]
pub(super) struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// A shelf for each kind, so that none can crowd out another.
    values: HashMap<String, Shelf<Vec<u8>>>,
    counters: HashMap<String, Shelf<u64>>,
    /// As the values, a shelf for each kind.
    pub(super) members: HashMap<String, Shelf<Members>>,
    remembered: Shelf<VecDeque<(Key, Timestamp)>>,
    /// Each with its number, which grows.
    revocations: Vec<(u64, Revocation)>,
    appended: u64,
    cut_offs: HashMap<String, Timestamp>,
    /// The last second of which each user was issued something.
    issued: Shelf<Timestamp>,
    accounts: HashMap<String, AccountState>,
}

impl State {
    /// Appends. When there is no room, what nobody needs any more is dropped.
    fn append(
        &mut self,
        revocation: Revocation,
        now: Timestamp,
        kept: Duration,
    ) -> Result<(), StoreError> {
        if self.revocations.len() >= CAPACITY {
            self.forget(now, kept);
        }
        if self.revocations.len() >= CAPACITY {
            return Err(StoreError::Full);
        }
        self.push(revocation);
        Ok(())
    }

    fn push(&mut self, revocation: Revocation) {
        self.appended += 1;
        self.revocations.push((self.appended, revocation));
    }

    /// Drops tokens that nobody accepts any more, cut-offs that are older than
    /// `kept`, and all but a user's last one. The latest of the old ones holds
    /// for everybody from then on.
    fn forget(&mut self, now: Timestamp, kept: Duration) {
        let (cut_offs, mut everybody) = (&self.cut_offs, None);
        self.revocations.retain(|(_, revocation)| match revocation {
            Revocation::Token(_, until) => now < until.plus(MAX_LEEWAY),
            Revocation::User(_, at) if now >= at.plus(kept) => {
                everybody = everybody.max(Some(*at));
                false
            }
            Revocation::User(id, at) => cut_offs.get(id) == Some(at),
            Revocation::Everybody(at) => {
                everybody = everybody.max(Some(*at));
                false
            }
        });
        self.cut_offs.retain(|_, at| now < at.plus(kept));
        if let Some(at) = everybody {
            self.push(Revocation::Everybody(at));
        }
    }
}

fn issued_to(user_id: &str) -> Key {
    Key::new("issued", user_id)
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, key: &Key, value: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let kept = state.values.entry(key.kind().to_owned()).or_default();
        kept.put(key, value, now.plus(ttl), now)
    }

    pub(super) fn look(&self, key: &Key) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.values.get_mut(key.kind())?.get_mut(key, now).map(|(value, _)| value.clone())
    }

    pub(super) fn take(&self, key: &Key) -> Option<Vec<u8>> {
        let now = self.clock.now();
        self.state().values.get_mut(key.kind())?.take(key, now)
    }

    pub(super) fn hit(&self, key: &Key, limit: Limit) -> Result<Hits, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let kept = state.counters.entry(key.kind().to_owned()).or_default();
        let known = kept.get_mut(key, now).map(|known| *known);
        let (count, mut until) = known.unwrap_or((0, now.plus(limit.window)));
        let count = count + 1;
        if count == limit.tries + 1 {
            until = now.plus(limit.lockout);
        }
        kept.put(key, count, until, now)?;
        Ok(Hits { count, resets_in: until.since(now) })
    }

    pub(super) fn give_back(&self, key: &Key) {
        let now = self.clock.now();
        let mut state = self.state();
        let kept = state.counters.get_mut(key.kind());
        if let Some((count, _)) = kept.and_then(|kept| kept.get_mut(key, now)) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        let now = self.clock.now();
        if let Some(shelf) = self.state().counters.get_mut(key.kind()) {
            shelf.take(key, now);
        }
    }

    pub(super) fn remember(&self, key: &Key, what: &Key, ttl: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (mut state, until) = (self.state(), now.plus(ttl));
        let kept = &mut state.remembered;
        let mut all = kept.get_mut(key, now).map(|(all, _)| all.clone()).unwrap_or_default();
        all.retain(|(own, until)| own != what && *until > now);
        all.push_back((what.clone(), until));
        while all.len() > MOST_REMEMBERED {
            all.pop_front();
        }
        kept.put(key, all, until, now)
    }

    pub(super) fn remembers(&self, key: &Key, what: &Key) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let all = state.remembered.get_mut(key, now);
        all.is_some_and(|(all, _)| all.iter().any(|(own, until)| own == what && *until > now))
    }

    pub(super) fn revoke(
        &self,
        token: TokenRef,
        until: Timestamp,
        kept: Duration,
    ) -> Result<(), StoreError> {
        self.state().append(Revocation::Token(token, until), self.clock.now(), kept)
    }

    pub(super) fn cut_off(&self, user_id: &str, kept: Duration) -> Result<Timestamp, StoreError> {
        self.cut_off_in(&mut self.state(), user_id, kept)
    }

    fn cut_off_in(
        &self,
        state: &mut State,
        user_id: &str,
        kept: Duration,
    ) -> Result<Timestamp, StoreError> {
        let now = self.clock.now().as_secs();
        // What was issued after an earlier one in this second is of the next.
        let after = state.cut_offs.get(user_id).map_or(now, |before| before.as_secs() + 1);
        // A clock may have been ahead.
        let issued = state.issued.get_mut(&issued_to(user_id), self.clock.now());
        let issued = issued.map_or(now, |(issued, _)| issued.as_secs());
        let at = Timestamp::from_secs(now.max(after).max(issued));
        state.append(Revocation::User(user_id.to_owned(), at), self.clock.now(), kept)?;
        state.cut_offs.insert(user_id.to_owned(), at);
        Ok(at)
    }

    pub(super) fn standing(&self, user_id: &str, kept: Duration) -> Result<Standing, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let cut_off = state.cut_offs.get(user_id).copied();
        let account = state.accounts.get(user_id).cloned();
        let standing = Standing { now, cut_off, account };
        let key = issued_to(user_id);
        let before = state.issued.get_mut(&key, now).map(|(issued, _)| *issued);
        let issued = standing.issue_at().max(before.unwrap_or(now));
        state.issued.put(&key, issued, issued.plus(kept), now)?;
        Ok(standing)
    }

    pub(super) fn note_account(
        &self,
        user_id: &str,
        account: &AccountState,
        kept: Duration,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut state = self.state();
        let known = state.accounts.get(user_id);
        let changed = known.is_some_and(|known| account.differs_from(known));
        let cut_off = changed.then(|| self.cut_off_in(&mut state, user_id, kept)).transpose()?;
        state.accounts.insert(user_id.to_owned(), account.clone());
        Ok(cut_off)
    }

    pub(super) fn accounts(&self) -> HashMap<String, AccountState> {
        self.state().accounts.clone()
    }

    pub(super) fn revocations(&self, after: &Cursor) -> (Vec<Revocation>, Cursor) {
        let state = self.state();
        let seen: u64 = after.last.parse().unwrap_or(0);
        let from = state.revocations.partition_point(|(number, _)| *number <= seen);
        let new = state.revocations.iter().skip(from).map(|(_, kept)| kept.clone()).collect();
        (new, after.behind(state.appended.to_string(), String::new()))
    }
}
