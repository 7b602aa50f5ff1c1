//! A request to be decided, as any transport brings it.

use std::fmt;

use crate::operation::{Body, McpTold};

/// One header of the request.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    /// The name, in the case in which it came.
    pub name: &'a str,
    /// The value; need not be UTF-8.
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether it has this name, in any case.
    fn is(&self, name: &str) -> bool {
        // Most come in lower case, in which they are asked for.
        self.name.len() == name.len() && (self.name == name || self.name.eq_ignore_ascii_case(name))
    }
}

/// The name alone: the value may be a credential.
impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The value of a header that can have but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single<'a> {
    /// The header is not there.
    Absent,
    /// Its one value.
    One(&'a [u8]),
    /// It stands there more than once, or twice with different values.
    Repeated,
}

/// The headers of a request.
///
/// Envoy sends them in one of two forms: as a map, in which a repeated header
/// is joined by commas, or as a list. A client of the API might send both;
/// the two then have to agree.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    map: Vec<Header<'a>>,
    list: Vec<Header<'a>>,
    /// A bit for each name that is there: most that are asked for are not.
    names: u64,
}

impl<'a> Headers<'a> {
    /// Those of `headers`, or of an HTTP request, and those of `header_map`.
    #[must_use]
    pub fn new(map: Vec<Header<'a>>, list: Vec<Header<'a>>) -> Self {
        let names = map.iter().chain(&list).fold(0, |names, header| names | bit(header.name));
        Self { map, list, names }
    }

    /// The two forms, in which a header can have two values.
    #[must_use]
    pub fn forms(&self) -> [&[Header<'a>]; 2] {
        [&self.map, &self.list]
    }

    /// The same, or nothing where no header has this name.
    fn with(&self, name: &str) -> [&[Header<'a>]; 2] {
        if self.names & bit(name) == 0 { [&[], &[]] } else { self.forms() }
    }

    /// All headers in both forms.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> {
        self.map.iter().chain(&self.list).copied()
    }

    /// Every value of the header, in both forms.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let [map, list] = self.with(name);
        map.iter().chain(list).filter(move |header| header.is(name)).map(|header| header.value)
    }

    /// Whether the header is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names & bit(name) != 0 && self.values(name).next().is_some()
    }

    /// The value of a header that must not be repeated. The same value in
    /// both forms is one value.
    #[must_use]
    pub fn single(&self, name: &str) -> Single<'a> {
        if self.names & bit(name) == 0 {
            return Single::Absent;
        }
        let Self { map, list, .. } = self;
        match (one(map, name), one(list, name)) {
            (Single::Absent, other) | (other, Single::Absent) => other,
            (Single::One(a), Single::One(b)) if a == b => Single::One(a),
            _ => Single::Repeated,
        }
    }

    /// The value of a header as text, when it is there once and is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.single(name) {
            Single::One(value) => std::str::from_utf8(value).ok(),
            Single::Absent | Single::Repeated => None,
        }
    }

    /// Whether a comma-separated header (RFC 9110, section 5.6.1) lists this
    /// token, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The lines of `Cookie`, which HTTP/2 may cut into several (RFC 9113,
    /// section 8.2.3). `None` when the two forms of the headers differ.
    pub(super) fn cookies(&self) -> Option<Vec<&'a [u8]>> {
        let lines = |headers: &[Header<'a>]| -> Vec<&'a [u8]> {
            headers.iter().filter(|header| header.is("cookie")).map(|header| header.value).collect()
        };
        let [map, list] = self.with("cookie").map(lines);
        if map.is_empty() || list.is_empty() || map == list {
            Some(if map.is_empty() { list } else { map })
        } else {
            None
        }
    }
}

/// The bit of a name, in any case.
fn bit(name: &str) -> u64 {
    name_bit(name, |byte| byte.to_ascii_lowercase())
}

/// One of 64 bits for a name, the same for all whose bytes are the same once they
/// are folded: of a few names, two rarely have one.
pub(super) fn name_bit(name: &str, fold: impl Fn(u8) -> u8) -> u64 {
    let bytes = name.as_bytes();
    let at = |place: usize| u32::from(bytes.get(place).map_or(0, |byte| fold(*byte)));
    let length = bytes.len();
    let some = at(0) << 8 | at(length / 2) << 16 | at(length.wrapping_sub(1)) << 24;
    let mixed = (some | u32::try_from(length & 0xff).unwrap_or(0)).wrapping_mul(0x9e37_79b1);
    1 << (mixed >> 26)
}

