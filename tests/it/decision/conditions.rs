//! Conditions of rules: one answer whoever asks, told to operators and not to
//! clients.

use std::{io::Write as _, net::TcpStream};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    ask::{NOW, ask, engine},
    envoy_module, jwt,
    stack::{self, Answer, Mode, NEWEST, Stack, start_agents},
    support::free_port,
};

pub(crate) const RULES: &str = r#"[
    { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR", "ADMIN"] },
    { name = "owner", path_template = "/api/users/{owner}/agents", when = 'path.owner == user.id || user.role == "ADMIN"' },
    { name = "tenant", path_template = "/tenants/{tenant}", when = 'path.tenant in claims.tenants' },
    { name = "below", path_prefix = "/of", when = 'size(request.segments) > 1 && request.segments[1] == user.id' },
    { name = "here", path = "/here", hosts = ["app.example.com"], when = 'request.host == "app.example.com" && request.query.of == [user.id]' },
]"#;

/// What somebody asks for, with which claims, and whether they may.
fn ownership() -> Vec<(&'static str, Value, Result<(), u16>)> {
    let tenants = |list: Value| json!({ "tenants": list });
    vec![
        ("/api/users/7/agents", json!({ "userId": 7 }), Ok(())),
        ("/api/users/7/agents", json!({ "userId": "7" }), Ok(())),
        ("/api/users/%37/agents", json!({ "userId": 7 }), Ok(())),
        ("/api/users/8/agents", json!({ "userId": 7 }), Err(403)),
        ("/api/users/8/agents", json!({ "userId": 7, "role": "ADMIN" }), Ok(())),
        ("/api/users/07/agents", json!({ "userId": 7 }), Err(403)),
        ("/api/users/7.0/agents", json!({ "userId": 7 }), Err(403)),
        ("/api/users/7%20/agents", json!({ "userId": 7 }), Err(403)),
        ("/api/users/%2537/agents", json!({ "userId": 7 }), Err(400)),
        ("/api/users/a%2F7/agents", json!({ "userId": 7 }), Err(400)),
        ("/api/users/7;8/agents", json!({ "userId": 7 }), Err(400)),
        ("/api/users//agents", json!({ "userId": 7 }), Err(400)),
        ("/api/users/Ann/agents", json!({ "userId": "Ann" }), Ok(())),
        ("/api/users/ann/agents", json!({ "userId": "Ann" }), Err(403)),
        ("/api/users/%C3%A9/agents", json!({ "userId": "é" }), Ok(())),
        ("/api/users/e%CC%81/agents", json!({ "userId": "é" }), Err(403)),
        ("/api/users/%D0%B0nn/agents", json!({ "userId": "ann" }), Err(403)),
        ("/api/users/%D9%A7/agents", json!({ "userId": 7 }), Err(403)),
        ("/api/users/7/agents", json!({ "userId": 7.5 }), Err(401)),
        ("/api/users/7/agents", json!({ "userId": [7] }), Err(401)),
        ("/api/users/7/agents", json!({ "userId": "" }), Err(401)),
        ("/api/users/7/agents", json!({ "userId": null }), Err(401)),
        ("/tenants/acme", tenants(json!(["globex", "acme"])), Ok(())),
        ("/tenants/acme", tenants(json!(["Acme", "acme "])), Err(403)),
        ("/tenants/acme", tenants(json!([])), Err(403)),
        ("/tenants/acme", tenants(json!("acme")), Err(403)),
        ("/tenants/7", tenants(json!([7])), Err(403)),
        ("/tenants/acme", tenants(json!({ "acme": false })), Ok(())),
        ("/tenants/acme", tenants(json!(7)), Err(403)),
        ("/tenants/acme", json!({}), Err(403)),
        ("/of/7", json!({ "userId": 7 }), Ok(())),
        ("/of/7/x", json!({ "userId": 7 }), Ok(())),
        ("/of/8", json!({ "userId": 7 }), Err(403)),
        ("/of", json!({ "userId": 7 }), Err(403)),
        ("/here?of=7", json!({ "userId": 7 }), Ok(())),
        ("/here?of=%37", json!({ "userId": 7 }), Ok(())),
        ("/here?of=7&of=8", json!({ "userId": 7 }), Err(403)),
        ("/here?of=8&of=7", json!({ "userId": 7 }), Err(403)),
        ("/here?of=7&%6Ff=8", json!({ "userId": 7 }), Err(403)),
        ("/here?of=7%", json!({ "userId": 7 }), Err(403)),
        ("/here?of=7;x=1", json!({ "userId": 7 }), Err(403)),
        ("/here", json!({ "userId": 7 }), Err(403)),
    ]
}

/// A claim that is there twice: the token can be read in two ways.
fn twice(now: i64) -> String {
    let claims =
        jwt::claims(now).to_string().replace("\"userId\":\"7\"", "\"userId\":7,\"userId\":8");
    jwt::sign(jwt::HEADER, &claims)
}

fn send(port: u16, path: &str, token: &str) -> Answer {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: app.example.com\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    Answer::read(&mut stream)
}

