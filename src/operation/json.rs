//! Reads JSON that all readers read alike (RFC 8259), and keeps the few members
//! that are asked for.
//!
//! Readers differ about members that are there twice, about lone surrogates, about
//! numbers that are too large, and some take a member in another case for its own.
//! All of that is refused wherever it stands; no tree of values is built.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::Unclear;

/// As deep may values lie within one another.
const MAX_DEPTH: u8 = 64;
/// As many names are compared one by one.
const FEW_NAMES: usize = 16;

/// A member that is asked for, and those within it.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) within: &'static [Wanted],
}

impl Wanted {
    pub(super) const fn alone(name: &'static str) -> Self {
        Self { name, within: &[] }
    }
}

/// What is kept of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kept<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    /// A whole number that is written as one, and is not negative.
    Number(u64),
    Null,
    Object,
    /// A list, or another number.
    Other,
}

/// The members that were found, each by its wanted self.
#[derive(Default)]
pub(super) struct Members<'a>(Vec<(*const Wanted, Kept<'a>)>);

impl<'a> Members<'a> {
    /// What was found of this one.
    pub(super) fn take(&mut self, wanted: &'static Wanted) -> Option<Kept<'a>> {
        let at = self.0.iter().position(|(found, _)| std::ptr::eq(*found, wanted))?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Reads a body that is one object.
pub(super) fn members<'a>(
    body: &'a [u8],
    wanted: &'static [Wanted],
) -> Result<Members<'a>, Unclear> {
    // All at once: text by text it takes longer.
    let body = std::str::from_utf8(body).map_err(|_| Unclear::Json)?;
    let mut reader = serde_json::Deserializer::from_str(body);
    let (mut top, mut names, mut found) = (None, Names::default(), Members::default());
    let (kept, names) = (Some(&mut top), &mut names);
    let walk = Walk { depth: 0, wanted, kept, names, found: &mut found };
    walk.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|_| Unclear::Json)?;
    match top {
        Some(Kept::Object) => Ok(found),
        _ => Err(Unclear::NoObject),
    }
}