fn one<'a>(headers: &[Header<'a>], name: &str) -> Single<'a> {
    let mut found = Single::Absent;
    for header in headers {
        if header.is(name) {
            if found != Single::Absent {
                return Single::Repeated;
            }
            found = Single::One(header.value);
        }
    }
    found
}

/// Whether this is a method as all that are registered are (RFC 9110, section
/// 16.1): capitals, and `-` between them.
#[must_use]
pub fn is_method(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
}

/// A request to be decided.
#[derive(Clone, Default)]
pub struct CheckInput<'a> {
    /// The method, as it is sent.
    pub method: &'a str,
    /// `http`, `https`, or empty when the transport does not know.
    pub scheme: &'a str,
    /// `Host` or `:authority`.
    pub host: &'a str,
    /// The request target: path and query.
    pub path: &'a str,
    /// The headers.
    pub headers: Headers<'a>,
    /// The body, where the transport brings it.
    pub body: Body<'a>,
    /// What Envoy's MCP filter tells of it.
    pub mcp_told: McpTold<'a>,
    /// `HTTP/1.1`, `HTTP/2`; like what follows, empty where the transport does
    /// not know.
    pub protocol: &'a str,
    /// The gateway's id of the request.
    pub id: &'a str,
    /// The client's address, as the gateway tells it.
    pub source_address: &'a str,
    /// Who the client's certificate names.
    pub source_principal: &'a str,
    /// Who the gateway's own certificate names.
    pub destination_principal: &'a str,
    /// What the gateway's route says (`context_extensions`).
    pub context: Vec<(&'a str, &'a str)>,
}

/// Without the query, which may hold the token.
impl fmt::Debug for CheckInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckInput")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.path_and_query().0)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl<'a> CheckInput<'a> {
    /// The path as it was sent, and the query behind its first `?`.
    #[must_use]
    pub fn path_and_query(&self) -> (&'a str, Option<&'a str>) {
        match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path, None),
        }
    }

    /// Whether the request asks for a WebSocket.
    ///
    /// `Sec-WebSocket-Version` tells as well as `Upgrade`, which nginx drops
    /// from the request that it asks with.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.headers.lists("upgrade", "websocket") || self.headers.contains("sec-websocket-version")
    }

    /// Whether the method is one, and that of a CORS preflight, too. Some
    /// servers fold the case of a method, or cut it off at a blank: what is not
    /// written in the one way that all of them read alike would be judged as
    /// another method than the one that is done.
    pub(super) fn has_good_methods(&self) -> bool {
        let asked = || self.headers.values("access-control-request-method").all(is_method);
        is_method(self.method.as_bytes()) && (self.method != "OPTIONS" || asked())
    }

    /// The method that a CORS preflight asks for, when this is one.
    #[must_use]
    pub fn preflight_of(&self) -> Option<&'a str> {
        (self.method == "OPTIONS" && matches!(self.headers.single("origin"), Single::One(_)))
            .then(|| self.headers.text("access-control-request-method"))
            .flatten()
    }

    /// Whether the browser is opening a page, which it would rather see than
    /// an error.
    pub(super) fn is_navigation(&self) -> bool {
        self.method == "GET"
            && self.headers.text("sec-fetch-mode") == Some("navigate")
            && !self
                .headers
                .values("content-type")
                .any(|value| value.to_ascii_lowercase().starts_with(b"application/grpc"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_is_found_in_whatever_case_it_came(
            names in proptest::collection::vec("[aAbB:_-]{0,4}", 0..12),
            asked in "[aAbB:_-]{0,4}",
        ) {
            let header = |name| Header { name, value: b"1" };
            let all: Vec<_> = names.iter().map(|name| header(name.as_str())).collect();
            let there = all.iter().filter(|one| one.name.eq_ignore_ascii_case(&asked)).count();
            for headers in [Headers::new(all.clone(), vec![]), Headers::new(vec![], all)] {
                prop_assert_eq!(headers.values(&asked).count(), there);
                prop_assert_eq!(headers.contains(&asked), there > 0);
                let single = match there {
                    0 => Single::Absent,
                    1 => Single::One(&b"1"[..]),
                    _ => Single::Repeated,
                };
                prop_assert_eq!(headers.single(&asked), single);
            }
        }
    }
}
