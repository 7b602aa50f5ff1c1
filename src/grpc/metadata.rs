//! Reads what Envoy's MCP filter tells out of the metadata of a `CheckRequest`, without
//! copying it. Nothing else reads it: the generated types would take the last of two
//! members of one name.

use super::wire::{Content, each, once, put, text};
use crate::operation::{ENVOY_MCP, McpMember, McpTelling, McpTold, Unclear};

/// As many values may lie within one another: of those that the generated types read,
/// with up to three messages for each.
const MAX_DEPTH: usize = 24;

/// What the filter tells in a `Metadata`; `None` for one to be read by the generated
/// types, whether it is a good one or not.
pub(super) fn told(metadata: &[u8]) -> Option<McpTold<'_>> {
    let mut told = None;
    each(metadata, |number, content| match number {
        1 => {
            let (name, members) = entry(content)?;
            if name != ENVOY_MCP {
                return each_member(members, MAX_DEPTH, |_, _| Some(()));
            }
            told.replace(told_by(members)?).is_none().then_some(())
        }
        // Typed metadata, of which nothing is taken.
        2 => {
            let mut unused = &[][..];
            each(entry(content)?.1, |number, content| match (number, content) {
                (1, content) => put(&mut "", content),
                (2, Content::Bytes(bytes)) => {
                    unused = bytes;
                    Some(())
                }
                (2, _) => None,
                _ => Some(()),
            })
        }
        _ => Some(()),
    })?;
    Some(told.unwrap_or_default())
}

/// The same in a whole question that the generated types have read.
pub(super) fn of_question(message: &[u8]) -> McpTold<'_> {
    fn within(message: &[u8], wanted: u32) -> Option<&[u8]> {
        let mut found = None;
        each(
            message,
            |number, content| {
                if number == wanted { once(&mut found, content) } else { Some(()) }
            },
        )?;
        Some(found.unwrap_or_default())
    }
    let metadata = within(message, 1).and_then(|attributes| within(attributes, 11));
    metadata.and_then(told).unwrap_or(McpTold::Unclear(Unclear::Filter))
}

/// What the members of the filter's `Struct` tell.
fn told_by(members: &[u8]) -> Option<McpTold<'_>> {
    let mut telling = McpTelling::default();
    each_member(members, MAX_DEPTH, |key, value| {
        telling.member(key, value.member());
        match (key, value) {
            ("params", Value::Object(params)) => each_member(params, MAX_DEPTH, |key, value| {
                telling.parameter(key, value.member());
                Some(())
            }),
            _ => Some(()),
        }
    })?;
    Some(telling.told())
}

/// A `google.protobuf.Value`.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Object(&'a [u8]),
    Other,
}

impl<'a> Value<'a> {
    fn read(message: &'a [u8], depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut value = None;
        each(message, |number, content| {
            let this = match (number, content) {
                (1, Content::Varint(_)) | (2, Content::Fixed64) => Self::Other,
                (3, Content::Bytes(bytes)) => Self::Text(text(bytes)?),
                (4, Content::Varint(flag)) => Self::Flag(flag != 0),
                (5, Content::Bytes(members)) => {
                    each_member(members, depth, |_, _| Some(()))?;
                    Self::Object(members)
                }
                (6, Content::Bytes(list)) => {
                    each(list, |number, content| match (number, content) {
                        (1, Content::Bytes(value)) => Self::read(value, depth).map(|_| ()),
                        (1, _) => None,
                        _ => Some(()),
                    })?;
                    Self::Other
                }
                (1..=6, _) => return None,
                _ => return Some(()),
            };
            value.replace(this).is_none().then_some(())
        })?;
        Some(value.unwrap_or(Self::Other))
    }

    fn member(self) -> McpMember<'a> {
        match self {
            Self::Text(text) => McpMember::Text(text),
            Self::Flag(flag) => McpMember::Flag(flag),
            Self::Object(_) => McpMember::Object,
            Self::Other => McpMember::Other,
        }
    }
}

/// Calls `member` with each member of a `Struct`.
fn each_member<'a>(
    members: &'a [u8],
    depth: usize,
    mut member: impl FnMut(&'a str, Value<'a>) -> Option<()>,
) -> Option<()> {
    each(members, |number, content| {
        if number != 1 {
            return Some(());
        }
        let (key, value) = entry(content)?;
        member(key, Value::read(value, depth)?)
    })
}

