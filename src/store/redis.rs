//! The store in Redis.
//!
//! Revocations are a stream: a reader that starts reads it from its
//! beginning, one that follows asks for what is new, and one that was away
//! goes on where it stood. Each stays in it for as long as it says. All keys
//! of a script share a hash tag, so that a cluster keeps them in one slot.

use std::{collections::HashMap, time::Duration};

use redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};

use super::{
    AccountState, Cursor, Hits, Key, Limit, MOST_REMEMBERED, Standing, StoreError,
    link::{Link, Target},
    page::{self, Page},
    scripts,
};
use crate::{
    clock::Timestamp,
    hex,
    token::{MAX_LEEWAY, Revocation, TokenRef},
};

/// The store in Redis.
#[derive(Debug)]
pub(super) struct Redis {
    link: Link,
    /// For who follows: a page of thousands delays no sign-in, and is read by the thread
    /// that follows.
    following: Link,
    prefix: String,
}

impl Redis {
    pub(super) fn new(
        target: &Target,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let link = || Link::new(target, timeout);
        Ok(Self { link: link()?, following: link()?, prefix: prefix.to_owned() })
    }

    pub(super) fn key(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.0)
    }

    pub(super) fn shared_key(&self, name: &str) -> String {
        format!("{}{{revocations}}:{name}", self.prefix)
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        over(&self.link, command).await
    }

    /// The same, for who follows.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        over(&self.following, command).await
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

    pub(super) async fn replace(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut command = cmd("SET");
        self.ask(command.arg(self.key(key)).arg(value).arg("PX").arg(millis(ttl))).await
    }

    pub(super) async fn look(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(cmd("GET").arg(self.key(key))).await
    }

    pub(super) async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(cmd("GETDEL").arg(self.key(key))).await
    }

    pub(super) async fn hit(&self, key: &Key, limit: Limit) -> Result<Hits, StoreError> {
        let mut command = script(scripts::HIT, &[self.key(key)]);
        command.arg(limit.tries).arg(millis(limit.window)).arg(millis(limit.lockout));
        let (count, left): (u64, i64) = self.ask(&command).await?;
        Ok(Hits { count, resets_in: Duration::from_millis(u64::try_from(left).unwrap_or(0)) })
    }

    pub(super) async fn give_back(&self, key: &Key) -> Result<(), StoreError> {
        self.ask::<Value>(&script(scripts::GIVE_BACK, &[self.key(key)])).await.map(drop)
    }

    pub(super) async fn forget(&self, key: &Key) -> Result<(), StoreError> {
        self.ask::<Value>(cmd("DEL").arg(self.key(key))).await.map(drop)
    }

    pub(super) async fn remember(
        &self,
        key: &Key,
        what: &Key,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut command = script(scripts::REMEMBER, &[self.key(key)]);
        command.arg(&what.0).arg(millis(ttl)).arg(MOST_REMEMBERED);
        self.ask::<Value>(&command).await.map(drop)
    }

    pub(super) async fn remembers(&self, key: &Key, what: &Key) -> Result<bool, StoreError> {
        let mut command = script(scripts::REMEMBERS, &[self.key(key)]);
        self.ask(command.arg(&what.0)).await
    }

    /// A script that appends to the stream; cut-offs are kept for so long.
    fn appending(&self, source: &[&str], more_keys: &[&str], kept: Duration) -> Cmd {
        let keys: Vec<String> =
            scripts::APPENDING.iter().chain(more_keys).map(|key| self.shared_key(key)).collect();
        let mut command = script(&[&[scripts::LOOK_AFTER], source].concat().concat(), &keys);
        // The end of a token is written in whole seconds: one more is none less.
        command.arg(secs_up(kept)).arg(secs_up(MAX_LEEWAY) + 1);
        command
    }

    pub(super) async fn revoke(
        &self,
        token: TokenRef,
        until: Timestamp,
        kept: Duration,
    ) -> Result<(), StoreError> {
        let mut command = self.appending(&[scripts::REVOKE], &[], kept);
        command
            .arg(hex::encode(token.as_bytes()))
            .arg(until.plus(Duration::from_millis(999)).as_secs());
        self.ask::<Value>(&command).await.map(drop)
    }

    pub(super) async fn cut_off(
        &self,
        user_id: &str,
        kept: Duration,
    ) -> Result<Timestamp, StoreError> {
        let mut command = self.appending(&[scripts::CUT_OFF], &scripts::CUTTING_OFF, kept);
        self.ask::<i64>(command.arg(user_id)).await.map(Timestamp::from_secs)
    }

    pub(super) async fn standing(
        &self,
        user_id: &str,
        kept: Duration,
    ) -> Result<Standing, StoreError> {
        let keys = ["cut-offs", "accounts", "passwords", "issued"].map(|key| self.shared_key(key));
        let mut command = script(scripts::STANDING, &keys);
        let answer = self.ask(command.arg(user_id).arg(secs_up(kept))).await?;
        let (now, at, state, password): (i64, i64, Option<String>, Option<String>) = answer;
        let cut_off = (at >= 0).then(|| Timestamp::from_secs(at));
        let account = state.map(|state| AccountState { state, password });
        Ok(Standing { now: Timestamp::from_secs(now), cut_off, account })
    }

    pub(super) async fn note_account(
        &self,
        user_id: &str,
        account: &AccountState,
        kept: Duration,
    ) -> Result<Option<Timestamp>, StoreError> {
        let source = [scripts::NOTE_ACCOUNT, scripts::CUT_OFF];
        let more = [&scripts::CUTTING_OFF[..], &["accounts", "passwords"]].concat();
        let mut command = self.appending(&source, &more, kept);
        command.arg(user_id).arg(&account.state).arg(account.password.as_deref().unwrap_or(""));
        let at: i64 = self.ask(&command).await?;
        Ok((at != 0).then(|| Timestamp::from_secs(at)))
    }

    pub(super) async fn accounts(&self) -> Result<HashMap<String, AccountState>, StoreError> {
        let keys = ["accounts", "passwords"].map(|key| self.shared_key(key));
        let answer = self.ask(&script(scripts::ACCOUNTS, &keys)).await?;
        let (states, mut passwords): (HashMap<String, String>, HashMap<String, String>) = answer;
        let with_password = |(id, state)| {
            let password = passwords.remove(&id);
            (id, AccountState { state, password })
        };
        Ok(states.into_iter().map(with_password).collect())
    }

    pub(super) async fn revocations(
        &self,
        after: &Cursor,
    ) -> Result<(Vec<Revocation>, Cursor), StoreError> {
        let stream = self.shared_key("stream");
        // Before the pages, so that one of another master is told of by the next question.
        // Not with it: a script takes seven times as long to hand a page over.
        let source = [scripts::HISTORY, scripts::TELL_HISTORY].concat();
        let history: String = self.read(&script(&source, std::slice::from_ref(&stream))).await?;
        let known = (history == after.history).then_some(after);
        let (size, pages) = page::at_once(known.is_some_and(|known| known.is_caught_up));
        let mut last = known.map(|known| known.last.clone()).unwrap_or_default();
        let mut revocations = Vec::new();
        for _ in 0..pages {
            let start = if last.is_empty() { "-".to_owned() } else { format!("({last}") };
            let mut command = cmd("XRANGE");
            command.arg(&stream).arg(start).arg("+").arg("COUNT").arg(size);
            let page: Page = self.read(&command).await?;
            revocations.extend(page.revocations);
            if page.entries > 0 {
                last = page.last;
            }
            if page.entries < size {
                break;
            }
        }
        Ok((revocations, after.behind(last, history)))
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

async fn over<T: FromRedisValue>(link: &Link, command: &Cmd) -> Result<T, StoreError> {
    let answer = link.send(command).await?;
    from_redis_value(answer).map_err(|_| StoreError::Garbled)
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

pub(super) fn script(source: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(source).arg(keys.len()).arg(keys);
    command
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// In whole seconds, of which a part is one.
pub(super) fn secs_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
