//! Where a request carries its credential.

use std::{borrow::Cow, sync::Arc};

use super::{
    carried::{Credential, MAX_CREDENTIAL_BYTES},
    cookie,
    input::{CheckInput, Single},
    key_place::{self, KeyPlaces},
    origin::{self, Origin},
    reason::Reason,
};
use crate::token::Refusal;

/// On which requests the query may carry the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryOn {
    /// On WebSocket upgrades, where a browser can set no header.
    Websocket,
    /// On every request.
    Always,
    /// On none.
    Never,
}

/// How the credential goes on to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// As it came.
    AsIs,
    /// As `Authorization: Bearer`, wherever it came from.
    AuthorizationHeader,
    /// Not at all.
    None,
    /// Not at all; in its place a token of this service for this audience.
    Minted(Arc<str>),
}

/// Where a token is looked for, and what becomes of it.
#[derive(Clone, Debug)]
pub struct CredentialSettings {
    /// The query parameter, as it is written without an encoding.
    pub query_parameter: String,
    /// When the query is looked at.
    pub query_on: QueryOn,
    /// The cookie.
    pub cookie: String,
    /// Whether a cookie is accepted.
    pub cookie_accepted: bool,
    /// Further origins whose pages may use the cookie.
    pub cookie_origins: Vec<Origin>,
    /// How the credential goes on; a key never does.
    pub forward: Forward,
    /// Where keys for machines are; none where none are taken.
    pub keys: Option<KeyPlaces>,
}

impl CredentialSettings {
    /// The credential that the request carries.
    ///
    /// # Errors
    ///
    /// [`Reason::NoCredential`], [`Reason::AmbiguousCredential`],
    /// [`Reason::CredentialTooLarge`], [`Reason::CrossSiteCookie`], or
    /// [`Refusal::Malformed`] for one that is no text, and
    /// [`KeyRefusal::Malformed`](crate::api_key::KeyRefusal::Malformed) for a key
    /// that stands where none is taken.
    ///
    /// `forward` is what becomes of it.
    pub(super) fn find<'a>(
        &self,
        input: &CheckInput<'a>,
        forward: &Forward,
    ) -> Result<Credential<'a>, Reason> {
        let header = bearer(input)?;
        let query = self.in_query(input, forward)?;
        if let Some(keys) = &self.keys
            && let Some(key) = key_of(keys, input, header.as_ref(), query.as_ref())?
        {
            return Some(key).filter(Credential::fits).ok_or(Reason::CredentialTooLarge);
        }
        let explicit = match (header, query) {
            (Some(header), Some(query)) if header != query => {
                return Err(Reason::AmbiguousCredential);
            }
            (header, query) => header.or(query),
        };
        let token = match explicit {
            Some(token) => token,
            None => self.in_cookie(input)?.ok_or(Reason::NoCredential)?,
        };
        if self.keys.is_some() && key_place::is_key(&token) {
            return Err(key_place::MISPLACED);
        }
        if token.len() > MAX_CREDENTIAL_BYTES {
            return Err(Reason::CredentialTooLarge);
        }
        match token {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        }
        .map(Credential::Token)
        .ok_or(Reason::Token(Refusal::Malformed))
    }

    /// Whether the request carries what looks like a key where credentials are,
    /// whatever it is worth.
    pub(super) fn carries_key(&self, input: &CheckInput<'_>) -> bool {
        let Some(keys) = &self.keys else { return false };
        let in_cookie = || {
            let lines = input.headers.cookies().unwrap_or_default();
            let found = cookie::find(&lines, &self.cookie).ok().flatten();
            found.is_some_and(key_place::is_key)
        };
        keys.are_met(input) || in_cookie()
    }

    /// Whether the token's parameter holds what looks like a key. Addresses are in
    /// every log on the way, and not every proxy can take it out of one.
    pub(super) fn has_key_in_query(&self, input: &CheckInput<'_>) -> bool {
        if self.keys.is_none() {
            return false;
        }
        let (_, query) = input.path_and_query();
        query.into_iter().flat_map(|query| query.split('&')).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.is_parameter(name) && key_place::is_key(&decode(value))
        })
    }

    /// Whether the token of a request, which has one, came in the cookie.
    pub(crate) fn came_in_cookie(&self, input: &CheckInput<'_>, forward: &Forward) -> bool {
        matches!(bearer(input), Ok(None)) && matches!(self.in_query(input, forward), Ok(None))
    }

    /// Whether this is the parameter's name, however it is encoded.
    pub(super) fn is_parameter(&self, name: &str) -> bool {
        let is_encoded = || name.bytes().any(|byte| matches!(byte, b'%' | b'+'));
        name == self.query_parameter
            || (is_encoded() && *decode(name) == *self.query_parameter.as_bytes())
    }

    /// Whether the query has a token that is looked at on a WebSocket alone, and
    /// this is none, as far as its headers tell.
    #[must_use]
    pub fn waits_for_websocket(&self, input: &CheckInput<'_>) -> bool {
        let (_, Some(query)) = input.path_and_query() else { return false };
        self.query_on == QueryOn::Websocket
            && !input.is_websocket()
            && query
                .split('&')
                .any(|pair| self.is_parameter(pair.split_once('=').map_or(pair, |(name, _)| name)))
    }

    fn in_query<'a>(
        &self,
        input: &CheckInput<'a>,
        forward: &Forward,
    ) -> Result<Option<Cow<'a, [u8]>>, Reason> {
        let (_, Some(query)) = input.path_and_query() else { return Ok(None) };
        let mut found = None;
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        {
            if !self.is_parameter(name) {
                continue;
            }
            // Where the parameter is to be taken out, it has one spelling.
            if name != self.query_parameter && *forward != Forward::AsIs {
                return Err(Reason::AmbiguousCredential);
            }
            let expected = match self.query_on {
                QueryOn::Always => true,
                QueryOn::Websocket => input.is_websocket(),
                QueryOn::Never => false,
            };
            if expected && found.replace(decode(value)).is_some() {
                return Err(Reason::AmbiguousCredential);
            }
        }
        Ok(found)
    }

    fn in_cookie<'a>(&self, input: &CheckInput<'a>) -> Result<Option<Cow<'a, [u8]>>, Reason> {
        if !self.cookie_accepted {
            return Ok(None);
        }
        let lines = input.headers.cookies().ok_or(Reason::AmbiguousCredential)?;
        let Some(token) =
            cookie::find(&lines, &self.cookie).map_err(|_| Reason::AmbiguousCredential)?
        else {
            return Ok(None);
        };
        let only_reads = matches!(input.method, "GET" | "HEAD" | "OPTIONS");
        let upgrades = input.is_websocket() || input.headers.contains("upgrade");
        if (!only_reads || upgrades) && !origin::may_use_cookie(input, &self.cookie_origins) {
            return Err(Reason::CrossSiteCookie);
        }
        Ok(Some(Cow::Borrowed(token)))
    }
}

