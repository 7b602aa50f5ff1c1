//! The normal form of a host.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The longest name that DNS knows (RFC 1035, section 2.3.4), with the dot.
const MAX_HOST_BYTES: usize = 254;

/// A host without its port and trailing dot, in lower case; an IP address by
/// its one canonical text, as browsers write it (WHATWG URL, section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalHost<'a>(Cow<'a, str>);

impl<'a> NormalHost<'a> {
    /// Parses the value of `Host` or `:authority`.
    ///
    /// `None` for one that is empty, that holds user information, a blank or
    /// anything else that does not stand in a host (RFC 3986, section 3.2.2;
    /// percent-encoding is not taken: servers differ about it), whose port is no
    /// number, or that is an IPv4 address in another form than four decimal
    /// numbers: `10.1` is `10.0.0.1` to some, and a name to others.
    #[must_use]
    pub fn parse(authority: &'a str) -> Option<Self> {
        if let Some(plain) = plain(authority) {
            return Some(Self(Cow::Borrowed(plain)));
        }
        let (host, port) = split_port(authority)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if let Some(address) = host.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            let canonical = url::Host::<&str>::Ipv6(address).to_string();
            let is_canonical = canonical == host;
            return Some(Self(if is_canonical { host.into() } else { canonical.into() }));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let label_ok = |label: &str| !label.is_empty() && label.bytes().all(is_name_byte);
        let is_name = name.len() <= MAX_HOST_BYTES && name.split('.').all(label_ok);
        let is_address = name.rsplit('.').next().is_some_and(is_number);
        (is_name && (!is_address || name.parse::<Ipv4Addr>().is_ok())).then(|| Self(lower(name)))
    }

    /// Whether it is an IP address, below which there is nobody.
    pub(super) fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<Ipv4Addr>().is_ok()
    }

    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> NormalHost<'static> {
        NormalHost(Cow::Owned(self.0.into_owned()))
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

/// The authority itself, when it is in normal form as it stands, and plainly so:
/// what most are.
fn plain(authority: &str) -> Option<&str> {
    if authority.len() > MAX_HOST_BYTES {
        return None;
    }
    // No empty label, and a last one that begins with a letter is no number.
    let mut before = b'.';
    let mut last_begins = b'.';
    for &byte in authority.as_bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' if before == b'.' => last_begins = byte,
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
            b'.' if before != b'.' => {}
            _ => return None,
        }
        before = byte;
    }
    (before != b'.' && last_begins.is_ascii_lowercase()).then_some(authority)
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

/// Whether a last label makes an IPv4 address of a host, in whatever form
/// (WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    let all = |text: &str, is: fn(&u8) -> bool| text.bytes().all(|byte| is(&byte));
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    all(label, u8::is_ascii_digit) || hex.is_some_and(|hex| all(hex, u8::is_ascii_hexdigit))
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
            ("[0:0:0:0:0:0:0:1]:443", "[::1]"),
            ("[0::1]", "[::1]"),
            ("[2001:db8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
            ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
            ("127.0.0.1.", "127.0.0.1"),
            ("1.example.com", "1.example.com"),
            ("10-0-0-1.example.com", "10-0-0-1.example.com"),
            ("0x7f.example", "0x7f.example"),
            ("a.0xg", "a.0xg"),
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
            // IPv4 addresses, as some read them.
            "10.1",
            "167772161",
            "0x7f.1",
            "0x7f000001",
            "0x",
            "127.0.0.01",
            "0177.0.0.1",
            "127.0.0.256",
            "1.2.3.4.5",
            "example.1",
            "example.0x1F",
            "127.0.0.0x1",
            "[::1%25lo]",
            "[fe80::1%lo]",
            "[::1.]",
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
