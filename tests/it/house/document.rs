//! A reader of the `OpenAPI` document, which holds answers to it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::read;

pub(super) const METHODS: [&str; 5] = ["get", "post", "delete", "put", "patch"];

/// The document, and what of it has been seen.
pub(super) struct Document {
    pub(super) whole: Value,
    /// Operation and status.
    pub(super) seen: BTreeSet<(String, u16)>,
}

impl Document {
    pub(super) fn read() -> Self {
        let whole = serde_json::from_str(&read("docs/src/reference/openapi.json")).unwrap();
        Self { whole, seen: BTreeSet::new() }
    }

    /// Path, method and operation, by the operation's id.
    pub(super) fn operations(&self) -> BTreeMap<String, (String, String, Value)> {
        let mut all = BTreeMap::new();
        for (path, item) in self.whole["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if METHODS.contains(&method.as_str()) {
                    let id = operation["operationId"].as_str().unwrap().to_owned();
                    let value = (path.clone(), method.clone(), operation.clone());
                    assert!(all.insert(id.clone(), value).is_none(), "{id} twice");
                }
            }
        }
        all
    }

    /// Holds an answer to the document.
    pub(super) async fn hold(
        &mut self,
        id: &str,
        asked: (&Method, &str),
        response: Response,
    ) -> Value {
        let (path, method, operation) = self.operations().remove(id).unwrap();
        assert_eq!(asked.0.as_str().to_lowercase(), method, "{id}");
        let fits = match path.split_once('{') {
            Some((before, rest)) => {
                asked.1.starts_with(before) && asked.1.ends_with(rest.split_once('}').unwrap().1)
            }
            None => asked.1 == path,
        };
        assert!(fits, "{id}: {} is not {path}", asked.1);
        let status = response.status().as_u16();
        let told = &operation["responses"][status.to_string()];
        assert!(told.is_object(), "{id}: the document has no {status}");
        self.seen.insert((id.to_owned(), status));
        for (name, header) in told["headers"].as_object().into_iter().flatten() {
            let is_there = response.headers().contains_key(name);
            assert!(is_there || header["required"] == false, "{id} {status} lacks {name}");
        }
        let kind = response.headers().get("content-type");
        let kind = kind.map(|kind| kind.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        let Some(content) = told["content"].as_object() else {
            assert!(text.is_empty(), "{id} {status} has a body: {text}");
            return Value::Null;
        };
        let kind = kind.unwrap_or_else(|| panic!("{id} {status} has no content-type"));
        let schema = content.get(&kind).unwrap_or_else(|| panic!("{id} {status}: {kind}"));
        let value = if kind.contains("json") {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{id}: {error}: {text}"))
        } else {
            Value::String(text)
        };
        let wrong = self.wrong(&schema["schema"], &value, "");
        assert!(wrong.is_empty(), "{id} {status}: {wrong:?} in {value}");
        value
    }

    /// What of a value is not as its schema has it. A word that this does not know is wrong,
    /// too, so that nothing of a schema is passed over.
    fn wrong(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(name) = schema["$ref"].as_str() {
            let schema = self.whole.pointer(name.strip_prefix('#').unwrap()).unwrap();
            return self.wrong(schema, value, at);
        }
        for (word, said) in schema.as_object().unwrap() {
            let is_right = match word.as_str() {
                "description" => true,
                "type" => match said {
                    Value::Array(all) => all.iter().any(|one| is_of(one, value)),
                    one => is_of(one, value),
                },
                "enum" => said.as_array().unwrap().contains(value),
                "required" => {
                    let mut names = said.as_array().unwrap().iter();
                    names.all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "additionalProperties" => {
                    assert_eq!(said, &json!(false), "{at}");
                    let known = schema["properties"].as_object().unwrap();
                    value.as_object().unwrap().keys().all(|name| known.contains_key(name))
                }
                "properties" => {
                    for (name, schema) in said.as_object().unwrap() {
                        if let Some(value) = value.get(name) {
                            wrong.extend(self.wrong(schema, value, &format!("{at}/{name}")));
                        }
                    }
                    true
                }
                "items" => {
                    for value in value.as_array().into_iter().flatten() {
                        wrong.extend(self.wrong(said, value, &format!("{at}/*")));
                    }
                    true
                }
                _ => false,
            };
            if !is_right {
                wrong.push(format!("{at}: {word}"));
            }
        }
        wrong
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}
