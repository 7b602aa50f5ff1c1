//! What a condition reads of a request: each value made when it is asked for,
//! and none that two servers could read differently.

use std::{
    borrow::Cow,
    sync::{Mutex, OnceLock, PoisonError},
};

use serde_json::Value;

use super::{
    CheckInput, Engine, IdentitySettings,
    asks::Asks,
    host::NormalHost,
    identified::Identified,
    identity::{fold, is_alike, lower},
    input::Header,
    rule::Rule,
};
use crate::{
    clock::Timestamp,
    condition::{Fact, Facts, Object, Unreadable},
    operation::{McpAsk, Unclear},
    token::Claims,
};

/// The longest query that conditions read, in bytes.
const MAX_QUERY_BYTES: usize = 8 * 1024;

/// The longest header that conditions read, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// The most parameters of a query that conditions read.
const MAX_PARAMETERS: usize = 256;

/// Headers that hold a credential, or an address with its query, in which a token
/// may stand. As identity headers are: whatever is no letter or digit is a hyphen.
const HIDDEN: [&str; 12] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "referer",
    "sec-websocket-protocol",
    "x-original-uri",
    "x-original-url",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-envoy-original-path",
    "x-rewrite-url",
];
/// What a header's name holds when it carries one of somebody else's making.
const TELLTALE: [&str; 6] = ["token", "secret", "password", "api-key", "apikey", "oidc-data"];

/// Whether conditions do not see a header of this name.
#[must_use]
pub fn is_hidden_header(name: &str, identity: &IdentitySettings) -> bool {
    let folded: String = name.bytes().map(|byte| char::from(fold(byte))).collect();
    name.starts_with(':')
        || HIDDEN.contains(&folded.as_str())
        || TELLTALE.iter().any(|part| folded.contains(part))
        || identity.is_identity(name)
}

/// What conditions have read: each name, and its value as a condition would
/// write it.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Vec<(String, Option<String>)>>);

impl Notes {
    fn note(&self, of: Object, name: &str, fact: Option<&Fact<'_>>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}.{name}", of.as_str());
        let value = fact.map(Fact::to_string);
        match notes.iter_mut().find(|(noted, _)| *noted == name) {
            Some((_, before)) => *before = value.or(before.take()),
            None => notes.push((name, value)),
        }
    }

    /// What was read, in order; none for what is not there.
    #[must_use]
    pub fn into_inner(self) -> Vec<(String, Option<String>)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reading of a request, its rule and its user.
pub(super) struct RequestFacts<'r, 'a> {
    pub(super) engine: &'r Engine,
    pub(super) input: &'r CheckInput<'r>,
    pub(super) asks: &'r Asks<'r, 'a>,
    pub(super) host: &'r NormalHost<'r>,
    pub(super) segments: &'r [Cow<'r, str>],
    pub(super) rule: &'r Rule,
    pub(super) identified: &'r Identified<'r>,
    pub(super) now: Timestamp,
    pub(super) notes: Option<&'r Notes>,
    /// The query, once it was asked for.
    pub(super) query: OnceLock<Result<Vec<Pair<'r>>, Unreadable>>,
}

