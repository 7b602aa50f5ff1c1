//! Asks the engine, without any transport.

use std::{io::Write as _, sync::Arc};

use portcullis::{
    app,
    authz::{CheckInput, Decision, Engine, Header, Headers, Verdict},
    clock::Timestamp,
    config::{Config, Sources},
    operation::{Body, McpTold},
    token::RevocationList,
};
use serde_json::Value;

use crate::jwt;

/// The time at which everything is asked.
pub(crate) const NOW: i64 = 1_800_000_000;

/// Loads a configuration from TOML, with the tests' key.
pub(crate) fn config(toml: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let environment = [("AUTH_JWT_SECRET".into(), jwt::SECRET.into())];
    let sources = Sources::new(vec![file.path().to_owned()], environment);
    Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The engine of a configuration in TOML.
pub(crate) fn engine(toml: &str) -> Engine {
    app::engine(config(toml), Arc::new(RevocationList::empty()))
}

/// A question.
#[derive(Clone)]
pub(crate) struct Ask {
    method: String,
    scheme: String,
    host: String,
    path: String,
    map: Vec<(String, String)>,
    list: Vec<(String, String)>,
    address: String,
    body: Option<String>,
    told: McpTold<'static>,
}

/// A question without anything special.
pub(crate) fn ask(method: &str, path: &str) -> Ask {
    Ask {
        method: method.into(),
        scheme: "https".into(),
        host: "app.example.com".into(),
        path: path.into(),
        map: vec![],
        list: vec![],
        address: String::new(),
        body: None,
        told: McpTold::Nothing,
    }
}

/// What came out, in short.
#[derive(Debug, PartialEq)]
pub(crate) struct Out {
    pub(crate) status: u16,
    /// The reason, empty for an allowance.
    pub(crate) reason: &'static str,
    pub(crate) rule: String,
    pub(crate) user: String,
    pub(crate) set: Vec<(String, String)>,
    pub(crate) remove: Vec<String>,
    pub(crate) remove_query: Vec<String>,
    pub(crate) set_cookie: Option<String>,
    pub(crate) shadow: Vec<String>,
    pub(crate) answer: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Out {
    fn of(decision: &Decision<'_>) -> Self {
        let principal = decision.principal.as_ref();
        let mut out = Self {
            status: 200,
            reason: decision.reason().map_or("", |reason| reason.as_str()),
            rule: decision.rule_name().unwrap_or_default().into(),
            user: principal.map_or("", |principal| principal.claims.user_id.as_str()).into(),
            set: vec![],
            remove: vec![],
            remove_query: vec![],
            set_cookie: None,
            shadow: decision.shadow.iter().map(|&name| name.into()).collect(),
            answer: vec![],
            body: String::new(),
        };
        match &decision.verdict {
            Verdict::Allow(grant) => {
                out.set = grant.set.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
                out.remove = grant.remove.iter().map(|name| name.clone().into_owned()).collect();
                out.set_cookie.clone_from(&grant.set_cookie);
                out.remove_query = grant.remove_query.iter().map(|&name| name.into()).collect();
            }
            Verdict::Deny(denial) => {
                out.status = denial.status();
                out.answer =
                    denial.headers().into_iter().map(|(n, v)| (n.into(), v.into())).collect();
                out.body = denial.body();
            }
            Verdict::Answer(answer) => {
                out.status = answer.status;
                out.answer =
                    answer.headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
                answer.body.clone_into(&mut out.body);
            }
        }
        out
    }

    /// The value that a header is set to.
    pub(crate) fn sets(&self, name: &str) -> Option<&str> {
        let mut values = self.set.iter().filter(|(set, _)| set == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is set twice");
        value
    }

    /// Whether a header is removed.
    pub(crate) fn removes(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| removed == name)
    }

    /// A header of the denial.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.answer.iter().find(|(set, _)| set == name).map(|(_, value)| &**value)
    }
}

impl Ask {
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    pub(crate) fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// A header in the map.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.map.push((name.into(), value.into()));
        self
    }

    /// A header in the list.
    pub(crate) fn listed(mut self, name: &str, value: &str) -> Self {
        self.list.push((name.into(), value.into()));
        self
    }

    /// With this body.
    pub(crate) fn json(mut self, body: &str) -> Self {
        self.body = Some(body.into());
        self.with("content-type", "application/json")
    }

    /// With this of Envoy's MCP filter.
    pub(crate) fn told(mut self, told: McpTold<'static>) -> Self {
        self.told = told;
        self.with("content-type", "application/json")
    }

    /// From this address.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.address = address.into();
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// A good token with these claims changed.
    pub(crate) fn claiming(self, changes: &Value) -> Self {
        let token = jwt::token(&jwt::with(NOW, changes));
        self.bearer(&token)
    }

    /// A good token of this role.
    pub(crate) fn role(self, role: &str) -> Self {
        self.claiming(&serde_json::json!({ "role": role }))
    }

    pub(crate) fn of(&self, engine: &Engine) -> Out {
        self.at(engine, NOW)
    }

    /// At this time, in seconds.
    pub(crate) fn at(&self, engine: &Engine, now: i64) -> Out {
        Out::of(&engine.decide(&self.input(), Timestamp::from_secs(now)))
    }

    /// The question itself.
    pub(crate) fn input(&self) -> CheckInput<'_> {
        CheckInput {
            method: &self.method,
            scheme: &self.scheme,
            host: &self.host,
            path: &self.path,
            headers: Headers::new(view(&self.map), view(&self.list)),
            source_address: &self.address,
            mcp_told: self.told,
            body: self.body.as_ref().map_or(Body::Absent, |body| Body::Whole(body.as_bytes())),
            ..CheckInput::default()
        }
    }
}

fn view(headers: &[(String, String)]) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect()
}

/// A good token of a REGULAR user.
pub(crate) fn good() -> String {
    jwt::token(&jwt::claims(NOW))
}
