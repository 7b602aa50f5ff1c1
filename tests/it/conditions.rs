//! Conditions of rules: one answer whoever asks, told to operators and not to
//! clients, tried before they are in force.

use std::{io::Write as _, net::TcpStream};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    ask::{NOW, ask, engine},
    jwt,
    stack::{Answer, Mode, NEWEST, Stack, start_agents},
    support::{free_port, output, portcullis},
};

const RULES: &str = r#"[
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
        for (who, port) in [("Envoy", lax.port), ("nginx", nginx.port), ("guard", guard)] {
            let answer = send(port, path, &token(now));
            // nginx knows 401 and 403 alone.
            let expected = if who == "nginx" && status == 400 { 403 } else { status };
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
    let stack = Stack::with(NEWEST, Mode::Plans, &environment);
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
fn explain_tells_each_value_that_was_read() {
    let room = tempfile::tempdir().unwrap();
    std::fs::write(
        room.path().join("c.toml"),
        format!(
            "check.context = {{ plan = \"free\" }}\nrules = {}",
            RULES.replace(
                "'path.tenant in claims.tenants'",
                "'context.plan == \"gold\" && path.tenant in claims.tenants'",
            )
        ),
    )
    .unwrap();
    std::fs::write(
        room.path().join("ann.json"),
        r#"{"sub":"ann","userId":7,"role":"REGULAR","tenants":["acme"]}"#,
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let mut command = portcullis();
        command.current_dir(room.path()).env("AUTH_JWT_SECRET", jwt::SECRET);
        let out = output(command.args(["explain", "--config", "c.toml"]).args(arguments), "");
        assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
        let told = String::from_utf8(out.stdout).unwrap();
        let told: Vec<&str> = told
            .lines()
            .filter(|line| {
                ["decision", "reason", "read", "because"].iter().any(|key| line.starts_with(key))
            })
            .collect();
        told.join("\n")
    };
    let as_ann = |more: &[&str]| run(&[&["--claims", "ann.json"], more].concat());
    insta::assert_snapshot!(as_ann(&["--context", "plan=gold", "/tenants/acme"]), @r#"
    decision allow
    read     context.plan = "gold"
    read     path.tenant = "acme"
    read     claims.tenants = ["acme"]
    "#);
    insta::assert_snapshot!(as_ann(&["/tenants/acme"]), @r#"
    decision deny
    read     context.plan = "free"
    reason   condition
    because  context.plan == "gold": it is false
    "#);
    insta::assert_snapshot!(as_ann(&["/api/users/8/agents"]), @r#"
    decision deny
    read     path.owner = "8"
    read     user.id = "7"
    read     user.role = "REGULAR"
    reason   condition
    because  path.owner == user.id || user.role == "ADMIN": it is false
    "#);
    let token = jwt::token(&jwt::claims(SystemClock.now().as_secs()));
    insta::assert_snapshot!(run(&["--token", &token, "--context", "plan=gold", "/tenants/acme"]), @r#"
    decision deny
    read     context.plan = "gold"
    read     path.tenant = "acme"
    read     claims.tenants is not there
    reason   condition
    because  path.tenant in claims.tenants: there is no claims.tenants
    "#);
}

#[test]
fn what_a_condition_does_not_find_in_a_log_is_unknown_and_what_is_so_all_the_same_is_not() {
    const NEXT: &str = r#"
[[rules]]
name = "owner"
path_template = "/users/{id}"
when = 'path.id == user.id || user.role == "ADMIN"'

[[rules]]
name = "tenant"
path_template = "/tenants/{tenant}"
when = 'user.role == "ADMIN" || path.tenant in claims.tenants'

[[rules]]
name = "read"
path_prefix = "/reports"
when = 'request.method == "GET" && request.headers["x-region"] == "eu"'
"#;
    let line = |method: &str, path: &str, id: &str, role: &str| {
        let line = json!({
            "target": "portcullis::decision", "decision": "allow", "rule": "old", "method": method,
            "host": "app.example.com", "path": path, "user_id": id, "role": role,
        });
        format!("{line}\n")
    };
    let log = [
        line("GET", "/users/7", "7", "REGULAR"),
        line("GET", "/users/%37", "7", "REGULAR"),
        line("GET", "/users/8", "7", "REGULAR"),
        line("GET", "/users/8", "7", "ADMIN"),
        line("GET", "/tenants/acme", "7", "REGULAR"),
        line("GET", "/tenants/acme", "7", "ADMIN"),
        line("GET", "/reports", "7", "REGULAR"),
        line("POST", "/reports", "7", "REGULAR"),
    ]
    .concat();
    let room = tempfile::tempdir().unwrap();
    std::fs::write(room.path().join("next.toml"), NEXT).unwrap();
    let mut command = portcullis();
    command.current_dir(room.path()).env("AUTH_JWT_SECRET", jwt::SECRET);
    let out = output(command.args(["replay", "--config", "next.toml", "--format", "json"]), &log);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["unknown"], json!({ "claims.tenants": 1, "request.headers.x-region": 1 }));
    let changes = told["changes"].as_array().unwrap();
    let count = |decision: &str, rule: &str| -> u64 {
        let is = |change: &&Value| {
            change["after"]["decision"] == decision && change["after"]["rule"] == rule
        };
        changes.iter().filter(is).map(|change| change["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(
        [
            count("allow", "owner"),
            count("deny", "owner"),
            count("allow", "tenant"),
            count("deny", "read")
        ],
        [3, 1, 1, 1],
        "{told}"
    );
}

/// A configuration with these rules, in a file; and what a command says of it.
fn run(rules: &str, files: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let room = tempfile::tempdir().unwrap();
    let config = format!("check.context = {{ plan = \"free\" }}\nrules = {rules}");
    for (name, text) in files.iter().chain(&[("c.toml", config.as_str())]) {
        std::fs::write(room.path().join(name), text).unwrap();
    }
    let mut command = portcullis();
    command.current_dir(room.path()).env("AUTH_JWT_SECRET", jwt::SECRET);
    let out = output(command.args(arguments), "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn cases_say_what_a_route_says_and_what_a_token_claims() {
    const CASES: &str = r#"
defaults:
  as: { role: REGULAR, id: 7, claims: { tenants: [acme] } }
  request: { path: /tenants/acme }
  context: { plan: gold }
cases:
  - name: a tenant of the token
    expect: { decision: allow }
  - name: another tenant
    request: { path: /tenants/globex }
    expect: { reason: condition, status: 403 }
  - name: another plan
    context: { plan: free }
    expect: { reason: condition }
  - name: a service of the mesh
    request: { path: /mesh, source: { principal: "spiffe://mesh/ns/a" } }
    expect: { decision: allow }
  - name: another service
    request: { path: /mesh, source: { address: 192.0.2.1 } }
    expect: { reason: condition }
"#;
    let rules = r#"[
        { name = "tenant", path_template = "/tenants/{tenant}", when = 'context.plan == "gold" && path.tenant in claims.tenants' },
        { name = "mesh", path = "/mesh", when = 'source.principal.startsWith("spiffe://mesh/")' },
    ]"#;
    let arguments = ["test", "--require-coverage", "--config", "c.toml", "cases.yaml"];
    let (code, told, said) = run(rules, &[("cases.yaml", CASES)], &arguments);
    assert_eq!((code, said.as_str()), (0, ""), "{told}");
    assert!(told.contains("rules reached: 2 of 2"), "{told}");
}

#[test]
fn what_is_wrong_with_a_condition_is_told_with_line_and_caret() {
    for (rule, cause) in [
        (
            r#"roles = ["ADMIN"], when = 'path.id == 7'"#,
            "== cannot be done with string and int; a text is written in quotes, as \"7\"\n    path.id == 7\n            ^",
        ),
        (
            r#"access = "public", when = 'path.id == user.id'"#,
            "a rule that is public, or that denies, has no condition",
        ),
        (
            r#"access = "deny", when = 'path.id == user.id'"#,
            "a rule that is public, or that denies, has no condition",
        ),
        (r#"when = 'context.tier == "a"'"#, "context has no tier: name one of: plan"),
        (
            r#"when = 'request.headers["x_user_role"] == "ADMIN"'"#,
            "x_user_role is kept from conditions",
        ),
        ("when = 7", "it is a number, and should be"),
    ] {
        let rules = format!("[{{ name = \"a\", path_template = \"/a/{{id}}\", {rule} }}]");
        let (code, _, said) = run(&rules, &[], &["check-config", "--config", "c.toml"]);
        assert_eq!(code, 2, "{rule}: {said}");
        assert!(said.contains(cause) && said.contains("mend: "), "{rule}: {said}");
    }
    let warned = |rule: &str| {
        let rules = format!("[{{ name = \"a\", path_template = \"/a/{{id}}\", {rule} }}]");
        let (code, _, said) = run(&rules, &[], &["check-config", "--config", "c.toml"]);
        assert_eq!(code, 0, "{rule}: {said}");
        said
    };
    let never = "it is true of no request that comes here";
    assert!(warned(r#"roles = ["REGULAR"], when = 'user.role == "ADMIN"'"#).contains(never));
    assert!(warned(r#"methods = ["GET"], when = 'request.method != "GET"'"#).contains(never));
    assert!(warned("when = '1 + 1 == 2'").contains("it is true of every request that comes here"));
    assert_eq!(warned("when = 'path.id == user.id'"), "");
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
fn told_of(when: &str, path: &str, headers: &[(&str, &str)]) -> String {
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