/// The key among the explicit credentials, which is the only one; none where
/// there is none.
fn key_of<'a>(
    keys: &KeyPlaces,
    input: &CheckInput<'a>,
    bearer: Option<&Cow<'a, [u8]>>,
    query: Option<&Cow<'a, [u8]>>,
) -> Result<Option<Credential<'a>>, Reason> {
    let of_bearer = bearer.map(|value| keys.of_bearer(value)).transpose()?.flatten();
    let is_token = bearer.is_some() && of_bearer.is_none();
    let of_basic = if bearer.is_none() { keys.of_basic(input)? } else { None };
    let [of_header, of_foreign] = keys.of_headers(input)?;
    let mut found = [of_bearer, of_basic, of_header, of_foreign].into_iter().flatten();
    let (first, more) = (found.next(), found.next().is_some());
    if first.is_some() && (more || is_token || query.is_some()) {
        return Err(Reason::AmbiguousCredential);
    }
    Ok(first)
}

/// The token of `Authorization: Bearer`; none under another scheme.
fn bearer<'a>(input: &CheckInput<'a>) -> Result<Option<Cow<'a, [u8]>>, Reason> {
    let value = match input.headers.single("authorization") {
        Single::Absent => return Ok(None),
        Single::Repeated => return Err(Reason::AmbiguousCredential),
        Single::One(value) => value.trim_ascii(),
    };
    // A header that came twice arrives joined by a comma, which never stands
    // in a bearer token (RFC 6750, section 2.1).
    if !value.contains(&b',') {
        return Ok(token_of_bearer(value).map(Cow::Borrowed));
    }
    let mut parts = value.split(|&byte| byte == b',');
    if parts.any(|part| token_of_bearer(part).is_some()) {
        return Err(Reason::AmbiguousCredential);
    }
    Ok(None)
}

/// What follows the scheme, when that is Bearer in any case.
fn token_of_bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked("bearer".len()).unwrap_or((value, b""));
    let is_bearer =
        scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(u8::is_ascii_whitespace);
    is_bearer.then(|| rest.trim_ascii())
}

/// Decodes a part of a query (`application/x-www-form-urlencoded`).
fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_encoding::percent_decode_str(&spaced).collect());
    }
    percent_encoding::percent_decode_str(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Header, Headers};

    fn settings(query_on: QueryOn) -> CredentialSettings {
        CredentialSettings {
            query_parameter: "access_token".into(),
            query_on,
            cookie: "token".into(),
            cookie_accepted: false,
            cookie_origins: Vec::new(),
            forward: Forward::AsIs,
            keys: None,
        }
    }

    fn asking(path: &'static str, upgrade: &'static [u8]) -> CheckInput<'static> {
        let headers = Headers::new(vec![Header { name: "upgrade", value: upgrade }], Vec::new());
        CheckInput { path, headers, ..CheckInput::default() }
    }

    #[test]
    fn the_parameter_is_known_in_every_encoding_and_no_other_is() {
        let settings = settings(QueryOn::Always);
        for name in ["access_token", "access%5Ftoken", "%61ccess_token"] {
            assert!(settings.is_parameter(name), "{name}");
        }
        for name in ["access", "access%5F", "access+token", "%20access_token", "Access_token", ""] {
            assert!(!settings.is_parameter(name), "{name}");
        }
    }

    #[test]
    fn a_token_in_a_query_waits_for_a_websocket_alone() {
        let waits = |query_on, path, upgrade| {
            settings(query_on).waits_for_websocket(&asking(path, upgrade))
        };
        let path = "/a?b=1&access_token=x";
        assert!(waits(QueryOn::Websocket, path, b""));
        assert!(waits(QueryOn::Websocket, "/a?access%5Ftoken", b""));
        assert!(!waits(QueryOn::Websocket, path, b"websocket"));
        assert!(!waits(QueryOn::Websocket, "/a?b=1", b""));
        assert!(!waits(QueryOn::Websocket, "/a", b""));
        assert!(!waits(QueryOn::Always, path, b""));
        assert!(!waits(QueryOn::Never, path, b""));
    }
}
