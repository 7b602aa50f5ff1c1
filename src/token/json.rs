//! JSON objects in which no member stands twice, at any level.
//!
//! Which of two members wins differs from parser to parser, so a token that
//! repeats one can be read in two ways and is refused (RFC 7519, section 4).

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep a value may be.
const MAX_DEPTH: usize = 32;

/// The members of an object, in their order; none is repeated.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Value)>);

impl<'a> Members<'a> {
    /// Parses an object of at most `limit` members, which bounds the search
    /// for repeated names in input that nobody has vouched for.
    pub(crate) fn parse(bytes: &'a [u8], limit: usize) -> Result<Self, serde_json::Error> {
        Self::parse_within(bytes, limit, &Cell::new(usize::MAX))
    }

    /// The same of at most so many values at all levels: what is parsed takes up
    /// to a hundred times the room of its text. What is left of them is told.
    pub(crate) fn parse_within(
        bytes: &'a [u8],
        limit: usize,
        values: &Cell<usize>,
    ) -> Result<Self, serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let members = parser.deserialize_map(ObjectVisitor { limit, values })?;
        parser.end()?;
        Ok(members)
    }

    /// The member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of the member of this name, once.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let (_, value) = self.0.iter_mut().find(|(key, _)| key == name)?;
        Some(value.take())
    }

    /// A copy of the members.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        self.0.iter().map(|(key, value)| (key.clone().into_owned(), value.clone())).collect()
    }

    /// The members as one JSON value, for showing to a person.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0.into_iter().map(|(key, value)| (key.into_owned(), value)).collect())
    }
}

struct ObjectVisitor<'v> {
    limit: usize,
    values: &'v Cell<usize>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Value)> = Vec::with_capacity(8);
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == self.limit {
                return Err(A::Error::custom("too many members"));
            }
            if members.iter().any(|(seen, _)| *seen == name) {
                return Err(A::Error::custom("repeated member"));
            }
            members.push((name, map.next_value_seed(Strict { depth: 1, values: self.values })?));
        }
        Ok(Members(members))
    }
}

/// A value in which no object repeats a member.
struct Strict<'v> {
    depth: usize,
    /// How many values there may be yet.
    values: &'v Cell<usize>,
}

impl Strict<'_> {
    fn below<E: serde::de::Error>(&self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            Err(E::custom("too deep"))
        } else {
            Ok(Self { depth, values: self.values })
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.values.get().checked_sub(1);
        self.values.set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value_seed(self.below()?)?;
            if object.insert(name.into_owned(), value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A member's name, borrowed where it holds no escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_also_when_one_is_escaped() {
        assert!(Members::parse(br#"{"role":"A","role":"A"}"#, 8).is_err());
        assert!(Members::parse(br#"{"role":"A","r\u006fle":"B"}"#, 8).is_err());
        assert!(Members::parse(br#"{"role":"A","Role":"B"}"#, 8).is_ok());
        assert!(Members::parse(br#"{"a":{"role":"A","role":"B"}}"#, 8).is_err());
        assert!(Members::parse(br#"{"a":[{"b":{"c":1,"\u0063":1}}]}"#, 8).is_err());
        assert!(Members::parse(br#"{"a":{"role":"A"},"b":{"role":"A"}}"#, 8).is_ok());
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Members::parse(nested(MAX_DEPTH - 1).as_bytes(), 8).is_ok());
        assert!(Members::parse(nested(MAX_DEPTH + 1).as_bytes(), 8).is_err());
        assert!(Members::parse(nested(4000).as_bytes(), 8).is_err());
    }

    #[test]
    fn the_number_of_values_at_all_levels_is_bounded() {
        let left = |text: &str, values| {
            let values = Cell::new(values);
            let parsed = Members::parse_within(text.as_bytes(), 8, &values);
            parsed.ok().map(|_| values.get())
        };
        let text = r#"{"a":[0,{"b":""}],"c":null}"#;
        assert_eq!((left(text, 6), left(text, 5), left(text, 4)), (Some(1), Some(0), None));
    }

    #[test]
    fn a_number_is_the_double_that_is_nearest() {
        // A reader in a hurry takes the second for the double beside it.
        for number in ["2.5e-3", "22184462222222222222222222262222281095516152.5"] {
            let text = format!("{{\"a\":{number}}}");
            let members = Members::parse(text.as_bytes(), 8);
            let value = members.expect("an object").get("a").cloned();
            assert_eq!(value.and_then(|it| it.as_f64()), number.parse().ok());
        }
    }

    #[test]
    fn only_one_whole_object_is_taken() {
        for bad in [&b"[]"[..], b"null", b"{} {}", b"{}x", b"", b"{\"a\":1,}", b"\xef\xbb\xbf{}"] {
            assert!(Members::parse(bad, 8).is_err(), "{bad:?}");
        }
        assert!(Members::parse(b" {} ", 8).is_ok());
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        assert!(Members::parse(br#"{"a":1,"b":2}"#, 2).is_ok());
        assert!(Members::parse(br#"{"a":1,"b":2,"c":3}"#, 2).is_err());
    }
}
