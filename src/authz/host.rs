//! The normal form of a host.

use std::borrow::Cow;

/// The longest name that DNS knows (RFC 1035, section 2.3.4), with the dot.
const MAX_HOST_BYTES: usize = 254;

/// A host without its port and trailing dot, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalHost<'a>(Cow<'a, str>);

impl<'a> NormalHost<'a> {
    /// Parses the value of `Host` or `:authority`.
    ///
    /// `None` for one that is empty, that holds user information, a blank or
    /// anything else that does not stand in a host (RFC 3986, section 3.2.2;
    /// percent-encoding is not taken: servers differ about it), or whose port
    /// is no number.
    #[must_use]
    pub fn parse(authority: &'a str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if let Some(address) = host.strip_prefix('[') {
            let address = address.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            return Some(Self(lower(host)));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let label_ok = |label: &str| !label.is_empty() && label.bytes().all(is_name_byte);
        (name.len() <= MAX_HOST_BYTES && name.split('.').all(label_ok)).then(|| Self(lower(name)))
    }

    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parents of the host, the nearest first: for `a.b.c` these are
    /// `b.c` and `c`.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        })
        .skip(1)
    }
}

/// Host and port; the port is empty when there is none.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at_checked(end)?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port)),
            None => rest.is_empty().then_some((host, "")),
        };
    }
    Some(authority.split_once(':').unwrap_or((authority, "")))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_~!$&'()*+=".contains(&byte)
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_port_and_trailing_dot_do_not_count() {
        for (given, expected) in [
            ("app.example.com", "app.example.com"),
            ("APP.Example.COM:8443", "app.example.com"),
            ("app.example.com.", "app.example.com"),
            ("app.example.com.:80", "app.example.com"),
            ("localhost:", "localhost"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("my_host", "my_host"),
        ] {
            let host = NormalHost::parse(given);
            assert_eq!(host.as_ref().map(NormalHost::as_str), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a..",
            "user@host",
            "a b",
            " a",
            "a,b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "h:8x",
            "h:80:90",
            "::1",
            "[::1",
            "[::1]x",
            "[x]",
            "é.com",
            "a%2eb",
            "a\tb",
            "a\0b",
            "a;b",
        ] {
            assert_eq!(NormalHost::parse(bad), None, "{bad:?}");
        }
        assert_eq!(NormalHost::parse(&"a".repeat(300)), None);
    }

    #[test]
    fn parents_go_from_near_to_far() {
        let host = NormalHost::parse("a.b.c").unwrap();
        assert_eq!(host.parents().collect::<Vec<_>>(), ["b.c", "c"]);
    }
}
