//! A request of these tests.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use crate::{
    clock::Timestamp,
    condition::{Fact, Facts, Object, Scope, Unreadable},
};

/// A request, as a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) texts: BTreeMap<(Object, String), String>,
    pub(super) lists: BTreeMap<(Object, String), Vec<String>>,
    pub(super) claims: serde_json::Map<String, Value>,
    torn: Vec<(Object, String)>,
}

impl Request {
    pub(super) fn text(mut self, of: Object, name: &str, text: &str) -> Self {
        self.texts.insert((of, name.to_owned()), text.to_owned());
        self
    }

    pub(super) fn list(mut self, of: Object, name: &str, list: &[&str]) -> Self {
        let list = list.iter().map(|one| (*one).to_owned()).collect();
        self.lists.insert((of, name.to_owned()), list);
        self
    }

    pub(super) fn claims(mut self, claims: Value) -> Self {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        self.claims = claims;
        self
    }

    pub(super) fn torn(mut self, of: Object, name: &str) -> Self {
        self.torn.push((of, name.to_owned()));
        self
    }
}

impl Facts for Request {
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let key = (of, name.to_owned());
        if self.torn.contains(&key) {
            return Err(Unreadable("it has two values"));
        }
        if (of, name) == (Object::Request, "time") {
            return Ok(Some(Fact::Time(Timestamp::from_secs(1_795_004_800))));
        }
        if of == Object::Claims {
            return Ok(self.claims.get(name).map(Fact::Json));
        }
        let text = self.texts.get(&key).map(|text| Fact::text(text));
        let list = || {
            let list = self.lists.get(&key)?;
            Some(Fact::Texts(list.iter().map(|one| Cow::Borrowed(one.as_str())).collect()))
        };
        Ok(text.or_else(list))
    }

    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable> {
        if of == Object::Claims {
            return Ok(self.claims.keys().map(|name| Cow::Borrowed(name.as_str())).collect());
        }
        let names = self.texts.keys().chain(self.lists.keys());
        Ok(names.filter(|(own, _)| *own == of).map(|(_, name)| name.as_str().into()).collect())
    }
}

fn is_hidden(name: &str) -> bool {
    name == "authorization"
}

/// What conditions of these tests may name.
pub(super) const SCOPE: Scope<'static> =
    Scope { path: &["id", "run"], context: &["plan"], is_hidden: &is_hidden };

/// Ann, who asks for the third run of the user 7.
pub(super) fn anns() -> Request {
    Request::default()
        .text(Object::Request, "method", "GET")
        .text(Object::Request, "host", "app.example.com")
        .text(Object::Request, "path", "/users/7/runs/3")
        .list(Object::Request, "segments", &["users", "7", "runs", "3"])
        .text(Object::Headers, "x-tenant", "acme")
        .list(Object::Query, "tag", &["a", "b"])
        .text(Object::Path, "id", "7")
        .text(Object::Path, "run", "3")
        .text(Object::User, "id", "7")
        .text(Object::User, "name", "ann")
        .text(Object::User, "role", "REGULAR")
        .list(Object::User, "scopes", &["runs:read", "runs:write"])
        .text(Object::User, "issuer", "acme")
        .text(Object::Context, "plan", "gold")
        .claims(json!({
            "tenant": "acme", "tenants": ["acme", "globex"], "level": 3, "half": 0.5,
            "vip": true, "https://example.com/org": "o-1", "none": null, "big": u64::MAX, "org": { "id": "o-1", "units": [1, 2] },
        }))
}
