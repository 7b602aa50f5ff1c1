//! Many keys in little memory: a million take about 90 MiB.
//!
//! A key is a run of bytes in a chunk. What many keys share, their role, scopes
//! and networks, is kept once. A key that changes is changed where it lies, or
//! lies elsewhere from then on; what it leaves behind is dropped when the table
//! is made anew.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hashbrown::HashTable;
use ipnet::IpNet;

use super::{
    packed::{
        END_AT, HEAD_BYTES, Head, NEVER, REVOKED_AT, bounded, created, is_over, seconds, time,
    },
    record::{ApiKey, KeySays, KeyState},
    text::{KeyHash, KeyId},
};
use crate::clock::Timestamp;

/// The length of a chunk as a power of two, in bytes.
const CHUNK_BITS: u32 = 20;
const CHUNK_BYTES: usize = 1 << CHUNK_BITS;
/// What many keys share.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) role: String,
    /// Divided by blanks; none for none.
    pub(super) scope: Option<String>,
    pub(super) allow: Vec<IpNet>,
}

impl Profile {
    fn is_of(&self, says: &KeySays) -> bool {
        let scopes = self.scope.iter().flat_map(|scope| scope.split(' '));
        self.role == says.role && self.allow == says.allow && scopes.eq(&says.scopes)
    }
}

/// A key of the table.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) id: KeyId,
    pub(super) hash: KeyHash,
    pub(super) expires: Option<Timestamp>,
    pub(super) created: Option<Timestamp>,
    pub(super) is_revoked: bool,
    pub(super) profile: &'t Profile,
    pub(super) user_id: &'t str,
    pub(super) name: &'t str,
}

impl Entry<'_> {
    fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.is_revoked, self.expires, now)
    }

    /// The key, as far as the table has it: one that was revoked is so since its end.
    pub(super) fn to_key(&self) -> ApiKey {
        let profile = self.profile;
        let scopes = profile.scope.iter().flat_map(|scope| scope.split(' '));
        let says = KeySays {
            user_id: self.user_id.to_owned(),
            name: self.name.to_owned(),
            role: profile.role.clone(),
            scopes: scopes.map(str::to_owned).collect(),
            allow: profile.allow.clone(),
            created: self.created.map(Timestamp::as_secs),
            ..KeySays::default()
        };
        let revoked = self.expires.filter(|_| self.is_revoked);
        ApiKey { id: self.id, hash: self.hash, says, expires: self.expires, revoked }
    }

    fn says_the_same(&self, key: &ApiKey) -> bool {
        let says = &key.says;
        self.user_id == says.user_id
            && self.name == says.name
            && self.created == time(created(says))
            && self.profile.is_of(says)
    }
}

/// How many keys there are, by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Those that can be used.
    pub active: usize,
    /// Those that have ended by themselves.
    pub expired: usize,
    /// Those that were ended.
    pub revoked: usize,
}

impl KeyCounts {
    /// The counts of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            expired: self.expired + other.expired,
            revoked: self.revoked + other.revoked,
        }
    }
}

/// Keys by their ids.
#[derive(Default)]
pub struct KeyTable {
    /// Where each record is: its chunk, and its place there.
    index: HashTable<u32>,
    chunks: Vec<Vec<u8>>,
    profiles: Vec<Arc<Profile>>,
    by_profile: HashMap<Arc<Profile>, u32>,
    last: Option<(u32, Arc<Profile>)>,
}

impl std::fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTable").field("keys", &self.index.len()).finish_non_exhaustive()
    }
}

impl KeyTable {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether there is a key of this id.
    #[must_use]
    pub fn contains(&self, id: KeyId) -> bool {
        self.find(id).is_some()
    }

    /// Whether a key says in another table what it says in this one.
    #[must_use]
    pub fn is_alike(&self, other: &Self, id: KeyId) -> bool {
        match (self.get(id), other.get(id)) {
            (Some(one), Some(other)) => {
                (one.hash, one.expires, one.created, one.is_revoked, one.profile)
                    == (other.hash, other.expires, other.created, other.is_revoked, other.profile)
                    && (one.user_id, one.name) == (other.user_id, other.name)
            }
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.entries().map(|entry| entry.id)
    }

    /// How many keys there are, by their state at a time.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> KeyCounts {
        self.entries().fold(KeyCounts::default(), |counts, entry| {
            let one = match entry.state(now) {
                KeyState::Active => KeyCounts { active: 1, ..KeyCounts::default() },
                KeyState::Expired => KeyCounts { expired: 1, ..KeyCounts::default() },
                KeyState::Revoked => KeyCounts { revoked: 1, ..KeyCounts::default() },
            };
            counts.plus(one)
        })
    }

