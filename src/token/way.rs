//! Ways to a claim through objects, such as `realm_access.roles`.

use serde_json::{Map, Value};

use super::json::Members;

/// The most dots of a way.
const MAX_DOTS: usize = 8;

/// Where a claim is. A member whose own name is the whole way comes first; of
/// several that begin it, the one with the longest name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWay(String);

impl ClaimWay {
    /// The way of this text; `None` when it is empty or has too many dots.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = !text.is_empty() && text.matches('.').count() <= MAX_DOTS;
        fits.then_some(Self(text))
    }

    /// What is there, unless that is null.
    pub(super) fn find<'a>(&self, payload: &'a Members<'_>) -> Option<&'a Value> {
        follow(&self.0, &|name| payload.get(name)).filter(|value| !value.is_null())
    }

    /// Puts a value there.
    pub fn put(&self, payload: &mut Map<String, Value>, value: Value) {
        let mut parts: Vec<&str> = self.0.split('.').collect();
        // The first name with a scheme in it is one name: `https://a.example/roles`.
        if self.0.contains("//") {
            parts = vec![&self.0];
        }
        let Some((last, way)) = parts.split_last() else { return };
        let mut object = payload;
        for name in way {
            let below = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            let Value::Object(below) = below else { return };
            object = below;
        }
        object.insert((*last).to_owned(), value);
    }
}

fn follow<'a>(way: &str, get: &dyn Fn(&str) -> Option<&'a Value>) -> Option<&'a Value> {
    if let Some(value) = get(way) {
        return Some(value);
    }
    way.rmatch_indices('.').find_map(|(at, _)| {
        let (name, rest) = (way.get(..at)?, way.get(at + 1..)?);
        let object = get(name)?.as_object()?;
        follow(rest, &|name| object.get(name))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(way: &str, payload: &str) -> Option<Value> {
        let payload = Members::parse(payload.as_bytes(), 16).unwrap();
        ClaimWay::new(way).unwrap().find(&payload).cloned()
    }

    #[test]
    fn a_way_leads_through_objects() {
        let payload = r#"{"realm_access":{"roles":["staff"]},"sub":"7"}"#;
        assert_eq!(find("sub", payload), Some("7".into()));
        assert_eq!(find("realm_access.roles", payload), Some(vec!["staff"].into()));
        for none in ["realm_access.role", "realm_access.roles.x", "sub.x", "x", "x.y", "."] {
            assert_eq!(find(none, payload), None, "{none}");
        }
    }

    #[test]
    fn a_name_that_holds_dots_is_found_first() {
        let payload = r#"{"a":{"b":{"c":1}},"a.b":{"c":2},"a.b.c":3}"#;
        assert_eq!(find("a.b.c", payload), Some(3.into()));
        assert_eq!(find("a.b.c", r#"{"a":{"b":{"c":1}},"a.b":{"c":2}}"#), Some(2.into()));
        assert_eq!(find("a.b.c", r#"{"a":{"b":{"c":1}},"a.b":{"x":2}}"#), Some(1.into()));
        assert_eq!(find("a.b.c", r#"{"a":{"b.c":4,"b":{"c":1}}}"#), Some(4.into()));
        let namespaced = r#"{"https://example.com/roles":["x"]}"#;
        assert_eq!(find("https://example.com/roles", namespaced), Some(vec!["x"].into()));
        assert_eq!(find("a", r#"{"a":null}"#), None);
    }

    #[test]
    fn what_is_put_somewhere_is_found_there() {
        for way in ["sub", "realm_access.roles", "a.b.c.d", "https://example.com/roles"] {
            let mut payload = Map::from_iter([("a".to_owned(), Value::from(1))]);
            ClaimWay::new(way).unwrap().put(&mut payload, "x".into());
            let text = Value::Object(payload).to_string();
            assert_eq!(find(way, &text), Some("x".into()), "{way}");
        }
    }

    #[test]
    fn ways_are_bounded() {
        assert!(ClaimWay::new("").is_none());
        assert!(ClaimWay::new("a.".repeat(MAX_DOTS)).is_some());
        assert!(ClaimWay::new("a.".repeat(MAX_DOTS + 1)).is_none());
    }

    proptest! {
        /// Whatever an operator writes, and whatever stands there before.
        #[test]
        fn any_way_finds_what_was_put_there_and_leaves_the_rest(
            way in "[ab./:é]{0,12}|\\PC{0,12}",
            before in "[ab]{1,2}",
        ) {
            let mut payload = Map::from_iter([(before.clone(), Value::from(1))]);
            let Some(own) = ClaimWay::new(&*way) else { return Ok(()) };
            own.put(&mut payload, "x".into());
            let (text, first) = (Value::Object(payload).to_string(), way.split('.').next());
            prop_assert_eq!(find(&way, &text), Some("x".into()), "{}", text);
            if first != Some(&before) {
                prop_assert_eq!(find(&before, &text), Some(1.into()), "{}", text);
            }
        }
    }
}
