//! Where a request carries a key for machines.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    carried::Credential,
    input::{CheckInput, Single},
    reason::Reason,
};
use crate::api_key::{KeyRefusal, PREFIX};

/// The header of keys.
pub const KEY_HEADER: &str = "x-api-key";

/// Base64 as RFC 7617 has it; some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where keys of somebody else's making stand, and how they begin.
#[derive(Clone, Debug)]
pub struct ForeignPlace {
    /// The header, in lower case; `authorization` is for `Bearer` alone.
    pub header: String,
    /// What each begins with.
    pub prefix: String,
}

/// Where keys are taken from.
#[derive(Clone, Debug, Default)]
pub struct KeyPlaces {
    /// From `x-api-key`.
    pub header: bool,
    /// From `Authorization: Bearer`.
    pub bearer: bool,
    /// From `Authorization: Basic`, whose password it is.
    pub basic: bool,
    /// Keys of somebody else's making.
    pub foreign: Option<ForeignPlace>,
}

impl KeyPlaces {
    /// The headers that are for keys alone: none of them ever goes on.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        let foreign = self.foreign.as_ref().map(|foreign| foreign.header.as_str());
        let is_other =
            |header: &&str| *header != "authorization" && !(self.header && *header == KEY_HEADER);
        let foreign = foreign.filter(is_other);
        self.header.then_some(KEY_HEADER).into_iter().chain(foreign)
    }

    /// What stands behind `Bearer`, when that is a key.
    pub(super) fn of_bearer<'a>(
        &self,
        value: &Cow<'a, [u8]>,
    ) -> Result<Option<Credential<'a>>, Reason> {
        if is_key(value) {
            return if self.bearer { key(value.clone()).map(Some) } else { Err(MISPLACED) };
        }
        self.foreign("authorization", value)
    }

    /// The password of `Authorization: Basic`, when that is a key.
    pub(super) fn of_basic<'a>(
        &self,
        input: &CheckInput<'a>,
    ) -> Result<Option<Credential<'a>>, Reason> {
        let Single::One(value) = input.headers.single("authorization") else { return Ok(None) };
        // Those of two headers that were joined.
        let mut parts = value.split(|&byte| byte == b',').map(basic);
        let Some(first) = parts.find(Basic::holds_key) else { return Ok(None) };
        if value.contains(&b',') {
            return Err(Reason::AmbiguousCredential);
        }
        match first {
            Basic { password, user } if self.basic && is_key(&password) && !is_key(&user) => {
                key(Cow::Owned(password)).map(Some)
            }
            _ => Err(MISPLACED),
        }
    }

    /// The keys of the headers that are for them.
    pub(super) fn of_headers<'a>(
        &self,
        input: &CheckInput<'a>,
    ) -> Result<[Option<Credential<'a>>; 2], Reason> {
        let value = |name: &str| match input.headers.single(name) {
            Single::Absent => Ok(None),
            Single::One(value) if value.contains(&b',') => Err(Reason::AmbiguousCredential),
            Single::One(value) => Ok(Some(value.trim_ascii()).filter(|value| !value.is_empty())),
            Single::Repeated => Err(Reason::AmbiguousCredential),
        };
        let mut found = [None, None];
        if self.strays(input) {
            return Err(MISPLACED);
        }
        if let Some(value) = self.header.then(|| value(KEY_HEADER)).transpose()?.flatten() {
            let value = Cow::Borrowed(value);
            found[0] = match self.foreign(KEY_HEADER, &value)? {
                Some(foreign) => Some(foreign),
                None => Some(key(value)?),
            };
        }
        if let Some(foreign) = &self.foreign
            && foreign.header != "authorization"
            && (foreign.header != KEY_HEADER || !self.header)
            && let Some(value) = value(&foreign.header)?
        {
            found[1] = self.foreign(&foreign.header, &Cow::Borrowed(value))?;
        }
        Ok(found)
    }

    /// Whether the header of keys holds one, where none is taken from it.
    pub(super) fn strays(&self, input: &CheckInput<'_>) -> bool {
        let is_one =
            |value: &[u8]| value.split(|&byte| byte == b',').any(|one| is_key(one.trim_ascii()));
        !self.header && input.headers.values(KEY_HEADER).any(is_one)
    }

    /// Whether `Authorization` holds what looks like a key, whatever it is worth: it
    /// does not go on.
    pub(super) fn are_met(&self, input: &CheckInput<'_>) -> bool {
        let foreign = self.foreign.as_ref().filter(|foreign| foreign.header == "authorization");
        let is_any = |word: &[u8]| {
            is_key(word) || foreign.is_some_and(|it| word.starts_with(it.prefix.as_bytes()))
        };
        let ends_word =
            |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'=' | b'"');
        input.headers.values("authorization").any(|value| {
            value.split(ends_word).any(is_any)
                || value.split(|&byte| byte == b',').any(|part| basic(part).holds_key())
        })
    }

    fn foreign<'a>(
        &self,
        header: &str,
        value: &Cow<'a, [u8]>,
    ) -> Result<Option<Credential<'a>>, Reason> {
        let is_it = |foreign: &&ForeignPlace| {
            foreign.header == header && value.starts_with(foreign.prefix.as_bytes())
        };
        match self.foreign.as_ref().filter(is_it) {
            None => Ok(None),
            Some(_) => text(value.clone()).map(|text| Some(Credential::Foreign(text))),
        }
    }
}

/// A key that stands where none is taken.
pub(super) const MISPLACED: Reason = Reason::Key(KeyRefusal::Malformed);

/// Whether this is to be a key.
pub(super) fn is_key(value: &[u8]) -> bool {
    value.starts_with(PREFIX.as_bytes())
}

fn key(value: Cow<'_, [u8]>) -> Result<Credential<'_>, Reason> {
    text(value).map(Credential::Key)
}

fn text(value: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Reason> {
    match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    }
    .ok_or(MISPLACED)
}

/// A user and a password (RFC 7617, section 2).
#[derive(Default)]
struct Basic {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Basic {
    fn holds_key(&self) -> bool {
        is_key(&self.user) || is_key(&self.password)
    }
}

/// Those of a value; empty where it has none.
fn basic(value: &[u8]) -> Basic {
    const SCHEME: &[u8] = b"basic";
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(SCHEME.len()).unwrap_or((value, b""));
    if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return Basic::default();
    }
    let Ok(mut user) = BASE64.decode(rest.trim_ascii()) else { return Basic::default() };
    let Some(colon) = user.iter().position(|&byte| byte == b':') else { return Basic::default() };
    let password = user.split_off(colon + 1);
    user.pop();
    Basic { user, password }
}
