//! Configurations and conditions: what operators write.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    panic,
    sync::{Arc, Once},
    thread,
};

use portcullis::{
    app,
    authz::{CheckInput, Header, Headers},
    clock::Timestamp,
    condition::{self, Always, Condition, Domain, Fact, Facts, Object, Scope, Unmet, Unreadable},
    token::RevocationList,
};
use serde_json::{Map, Value};

use super::setting::{NOW, TOKENS, load};

/// A condition is parsed on a thread of its own, where a panic of the parser is no more
/// than an error: it is none that libFuzzer has to be told of.
fn let_the_parser_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (caller, hook) = (thread::current().id(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == caller {
                hook(info);
            }
        }));
    });
}

/// A configuration is read or refused; what is read can decide.
pub fn config(data: &[u8]) {
    // A device or a pipe never ends, and is for the operator to name.
    if [&b"/dev"[..], b"/proc", b"/sys", b"\\"].iter().any(|it| contains(data, it)) {
        return;
    }
    if cfg!(fuzzing) {
        let_the_parser_panic();
    }
    let config = match load(data) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.problems.is_empty() && !problems.to_string().is_empty());
            return;
        }
    };
    for warning in &config.warnings {
        assert!(!warning.to_string().is_empty());
    }
    let engine = app::engine(config, Arc::new(RevocationList::empty()));
    let bearer = format!("Bearer {}", TOKENS[0].1);
    let with_token = [Header { name: "authorization", value: bearer.as_bytes() }];
    for (method, path) in [("GET", "/api/agents"), ("POST", "/"), ("DELETE", "/x/7/y?a=b")] {
        for headers in [&[][..], &with_token] {
            let headers = Headers::new(headers.to_vec(), Vec::new());
            let input =
                CheckInput { method, path, host: "app.example.com", headers, ..Default::default() };
            let decision = engine.decide(&input, Timestamp::from_secs(NOW));
            // Who is let in has come by a rule.
            assert!(!decision.is_allowed() || decision.rule.is_some());
        }
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|it| it == what)
}

/// A request, as a table.
#[derive(Debug, Default)]
struct Request {
    texts: BTreeMap<(Object, String), String>,
    lists: BTreeMap<(Object, String), Vec<String>>,
    claims: Map<String, Value>,
    torn: Option<(Object, String)>,
}

const OBJECTS: [Object; 11] = [
    Object::Headers,
    Object::Query,
    Object::Request,
    Object::Path,
    Object::User,
    Object::Claims,
    Object::Source,
    Object::Destination,
    Object::Context,
    Object::Mcp,
    Object::Llm,
];

impl Request {
    /// Of lines such as `user.id=7`, `user.scopes=a,b`, `claims={"a":1}`, and
    /// `!path.id` for one that has no one reading.
    fn read(text: &str) -> Self {
        let mut request = Self::default();
        for line in text.lines() {
            let (line, is_torn) = line.strip_prefix('!').map_or((line, false), |line| (line, true));
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if name == "claims" {
                if let Ok(Value::Object(claims)) = serde_json::from_str(value) {
                    request.claims = claims;
                }
                continue;
            }
            let within =
                |of: &Object| Some((*of, name.strip_prefix(of.as_str())?.strip_prefix('.')?));
            let Some((of, name)) = OBJECTS.iter().find_map(within) else { continue };
            let key = (of, name.to_owned());
            if is_torn {
                request.torn = Some(key);
            } else if of == Object::Query || matches!(name, "scopes" | "segments") {
                request.lists.insert(key, value.split(',').map(str::to_owned).collect());
            } else {
                request.texts.insert(key, value.to_owned());
            }
        }
        request
    }
}

impl Facts for Request {
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let key = (of, name.to_owned());
        if self.torn.as_ref() == Some(&key) {
            return Err(Unreadable("it has two values"));
        }
        if (of, name) == (Object::Request, "time") {
            return Ok(Some(Fact::Time(Timestamp::from_secs(NOW))));
        }
        if of == Object::Claims {
            return Ok(self.claims.get(name).map(Fact::Json));
        }
        let text = self.texts.get(&key).map(|it| Fact::text(it));
        let list = self.lists.get(&key);
        let list = list.map(|list| list.iter().map(|it| Cow::Borrowed(it.as_str())).collect());
        Ok(text.or_else(|| list.map(Fact::Texts)))
    }

    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable> {
        if of == Object::Claims {
            return Ok(self.claims.keys().map(|name| Cow::Borrowed(name.as_str())).collect());
        }
        let names = self.texts.keys().chain(self.lists.keys());
        Ok(names.filter(|(own, _)| *own == of).map(|(_, name)| name.as_str().into()).collect())
    }
}

/// A condition that can be parsed comes to the same answer each time, whether it is
/// matched or interpreted, within its budget; and what is always so is so here.
///
/// The condition ends with a zero; then comes the request, a line for each value.
pub fn condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if cfg!(fuzzing) {
        let_the_parser_panic();
    }
    let (text, request) = text.split_once('\0').unwrap_or((text, ""));
    let scope = Scope {
        path: &["id", "run"],
        context: &["plan"],
        is_hidden: &|name| name == "authorization",
    };
    let condition = match Condition::parse(text, &scope) {
        Ok(condition) => condition,
        Err(troubles) => {
            assert!(!troubles.is_empty());
            assert!(troubles.iter().all(|trouble| !trouble.to_string().is_empty()));
            return;
        }
    };
    let request = Request::read(request);
    let unmet = condition.unmet([&request]);
    assert_eq!(unmet, condition.unmet([&request]), "it has two answers");
    let interpreted = condition::fuzzing::interpreted(text, &scope).expect("the same condition");
    let by_interpreter = interpreted.unmet([&request]);
    let is_too_much =
        |it: &Option<Unmet>| it.as_ref().and_then(|it| it.failure.as_deref()) == Some(TOO_MUCH);
    if !is_too_much(&unmet) && !is_too_much(&by_interpreter) {
        assert_eq!(unmet.is_none(), by_interpreter.is_none(), "{unmet:?} {by_interpreter:?}");
    }
    // In one of several readings it is not met: then it is not.
    let nothing = Request::default();
    let of_none = condition.unmet([&nothing]).is_none();
    let both = condition.unmet([&request, &nothing]);
    assert!(both.is_some() || (unmet.is_none() && of_none));

    let value = |of, name: &str| request.texts.get(&(of, name.to_owned())).map(String::as_str);
    let known = [
        value(Object::Request, "method"),
        value(Object::User, "role"),
        value(Object::User, "issuer"),
    ];
    let [Some(method), Some(role), Some(issuer)] = known else { return };
    let domain =
        Domain { methods: vec![method, "GET"], roles: vec![role, "ADMIN"], issuers: vec![issuer] };
    let is_torn = request.torn.is_some();
    match condition.always(&domain) {
        Some(Always::True) if !is_torn && !is_too_much(&unmet) => assert_eq!(unmet, None),
        Some(Always::NotTrue) => assert_ne!(unmet, None),
        _ => {}
    }
}

/// What is said of a condition that is too much work.
const TOO_MUCH: &str = "it took too much work";
