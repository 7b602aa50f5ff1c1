//! The keys of the store, held whole in memory, so that no check waits for the
//! network; and who was shut out, which keys remember for longer than tokens.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    record::ApiKey,
    table::{KeyCounts, KeyTable},
    text::KeyId,
    uses::Uses,
};
use crate::clock::Timestamp;

/// What has changed about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// A key, as it is now.
    Key(Box<ApiKey>),
    /// A key that the store has not, such as one of a file, was revoked.
    Revoked(KeyId, Timestamp),
    /// All keys of a user that were made up to and in that second are void.
    CutOff(String, Timestamp),
}

/// What came of a change that was not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A key is there that was not.
    Made,
    /// A key ends before its time.
    Rotated,
    /// A key was revoked.
    Revoked,
}

impl Told {
    /// The event as the audit log spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Made => "key_made",
            Self::Rotated => "key_rotated",
            Self::Revoked => "key_revoked",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) table: KeyTable,
    /// Those that are not in the table, too: a file's key is revoked here.
    revoked: HashSet<KeyId>,
    /// Users by id, and the second up to which all their keys are void.
    cut_offs: HashMap<String, i64>,
}

impl Lists {
    pub(super) fn is_revoked(&self, id: KeyId) -> bool {
        !self.revoked.is_empty() && self.revoked.contains(&id)
    }

    /// Whether the keys are void that a user had at that time, or whenever it was.
    pub(super) fn cuts_off(&self, user_id: &str, created: Option<Timestamp>) -> bool {
        let cut_off = self.cut_offs.get(user_id).filter(|_| !self.cut_offs.is_empty());
        cut_off.is_some_and(|at| created.is_none_or(|created| created.as_secs() <= *at))
    }
}

/// Who hears of changes.
type Watcher = Box<dyn Fn(&[KeyChange]) + Send + Sync>;

/// So many keys are told at a time.
const PAGE: usize = 1000;

/// The keys of the store.
#[derive(Default)]
pub struct KeyList {
    wanted: AtomicBool,
    loaded: AtomicBool,
    /// Whether keys are taken before the store has told.
    lenient: AtomicBool,
    lists: RwLock<Lists>,
    counts: Mutex<KeyCounts>,
    watcher: OnceLock<Watcher>,
    /// Which keys were used, and when.
    pub uses: Uses,
}

impl fmt::Debug for KeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyList").field("keys", &self.read().table.len()).finish_non_exhaustive()
    }
}

impl KeyList {
    /// Whether keys are taken at all: where they are not, nobody asks the store.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Says whether keys are taken. Where they were not, nobody knows yet which
    /// there are.
    pub fn want(&self, wanted: bool) {
        if !self.wanted.swap(wanted, Ordering::Relaxed) {
            self.loaded.store(false, Ordering::Release);
        }
    }

    /// Takes keys before the store has told, also some that were revoked.
    pub fn need_not_wait(&self) {
        self.lenient.store(true, Ordering::Relaxed);
    }

    /// Declares the list complete: from now on it can be relied upon.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Whether the list can be relied upon.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire) || self.lenient.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes changes over; `tell` hears of those that were not known.
    pub fn apply<'c>(
        &self,
        changes: &'c [KeyChange],
        mut tell: impl FnMut(Told, KeyId, Option<&'c ApiKey>),
    ) {
        let mut news = Vec::new();
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let Lists { table, revoked, cut_offs } = &mut *lists;
        for change in changes {
            match change {
                KeyChange::Key(key) => {
                    let known = table.get(key.id).map(|known| (known.is_revoked, known.expires));
                    let told = match known {
                        None if key.revoked.is_none() => Some(Told::Made),
                        Some((false, _)) if key.revoked.is_some() => Some(Told::Revoked),
                        Some((false, end))
                            if KeyTable::end_of(key).is_some_and(|own| Some(own) != end) =>
                        {
                            Some(Told::Rotated)
                        }
                        _ => None,
                    };
                    table.put(key);
                    if key.revoked.is_some() {
                        revoked.insert(key.id);
                    }
                    news.extend(told.map(|told| (told, key.id, Some(&**key))));
                }
                KeyChange::Revoked(id, at) => {
                    table.revoke(*id, *at);
                    if revoked.insert(*id) {
                        news.push((Told::Revoked, *id, None));
                    }
                }
                KeyChange::CutOff(user_id, at) => {
                    let cut_off = cut_offs.entry(user_id.clone()).or_insert(i64::MIN);
                    *cut_off = at.as_secs().max(*cut_off);
                }
            }
        }
        drop(lists);
        if let Some(watcher) = self.watcher.get() {
            watcher(changes);
        }
        // Without the lock, for which checks would wait.
        for (told, id, key) in news {
            tell(told, id, key);
        }
    }

    /// Tells of whatever is taken over from now on, after it has been. Only the first who
    /// asks is told.
    pub fn watch(&self, watcher: impl Fn(&[KeyChange]) + Send + Sync + 'static) {
        let _ = self.watcher.set(Box::new(watcher));
    }

    /// Whatever is known, in pieces, as changes that make the same of nothing. What is
    /// taken over meanwhile may be missing.
    pub fn all(&self) -> impl Iterator<Item = Vec<KeyChange>> {
        let lists = self.read();
        let ids: Vec<KeyId> = lists.table.ids().collect();
        // When that was, nobody asks of a key that is not here.
        let never = Timestamp::from_secs(0);
        let end = |id: KeyId| lists.table.get(id).and_then(|key| key.expires).unwrap_or(never);
        let revoked = lists.revoked.iter().map(|id| KeyChange::Revoked(*id, end(*id)));
        let cut_offs = lists
            .cut_offs
            .iter()
            .map(|(user_id, at)| KeyChange::CutOff(user_id.clone(), Timestamp::from_secs(*at)));
        let rest: Vec<KeyChange> = revoked.chain(cut_offs).collect();
        drop(lists);
        let pages = ids.len().div_ceil(PAGE);
        let page = move |at: usize| {
            let lists = self.read();
            let ids = ids.iter().skip(at * PAGE).take(PAGE);
            let keys = ids.filter_map(|id| Some(lists.table.get(*id)?.to_key()));
            keys.map(|key| KeyChange::Key(Box::new(key))).collect()
        };
        (0..pages).map(page).chain(std::iter::once(rest))
    }

    /// Voids the keys that a user had up to and in that second. Never forgotten: a
    /// key lives for longer than any token.
    pub fn cut_off(&self, user_id: &str, at: Timestamp) {
        self.apply(&[KeyChange::CutOff(user_id.to_owned(), at)], |_, _, _| {});
    }

    /// How many keys there were, by their state, when they were counted last.
    #[must_use]
    pub fn counts(&self) -> KeyCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the keys. Whoever applies changes does so: where somebody waits to
    /// write, those who read wait, too.
    pub fn count(&self, now: Timestamp) {
        let counts = self.read().table.counts(now);
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Drops keys that are none of these; what was revoked stays so. Whoever applies
    /// changes does so.
    pub fn keep(&self, known: &HashSet<KeyId>) {
        let next = self.read().table.only(known);
        if let Some(next) = next {
            self.lists.write().unwrap_or_else(PoisonError::into_inner).table = next;
        }
    }

    /// Drops what ended long ago. Whoever applies changes does so, as no change may
    /// come meanwhile.
    pub fn forget(&self, now: Timestamp) {
        let next = self.read().table.without_forgotten(now);
        if let Some(next) = next {
            self.lists.write().unwrap_or_else(PoisonError::into_inner).table = next;
        }
    }
}