    /// The end of a key, as the table has it.
    pub(super) fn end_of(key: &ApiKey) -> Option<Timestamp> {
        key.expires.and_then(|at| time(seconds(at)))
    }

    /// Puts a key in. Of one that is there already the earlier end counts, and a
    /// revocation is never taken back: what is read once more may be older.
    pub fn put(&mut self, key: &ApiKey) {
        let ends = [key.expires, key.revoked].into_iter().flatten().min();
        let mut end = ends.map_or(NEVER, seconds);
        let mut is_revoked = key.revoked.is_some();
        if let Some(place) = self.find(key.id)
            && let Some(known) = self.entry(place)
        {
            let known_end = known.expires.map_or(NEVER, seconds);
            end = [end, known_end].into_iter().filter(|end| *end != NEVER).min().unwrap_or(NEVER);
            is_revoked |= known.is_revoked;
            if known.hash == key.hash && known.says_the_same(key) {
                return self.change(place, end, is_revoked);
            }
        }
        let says = &key.says;
        let profile = self.profile(says);
        let created = created(says);
        let (user_id, name) = (bounded(&says.user_id), bounded(&says.name));
        let mut record = Vec::with_capacity(HEAD_BYTES + user_id.len() + name.len());
        record.extend(key.id.bits().to_le_bytes());
        record.extend(key.hash.as_bytes());
        record.extend(end.to_le_bytes());
        record.extend(created.to_le_bytes());
        record.push(u8::from(is_revoked));
        record.extend(profile.to_le_bytes());
        record.extend([user_id, name].map(|text| u8::try_from(text.len()).unwrap_or(u8::MAX)));
        record.extend(user_id.bytes());
        record.extend(name.bytes());
        self.append(key.id, &record);
    }

