//! A request to be decided, as any transport brings it.

use std::fmt;

/// One header of the request.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    /// The name, in the case in which it came.
    pub name: &'a str,
    /// The value; need not be UTF-8.
    pub value: &'a [u8],
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
    /// From `headers`, or from an HTTP request.
    pub map: Vec<Header<'a>>,
    /// From `header_map`.
    pub list: Vec<Header<'a>>,
}

impl<'a> Headers<'a> {
    /// All headers in both forms.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> {
        self.map.iter().chain(&self.list).copied()
    }

    /// Every value of the header, in both forms.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }

    /// Whether the header is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of a header that must not be repeated. The same value in
    /// both forms is one value.
    #[must_use]
    pub fn single(&self, name: &str) -> Single<'a> {
        match (one(&self.map, name), one(&self.list, name)) {
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
            headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case("cookie"))
                .map(|header| header.value)
                .collect()
        };
        let (map, list) = (lines(&self.map), lines(&self.list));
        if map.is_empty() || list.is_empty() || map == list {
            Some(if map.is_empty() { list } else { map })
        } else {
            None
        }
    }
}

fn one<'a>(headers: &[Header<'a>], name: &str) -> Single<'a> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (values.next(), values.next()) {
        (None, _) => Single::Absent,
        (Some(header), None) => Single::One(header.value),
        (Some(_), Some(_)) => Single::Repeated,
    }
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
