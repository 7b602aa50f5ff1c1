//! Reads the few fields of a `CheckRequest` that a decision needs, straight
//! from the wire and without copying one.
//!
//! It takes what it understands in full: a message that any decoder reads in
//! one way. Whatever is out of the common (a field of another wire type, one
//! that is there twice, groups, the route's metadata) is left to the generated types,
//! so that there is one opinion about it; a property test holds the two together.

use prost_types::Timestamp;

use super::{
    metadata,
    question::{self, Question},
    wire::{Content, each, once, put, put_bytes},
};
use crate::authz::{CheckInput, Header, Headers};

/// As many headers are taken here.
const MAX_HEADERS: usize = 64;

impl<'a> Question<'a> {
    /// Reads a `CheckRequest`; `None` for one to be read by the generated
    /// types, whether it is a good one or not.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let mut attributes = None;
        each(message, |number, content| match number {
            1 => once(&mut attributes, content),
            _ => Some(()),
        })?;
        let (mut source, mut destination, mut request, mut told) = (None, None, None, None);
        let mut extensions = Extensions::default();
        each(attributes?, |number, content| match number {
            1 => once(&mut source, content),
            2 => once(&mut destination, content),
            4 => once(&mut request, content),
            // The session's name is not used; it is text all the same.
            12 => {
                let Content::Bytes(session) = content else { return None };
                each(session, |number, content| match number {
                    1 => put(&mut "", content),
                    _ => Some(()),
                })
            }
            11 => once(&mut told, content),
            // The route's metadata, which Envoy sends empty when there is none.
            13 => matches!(content, Content::Bytes([])).then_some(()),
            10 => extensions.add(content),
            _ => Some(()),
        })?;
        let mut http = None;
        each(request?, |number, content| match (number, content) {
            (1, Content::Bytes(time)) => prost::Message::decode(time).ok().map(|_: Timestamp| ()),
            (1, _) => None,
            (2, content) => once(&mut http, content),
            _ => Some(()),
        })?;
        let source = source.map_or(Some(Peer::default()), peer)?;
        let destination = destination.map_or(Some(Peer::default()), peer)?;
        let mut input = request_of(http?)?;
        input.source_address = source.address;
        input.source_principal = source.principal;
        input.destination_principal = destination.principal;
        input.context = extensions.0;
        input.mcp_told = metadata::told(told.unwrap_or_default())?;
        Some(Self { id: input.id, client: source.address, input: Some(input) })
    }
}

/// The fields of a message that hold messages or maps, by number.
struct Messages(&'static [(u32, &'static Messages)]);

/// As many messages may lie within one another, as in the generated types.
const MAX_DEPTH: usize = 100;

static LEAF: Messages = Messages(&[]);
/// Of values within metadata: an entry of a struct's map has its value as 2.
static VALUE: Messages = Messages(&[(5, &STRUCT), (6, &Messages(&[(1, &VALUE)]))]);
static STRUCT: Messages = Messages(&[(1, &Messages(&[(2, &VALUE)]))]);
static METADATA: Messages = Messages(&[(1, &Messages(&[(2, &STRUCT)])), (2, &LEAF)]);
static PEER: Messages = Messages(&[(3, &LEAF)]);
static HTTP: Messages = Messages(&[(3, &LEAF)]);
static ATTRIBUTES: Messages = Messages(&[
    (1, &PEER),
    (2, &PEER),
    (4, &Messages(&[(2, &HTTP)])),
    (10, &LEAF),
    (11, &METADATA),
    (13, &METADATA),
]);
static CHECK_REQUEST: Messages = Messages(&[(1, &ATTRIBUTES)]);

