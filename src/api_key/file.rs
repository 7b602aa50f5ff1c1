//! The file of keys: a `[[keys]]` each.

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    record::{ApiKey, KeySays},
    table::KeyTable,
    text::{KeyHash, KeyId},
};
use crate::{clock::Timestamp, token::WrittenId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    hash: String,
    user_id: WrittenId,
    name: String,
    role: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    expires: Option<Time>,
    #[serde(default)]
    created: Option<Time>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    replaces: Option<String>,
}

/// A time as TOML has it, as text, or in seconds since 1970.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(i64),
    Text(String),
    Toml(toml::value::Datetime),
}

impl Time {
    fn read(&self) -> Option<Timestamp> {
        match self {
            Self::Seconds(secs) => Some(Timestamp::from_secs(*secs)),
            Self::Text(text) => Timestamp::parse(text),
            Self::Toml(time) => Timestamp::parse(&time.to_string()),
        }
    }
}

/// How an entry begins.
const HEAD: &str = "[[keys]]";

/// Reads the text of a file of keys.
///
/// # Errors
///
/// What is wrong with it, a sentence each, without a hash.
pub fn keys_of_file(text: &str, is_role: impl Fn(&str) -> bool) -> Result<KeyTable, Vec<String>> {
    let (mut table, mut problems, mut at) = (KeyTable::default(), Vec::new(), 0);
    for piece in pieces(text) {
        // The message alone: the whole error shows a line, with a hash in it.
        let read: Result<File, _> = toml::from_str(piece);
        let entries = match read {
            Ok(File { keys }) => keys,
            Err(error) => {
                problems.push(format!("keys[{at}]: {}", error.message()));
                Vec::new()
            }
        };
        at += usize::from(entries.is_empty() && piece.starts_with(HEAD));
        for entry in entries {
            match entry.read() {
                Ok(key) if !is_role(&key.says.role) => {
                    let role = &key.says.role;
                    problems.push(format!("keys[{at}]: {role:?} is not one of identity.roles"));
                }
                Ok(key) if table.contains(key.id) => {
                    problems.push(format!("keys[{at}]: the id {} is used twice", key.id));
                }
                Ok(key) => table.put(&key),
                Err(cause) => problems.push(format!("keys[{at}]: {cause}")),
            }
            at += 1;
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

/// The entries of a file one by one, since all of a large file at once would take
/// twenty times its size; and what stands before the first one.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let begin = rest.len() - rest.trim_start().len();
        let next = rest.get(begin + 1..).and_then(|behind| behind.find("\n[[keys]]"));
        let end = next.map_or(rest.len(), |at| begin + 1 + at + 1);
        let (piece, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some(piece.trim_start())
    })
}

impl Entry {
    fn read(self) -> Result<ApiKey, String> {
        const TIME: &str = "is not a time: write it as \"2027-01-31T00:00:00Z\"";
        let time = |what: &str, time: Option<Time>| match time {
            None => Ok(None),
            Some(time) => time.read().map(Some).ok_or_else(|| format!("{what} {TIME}")),
        };
        let id = KeyId::parse(&self.id)
            .ok_or("the id is not valid: it must have 11 letters and digits")?;
        let hash =
            "the hash is not valid: write the SHA-256 of the secret, as 64 hexadecimal digits";
        let hash = KeyHash::from_hex(&self.hash).ok_or(hash)?;
        let (expires, created) = (time("expires", self.expires)?, time("created", self.created)?);
        let network =
            |text: &String| network(text).ok_or(format!("allow: {text:?} is not a network"));
        let says = KeySays {
            user_id: self.user_id.to_string(),
            name: self.name,
            role: self.role,
            scopes: self.scopes,
            allow: self.allow.iter().map(network).collect::<Result<_, _>>()?,
            created: created.map(Timestamp::as_secs),
            note: self.note,
            replaces: self.replaces,
        };
        match says.problem() {
            None => Ok(ApiKey { id, hash, says, expires, revoked: None }),
            Some(cause) => Err(cause),
        }
    }
}

/// A network, or one address.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

/// A key as it stands in a file.
#[must_use]
pub fn entry_of_file(key: &ApiKey) -> String {
    let says = &key.says;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    let mut lines = vec![
        "[[keys]]".to_owned(),
        format!("id = {}", quoted(&key.id.to_string())),
        format!("hash = {}", quoted(&key.hash.to_hex())),
        format!("user_id = {}", quoted(&says.user_id)),
        format!("name = {}", quoted(&says.name)),
        format!("role = {}", quoted(&says.role)),
    ];
    if !says.scopes.is_empty() {
        let scopes = says.scopes.iter().map(|scope| quoted(scope)).collect();
        lines.push(format!("scopes = {}", list(scopes)));
    }
    if !says.allow.is_empty() {
        let allow = says.allow.iter().map(|network| quoted(&network.to_string())).collect();
        lines.push(format!("allow = {}", list(allow)));
    }
    let times = [("created", says.created), ("expires", key.expires.map(Timestamp::as_secs))];
    for (name, secs) in times {
        if let Some(secs) = secs {
            lines.push(format!("{name} = {}", quoted(&Timestamp::from_secs(secs).to_rfc3339())));
        }
    }
    for (name, text) in [("note", &says.note), ("replaces", &says.replaces)] {
        if let Some(text) = text {
            lines.push(format!("{name} = {}", quoted(text)));
        }
    }
    lines.join("\n") + "\n"
}