impl Facts for RequestFacts<'_, '_> {
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let fact = match of {
            Object::Request => self.of_request(name),
            Object::Headers => self.header(name)?,
            Object::Query => self.parameter(name)?,
            Object::Path => variable(self.rule, self.segments, name),
            Object::User => self.of_user(name),
            Object::Claims => {
                let all = self.identified.verified.payload();
                all.ok_or(Unreadable("the claims were not kept"))?.get(name).map(Fact::Json)
            }
            Object::Source => match name {
                "address" => present(self.input.source_address),
                "principal" => present(self.input.source_principal),
                _ => None,
            },
            Object::Destination if name == "principal" => present(self.input.destination_principal),
            Object::Destination => None,
            Object::Context => self.context(name),
            Object::Mcp => self.of_mcp(name)?,
            Object::Llm => self.of_llm(name)?,
        };
        if let Some(notes) = self.notes
            && !matches!((of, name), (Object::Request, "headers" | "query"))
        {
            notes.note(of, name, fact.as_ref());
        }
        Ok(fact)
    }

    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable> {
        let mut names: Vec<Cow<'_, str>> = match of {
            Object::Headers => {
                let names = self.input.headers.iter().map(|header| lower(header.name));
                names.filter(|name| !self.is_hidden(name)).collect()
            }
            Object::Query => self.pairs()?.iter().map(|(name, _)| Cow::Borrowed(&**name)).collect(),
            Object::Path => {
                self.rule.variables.iter().map(|(_, name)| Cow::Borrowed(name.as_str())).collect()
            }
            Object::Claims => {
                let all = self.identified.verified.payload();
                let all = all.ok_or(Unreadable("the claims were not kept"))?;
                all.keys().map(|name| Cow::Borrowed(name.as_str())).collect()
            }
            Object::Context => {
                self.engine.context.iter().map(|(name, _)| Cow::Borrowed(name.as_str())).collect()
            }
            Object::Request
            | Object::User
            | Object::Source
            | Object::Destination
            | Object::Mcp
            | Object::Llm => Vec::new(),
        };
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl<'r> RequestFacts<'r, '_> {
    fn of_request(&self, name: &str) -> Option<Fact<'_>> {
        let input = self.input;
        match name {
            "method" => present(input.method),
            "host" => present(self.host.as_str()),
            "path" => Some(path(self.segments)),
            "segments" => Some(all_segments(self.segments)),
            "scheme" => present(input.scheme),
            "protocol" => present(input.protocol),
            // The gateway's own, which a client does not choose.
            "id" if input.id.is_empty() => input.headers.text("x-request-id").and_then(present),
            "id" => present(input.id),
            "time" => Some(Fact::Time(self.now)),
            _ => None,
        }
    }

    fn is_hidden(&self, name: &str) -> bool {
        let keys = self.engine.credentials.keys.as_ref();
        is_hidden_header(name, &self.engine.identity)
            || keys.is_some_and(|keys| keys.headers().any(|own| is_alike(own, name)))
    }

    fn header(&self, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        // They are named in lower case, whichever way they came.
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_lower || self.is_hidden(name) {
            return Ok(None);
        }
        let headers = &self.input.headers;
        let is_other = |header: Header<'_>| {
            is_alike(header.name, name) && !header.name.eq_ignore_ascii_case(name)
        };
        if headers.iter().any(is_other) {
            return Err(Unreadable("the header is there in another spelling, too"));
        }
        let joined = |form: &[Header<'_>]| -> Option<Vec<u8>> {
            let values: Vec<&[u8]> = form
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value)
                .collect();
            (!values.is_empty()).then(|| values.join(&b','))
        };
        let [map, list] = headers.forms().map(joined);
        let value = match (map, list) {
            (Some(map), Some(list)) if map != list => {
                return Err(Unreadable("the header has two values"));
            }
            (map, list) => map.or(list),
        };
        let Some(value) = value else { return Ok(None) };
        if value.len() > MAX_HEADER_BYTES {
            return Err(Unreadable("the header is too long"));
        }
        let text = String::from_utf8(value).map_err(|_| Unreadable("the header is not text"))?;
        Ok(Some(Fact::Text(text.into())))
    }

    /// The query, decoded once; without the parameter that is for the token.
    fn pairs(&self) -> Result<&[Pair<'_>], Unreadable> {
        let pairs = self.query.get_or_init(|| self.read_query());
        pairs.as_deref().map_err(|unreadable| *unreadable)
    }

    fn read_query(&self) -> Result<Vec<Pair<'r>>, Unreadable> {
        let (_, query) = self.input.path_and_query();
        if query.is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
            return Err(Unreadable("the query is too long"));
        }
        if query.is_some_and(|query| query.split('&').nth(MAX_PARAMETERS).is_some()) {
            return Err(Unreadable("the query has too many parameters"));
        }
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !self.engine.credentials.is_parameter(name) {
                pairs.push((decode(name)?, decode(value)?));
            }
        }
        Ok(pairs)
    }

    fn parameter(&self, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let pairs = self.pairs()?.iter();
        let values: Vec<_> = pairs
            .filter(|(own, _)| own == name)
            .map(|(_, value)| Cow::Borrowed(&**value))
            .collect();
        Ok((!values.is_empty()).then_some(Fact::Texts(values)))
    }

    fn of_user(&self, name: &str) -> Option<Fact<'_>> {
        let claims: &Claims = self.identified.claims();
        match name {
            "id" => present(claims.user_id.as_str()),
            "name" => present(&claims.name),
            "email" => claims.email.as_deref().and_then(present),
            "role" => present(self.engine.verifier.roles().name(claims.role)),
            "scopes" => {
                let scopes = claims.scope.as_deref().unwrap_or_default().split(' ');
                Some(Fact::Texts(scopes.filter(|one| !one.is_empty()).map(Cow::Borrowed).collect()))
            }
            "issuer" => present(claims.issued_by.as_deref().unwrap_or("own")),
            _ => None,
        }
    }

    fn of_mcp(&self, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let unreadable = |unclear: Unclear| Unreadable(unclear.as_str());
        let ask = self.asks.mcp().map_err(unreadable)?;
        Ok(match name {
            "method" => ask.map(|ask| Fact::text(&ask.method)),
            "tool" => ask.and_then(McpAsk::tool).map(Fact::text),
            "arguments" => self.asks.arguments().map_err(unreadable)?.map(Fact::Json),
            _ => None,
        })
    }

    fn of_llm(&self, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let ask = self.asks.llm().map_err(|unclear| Unreadable(unclear.as_str()))?;
        Ok(ask.and_then(|ask| match name {
            "model" => Some(Fact::text(&ask.model)),
            "stream" => {
                Some(Fact::Json(if ask.stream { &Value::Bool(true) } else { &Value::Bool(false) }))
            }
            _ => None,
        }))
    }

    fn context(&self, name: &str) -> Option<Fact<'_>> {
        let (_, default) = self.engine.context.iter().find(|(own, _)| own == name)?;
        let given = self.input.context.iter().find(|(own, _)| *own == name);
        Some(Fact::text(given.map_or(default.as_str(), |(_, value)| *value)))
    }
}

