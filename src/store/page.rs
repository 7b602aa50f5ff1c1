//! A page of the stream of revocations.

use redis::{FromRedisValue, ParsingError, Value};

use crate::{
    clock::Timestamp,
    token::{Revocation, TokenRef},
};

/// So many entries are read at a time by who starts, or was away: what is new waits for it.
const MANY: usize = 5000;
/// So many by who follows, of whatever comes at once: to read them, some 30 µs, is short
/// enough for who else needs the processor, such as the threads of a gateway.
const FEW: usize = 25;

/// How many entries are read at a time, and how often before they are handed over.
pub(super) fn at_once(is_caught_up: bool) -> (usize, usize) {
    if is_caught_up { (FEW, 40) } else { (MANY, 1) }
}

/// Entries of the stream of revocations.
pub(super) struct Page {
    pub(super) revocations: Vec<Revocation>,
    /// How many entries were read, also such as mean nothing here.
    pub(super) entries: usize,
    /// The id of the last entry; empty where there is none.
    pub(super) last: String,
}

impl FromRedisValue for Page {
    // Of a million entries with five texts each, a copy of each text takes longer than to
    // take them onto a list.
    fn from_redis_value(answer: Value) -> Result<Self, ParsingError> {
        let entries = parts(&answer)?;
        let revocations = Vec::with_capacity(entries.len());
        let mut page = Self { revocations, entries: entries.len(), last: String::new() };
        for (at, entry) in entries.iter().enumerate() {
            let [id, fields] = parts(entry)? else { return Err("an entry is no pair".into()) };
            let fields: Vec<&str> = parts(fields)?.iter().map(text).collect::<Result<_, _>>()?;
            let (fields, []) = fields.as_chunks() else {
                return Err("a field has no value".into());
            };
            page.revocations.extend(revocation(fields));
            if at + 1 == entries.len() {
                text(id)?.clone_into(&mut page.last);
            }
        }
        Ok(page)
    }
}

fn parts(value: &Value) -> Result<&[Value], ParsingError> {
    match value {
        Value::Array(parts) => Ok(parts),
        _ => Err("it is no list".into()),
    }
}

fn text(value: &Value) -> Result<&str, ParsingError> {
    match value {
        Value::BulkString(bytes) => Ok(std::str::from_utf8(bytes)?),
        Value::SimpleString(text) => Ok(text),
        _ => Err("it is no text".into()),
    }
}

/// An entry of the stream; `None` for one that a later version has written.
fn revocation(fields: &[[&str; 2]]) -> Option<Revocation> {
    let field = |name| fields.iter().find(|[key, _]| *key == name).map(|[_, value]| *value);
    let secs = |name| field(name)?.parse().ok().map(Timestamp::from_secs);
    let [[kind, _], ..] = fields else { return None };
    match *kind {
        "t" => Some(Revocation::Token(TokenRef::from_hex(field("t")?)?, secs("u")?)),
        "c" => Some(Revocation::User(field("c")?.to_owned(), secs("a")?)),
        "e" => Some(Revocation::Everybody(secs("e")?)),
        _ => None,
    }
}