#[test]
fn whose_it_is_has_one_answer_whoever_asks() {
    let engine = engine(&format!("rules = {RULES}"));
    let environment = [("PORTCULLIS__RULES", RULES)];
    let lax = Stack::with(NEWEST, Mode::Lax, &environment);
    let nginx = Stack::with(NEWEST, Mode::Nginx, &environment);
    let guard = free_port();
    let _agents = start_agents(guard, &environment);
    let modules = envoy_module::VERSIONS.map(|version| {
        let told = (&environment[..], &environment[..]);
        let mut stack = Stack::changed(free_port(), "", version, Mode::Module, told, &stack::lax);
        // It answers alone.
        stack.portcullis = None;
        stack
    });
    let mut who = vec![("Envoy", lax.port), ("nginx", nginx.port), ("guard", guard)];
    who.extend(envoy_module::VERSIONS.into_iter().zip(modules.iter().map(|stack| stack.port)));
    let now = SystemClock.now().as_secs();
    let twice_told =
        [("/api/users/7/agents", None, Err(401)), ("/api/users/8/agents", None, Err(401))];
    let rows = ownership().into_iter().map(|(path, claims, may)| (path, Some(claims), may));
    for (path, claims, may) in rows.chain(twice_told) {
        let token = |now| {
            let changed = |claims| jwt::token(&jwt::with(now, claims));
            claims.as_ref().map_or_else(|| twice(now), changed)
        };
        let out = ask("GET", path).bearer(&token(NOW)).of(&engine);
        let status = may.err().unwrap_or(200);
        assert_eq!(out.status, status, "{path} {claims:?}: {out:?}");
        assert_eq!(out.reason == "condition", status == 403, "{path} {claims:?}: {out:?}");
        for (who, port) in &who {
            let answer = send(*port, path, &token(now));
            // nginx knows 401 and 403 alone.
            let expected = if *who == "nginx" && status == 400 { 403 } else { status };
            match may {
                Ok(()) => assert!(answer.reached(), "{who} {path} {claims:?}: {answer:?}"),
                Err(_) => {
                    assert_eq!(answer.status, expected, "{who} {path} {claims:?}: {answer:?}");
                }
            }
            assert_eq!(answer.reached(), may.is_ok(), "{who} {path} {claims:?}: {answer:?}");
        }
    }
}

#[test]
fn a_client_hears_nothing_of_the_condition_and_the_log_names_the_part() {
    let stack = Stack::with(NEWEST, Mode::Strict, &[("PORTCULLIS__RULES", RULES)]);
    let token = jwt::token(&jwt::with(SystemClock.now().as_secs(), &json!({ "userId": 7 })));
    let answer = send(stack.port, "/tenants/acme", &token);
    assert_eq!(answer.status, 403);
    let body = answer.json();
    assert_eq!(body["error"]["message"], "Access denied", "{body}");
    assert!(!answer.body.contains("tenant"), "{body}");
    let log = stack.portcullis.as_ref().unwrap().line("\"reason\":\"condition\"");
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["condition"], "path.tenant in claims.tenants: there is no claims.tenants");
    assert_eq!((&line["rule"], &line["user_id"]), (&json!("tenant"), &json!("7")));
}

/// One rule set for gold and free plans, which Envoy's routes tell apart.
#[test]
fn a_route_of_envoy_says_which_plan_it_is_for() {
    const PLANS: &str = r#"[
        { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR", "ADMIN"] },
        { name = "any", path_prefix = "/", when = 'context.plan == "gold" || !request.path.endsWith("/large")' },
        { name = "tenant", path = "/tenant", when = 'request.headers["x-tenant"] == "acme"' },
    ]"#;
    let environment =
        [("PORTCULLIS__RULES", PLANS), ("PORTCULLIS__CHECK__CONTEXT", "{ plan = \"free\" }")];
    // The agents' own check hears nothing of routes.
    let open = r#"[{ name = "all", path_prefix = "/", roles = ["REGULAR", "ADMIN"] }]"#;
    let environment = [&environment[..], &[("agents:PORTCULLIS__RULES", open)]].concat();
    for mode in [Mode::Plans, Mode::FedPlans] {
        let stack = Stack::with(NEWEST, mode, &environment);
        let token = jwt::token(&jwt::claims(SystemClock.now().as_secs()));
        let bearer = format!("Bearer {token}");
        let sent = |path, more: &[(&str, &str)]| {
            let headers = [&[("authorization", bearer.as_str())], more].concat();
            stack.send("GET", path, &headers).status
        };
        assert_eq!(sent("/gold/large", &[]), 404, "the upstream's own");
        assert_eq!(sent("/free/large", &[]), 403);
        assert_eq!(sent("/free/small", &[]), 404);
        // No client says which plan it has.
        assert_eq!(sent("/free/large", &[("x-plan", "gold"), ("plan", "gold")]), 403);
        assert_eq!(sent("/tenant", &[("x-tenant", "acme")]), 404);
        assert_eq!(sent("/tenant", &[("x-tenant", "globex")]), 403);
        assert_eq!(sent("/tenant", &[("x-tenant", "acme"), ("x-tenant", "globex")]), 403);
        assert_eq!(sent("/tenant", &[]), 403);
    }
}

