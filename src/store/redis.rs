//! The store in Redis.
//!
//! Revocations are a stream: a reader that starts reads it from its
//! beginning, one that follows asks for what is new, and one that was away
//! goes on where it stood. All keys of a script share a hash tag, so that a
//! cluster keeps them in one slot.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};

use super::{
    Cursor, Hits, Key, Limit, Revocation, Standing, StoreError, hex,
    link::{Link, Target},
};
use crate::{clock::Timestamp, token::TokenRef};

/// Revocations that are read at a time.
const PAGE: usize = 5000;

/// Counts a try: KEYS counter; ARGV tries, window, lockout (milliseconds).
const HIT: &str = "\
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count == tonumber(ARGV[1]) + 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {count, redis.call('PTTL', KEYS[1])}";

/// Takes a try back, of a counter that is still there: nobody has tries in hand.
const GIVE_BACK: &str = "\
local count = redis.call('GET', KEYS[1])
if count and tonumber(count) > 0 then redis.call('DECR', KEYS[1]) end
return 1";

/// Revokes a token: KEYS stream; ARGV token, its end (seconds), how long an
/// entry is kept (milliseconds): no token lives longer than that.
const REVOKE: &str = "\
local oldest = redis.call('TIME')[1] * 1000 - ARGV[3]
redis.call('XADD', KEYS[1], 'MINID', '~', string.format('%d', oldest), '*', 't', ARGV[1], 'u', ARGV[2])
return 1";

/// Cuts a user off by the clock of Redis: KEYS stream, cut-offs; ARGV user,
/// how long it is kept (milliseconds). A second one in the same second is a
/// second later, since what was issued after the first one is, too.
const CUT_OFF: &str = "\
local time = redis.call('TIME')
local at = tonumber(time[1])
local before = redis.call('ZSCORE', KEYS[2], ARGV[1])
if before and tonumber(before) >= at then at = tonumber(before) + 1 end
local oldest = math.floor(time[1] - ARGV[2] / 1000)
redis.call('XADD', KEYS[1], 'MINID', '~', string.format('%d', oldest * 1000), '*', 'c', ARGV[1], 'a', string.format('%d', at))
redis.call('ZADD', KEYS[2], at, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. oldest)
return at";

/// The time, a user's cut-off and account: KEYS cut-offs, accounts; ARGV user.
const STANDING: &str = "\
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
local account = redis.call('HGET', KEYS[2], ARGV[1])
return {tonumber(redis.call('TIME')[1]), at and tonumber(at) or -1, account}";

/// Notes an account: KEYS stream, cut-offs, accounts; ARGV user, how long,
/// account. Whoever notices a change cuts the user off.
const NOTE_ACCOUNT: &str = "\
local known = redis.call('HGET', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
if not known or known == ARGV[3] then return 0 end
";

/// The store in Redis.
#[derive(Debug)]
pub(super) struct Redis {
    link: Link,
    prefix: String,
    /// In milliseconds.
    keep_cut_offs: AtomicU64,
}

impl Redis {
    pub(super) fn new(
        target: &Target,
        prefix: &str,
        timeout: Duration,
        keep_cut_offs: Duration,
    ) -> Result<Self, StoreError> {
        let link = Link::new(target, timeout)?;
        let keep_cut_offs = AtomicU64::new(millis(keep_cut_offs));
        Ok(Self { link, prefix: prefix.to_owned(), keep_cut_offs })
    }