/// An entry of a map of messages.
fn entry(content: Content<'_>) -> Option<(&str, &[u8])> {
    let Content::Bytes(entry) = content else { return None };
    let (mut key, mut value) = ("", None);
    each(entry, |number, content| match number {
        1 => put(&mut key, content),
        2 => once(&mut value, content),
        _ => Some(()),
    })?;
    Some((key, value.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::select};
    use prost::Message as _;
    use prost_types::{Any, ListValue, Struct, Value, value::Kind};

    use super::*;
    use crate::proto::envoy::{
        config::core::v3::Metadata,
        service::auth::v3::{AttributeContext, CheckRequest},
    };

    const KEYS: [&str; 9] = [
        "jsonrpc",
        "method",
        "params",
        "name",
        "uri",
        "is_mcp_request",
        "status",
        "id",
        "is_exceeding_limit",
    ];
    const TEXTS: [&str; 6] = ["2.0", "tools/call", "tools/list", "resources/read", "mcp_ok", "ü"];

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            6 => select(&TEXTS[..]).prop_map(|text| Some(Kind::StringValue(text.into()))),
            2 => any::<bool>().prop_map(|flag| Some(Kind::BoolValue(flag))),
            1 => any::<f64>().prop_map(|number| Some(Kind::NumberValue(number))),
            1 => Just(Some(Kind::NullValue(0))),
            1 => Just(None),
        ];
        leaf.prop_map(|kind| Value { kind }).prop_recursive(3, 12, 4, |value| {
            let members = any_members(value.clone());
            let object = members.prop_map(Kind::StructValue);
            let list = vec(value, 0..3).prop_map(|values| Kind::ListValue(ListValue { values }));
            prop_oneof![3 => object, 1 => list].prop_map(|kind| Value { kind: Some(kind) })
        })
    }

    fn any_members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Struct> {
        vec((select(&KEYS[..]), value), 0..6).prop_map(|members| Struct {
            fields: members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        })
    }

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.into())) }
    }

    /// Such as the filter tells, with some members changed.
    fn any_told() -> impl Strategy<Value = Struct> {
        (any_members(any_value()), select(&TEXTS[..]), any::<bool>()).prop_map(
            |(changed, method, is_changed)| {
                let name = [("name".to_owned(), text("a")), ("uri".to_owned(), text("u"))];
                let params = Kind::StructValue(Struct { fields: name.into_iter().collect() });
                let mut fields = BTreeMap::from([
                    ("jsonrpc".to_owned(), text("2.0")),
                    ("method".to_owned(), text(method)),
                    ("params".to_owned(), Value { kind: Some(params) }),
                    ("is_mcp_request".to_owned(), Value { kind: Some(Kind::BoolValue(true)) }),
                ]);
                fields.extend(changed.fields.into_iter().filter(|_| is_changed));
                Struct { fields }
            },
        )
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let others = vec((select(&["a", "mcp_proxy", ""][..]), any_members(any_value())), 0..2);
        (prop::option::of(any_told()), others, any::<bool>()).prop_map(|(told, others, typed)| {
            let told = told.map(|told| (ENVOY_MCP.to_owned(), told));
            let others = others.into_iter().map(|(name, members)| (name.to_owned(), members));
            let any = Any { type_url: "t".into(), value: vec![1] };
            Metadata {
                filter_metadata: told.into_iter().chain(others).collect(),
                typed_filter_metadata: typed
                    .then(|| (ENVOY_MCP.to_owned(), any))
                    .into_iter()
                    .collect(),
            }
        })
    }

    fn member(value: &Value) -> McpMember<'_> {
        match &value.kind {
            Some(Kind::StringValue(text)) => McpMember::Text(text),
            Some(Kind::BoolValue(flag)) => McpMember::Flag(*flag),
            Some(Kind::StructValue(_)) => McpMember::Object,
            _ => McpMember::Other,
        }
    }

    /// The same of the generated types.
    fn expected(metadata: &Metadata) -> McpTold<'_> {
        let Some(members) = metadata.filter_metadata.get(ENVOY_MCP) else {
            return McpTold::Nothing;
        };
        let mut telling = McpTelling::default();
        for (key, value) in &members.fields {
            telling.member(key, member(value));
            if let ("params", Some(Kind::StructValue(params))) = (&**key, &value.kind) {
                for (key, value) in &params.fields {
                    telling.parameter(key, member(value));
                }
            }
        }
        telling.told()
    }

    /// The whole question around it.
    fn question(metadata: &[u8]) -> Vec<u8> {
        let attributes = AttributeContext {
            metadata_context: Some(Metadata::decode(metadata).unwrap_or_default()),
            ..AttributeContext::default()
        };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    }

    proptest! {
        #[test]
        fn metadata_is_read_as_the_generated_types_read_it(
            metadata in any_metadata(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let bytes = metadata.encode_to_vec();
            prop_assert_eq!(told(&bytes), Some(expected(&metadata)));
            let question = question(&bytes);
            prop_assert_eq!(of_question(&question), expected(&metadata));
            let mut changed = bytes;
            for (at, byte) in changes {
                if !changed.is_empty() {
                    let at = at.index(changed.len());
                    changed[at] = byte;
                }
            }
            if let Some(told) = told(&changed) {
                let metadata = Metadata::decode(&*changed);
                prop_assert!(metadata.is_ok(), "{metadata:?}");
                let expected = expected(metadata.as_ref().unwrap());
                // Of two members of one name, they take the last.
                let is_twice = told == McpTold::Unclear(Unclear::Filter);
                prop_assert!(told == expected || is_twice, "{told:?} {expected:?}");
            }
        }
    }

    #[test]
    fn what_is_there_twice_is_not_taken() {
        let call = |name: &str| {
            let fields = [("method".to_owned(), text(name))].into_iter().collect();
            let filter_metadata = [(ENVOY_MCP.to_owned(), Struct { fields })].into_iter().collect();
            Metadata { filter_metadata, ..Metadata::default() }.encode_to_vec()
        };
        let twice = [call("a"), call("b")].concat();
        assert_eq!(told(&twice), None);
        let framed = |number: u8, bytes: &[u8]| {
            [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
        };
        let attributes = [framed(11, &call("a")), framed(11, &call("b"))].concat();
        let question = framed(1, &framed(11, &twice));
        let unclear = McpTold::Unclear(Unclear::Filter);
        assert_eq!(of_question(&question), unclear);
        assert_eq!(of_question(&framed(1, &attributes)), unclear);
        let halves = [framed(1, &framed(11, &call("a"))), framed(1, &[])].concat();
        assert_eq!(of_question(&halves), unclear);
        assert_eq!(of_question(b"\x0a\x05"), unclear);
        assert_eq!(of_question(&framed(1, &[])), McpTold::Nothing);
    }
}