/// Whether every map of a `CheckRequest` is of the one wire type that maps have.
/// The generated types take a field of another one for a map; other readers
/// take it for a field that they do not know.
pub(super) fn has_good_maps(message: &[u8]) -> bool {
    fn good(message: &[u8], Messages(known): &Messages, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        each(message, |number, content| {
            match (known.iter().find(|(field, _)| *field == number), content) {
                (None, _) => Some(()),
                (Some((_, below)), Content::Bytes(bytes)) => good(bytes, below, depth),
                (Some(_), _) => None,
            }
        })
    }
    good(message, &CHECK_REQUEST, MAX_DEPTH).is_some()
}

/// The request of an `HttpRequest`.
fn request_of(http: &[u8]) -> Option<CheckInput<'_>> {
    let mut input = CheckInput::default();
    let (mut map, mut header_map) = (Map::default(), None);
    let (mut unused, mut body, mut raw_body) = ("", "", &[][..]);
    {
        each(http, |number, content| match (number, content) {
            (1, content) => put(&mut input.id, content),
            (2, content) => put(&mut input.method, content),
            (3, Content::Bytes(entry)) => map.add(entry),
            (4, content) => put(&mut input.path, content),
            (5, content) => put(&mut input.host, content),
            (6, content) => put(&mut input.scheme, content),
            (10, content) => put(&mut input.protocol, content),
            // Query, fragment.
            (7 | 8, content) => put(&mut unused, content),
            (9, Content::Varint(_)) => Some(()),
            (11, content) => put(&mut body, content),
            (12, Content::Bytes(bytes)) => {
                raw_body = bytes;
                Some(())
            }
            (13, content) => once(&mut header_map, content),
            (3 | 9 | 12, _) => None,
            _ => Some(()),
        })?;
        let mut list = Vec::new();
        if let Some(headers) = header_map {
            list.reserve(MAX_HEADERS / 2);
            each(headers, |number, content| match (number, content) {
                (1, Content::Bytes(header)) => {
                    list.push(listed(header)?);
                    Some(())
                }
                (1, _) => None,
                _ => Some(()),
            })?;
        }
        input.headers = Headers::new(map.headers, list);
        input.body = question::body(body, raw_body, &input.headers);
    }
    Some(input)
}

/// An entry of `header_map`.
fn listed(header: &[u8]) -> Option<Header<'_>> {
    let (mut name, mut value, mut raw) = ("", &[][..], &[][..]);
    each(header, |number, content| match (number, content) {
        (1, content) => put(&mut name, content),
        (2, content) => put_bytes(&mut value, content),
        (3, Content::Bytes(bytes)) => {
            raw = bytes;
            Some(())
        }
        (3, _) => None,
        _ => Some(()),
    })?;
    Some(Header { name, value: if value.is_empty() { raw } else { value } })
}

/// Who is at one end of the request.
#[derive(Default)]
struct Peer<'a> {
    address: &'a str,
    principal: &'a str,
}

fn peer(message: &[u8]) -> Option<Peer<'_>> {
    let (mut address, mut principal, mut unused) = (None, "", "");
    each(message, |number, content| match number {
        1 => once(&mut address, content),
        // Labels.
        3 => None,
        2 | 5 => put(&mut unused, content),
        4 => put(&mut principal, content),
        _ => Some(()),
    })?;
    let Some(address) = address else { return Some(Peer { address: "", principal }) };
    let (mut socket, mut others) = (None, false);
    each(address, |number, content| match number {
        1 => once(&mut socket, content),
        // A pipe, or Envoy itself.
        2 | 3 => {
            others = true;
            Some(())
        }
        _ => Some(()),
    })?;
    let mut host = "";
    each(socket.filter(|_| !others)?, |number, content| match (number, content) {
        (2, content) => put(&mut host, content),
        (4 | 5 | 7, content) => put(&mut unused, content),
        (1 | 3 | 6, Content::Varint(_)) => Some(()),
        (1 | 3 | 6, _) => None,
        _ => Some(()),
    })?;
    Some(Peer { address: host, principal })
}

