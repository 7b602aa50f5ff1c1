//! Keys for machines in Redis.
//!
//! They are a stream, like the revocations, beside which a hash tells where in it
//! the last word on each key is; an entry that has been overtaken is taken out.
//! An entry has one field, since a reader reads a million: named after the id, what is
//! known of the key; or `u`, for the keys that a user had, the second, a blank, and
//! the user. What is known is the end, a blank, when it was revoked, a blank, and what
//! it says in JSON. Each may be empty, the last one for a key that the store has not.
//! What a later version adds is left alone.

use std::{borrow::Cow, collections::HashMap};

use super::{
    Cursor, StoreError,
    redis::{Redis, script, secs_up},
    scripts,
};
use crate::{
    api_key::{ApiKey, KeyChange, KeyHash, KeyId, KeySays, REMEMBERED},
    clock::Timestamp,
};
use redis::{Value, cmd};
use serde::de::IgnoredAny;

/// Keys that are read at a time.
const PAGE: usize = 300;
/// The keys of the scripts: the stream, where the last word on each is in it, when
/// each is forgotten, and on which day each was used last.
const KEYS: [&str; 4] = ["keys", "key-entries", "key-ends", "key-uses"];

/// What those scripts begin with: ARGV how long what has ended is remembered.
const PUT: &str = "\
local now = tonumber(redis.call('TIME')[1])

local function take_off(id)
  local entry = redis.call('HGET', KEYS[2], id)
  if entry then redis.call('XDEL', KEYS[1], entry) end
  redis.call('HDEL', KEYS[2], id)
end

local function put(id, said, ends, revoked)
  take_off(id)
  local entry = redis.call('XADD', KEYS[1], '*', id, ends .. ' ' .. revoked .. ' ' .. said)
  redis.call('HSET', KEYS[2], id, entry)
  local last = tonumber(revoked) or tonumber(ends)
  -- That a key of a file was revoked is never forgotten.
  if last and said ~= '' then
    redis.call('ZADD', KEYS[3], last + ARGV[1], id)
  else
    redis.call('ZREM', KEYS[3], id)
  end
end

local function get(id)
  local entry = redis.call('HGET', KEYS[2], id)
  local found = entry and redis.call('XRANGE', KEYS[1], entry, entry)[1]
  if not found then return nil end
  local ends, revoked, said = string.match(found[2][2], '^(%S*) (%S*) (.*)$')
  return {said = said, ends = ends, revoked = revoked}
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)) do
  local key = get(id)
  take_off(id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], id)
  -- A file may have it yet.
  if key and key.revoked ~= '' then put(id, '', '', key.revoked) end
end
";

/// ARGV behind the others id, what it says, its end.
const ADD: &str = "\
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
put(ARGV[2], ARGV[3], ARGV[4], '')
return 1";

/// ARGV behind the others id.
const REVOKE: &str = "\
local key = get(ARGV[2])
if key and key.revoked ~= '' then return 0 end
put(ARGV[2], key and key.said or '', key and key.ends or '', string.format('%d', now))
return key and 1 or 2";

/// ARGV behind the others id, its end, and those of [`ADD`] for the new one.
const ROTATE: &str = "\
local key = get(ARGV[2])
if not key or key.revoked ~= '' or key.said == '' then return 0 end
local ends = tonumber(key.ends)
if not ends or ends > tonumber(ARGV[3]) then ends = tonumber(ARGV[3]) end
put(ARGV[2], key.said, string.format('%d', ends), '')
put(ARGV[4], ARGV[5], ARGV[6], '')
return 1";

/// The entry of a key: KEYS stream, entries; ARGV id.
const GET: &str = "\
local entry = redis.call('HGET', KEYS[2], ARGV[1])
local entries = entry and redis.call('XRANGE', KEYS[1], entry, entry) or {}
return cmsgpack.pack(entries)";

/// Goes on with [`BEHIND`](scripts::BEHIND): the history, the last entry's id, and
/// the entries. They come as one text: to read them as a million answers of five parts each
/// would take longer than all the rest.
const RANGE: &str = "\
if #entries == 0 then return {history, '', ''} end
return {history, entries[#entries][1], cmsgpack.pack(entries)}";

/// What a key says, as the stream has it: the hash of its secret, and the rest.
fn said(key: &ApiKey) -> Result<String, StoreError> {
    serde_json::to_string(&(key.hash.to_hex(), &key.says)).map_err(|_| StoreError::Garbled)
}

/// What came of revoking a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRevoked {
    /// It was a key of the store.
    Now,
    /// It was revoked before.
    Before,
    /// The store has no such key: one of a file is refused from now on.
    Elsewhere,
}

/// Changes as they were read, so that reading on need not wait for what they say.
#[derive(Debug, Default)]
pub struct KeyPage(pub(super) Vec<u8>);

/// The id of an entry of the stream, and its fields.
type Entry<'p> = (IgnoredAny, Vec<&'p [u8]>);

impl KeyPage {
    /// What they say.
    ///
    /// # Errors
    ///
    /// [`StoreError::Garbled`], where the page is none.
    pub fn changes(&self) -> Result<Vec<KeyChange>, StoreError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let entries: Vec<Entry<'_>> =
            rmp_serde::from_slice(&self.0).map_err(|_| StoreError::Garbled)?;
        Ok(entries.iter().filter_map(|(_, fields)| change(fields)).collect())
    }
}