    /// The key of this id.
    pub(super) fn get(&self, id: KeyId) -> Option<Entry<'_>> {
        self.entry(self.find(id)?)
    }

    /// The hash of some key that is there, found by as many steps through memory as that
    /// of a key that was asked for: who is told that a key is none waits as long as for one
    /// that is. It stands for nothing: what it is compared with is no key, whatever comes
    /// of it.
    pub(super) fn stand_in(&self, id: KeyId) -> KeyHash {
        let buckets = self.index.num_buckets().max(1);
        // Where it was looked for, so that no more has to come from memory.
        let first = usize::try_from(spread(id)).unwrap_or_default();
        // At least a third of all buckets is taken, of a table that has grown.
        let mut near = (0..64).map(|step| first.wrapping_add(step) % buckets);
        let place = near.find_map(|at| self.index.get_bucket(at));
        let entry = place.and_then(|place| self.entry(*place));
        entry.map_or_else(|| KeyHash::from_bytes([0; 32]), |entry| entry.hash)
    }

    /// Ends a key that is there.
    pub(super) fn revoke(&mut self, id: KeyId, at: Timestamp) {
        if let Some(place) = self.find(id) {
            let known = self.entry(place).and_then(|entry| entry.expires);
            let end = known.map_or(at, |known| known.min(at));
            self.change(place, seconds(end), true);
        }
    }

    /// The table without what ended long ago, when that is a good part of it.
    pub(super) fn without_forgotten(&self, now: Timestamp) -> Option<Self> {
        const FEW: usize = 1000;
        let is_forgotten =
            |place: &&u32| self.head(**place).is_some_and(|head| is_over(head.end, now));
        let forgotten = self.index.iter().filter(is_forgotten).count();
        if forgotten <= FEW + self.len() / 4 {
            return None;
        }
        Some(self.with(|head| !is_over(head.end, now)))
    }

    /// The table with these keys alone, where it has others.
    pub(super) fn only(&self, known: &HashSet<KeyId>) -> Option<Self> {
        let is_other = |id: KeyId| !known.contains(&id);
        self.ids().any(is_other).then(|| self.with(|head| known.contains(&head.id)))
    }

    /// The table with those that stay.
    fn with(&self, stays: impl Fn(&Head) -> bool) -> Self {
        let mut next = Self {
            profiles: self.profiles.clone(),
            by_profile: self.by_profile.clone(),
            ..Self::default()
        };
        for place in &self.index {
            let head = self.head(*place).filter(&stays);
            let Some(head) = head else { continue };
            let record = record_at(&self.chunks, *place);
            if let Some(record) = record.and_then(|rest| rest.get(..head.bytes())) {
                next.append(head.id, record);
            }
        }
        next
    }

    fn append(&mut self, id: KeyId, record: &[u8]) {
        let has_room = |chunk: &Vec<u8>| chunk.len() + record.len() <= CHUNK_BYTES;
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES));
        }
        let number = self.chunks.len() - 1;
        let Some(chunk) = self.chunks.last_mut() else { return };
        let Ok(place) = u32::try_from((number << CHUNK_BITS) | chunk.len()) else { return };
        chunk.extend_from_slice(record);
        let chunks = &self.chunks;
        let is_it = |place: &u32| id_at(chunks, *place) == Some(id);
        let hash_of = |place: &u32| id_at(chunks, *place).map_or(0, spread);
        match self.index.entry(spread(id), is_it, hash_of) {
            hashbrown::hash_table::Entry::Occupied(mut known) => *known.get_mut() = place,
            hashbrown::hash_table::Entry::Vacant(free) => drop(free.insert(place)),
        }
    }

    fn find(&self, id: KeyId) -> Option<u32> {
        self.index.find(spread(id), |place| id_at(&self.chunks, *place) == Some(id)).copied()
    }

    fn change(&mut self, place: u32, end: u32, is_revoked: bool) {
        let (number, at) = split(place);
        let chunk = self.chunks.get_mut(number);
        let Some(record) = chunk.and_then(|chunk| chunk.get_mut(at..)) else { return };
        if let Some(bytes) = record.get_mut(END_AT..END_AT + 4) {
            bytes.copy_from_slice(&end.to_le_bytes());
        }
        if let Some(byte) = record.get_mut(REVOKED_AT) {
            *byte = u8::from(is_revoked);
        }
    }

    /// The number of what a key shares with others: most with the one before it.
    fn profile(&mut self, says: &KeySays) -> u32 {
        if let Some((number, profile)) = &self.last
            && profile.is_of(says)
        {
            return *number;
        }
        let profile = Arc::new(Profile {
            role: says.role.clone(),
            scope: (!says.scopes.is_empty()).then(|| says.scopes.join(" ")),
            allow: says.allow.clone(),
        });
        let next = u32::try_from(self.profiles.len()).unwrap_or(u32::MAX);
        let number = *self.by_profile.entry(Arc::clone(&profile)).or_insert_with(|| {
            self.profiles.push(Arc::clone(&profile));
            next
        });
        self.last = Some((number, profile));
        number
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.index.iter().filter_map(|place| self.entry(*place))
    }

    fn head(&self, place: u32) -> Option<Head> {
        Head::read(record_at(&self.chunks, place)?).map(|(head, _)| head)
    }

    fn entry(&self, place: u32) -> Option<Entry<'_>> {
        let (head, texts) = Head::read(record_at(&self.chunks, place)?)?;
        let (user_id, rest) = texts.split_at_checked(head.user_id_bytes)?;
        Some(Entry {
            id: head.id,
            hash: head.hash,
            expires: time(head.end),
            created: time(head.created),
            is_revoked: head.is_revoked,
            profile: self.profiles.get(usize::try_from(head.profile).ok()?)?,
            user_id: std::str::from_utf8(user_id).ok()?,
            name: std::str::from_utf8(rest.get(..head.name_bytes)?).ok()?,
        })
    }
}

fn split(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).unwrap_or_default();
    (place >> CHUNK_BITS, place & (CHUNK_BYTES - 1))
}

fn record_at(chunks: &[Vec<u8>], place: u32) -> Option<&[u8]> {
    let (number, at) = split(place);
    chunks.get(number)?.get(at..)
}

fn id_at(chunks: &[Vec<u8>], place: u32) -> Option<KeyId> {
    let id = record_at(chunks, place)?.first_chunk()?;
    Some(KeyId::from_bits(u64::from_le_bytes(*id)))
}

/// Ids are random already, but for those that somebody has chosen.
fn spread(id: KeyId) -> u64 {
    id.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
