//! Conditions of rules, tried before they are in force.

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    conditions::RULES,
    jwt,
    support::{output, portcullis},
};

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

/// What a replay says of one line of a log, under a rule with this condition.
fn replayed(when: &str, line: &Value) -> String {
    let room = tempfile::tempdir().unwrap();
    let next =
        format!("[[rules]]\nname = \"r\"\npath_template = \"/users/{{id}}\"\nwhen = '{when}'\n");
    std::fs::write(room.path().join("next.toml"), next).unwrap();
    let mut command = portcullis();
    command.current_dir(room.path()).env("AUTH_JWT_SECRET", jwt::SECRET);
    command.args(["replay", "--config", "next.toml", "--format", "json"]);
    let told: Value =
        serde_json::from_slice(&output(&mut command, &line.to_string()).stdout).unwrap();
    match told["unknown"].as_object().unwrap().keys().next() {
        Some(what) => format!("unknown: {what}"),
        None => told["changes"][0]["after"]["decision"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn a_replay_knows_what_a_line_of_the_log_holds_and_nothing_more() {
    let line = json!({
        "target": "portcullis::decision", "decision": "allow", "rule": "old", "method": "GET",
        "host": "app.example.com", "path": "/users/7", "user_id": "7", "role": "ADMIN",
    });
    for (when, expected) in [
        (r#"request.method == "GET""#, "allow"),
        (r#"request.method == "POST""#, "deny"),
        (r#"request.host == "app.example.com""#, "allow"),
        (r#"request.path == "/users/7""#, "allow"),
        (r#"request.segments == ["users", "7"]"#, "allow"),
        (r#"path.id == "7""#, "allow"),
        (r#""id" in path && !("name" in path)"#, "allow"),
        (r#"user.id == "7""#, "allow"),
        (r#"user.role == "ADMIN""#, "allow"),
        (r#"user.issuer == "own""#, "allow"),
        (r#"user.name == "ann""#, "unknown: user.name"),
        (r#"request.scheme == "https""#, "unknown: request.scheme"),
        (r#"request.headers.exists(name, name == "x-region")"#, "unknown: request.headers"),
    ] {
        assert_eq!(replayed(when, &line), expected, "{when}");
    }
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
            "== cannot be used with string and int; write a string in quotes, as in \"7\"\n    path.id == 7\n            ^",
        ),
        (
            r#"access = "public", when = 'path.id == user.id'"#,
            "a public rule, or one that denies, cannot have a condition",
        ),
        (
            r#"access = "deny", when = 'path.id == user.id'"#,
            "a public rule, or one that denies, cannot have a condition",
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
        assert!(said.contains(cause) && said.contains("fix: "), "{rule}: {said}");
    }
    let warned = |rule: &str| {
        let rules = format!("[{{ name = \"a\", path_template = \"/a/{{id}}\", {rule} }}]");
        let (code, _, said) = run(&rules, &[], &["check-config", "--config", "c.toml"]);
        assert_eq!(code, 0, "{rule}: {said}");
        said
    };
    let never = "it is true for no request that this rule applies to";
    assert!(warned(r#"roles = ["REGULAR"], when = 'user.role == "ADMIN"'"#).contains(never));
    assert!(warned(r#"methods = ["GET"], when = 'request.method != "GET"'"#).contains(never));
    assert!(
        warned("when = '1 + 1 == 2'")
            .contains("it is true for every request that this rule applies to")
    );
    assert_eq!(warned("when = 'path.id == user.id'"), "");
}