    pub(super) fn keep_cut_offs(&self, span: Duration) {
        self.keep_cut_offs.store(millis(span), Ordering::Relaxed);
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.0)
    }

    fn shared_key(&self, name: &str) -> String {
        format!("{}{{revocations}}:{name}", self.prefix)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let answer = self.link.send(command).await?;
        from_redis_value(answer).map_err(|_| StoreError::Garbled)
    }

    pub(super) async fn put(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("NX").arg("PX").arg(millis(ttl));
        match self.ask::<Option<String>>(&command).await? {
            Some(_) => Ok(()),
            // Keys are random: one that is there already was not put there.
            None => Err(StoreError::Garbled),
        }
    }

    pub(super) async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(cmd("GETDEL").arg(self.key(key))).await
    }

    pub(super) async fn hit(&self, key: &Key, limit: Limit) -> Result<Hits, StoreError> {
        let mut command = script(HIT, &[self.key(key)]);
        command.arg(limit.tries).arg(millis(limit.window)).arg(millis(limit.lockout));
        let (count, left): (u64, i64) = self.ask(&command).await?;
        Ok(Hits { count, resets_in: Duration::from_millis(u64::try_from(left).unwrap_or(0)) })
    }

    pub(super) async fn give_back(&self, key: &Key) -> Result<(), StoreError> {
        self.ask::<Value>(&script(GIVE_BACK, &[self.key(key)])).await.map(drop)
    }

    pub(super) async fn forget(&self, key: &Key) -> Result<(), StoreError> {
        self.ask::<Value>(cmd("DEL").arg(self.key(key))).await.map(drop)
    }

    pub(super) async fn revoke(&self, token: TokenRef, until: Timestamp) -> Result<(), StoreError> {
        let mut command = script(REVOKE, &[self.shared_key("stream")]);
        command
            .arg(hex(token.as_bytes()))
            .arg(until.as_secs())
            .arg(self.keep_cut_offs.load(Ordering::Relaxed));
        self.ask::<Value>(&command).await.map(drop)
    }

    pub(super) async fn cut_off(&self, user_id: &str) -> Result<Timestamp, StoreError> {
        let mut command = script(CUT_OFF, &["stream", "cut-offs"].map(|key| self.shared_key(key)));
        command.arg(user_id).arg(self.keep_cut_offs.load(Ordering::Relaxed));
        self.ask::<i64>(&command).await.map(Timestamp::from_secs)
    }

    pub(super) async fn standing(&self, user_id: &str) -> Result<Standing, StoreError> {
        let keys = ["cut-offs", "accounts"].map(|key| self.shared_key(key));
        let mut command = script(STANDING, &keys);
        let (now, at, account): (i64, i64, Option<String>) = self.ask(command.arg(user_id)).await?;
        let cut_off = (at >= 0).then(|| Timestamp::from_secs(at));
        Ok(Standing { now: Timestamp::from_secs(now), cut_off, account })
    }

    pub(super) async fn note_account(
        &self,
        user_id: &str,
        account: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let keys = ["stream", "cut-offs", "accounts"].map(|key| self.shared_key(key));
        let mut command = script(&[NOTE_ACCOUNT, CUT_OFF].concat(), &keys);
        command.arg(user_id).arg(self.keep_cut_offs.load(Ordering::Relaxed)).arg(account);
        let at: i64 = self.ask(&command).await?;
        Ok((at != 0).then(|| Timestamp::from_secs(at)))
    }

    pub(super) async fn accounts(&self) -> Result<HashMap<String, String>, StoreError> {
        self.ask(cmd("HGETALL").arg(self.shared_key("accounts"))).await
    }

    pub(super) async fn revocations(
        &self,
        after: &Cursor,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let start = if after.0.is_empty() { "-".to_owned() } else { format!("({}", after.0) };
        let mut command = cmd("XRANGE");
        command.arg(self.shared_key("stream")).arg(start).arg("+").arg("COUNT").arg(PAGE);
        let entries: Vec<(String, Vec<(String, String)>)> = self.ask(&command).await?;
        let last = entries.last().map_or_else(|| after.clone(), |(id, _)| Cursor(id.clone()));
        let revocations = entries.iter().filter_map(|(_, fields)| revocation(fields)).collect();
        Ok((revocations, last))
    }

    pub(super) async fn concerns(&self) -> Result<Vec<String>, StoreError> {
        let mut concerns = Vec::new();
        let setting = async |name: &str| -> Option<String> {
            // A managed Redis may keep its settings to itself.
            let mut command = cmd("CONFIG");
            command.arg("GET").arg(name);
            let texts = texts(self.link.send(&command).await.ok()?);
            texts.iter().skip_while(|text| *text != name).nth(1).cloned()
        };
        if let Some(policy) = setting("maxmemory-policy").await
            && policy != "noeviction"
        {
            concerns.push(format!(
                "maxmemory-policy is {policy}: Redis may drop revocations; set it to noeviction"
            ));
        }
        let replication = texts(self.link.send(cmd("INFO").arg("replication")).await?);
        let has_replicas = replication
            .iter()
            .flat_map(|text| text.lines())
            .any(|line| line.starts_with("connected_slaves:") && !line.ends_with(":0"));
        if has_replicas && setting("min-replicas-to-write").await.as_deref() == Some("0") {
            concerns.push(
                "min-replicas-to-write is 0: after a failover a code that was just used may work \
                 again; set it to 1"
                    .to_owned(),
            );
        }
        Ok(concerns)
    }
}

/// All texts of an answer in their order: a cluster answers for each node.
fn texts(answer: Value) -> Vec<String> {
    match answer {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(&bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text],
        Value::Array(values) | Value::Set(values) => values.into_iter().flat_map(texts).collect(),
        Value::Map(pairs) => {
            pairs.into_iter().flat_map(|(key, value)| [key, value]).flat_map(texts).collect()
        }
        _ => Vec::new(),
    }
}

fn script(source: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(source).arg(keys.len()).arg(keys);
    command
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// An entry of the stream; `None` for one that a later version has written.
fn revocation(fields: &[(String, String)]) -> Option<Revocation> {
    let field = |name| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let secs = |name| field(name)?.parse().ok().map(Timestamp::from_secs);
    match (field("t"), field("c")) {
        (Some(token), None) => Some(Revocation::Token(TokenRef::from_hex(token)?, secs("u")?)),
        (None, Some(user)) => Some(Revocation::User(user.clone(), secs("a")?)),
        _ => None,
    }
}