/// One value on the way through all of them.
struct Walk<'w, 'a> {
    depth: u8,
    wanted: &'static [Wanted],
    /// Where to keep it, if it is kept.
    kept: Option<&'w mut Option<Kept<'a>>>,
    names: &'w mut Names<'a>,
    found: &'w mut Members<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn keep(self, kept: impl FnOnce() -> Kept<'a>) {
        if let Some(place) = self.kept {
            *place = Some(kept());
        }
    }

    /// How deep the values within this one are.
    fn deeper<E: de::Error>(&self) -> Result<u8, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH { Err(E::custom("it is too deep")) } else { Ok(depth) }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, 'a> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.keep(|| Kept::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep(|| Kept::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_bool<E>(self, it: bool) -> Result<(), E> {
        self.keep(|| Kept::Bool(it));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.keep(|| Kept::Number(number));
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.keep(|| Kept::Other);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.keep(|| Kept::Other);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(|| Kept::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let Self { names, found, .. } = self;
        let mut more = true;
        while more {
            let one = Walk { depth, wanted: &[], kept: None, names, found };
            more = list.next_element_seed(one)?.is_some();
        }
        if let Some(place) = self.kept {
            *place = Some(Kept::Other);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let Self { wanted, kept, names, found, .. } = self;
        let object = names.begin();
        while let Some(Name(name)) = map.next_key_seed(NameSeed)? {
            let member = wanted.iter().find(|member| member.name == name);
            if member.is_none() && wanted.iter().any(|member| is_alike(member.name, &name)) {
                return Err(de::Error::custom("a member is there in another case"));
            }
            if !names.add(object, name) {
                return Err(de::Error::custom("a member is there twice"));
            }
            let within = member.map_or(&[][..], |member| member.within);
            let mut value = None;
            let kept = member.is_some().then_some(&mut value);
            map.next_value_seed(Walk { depth, wanted: within, kept, names, found })?;
            if let (Some(member), Some(value)) = (member, value) {
                found.0.push((member, value));
            }
        }
        names.end(object);
        if let Some(place) = kept {
            *place = Some(Kept::Object);
        }
        Ok(())
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

struct NameSeed;

impl<'a> DeserializeSeed<'a> for NameSeed {
    type Value = Name<'a>;

    fn deserialize<D: de::Deserializer<'a>>(self, reader: D) -> Result<Name<'a>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for NameSeed {
    type Value = Name<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'a str) -> Result<Name<'a>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    /// One with escapes, which alone can hold a zero: some readers end a name there.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'a>, E> {
        if text.contains('\0') {
            return Err(E::custom("a name holds a zero"));
        }
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

/// The names of the objects that are open, one object's behind the other's.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: Vec<HashSet<Cow<'a, str>>>,
}

/// Where the names of one object begin.
#[derive(Clone, Copy)]
struct Begin {
    few: usize,
    many: usize,
}

impl<'a> Names<'a> {
    fn begin(&self) -> Begin {
        Begin { few: self.few.len(), many: self.many.len() }
    }

    /// Adds a name of the object that was begun last; whether it is new.
    fn add(&mut self, object: Begin, name: Cow<'a, str>) -> bool {
        let few = self.few.get(object.few..).unwrap_or_default();
        if few.contains(&name) {
            return false;
        }
        if few.len() < FEW_NAMES {
            self.few.push(name);
            return true;
        }
        if self.many.len() == object.many {
            self.many.push(HashSet::new());
        }
        self.many.last_mut().is_some_and(|many| many.insert(name))
    }

    fn end(&mut self, object: Begin) {
        self.few.truncate(object.few);
        self.many.truncate(object.many);
    }
}

/// Whether a reader that does not look at the case takes the one for the other: Go's
/// does, and folds two letters that are not of ASCII, too.
pub(super) fn is_alike(one: &str, other: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    one.chars().map(fold).eq(other.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    static WANTED: [Wanted; 2] =
        [Wanted::alone("model"), Wanted { name: "params", within: &[Wanted::alone("name")] }];

    fn model(body: &str) -> Result<Option<Kept<'_>>, Unclear> {
        members(body.as_bytes(), &WANTED).map(|mut found| found.take(&WANTED[0]))
    }

    #[test]
    fn what_is_asked_for_is_found_wherever_it_stands() {
        let text = |text: &'static str| Ok(Some(Kept::Text(text.into())));
        assert_eq!(model(r#"{"model":"a"}"#), text("a"));
        assert_eq!(model(r#" {"x":[{"model":"b"}],"mod\u0065l":"\u0061"} "#), text("a"));
        assert_eq!(model(r#"{"params":{"model":"b"}}"#), Ok(None));
        assert_eq!(model(r#"{"model":4096}"#), Ok(Some(Kept::Number(4096))));
        assert_eq!(model(r#"{"model":4096.0}"#), Ok(Some(Kept::Other)));
        assert_eq!(model(r#"{"model":-1}"#), Ok(Some(Kept::Other)));
        assert_eq!(model(r#"{"model":["a"]}"#), Ok(Some(Kept::Other)));
        assert_eq!(model(r#"{"model":{}}"#), Ok(Some(Kept::Object)));
        let mut found = members(br#"{"params":{"name":"n"},"model":null}"#, &WANTED).unwrap();
        assert_eq!(found.take(&WANTED[1].within[0]), Some(Kept::Text("n".into())));
        assert_eq!(found.take(&WANTED[0]), Some(Kept::Null));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = |by: usize| format!("{}1{}", "[".repeat(by), "]".repeat(by));
        let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":1")).collect();
        let many = many.join(",");
        for bad in [
            "",
            " ",
            r#"{"model":"a","model":"a"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"MODEL":"b"}"#,
            r#"{"x":{"a":1,"b":[{"c":1,"c":1}]}}"#,
            &format!("{{{many},\"k39\":2}}"),
            &format!("{{{many},\"k0\":2}}"),
            "{\"params\":{\"name\":1,\"\u{17f}\":2,\"na\\u006de\":3}}",
            r#"{"x":"\ud800"}"#,
            r#"{"x":"\udc00\ud800"}"#,
            r#"{"a\u0000":1}"#,
            r#"{"x":1e400}"#,
            r#"{"x":-1e400}"#,
            r#"{"x":01}"#,
            r#"{"x":+1}"#,
            r#"{"x":.5}"#,
            r#"{"x":NaN}"#,
            r#"{"x":Infinity}"#,
            r#"{"x":1,}"#,
            r#"{"x":1}{"#,
            r#"{"x":1} x"#,
            r#"{"x":1} //"#,
            "{/**/}",
            "{'x':1}",
            "\u{feff}{}",
            "{\"x\":\"\n\"}",
            "{\"x\":\"\\x41\"}",
            "[]",
            "1",
            "null",
            "\"model\"",
            &format!("{{\"x\":{}}}", "9".repeat(400)),
            &format!("{{\"x\":{}}}", deep(64)),
        ] {
            assert!(model(bad).is_err(), "{bad}");
        }
        assert!(members(b"{\"x\":\"\xff\"}", &WANTED).is_err());
        assert!(members(b"{\"\xc0\xaf\":1}", &WANTED).is_err());
        assert!(model(&format!("{{\"x\":{}}}", deep(63))).is_ok());
        assert!(model(&format!("{{{many}}}")).is_ok());
        assert!(model(r#"{"x":"\ud83d\ude00","y":1e-400,"z":12345678901234567890123}"#).is_ok());
    }

    #[test]
    fn names_are_alike_that_go_takes_for_one() {
        assert!(is_alike("tasks", "TA\u{17f}\u{212a}S") && is_alike("model", "mOdel"));
        assert!(!is_alike("model", "model ") && !is_alike("model", "m\u{f6}del"));
    }
}
