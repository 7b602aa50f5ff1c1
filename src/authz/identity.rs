//! The headers by which the upstream knows the user, and those by which a
//! client would pretend to be one.

use std::{borrow::Cow, fmt::Write as _};

use super::input::{Headers, name_bit};
use crate::token::Claims;

/// The names of the identity headers, in lower case.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// The user's email; not set when the token has none.
    pub email: String,
    /// The user's role.
    pub role: String,
}

impl IdentityHeaders {
    /// All four names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.id, &self.name, &self.email, &self.role].into_iter().map(String::as_str)
    }
}

/// What clients may not send, and what is sent in its place.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    prefix: String,
    exempt: Vec<String>,
    /// What is set.
    pub headers: IdentityHeaders,
    /// The names that never pass as a client sent them, sorted.
    never: Vec<String>,
    /// A bit for each of them: most headers have another.
    never_bits: u64,
}

impl IdentitySettings {
    /// Nothing that begins with the prefix passes, but for what is exempt; nor does
    /// anything of `remove`, by which some servers are told of another request than
    /// the one that was checked.
    #[must_use]
    pub fn new(
        prefix: String,
        exempt: Vec<String>,
        headers: IdentityHeaders,
        remove: Vec<String>,
    ) -> Self {
        let mut never = remove;
        never.extend(headers.names().map(str::to_owned));
        never.sort_unstable();
        never.dedup();
        let never_bits = never.iter().fold(0, |bits, name| bits | bit(name));
        Self { prefix, exempt, headers, never, never_bits }
    }

    /// Whether a client that sends this header could be taken for a user,
    /// also by a server that writes one separator for another.
    #[must_use]
    pub fn is_identity(&self, name: &str) -> bool {
        let exempt = || self.exempt.iter().any(|exempt| name.eq_ignore_ascii_case(exempt));
        (starts_alike(name, &self.prefix) && !exempt())
            || self.headers.names().any(|own| is_alike(name, own))
    }

    /// Whether `Connection` names an identity header, so that a hop on the
    /// way would drop the one that is set here.
    pub(super) fn dropped_by_connection(&self, headers: &Headers<'_>) -> bool {
        headers
            .values("connection")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| std::str::from_utf8(item).is_ok_and(|name| self.is_identity(name.trim())))
    }

    /// The identity headers of a user.
    pub(super) fn of<'a>(&'a self, claims: &Claims, role: &str) -> Vec<(&'a str, String)> {
        let names = &self.headers;
        // With room for a credential and cookies.
        let mut headers = Vec::with_capacity(6);
        headers.push((names.id.as_str(), header_value(claims.user_id.as_str())));
        headers.push((names.name.as_str(), header_value(&claims.name)));
        if let Some(email) = &claims.email {
            headers.push((names.email.as_str(), header_value(email)));
        }
        headers.push((names.role.as_str(), header_value(role)));
        headers
    }

    /// Whether a header of this name must not pass.
    fn is_bad(&self, name: &str) -> bool {
        let may_be_named = bit(name) & self.never_bits != 0;
        (may_be_named && self.never.iter().any(|bad| is_alike(name, bad)))
            || (starts_alike(name, &self.prefix) && self.is_identity(name))
    }

    /// The headers that must not reach the upstream, sorted, none twice and
    /// none that is in `set`: Envoy removes after it has set.
    pub(super) fn to_remove<'a>(
        &'a self,
        headers: &Headers<'a>,
        also: &[&'a str],
        set: &[(&str, String)],
    ) -> Vec<Cow<'a, str>> {
        let is_set = |name: &str| set.iter().any(|(set, _)| *set == name);
        let mut remove = Vec::with_capacity(self.never.len() + also.len() + 2);
        let never = self.never.iter().map(String::as_str).filter(|name| !is_set(name));
        remove.extend(never.map(Cow::Borrowed));
        let forged = headers.iter().map(|header| header.name).filter(|name| self.is_bad(name));
        for name in forged.map(lower).chain(also.iter().map(|name| Cow::Borrowed(*name))) {
            if let Err(place) = remove.binary_search(&name)
                && !is_set(&name)
            {
                remove.insert(place, name);
            }
        }
        remove
    }
}

pub(super) fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The bit of a name, the same for all that are alike.
fn bit(name: &str) -> u64 {
    name_bit(name, fold)
}

fn starts_alike(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && std::iter::zip(name.as_bytes(), prefix.as_bytes()).all(|(a, b)| fold(*a) == fold(*b))
}

pub(super) fn is_alike(name: &str, other: &str) -> bool {
    name.len() == other.len() && starts_alike(name, other)
}

/// Servers that hand headers on as variables (CGI: RFC 3875, section 4.1.18)
/// know but one separator, and write it for whatever is no letter or digit.
pub(super) fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// A value as it stands in a header: what is not printable ASCII, `%`, and a
/// blank at either end are percent-encoded as UTF-8.
fn header_value(text: &str) -> String {
    // Most names are plain.
    if text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'%') {
        return text.to_owned();
    }
    let last = text.len().saturating_sub(1);
    let mut value = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at != 0 && at != last => value.push(' '),
            b'!'..=b'~' if byte != b'%' => value.push(char::from(byte)),
            _ => {
                let _ = write!(value, "%{byte:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_hold_nothing_that_a_header_cannot() {
        for (given, expected) in [
            ("ann", "ann"),
            ("Ann Lee", "Ann Lee"),
            (" ann ", "%20ann%20"),
            (" ", "%20"),
            ("", ""),
            ("50%", "50%25"),
            ("%", "%25"),
            ("Zoë", "Zo%C3%AB"),
            ("a\r\nx-user-role: ADMIN", "a%0D%0Ax-user-role: ADMIN"),
            ("a\0\u{7f}", "a%00%7F"),
            ("a\"b\\c,d;e", "a\"b\\c,d;e"),
        ] {
            assert_eq!(header_value(given), expected);
        }
    }

    proptest! {
        #[test]
        fn values_can_be_decoded_again(text in "\\PC{0,20}|[ -~]{0,20}|[\\x00-\\x20%]{0,6}") {
            let value = header_value(&text);
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(value.trim(), value.as_str());
            let decoded = percent_encoding::percent_decode_str(&value).decode_utf8().unwrap();
            prop_assert_eq!(decoded, text);
        }
    }
}
