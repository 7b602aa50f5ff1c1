//! A file of Envoy's as a tree whose places have names.
//!
//! Envoy takes a field in two spellings (`failure_mode_allow`, `failureModeAllow`), a
//! boolean as text and as YAML's `yes`, an enum by name and by number; so does this.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The longest file, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// As deep may values lie within one another.
const MAX_DEPTH: usize = 100;
/// As many values and keys may a file in YAML have.
const MAX_NODES: usize = 4_000_000;

/// Reads a file, or stdin for `-`.
///
/// # Errors
///
/// What is wrong with it, for a person.
pub(super) fn read(file: &Path) -> Result<Value, String> {
    let bytes = if file.as_os_str() == "-" {
        bytes_of(io::stdin().lock())
    } else {
        File::open(file).map_err(|error| error.to_string()).and_then(bytes_of)
    }?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(&text).map(|Strict(tree)| tree).map_err(|e| e.to_string());
    }
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_events: 2 * MAX_NODES,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(&text, options)
        .map(|Strict(tree)| tree)
        .map_err(|error| error.to_string())
}

fn bytes_of(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it has more than 64 MiB".to_owned());
    }
    Ok(bytes)
}

/// A value of which no field is there twice: readers differ about which one holds.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder).map(Self)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            let other = if key.contains('_') { in_camel_case(&key) } else { in_snake_case(&key) };
            if map.contains_key(&key) || map.contains_key(&other) {
                let cause = format!("{key:?} is given twice, in one spelling or in two");
                return Err(A::Error::custom(cause));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// `failureModeAllow`.
fn in_camel_case(field: &str) -> String {
    let mut parts = field.split('_');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// `failure_mode_allow`.
fn in_snake_case(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 4);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    value: &'t Value,
    at: String,
}

/// What an `Any` holds.
#[derive(Clone, Debug)]
pub(super) struct Typed<'t> {
    /// The type's whole name, without what is before it in its URL.
    pub(super) name: &'t str,
    /// Its fields.
    pub(super) body: Node<'t>,
}

impl<'t> Node<'t> {
    pub(super) fn root(value: &'t Value) -> Self {
        Self { value, at: String::new() }
    }

    /// Where it stands, such as `static_resources.listeners[0].name`.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// A field that is there.
    pub(super) fn get(&self, field: &str) -> Option<Self> {
        let map = self.value.as_object()?;
        let (key, value) = map.get_key_value(field).or_else(|| {
            field.contains('_').then(|| map.get_key_value(&in_camel_case(field))).flatten()
        })?;
        let dot = if self.at.is_empty() { "" } else { "." };
        (!value.is_null()).then(|| Self { value, at: format!("{}{dot}{key}", self.at) })
    }

    /// The field at the end of a way of them.
    pub(super) fn way(&self, fields: &[&str]) -> Option<Self> {
        fields.iter().try_fold(self.clone(), |node, field| node.get(field))
    }

    /// The items of this list; none where it is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(n, value)| Self { value, at: format!("{}[{n}]", self.at) }).collect()
    }

    /// The items of a field that is a list.
    pub(super) fn list(&self, field: &str) -> Vec<Self> {
        self.get(field).map(|list| list.items()).unwrap_or_default()
    }

    /// The entries of this map, each by its name.
    pub(super) fn entries(&self) -> Vec<(&'t str, Self)> {
        let entries = self.value.as_object().into_iter().flatten();
        let named = |name: &'t String, value| (name.as_str(), self.at_name(name, value));
        entries.map(|(name, value)| named(name, value)).collect()
    }

    fn at_name(&self, name: &str, value: &'t Value) -> Self {
        Self { value, at: format!("{}[{name:?}]", self.at) }
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// This text.
    pub(super) fn as_text(&self) -> Option<&'t str> {
        self.value.as_str()
    }

    /// The text of a field.
    pub(super) fn text(&self, field: &str) -> Option<&'t str> {
        self.get(field)?.as_text()
    }

    /// Whether a field says yes, in any of the ways that Envoy takes. A field that
    /// says neither is taken for a yes where that opens.
    fn flag(&self, field: &str, unclear: bool) -> bool {
        let Some(node) = self.get(field) else { return false };
        // A wrapped one may be written whole.
        let value = node.value.get("value").unwrap_or(node.value);
        match value {
            Value::Bool(value) => *value,
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" | "on" | "1" | "t" => true,
                "false" | "no" | "n" | "off" | "0" | "f" => false,
                _ => unclear,
            },
            _ => unclear,
        }
    }

    /// Whether a field that protects is on.
    pub(super) fn is_on(&self, field: &str) -> bool {
        self.flag(field, false)
    }

    /// Whether a field that opens may be on.
    pub(super) fn may_be_on(&self, field: &str) -> bool {
        self.flag(field, true)
    }

    /// The number of a field.
    pub(super) fn number(&self, field: &str) -> Option<f64> {
        let node = self.get(field)?;
        let value = node.value.get("value").unwrap_or(node.value);
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Whether a field is one of these values of an enum, each with its number.
    pub(super) fn is_one_of(&self, field: &str, values: &[(&str, f64)]) -> bool {
        let text = self.text(field).unwrap_or_default();
        let number = self.number(field);
        values.iter().any(|(name, n)| text.eq_ignore_ascii_case(name) || number == Some(*n))
    }

    /// Whether a field is a span of time of more than nothing.
    pub(super) fn lasts(&self, field: &str) -> bool {
        let text = self.text(field).and_then(|text| text.strip_suffix('s'));
        text.and_then(|text| text.parse::<f64>().ok()).is_some_and(|seconds| seconds > 0.0)
    }

    /// What this `Any` holds; what Envoy knows as a `TypedStruct` is taken out of it.
    pub(super) fn any(&self) -> Option<Typed<'t>> {
        let url = self.value.get("@type")?.as_str()?;
        let name = url.rsplit('/').next().unwrap_or(url);
        if name.ends_with(".TypedStruct") {
            let url = self.text("type_url")?;
            let body = self.get("value")?;
            return Some(Typed { name: url.rsplit('/').next().unwrap_or(url), body });
        }
        Some(Typed { name, body: self.clone() })
    }

    /// What the `Any` of a field holds.
    pub(super) fn typed(&self, field: &str) -> Option<Typed<'t>> {
        self.get(field)?.any()
    }

    /// A copy of it.
    pub(super) fn to_value(&self) -> Value {
        self.value.clone()
    }

    /// All texts within it, each where it stands.
    pub(super) fn texts(&self) -> Vec<(Self, &'t str)> {
        let mut texts = Vec::new();
        self.visit(&mut |node| texts.extend(node.as_text().map(|text| (node.clone(), text))));
        texts
    }

    /// Looks at this value and at all within it.
    pub(super) fn visit(&self, look: &mut impl FnMut(&Self)) {
        look(self);
        for item in self.items() {
            item.visit(look);
        }
        for (name, value) in self.value.as_object().into_iter().flatten() {
            let dot = if self.at.is_empty() { "" } else { "." };
            Self { value, at: format!("{}{dot}{name}", self.at) }.visit(look);
        }
    }
}
