//! `portcullis test`: cases are tried against a configuration, and each that does
//! not hold is told of.

use std::process::Output;

use crate::support::{output, portcullis};

const CONFIG: &str = r#"
[tokens]
issuer = "https://auth.example.com"
audience = "agents"

[[issuers]]
name = "acme"
issuer = "https://idp.example.com"
audience = ["https://api.example.com"]
role_map = { staff = "REGULAR" }

[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "runs"
path_prefix = "/runs"
scopes = ["runs:read"]
issuers = ["acme"]

[[rules]]
name = "health"
path = "/api/healthcheck"
access = "public"

[[rules]]
name = "later"
path_prefix = "/api"
roles = ["ADMIN"]
mode = "shadow"
"#;

const CASES: &str = r#"
defaults:
  as: { role: REGULAR, id: 7, name: ann, email: ann@example.com }
cases:
  - name: a user sees the agents
    request: { path: /api/agents?page=2 }
    expect:
      decision: allow
      rule: agents
      status: 200
      headers: { x-user-id: "7", X-User-Role: REGULAR, x-user-email: ann@example.com }
      removed: [x-original-url]
      shadow: [later]
  - name: nobody else does
    request: { path: /api/agents, headers: { x-user-role: ADMIN } }
    as: anonymous
    expect: { decision: deny, reason: no_credential, status: 401 }
  - name: an admin may, in shadow too
    request: { path: /api/agents, method: DELETE, host: app.example.com }
    as: { role: ADMIN, claims: { aud: [agents, others] } }
    expect: { decision: allow, shadow: [] }
  - name: a token for somebody else is refused
    request: { path: /api/agents }
    as: { role: ADMIN, claims: { aud: others } }
    expect: { reason: bad_audience }
  - name: one that is over is refused
    request: { path: /api/agents }
    as: { role: ADMIN, claims: { exp: 1 } }
    expect: { reason: expired }
  - name: junk is refused
    request: { path: /api/agents }
    token: junk
    expect: { reason: malformed_token }
  - name: staff of acme read runs
    request: { path: /runs }
    as: { issuer: acme, id: u-1, role: staff, scopes: ["runs:read"] }
    expect: { decision: allow, headers: { x-user-id: "acme:u-1", x-user-role: REGULAR } }
  - name: and not without the scope
    request: { path: /runs }
    as: { issuer: acme, id: u-1, role: staff }
    expect:
      reason: insufficient_scope
      headers: { www-authenticate: 'Bearer error="insufficient_scope", scope="runs:read"' }
  - name: nor we
    request: { path: /runs }
    as: { role: ADMIN, scopes: ["runs:read"] }
    expect: { reason: issuer }
"#;

fn run(cases: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let room = tempfile::tempdir().unwrap();
    let config = room.path().join("portcullis.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut command = portcullis();
    command.args(["test", "--config", config.to_str().unwrap()]).args(arguments);
    for (name, text) in cases {
        std::fs::write(room.path().join(name), text).unwrap();
        command.arg(name);
    }
    let Output { status, stdout, stderr } = output(command.current_dir(room.path()), "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn cases_that_hold_are_told_one_by_one_and_what_they_reach() {
    let (code, told, said) = run(&[("cases.yaml", CASES)], &[]);
    assert_eq!((code, said.as_str()), (0, ""), "{told}");
    insta::assert_snapshot!(told, @r"
    TAP version 14
    1..9
    ok 1 - a user sees the agents
    ok 2 - nobody else does
    ok 3 - an admin may, in shadow too
    ok 4 - a token for somebody else is refused
    ok 5 - one that is over is refused
    ok 6 - junk is refused
    ok 7 - staff of acme read runs
    ok 8 - and not without the scope
    ok 9 - nor we
    # rules reached: 2 of 3
    # rules that no case reaches: health
    # reasons met: bad_audience, expired, insufficient_scope, issuer, malformed_token, no_credential
    # 9 passed, 0 failed
    ");
    assert_eq!(run(&[("cases.yaml", CASES)], &["--require-coverage"]).0, 1);
    let health = "[[cases]]\nname = \"health\"\nrequest.path = \"/api/healthcheck\"\n\
                  expect = { rule = \"health\", decision = \"allow\" }\n";
    let both = [("cases.yaml", CASES), ("more.toml", health)];
    let (code, told, _) = run(&both, &["--require-coverage"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("ok 10 - health\n# rules reached: 3 of 3\n"), "{told}");
}

#[test]
fn a_case_that_does_not_hold_says_what_was_expected_and_what_came() {
    let cases = r#"
[[cases]]
name = "wrong in every way # and <odd>"
request = { path = "/api/agents" }
as = { role = "INACTIVE" }
[cases.expect]
decision = "allow"
reason = "expired"
rule = "health"
status = 200
headers = { x-user-id = "7", www-authenticate = "x" }
removed = ["cookie"]
shadow = ["x"]
"#;
    let (code, told, _) = run(&[("cases.toml", cases)], &[]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(told, @r#"
    TAP version 14
    1..1
    not ok 1 - wrong in every way \# and <odd>
      ---
      faults:
        - "decision: expected allow, and got deny"
        - "reason: expected expired, and got role"
        - "rule: expected health, and got agents"
        - "status: expected 200, and got 403"
        - "header www-authenticate: expected x, and got none"
        - "header x-user-id: expected 7, and got none"
        - "shadow: expected x, and got later"
        - "header cookie: expected to be removed, and is not"
      ...
    # rules reached: 1 of 3
    # rules that no case reaches: runs, health
    # reasons met: role
    # 0 passed, 1 failed
    "#);
    let (code, told, _) = run(&[("cases.toml", cases)], &["--format", "junit"]);
    assert_eq!(code, 1);
    for part in [
        "<testsuite name=\"portcullis test\" tests=\"1\" failures=\"1\">",
        "<testcase classname=\"cases.toml\" name=\"wrong in every way # and &lt;odd&gt;\">",
        "<failure message=\"decision: expected allow, and got deny; reason",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_file_of_cases_that_cannot_be_meant_is_refused_with_its_cause() {
    for (name, text, cause) in [
        ("a.yaml", "cases: [", "a.yaml: "),
        ("a.yaml", "cases: [{ name: a, request: { path: / }, expect: {} }]", "expects nothing"),
        ("a.yaml", "cases: [{ name: a, expect: { status: 200 } }]", "no request.path"),
        ("a.yaml", "cases: [{ name: a, request: { pth: / }, expect: { status: 1 } }]", "pth"),
        ("a.yaml", "cases: [{ name: a, request: { path: / }, expect: { statu: 1 } }]", "statu"),
        ("a.toml", "cases = 1", "a.toml: "),
        (
            "a.yaml",
            "cases: [{ name: a, request: { path: / }, as: { role: ROOT }, expect: { status: 1 } }]",
            "\"ROOT\" is not a role",
        ),
        (
            "a.yaml",
            "cases: [{ name: a, request: { path: / }, as: { issuer: x, role: staff }, expect: { status: 1 } }]",
            "there is no issuer \"x\"",
        ),
        (
            "a.yaml",
            "cases: [{ name: a, request: { path: / }, as: { id: 7 }, expect: { status: 1 } }]",
            "`as` has no role",
        ),
        (
            "a.yaml",
            "cases: [{ name: a, request: { path: / }, as: { rle: x }, expect: { status: 1 } }]",
            "`as` is neither \"anonymous\" nor a table: unknown field `rle`",
        ),
    ] {
        let (code, told, said) = run(&[(name, text)], &[]);
        assert_eq!((code, told.as_str()), (2, ""), "{text}");
        assert!(said.contains(cause) && said.contains("fix: "), "{text}: {said}");
    }
    let (code, _, said) = run(&[], &["none.yaml"]);
    assert_eq!(code, 2);
    assert!(said.contains("none.yaml"), "{said}");
}