#[test]
fn over_http_there_is_no_context_but_its_default() {
    const PLANS: &str = r#"[
        { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR", "ADMIN"] },
        { name = "gold", path_prefix = "/gold", when = 'context.plan == "gold"' },
        { name = "free", path_prefix = "/free", when = 'context.plan == "free"' },
        { name = "from", path_prefix = "/from", when = 'has(source.address) || has(source.principal) || has(destination.principal)' },
    ]"#;
    let environment =
        [("PORTCULLIS__RULES", PLANS), ("PORTCULLIS__CHECK__CONTEXT", "{ plan = \"free\" }")];
    let stack = Stack::with(NEWEST, Mode::Nginx, &environment);
    let token = jwt::token(&jwt::claims(SystemClock.now().as_secs()));
    for (path, status) in [("/gold", 403), ("/free", 404), ("/from", 403)] {
        assert_eq!(send(stack.port, path, &token).status, status, "{path}");
    }
}

#[test]
fn a_shadow_rule_tells_what_its_condition_would_deny() {
    let engine = engine(
        r#"
        [[rules]]
        name = "all"
        path_prefix = "/"
        access = "authenticated"

        [[rules]]
        name = "own"
        path_template = "/users/{id}"
        when = 'path.id == user.id && has(claims.vip)'
        mode = "shadow"
        "#,
    );
    let told = |path, claims: Value| {
        let out = ask("GET", path).claiming(&claims).of(&engine);
        assert_eq!(out.reason, "");
        out.shadow
    };
    assert_eq!(told("/users/7", json!({ "userId": 7, "vip": true })), Vec::<String>::new());
    assert_eq!(told("/users/7", json!({ "userId": 7 })), ["own"]);
    assert_eq!(told("/users/8", json!({ "userId": 7, "vip": true })), ["own"]);
    assert_eq!(told("/else", json!({ "userId": 7 })), Vec::<String>::new());
}

/// Whether a rule with this condition lets the request pass, and why not.
pub(crate) fn told_of(when: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let toml = format!("[[rules]]\nname = \"r\"\npath_prefix = \"/\"\nwhen = '{when}'\n");
    let mut asked = ask("GET", path).claiming(&json!({ "tenants": ["acme"] }));
    for (name, value) in headers {
        asked = asked.with(name, value);
    }
    asked.of(&engine(&toml)).reason.to_owned()
}

#[test]
fn a_header_or_a_query_that_two_servers_read_differently_is_not_read() {
    let tenant = r#"request.headers["x-tenant"] == "acme""#;
    let not_evil = r#"request.headers["x-tenant"] != "evil""#;
    let acme = ("x-tenant", "acme");
    assert_eq!(told_of(tenant, "/", &[acme]), "");
    assert_eq!(told_of(tenant, "/", &[("X-Tenant", "acme")]), "");
    for other in ["x_tenant", "X.Tenant", "x~tenant"] {
        for when in [
            tenant,
            not_evil,
            r#"!("x-tenant" in request.headers)"#,
            r#""x-tenant" in request.headers"#,
        ] {
            assert_eq!(told_of(when, "/", &[acme, (other, "evil")]), "condition", "{when} {other}");
        }
    }
    let asked = r#"request.query.tenant == ["acme"]"#;
    let not_asked = r#"!("tenant" in request.query)"#;
    assert_eq!(told_of(asked, "/?tenant=acme", &[]), "");
    assert_eq!(told_of(not_asked, "/?x=1", &[]), "");
    for query in [
        "x=1#&tenant=acme",
        "tenant=acme;x",
        "tenant=acme&x=%zz",
        "tenant=acme&x=%ff",
        "tenant=acme&\u{e9}=1",
    ] {
        for when in [asked, not_asked, "request.query.tenant != [\"b\"]"] {
            assert_eq!(told_of(when, &format!("/?{query}"), &[]), "condition", "{when} {query}");
        }
    }
}

#[test]
fn no_condition_reads_a_credential_however_it_is_named() {
    let names = [
        "Author\" + \"ization",
        "authorizatio\" + \"n",
        "coo\" + \"kie",
        "x_user_\" + \"role",
        "proxy_authorizatio\" + \"n",
        "x-forwarded-access-toke\" + \"n",
        "refere\" + \"r",
        ":pat\" + \"h",
    ];
    for name in names {
        let when = format!("request.headers[\"{name}\"] != \"\"");
        let headers = [
            ("cookie", "a=b"),
            ("x_user_role", "ADMIN"),
            ("proxy_authorization", "x"),
            ("x-forwarded-access-token", "x"),
            ("referer", "https://a/?access-token=T"),
            (":path", "/?access-token=T"),
        ];
        assert_eq!(told_of(&when, "/", &headers), "condition", "{when}");
    }
    assert_eq!(
        told_of(r#"request.query.all(name, name != "access-token")"#, "/?access-token=T&a=1", &[]),
        ""
    );
}