/// The path as the rules see it.
pub(super) fn path(segments: &[Cow<'_, str>]) -> Fact<'static> {
    Fact::Text(format!("/{}", segments.join("/")).into())
}

/// Its segments.
pub(super) fn all_segments<'s>(segments: &'s [Cow<'_, str>]) -> Fact<'s> {
    Fact::Texts(segments.iter().map(|segment| Cow::Borrowed(&**segment)).collect())
}

/// A variable of the rule's template.
pub(super) fn variable<'s>(
    rule: &Rule,
    segments: &'s [Cow<'_, str>],
    name: &str,
) -> Option<Fact<'s>> {
    let (at, _) = rule.variables.iter().find(|(_, own)| own == name)?;
    segments.get(*at).map(|segment| Fact::text(segment))
}

/// A parameter of a query: its name and its value.
type Pair<'q> = (Cow<'q, str>, Cow<'q, str>);

/// What a transport does not know is not there.
pub(super) fn present(text: &str) -> Option<Fact<'_>> {
    (!text.is_empty()).then(|| Fact::text(text))
}

/// A part of a query (`application/x-www-form-urlencoded`). Servers differ about
/// a broken escape, bytes that are no text, `;` between parameters, and `#`.
fn decode(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    const TWO: Unreadable = Unreadable("the query can be read in two ways");
    let mut escapes = text.split('%').skip(1);
    let is_whole = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b'#');
    if !text.bytes().all(is_plain) || !escapes.all(is_whole) {
        return Err(TWO);
    }
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { text.into() };
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().map_err(|_| TWO)?;
    match (decoded, &spaced) {
        (Cow::Borrowed(_), Cow::Borrowed(text)) => Ok(Cow::Borrowed(text)),
        (decoded, _) => Ok(Cow::Owned(decoded.into_owned())),
    }
}