impl Redis {
    fn keys(&self) -> Vec<String> {
        KEYS.map(|key| self.shared_key(key)).to_vec()
    }

    fn putting(&self, source: &str) -> redis::Cmd {
        let mut command = script(&[PUT, source].concat(), &self.keys());
        command.arg(secs_up(REMEMBERED));
        command
    }

    pub(super) async fn add_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let mut command = self.putting(ADD);
        command.arg(key.id.to_string()).arg(said(key)?).arg(end(key.expires));
        self.ask(&command).await
    }

    pub(super) async fn look_up_key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        let keys: Vec<String> = self.keys().into_iter().take(2).collect();
        let found = self.ask(script(GET, &keys).arg(id.to_string())).await?;
        Ok(match KeyPage(found).changes()?.pop() {
            Some(KeyChange::Key(key)) => Some(*key),
            _ => None,
        })
    }

    pub(super) async fn revoke_key(&self, id: KeyId) -> Result<KeyRevoked, StoreError> {
        let answer: u8 = self.ask(self.putting(REVOKE).arg(id.to_string())).await?;
        Ok(match answer {
            0 => KeyRevoked::Before,
            1 => KeyRevoked::Now,
            _ => KeyRevoked::Elsewhere,
        })
    }

    pub(super) async fn rotate_key(
        &self,
        old: KeyId,
        ends: Timestamp,
        new: &ApiKey,
    ) -> Result<bool, StoreError> {
        let mut command = self.putting(ROTATE);
        command.arg(old.to_string()).arg(ends.as_secs());
        command.arg(new.id.to_string()).arg(said(new)?).arg(end(new.expires));
        self.ask(&command).await
    }

    pub(super) async fn key_changes(
        &self,
        after: &Cursor,
    ) -> Result<(KeyPage, Cursor), StoreError> {
        let source = [scripts::HISTORY, scripts::BEHIND, RANGE].concat();
        let mut command = script(&source, &[self.shared_key(KEYS[0])]);
        command.arg(&after.history).arg(&after.last).arg(PAGE);
        let (history, last, page): (String, String, Vec<u8>) = self.read(&command).await?;
        Ok((KeyPage(page), after.behind(last, history)))
    }

    pub(super) async fn note_key_uses(&self, uses: &[(KeyId, i64)]) -> Result<(), StoreError> {
        for some in uses.chunks(PAGE) {
            let mut command = cmd("HSET");
            command.arg(self.shared_key("key-uses"));
            for (id, day) in some {
                command.arg(id.to_string()).arg(*day);
            }
            self.ask::<Value>(&command).await?;
        }
        Ok(())
    }

    pub(super) async fn key_use(&self, id: KeyId) -> Result<Option<i64>, StoreError> {
        let mut command = cmd("HGET");
        self.ask(command.arg(self.shared_key("key-uses")).arg(id.to_string())).await
    }

    pub(super) async fn key_uses(&self) -> Result<HashMap<KeyId, i64>, StoreError> {
        let mut command = cmd("HGETALL");
        let uses: HashMap<String, i64> = self.ask(command.arg(self.shared_key("key-uses"))).await?;
        Ok(uses.into_iter().filter_map(|(id, day)| Some((KeyId::parse(&id)?, day))).collect())
    }
}

fn end(at: Option<Timestamp>) -> String {
    at.map(|at| at.as_secs().to_string()).unwrap_or_default()
}

/// An entry of the stream; `None` for one that a later version has written. A key of
/// which a part cannot be read is void.
fn change(fields: &[&[u8]]) -> Option<KeyChange> {
    let [field, known, ..] = fields else { return None };
    let (field, known) = (std::str::from_utf8(field).ok()?, std::str::from_utf8(known));
    if field == "u" {
        let (at, user_id) = known.ok()?.split_once(' ')?;
        let at = at.parse().ok().map(Timestamp::from_secs)?;
        return Some(KeyChange::CutOff(user_id.to_owned(), at));
    }
    let id = KeyId::parse(field)?;
    let void = KeyChange::Revoked(id, Timestamp::from_secs(0));
    let key = known.ok().and_then(|known| key(id, known));
    Some(key.map_or(void, |key| KeyChange::Key(Box::new(key))))
}

/// The key that this is known of; `None` where it is none, or cannot be read.
fn key(id: KeyId, known: &str) -> Option<ApiKey> {
    // Empty is none; anything but seconds is what a later version says.
    let time = |text: &str| match text {
        "" => Some(None),
        secs => secs.parse().ok().map(Timestamp::from_secs).map(Some),
    };
    let mut parts = known.splitn(3, ' ');
    let (expires, revoked) = (time(parts.next()?)?, time(parts.next()?)?);
    let (hash, says): (Cow<'_, str>, KeySays) = serde_json::from_str(parts.next()?).ok()?;
    let key = ApiKey { id, hash: KeyHash::from_hex(&hash)?, says, expires, revoked };
    key.says.problem().is_none().then_some(key)
}
