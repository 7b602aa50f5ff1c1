//! What Redis answers.

use portcullis::{
    api_key::{KeyChange, KeyId},
    clock::Timestamp,
    store,
    token::{Revocation, TokenRef},
};
use redis::Value;

/// Pages of the two streams. One that can be read has lost nobody who was shut out; of a
/// key that cannot be read nothing is left but that it is void.
///
/// The first byte says what comes: `r` an answer as Redis sends it, `k` a page of keys as
/// it packs them, `e` the entries of such a page, a line for each.
pub fn redis(data: &[u8]) {
    match data.split_first() {
        Some((b'r', answer)) => revocations(answer),
        Some((b'k', page)) => {
            if let Ok(changes) = store::fuzzing::keys(page.to_vec()).changes() {
                changes.iter().for_each(is_sound);
            }
        }
        Some((b'e', entries)) => keys(entries),
        _ => {}
    }
}

fn revocations(answer: &[u8]) {
    let Ok(answer) = redis::parse_redis_value(answer) else { return };
    let entries = entries(&answer);
    let Ok(read) = store::fuzzing::revocations(answer) else { return };
    let entries = entries.expect("it is no page to a plain reader");
    let all: Vec<Revocation> = entries.iter().filter_map(expected).collect();
    assert_eq!(read, all);
}

type Fields = Vec<(String, String)>;

/// The fields of each entry of a page; none where it is none.
fn entries(answer: &Value) -> Option<Vec<Fields>> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let list = |value: &Value| match value {
        Value::Array(list) => Some(list.clone()),
        _ => None,
    };
    let entry = |entry: &Value| -> Option<Fields> {
        let entry = list(entry)?;
        let fields = list(entry.get(1)?)?;
        (entry.len() == 2 && fields.len() % 2 == 0).then_some(())?;
        fields.chunks(2).map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
    };
    list(answer)?.iter().map(entry).collect()
}

/// Who is shut out by an entry.
fn expected(fields: &Fields) -> Option<Revocation> {
    let field = |name: &str| fields.iter().find(|(it, _)| it == name).map(|(_, it)| it.as_str());
    let time = |name: &str| field(name)?.parse::<i64>().ok().map(Timestamp::from_secs);
    match fields.first()?.0.as_str() {
        "t" => {
            let hex = field("t")?;
            let is_hash = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash.then_some(())?;
            Some(Revocation::Token(TokenRef::from_hex(hex)?, time("u")?))
        }
        "c" => Some(Revocation::User(field("c")?.to_owned(), time("a")?)),
        "e" => Some(Revocation::Everybody(time("e")?)),
        _ => None,
    }
}

fn is_sound(change: &KeyChange) {
    if let KeyChange::Key(key) = change {
        assert!(key.says.problem().is_none());
        assert_eq!(KeyId::parse(&key.id.to_string()), Some(key.id));
    }
}

/// Entries of a page: the field, a blank, and what is known.
fn keys(lines: &[u8]) {
    let entries: Vec<(String, Vec<Bytes<'_>>)> = lines
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let mut halves = line.splitn(2, |byte| *byte == b' ');
            ("1-1".to_owned(), halves.by_ref().map(Bytes).collect())
        })
        .collect();
    let page = rmp_serde::to_vec(&entries).expect("a page");
    let changes = store::fuzzing::keys(page).changes().expect("a page is one");
    let mut changes = changes.iter();
    for (_, fields) in &entries {
        let [Bytes(field), Bytes(known), ..] = &fields[..] else { continue };
        let Ok(field) = std::str::from_utf8(field) else { continue };
        let known = std::str::from_utf8(known).ok();
        if field == "u" {
            let cut_off = known.and_then(|it| {
                let (at, user) = it.split_once(' ')?;
                Some((user, at.parse::<i64>().ok()?))
            });
            let Some((user, at)) = cut_off else { continue };
            let expected = KeyChange::CutOff(user.to_owned(), Timestamp::from_secs(at));
            assert_eq!(changes.next(), Some(&expected));
            continue;
        }
        let Some(id) = KeyId::parse(field) else { continue };
        let change = changes.next().expect("a key is lost");
        is_sound(change);
        match change {
            KeyChange::Key(key) => {
                let (ends, rest) = known.unwrap_or_default().split_once(' ').expect("an end");
                let (revoked, _) = rest.split_once(' ').expect("a revocation");
                assert_eq!(key.id, id);
                assert_eq!(key.revoked.is_some(), !revoked.is_empty(), "it is good again");
                assert_eq!(key.expires, ends.parse().ok().map(Timestamp::from_secs));
            }
            void => assert_eq!(*void, KeyChange::Revoked(id, Timestamp::from_secs(0))),
        }
    }
    assert_eq!(changes.next(), None);
}

/// Bytes, as they are packed.
struct Bytes<'b>(&'b [u8]);

impl serde::Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
