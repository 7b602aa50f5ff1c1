//! JSON objects in which no member stands twice.
//!
//! Which of two members wins differs from parser to parser, so a token that
//! repeats one can be read in two ways and is refused (RFC 7519, section 4).

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// The members of an object, in their order; none is repeated.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Value)>);

impl<'a> Members<'a> {
    /// Parses an object of at most `limit` members, which bounds the search
    /// for repeated names in input that nobody has vouched for.
    pub(crate) fn parse(bytes: &'a [u8], limit: usize) -> Result<Self, serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let members = parser.deserialize_map(ObjectVisitor { limit })?;
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

    /// The members as one JSON value, for showing to a person.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0.into_iter().map(|(key, value)| (key.into_owned(), value)).collect())
    }
}

struct ObjectVisitor {
    limit: usize,
}

impl<'de> Visitor<'de> for ObjectVisitor {
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
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
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