/// What the route says: a map, in which of two entries of one name the last
/// would count. That is left to the generated types.
#[derive(Default)]
struct Extensions<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Extensions<'a> {
    fn add(&mut self, content: Content<'a>) -> Option<()> {
        let Content::Bytes(entry) = content else { return None };
        let (mut name, mut value) = ("", "");
        each(entry, |number, content| match number {
            1 => put(&mut name, content),
            2 => put(&mut value, content),
            _ => Some(()),
        })?;
        if self.0.len() == MAX_HEADERS || self.0.iter().any(|(other, _)| *other == name) {
            return None;
        }
        self.0.push((name, value));
        Some(())
    }
}

/// The headers of `headers`, which is a map: of two entries of one name, the
/// last would count. That is left to the generated types.
#[derive(Default)]
struct Map<'a> {
    headers: Vec<Header<'a>>,
    /// A bit for each name that there may be.
    seen: u64,
}

impl<'a> Map<'a> {
    fn add(&mut self, entry: &'a [u8]) -> Option<()> {
        let (mut name, mut value) = ("", &[][..]);
        each(entry, |number, content| match number {
            1 => put(&mut name, content),
            2 => put_bytes(&mut value, content),
            _ => Some(()),
        })?;
        if self.headers.is_empty() {
            self.headers.reserve(MAX_HEADERS / 2);
        }
        let ends = name.bytes().next().unwrap_or(0).wrapping_mul(7)
            ^ name.bytes().next_back().unwrap_or(0).wrapping_mul(13);
        let bit = 1 << ((usize::from(ends) + name.len()) % 64);
        let is_new = self.seen & bit == 0 || self.headers.iter().all(|other| other.name != name);
        self.seen |= bit;
        if !is_new || self.headers.len() == MAX_HEADERS {
            return None;
        }
        self.headers.push(Header { name, value });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that has this in it.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn entry(name: &str, value: &str) -> Vec<u8> {
        [field(1, name.as_bytes()), field(2, value.as_bytes())].concat()
    }

    /// A question as Envoy asks it, but for these parts.
    fn asked(time: &[u8], session: &[u8], route: &[u8]) -> Vec<u8> {
        let http = [
            field(1, b"i"),
            field(2, b"GET"),
            field(3, &entry("a", "x")),
            field(4, b"/p"),
            field(5, b"h"),
        ];
        let request = [field(1, time), field(2, &http.concat())];
        let source = [field(1, &field(1, &field(2, b"192.0.2.1"))), field(4, b"s")];
        let attributes = [
            field(1, &source.concat()),
            field(2, &field(4, b"d")),
            field(4, &request.concat()),
            field(10, &entry("k", "v")),
            field(11, b""),
            field(12, &field(1, session)),
            field(13, route),
        ];
        field(1, &attributes.concat())
    }

    #[test]
    fn what_envoy_asks_is_read_here() {
        let message = asked(&[8, 1], b"session", b"");
        let question = Question::read(&message).unwrap();
        let input = question.input.unwrap();
        assert_eq!((question.id, question.client), ("i", "192.0.2.1"));
        assert_eq!((input.method, input.path, input.host), ("GET", "/p", "h"));
        assert_eq!(input.headers.text("a"), Some("x"));
        let ends = (input.source_address, input.source_principal, input.destination_principal);
        assert_eq!(ends, ("192.0.2.1", "s", "d"));
        assert_eq!(input.context, [("k", "v")]);
        for (time, session, route) in
            [(&b"\xff"[..], &b""[..], &b""[..]), (b"", b"\xff", b""), (b"", b"", b"\x0a\x00")]
        {
            assert!(Question::read(&asked(time, session, route)).is_none());
        }
        // A time that is no message.
        let request = [&[1 << 3, 1][..], &field(2, b"")].concat();
        let message = |request: &[u8]| field(1, &field(4, request));
        assert!(Question::read(&message(&request[2..])).is_some());
        assert!(Question::read(&message(&request)).is_none());
    }

    #[test]
    fn a_name_may_be_of_any_length() {
        let long = [&[0x0a, 0x88, 0x27][..], &[b'x'; 5000], &field(2, b"y")].concat();
        let mut map = Map::default();
        assert_eq!(map.add(&long), Some(()));
        assert_eq!(map.headers.len(), 1);
    }

    #[test]
    fn two_of_one_name_and_more_than_64_are_left_to_the_generated_types() {
        let names: Vec<Vec<u8>> = (0..65).map(|at| entry(&format!("name-{at}"), "x")).collect();
        let (mut extensions, mut map) = (Extensions::default(), Map::default());
        for (at, entry) in names.iter().enumerate() {
            let taken = (at < 64).then_some(());
            assert_eq!(extensions.add(Content::Bytes(entry)), taken, "{at}");
            assert_eq!(map.add(entry), taken, "{at}");
        }
        let (mut extensions, mut map) = (Extensions::default(), Map::default());
        for (name, is_new) in [("a", true), ("b", true), ("a", false), ("", true), ("", false)] {
            let (entry, taken) = (entry(name, "x"), is_new.then_some(()));
            let leaked = entry.leak();
            assert_eq!(extensions.add(Content::Bytes(leaked)), taken, "{name}");
            assert_eq!(map.add(leaked), taken, "{name}");
        }
        assert_eq!(extensions.add(Content::Varint(1)), None);
    }

    #[test]
    fn a_request_with_a_field_that_is_no_text_or_of_another_type_is_left_to_them() {
        for number in [1, 2, 4, 5, 6, 7, 8, 10, 11] {
            assert!(request_of(&field(number, b"a")).is_some(), "{number}");
            assert!(request_of(&field(number, b"\xff")).is_none(), "{number}");
        }
        assert!(request_of(&field(12, b"\xff")).is_some());
        for (key, is_taken) in [(3, false), (9, true), (12, false), (13, false), (14, true)] {
            assert_eq!(request_of(&[key << 3, 1]).is_some(), is_taken, "{key}");
        }
        assert!(request_of(&field(9, b"")).is_none());
        // A list of headers, each as text or as bytes.
        let both =
            [field(1, &entry("a", "x")), field(1, &[field(1, b"b"), field(3, b"\xff")].concat())];
        let request = field(13, &both.concat());
        let input = request_of(&request).unwrap();
        let values: Vec<&[u8]> = input.headers.iter().map(|header| header.value).collect();
        assert_eq!(values, [&b"x"[..], b"\xff"]);
        assert!(request_of(&field(13, &[1 << 3, 1])).is_none());
        assert!(request_of(&field(13, &field(1, &[3 << 3, 1]))).is_none());
    }

    #[test]
    fn a_peer_is_an_address_of_a_socket_and_a_principal() {
        let of = |peer: &[u8]| peer.to_vec().leak();
        let at = |socket: &[u8]| field(1, &field(1, socket));
        let read = |message: &[u8]| peer(of(message)).map(|peer| (peer.address, peer.principal));
        assert_eq!(read(b""), Some(("", "")));
        assert_eq!(read(&field(4, b"p")), Some(("", "p")));
        assert_eq!(read(&at(&field(2, b"h"))), Some(("h", "")));
        assert_eq!(
            read(&at(&[&field(2, b"h")[..], &[8, 1, 24, 1, 48, 1]].concat())),
            Some(("h", ""))
        );
        for bad in [
            field(3, b""),
            field(2, b"\xff"),
            field(5, b"\xff"),
            field(1, b""),
            // A pipe, alone or beside the socket.
            field(1, &field(2, b"")),
            field(1, &[field(1, &field(2, b"h")), field(3, b"")].concat()),
            at(&field(4, b"\xff")),
            at(&field(7, b"\xff")),
            at(&field(1, b"")),
            at(&field(6, b"")),
            [at(b""), at(b"")].concat(),
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }
}
