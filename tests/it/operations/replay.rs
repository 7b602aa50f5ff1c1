//! `portcullis replay`: a decision log under other rules.

use std::{fmt::Write as _, process::Output};

use serde_json::{Value, json};

use crate::support::{output, portcullis};

const RULES: &str = r#"
[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "reports"
path_prefix = "/reports"
roles = ["ADMIN"]

[[rules]]
name = "health"
path = "/api/healthcheck"
access = "public"
"#;

/// A line as the log has it.
fn line(decision: &str, reason: &str, rule: &str, path: &str, more: &Value) -> String {
    let mut line = json!({
        "timestamp": "2026-11-25T12:00:00Z", "level": "INFO", "target": "portcullis::decision",
        "decision": decision, "transport": "grpc", "method": "GET",
        "host": "app.example.com", "path": path, "micros": 5,
    });
    for (name, text) in [("reason", reason), ("rule", rule)] {
        if !text.is_empty() {
            line[name] = json!(text);
        }
    }
    for (name, value) in more.as_object().unwrap() {
        line[name] = value.clone();
    }
    format!("{line}\n")
}

fn user(role: &str) -> Value {
    json!({ "user_id": "7", "role": role })
}

/// The log of a day.
fn log() -> String {
    let none = json!({});
    [
        line("allow", "", "agents", "/api/agents", &user("REGULAR")),
        line("allow", "", "agents", "/api/agents/7", &user("REGULAR")),
        line("allow", "", "agents", "/api/agents", &user("ADMIN")),
        line("deny", "role", "agents", "/api/agents", &user("INACTIVE")),
        line("deny", "no_credential", "agents", "/api/agents", &none),
        line("deny", "expired", "agents", "/api/agents", &none),
        line("allow", "", "reports", "/reports/1", &user("ADMIN")),
        line("allow", "", "health", "/api/healthcheck", &none),
        line("deny", "no_rule", "", "/nowhere", &none),
        line("deny", "bad_path", "", "/a//b", &none),
        line("deny", "bad_header", "", "/api/agents", &none),
        "not a line of it\n".to_owned(),
        json!({ "target": "portcullis::audit", "event": "sign_in" }).to_string() + "\n",
    ]
    .concat()
}

fn run(next: &str, base: Option<&str>, log: &str, arguments: &[&str]) -> (i32, String, String) {
    let room = tempfile::tempdir().unwrap();
    std::fs::write(room.path().join("next.toml"), next).unwrap();
    let mut command = portcullis();
    command.current_dir(room.path()).args(["replay", "--config", "next.toml"]);
    if let Some(base) = base {
        std::fs::write(room.path().join("base.toml"), base).unwrap();
        command.args(["--base", "base.toml"]);
    }
    let Output { status, stdout, stderr } = output(command.args(arguments), log);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn under_the_same_rules_nothing_changes() {
    let (code, told, said) = run(RULES, None, &log(), &["--fail-on", "any"]);
    assert_eq!((code, said.as_str()), (0, ""), "{told}");
    insta::assert_snapshot!(told, @r"
    decisions  11
    unchanged  11
    allow -> deny  0
    deny -> allow  0
    unknown    0
    other lines  2
    ");
    let (code, told, _) = run(RULES, Some(RULES), &log(), &["--fail-on", "any"]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn a_rule_that_loses_a_role_changes_the_lines_of_that_role_and_no_other() {
    let next = RULES.replace("[\"REGULAR\", \"ADMIN\"]", "[\"ADMIN\"]");
    let (code, told, _) = run(&next, None, &log(), &["--fail-on", "allow-to-deny"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(told, @r"
    decisions  11
    unchanged  9
    allow -> deny  2
    deny -> allow  0
    unknown    0
    other lines  2

    2  allow by agents -> deny by agents (role)
        GET app.example.com/api/agents as REGULAR
        GET app.example.com/api/agents/7 as REGULAR
    ");
    assert_eq!(run(&next, None, &log(), &["--fail-on", "deny-to-allow"]).0, 0);
    let (_, told, _) = run(&next, Some(RULES), &log(), &["--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["allow_to_deny"], &told["unchanged"]), (&json!(2), &json!(9)));
    assert_eq!(told["changes"][0]["after"]["reason"], "role");
}

#[test]
fn a_rule_that_opens_lets_in_whoever_was_kept_out() {
    let next = RULES.replace("roles = [\"REGULAR\", \"ADMIN\"]", "access = \"public\"");
    let (code, told, _) = run(&next, None, &log(), &["--fail-on", "deny-to-allow"]);
    assert_eq!(code, 1);
    // Those of a role, without a credential, and with one that is over.
    assert!(told.contains("\ndeny -> allow  3\n"), "{told}");
    let authenticated =
        RULES.replace("roles = [\"REGULAR\", \"ADMIN\"]", "access = \"authenticated\"");
    let (_, told, _) = run(&authenticated, None, &log(), &[]);
    assert!(told.contains("\ndeny -> allow  1\n"), "{told}");
}

#[test]
fn what_a_line_does_not_hold_is_unknown_and_never_guessed() {
    // A path that nobody looked at anybody for; scopes; roles of another list.
    let next = format!(
        "{RULES}\n[[rules]]\nname = \"new\"\npath = \"/nowhere\"\naccess = \"authenticated\"\n"
    );
    let (code, told, _) = run(&next, None, &log(), &["--fail-on", "any"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("  1  depend on who it was, which the log does not hold"), "{told}");

    let scoped = RULES.replace("roles = [\"ADMIN\"]", "roles = [\"ADMIN\"]\nscopes = [\"a\"]");
    let (_, told, _) = run(&scoped, None, &log(), &[]);
    assert!(told.contains("  1  depend on the scopes"), "{told}");

    let roles = "identity.roles = [\"INACTIVE\", \"ADMIN\"]\n";
    let renamed = RULES.replace("\"REGULAR\", ", "");
    let defaults = "login.roles = [\"ADMIN\"]\n";
    let (_, told, said) = run(&format!("{roles}{defaults}{renamed}"), None, &log(), &[]);
    assert!(told.contains("  2  depend on what the role is called now"), "{told}{said}");

    let preflight =
        RULES.replace("path_prefix = \"/reports\"", "path_prefix = \"/reports\"\npreflight = true");
    let options = line("allow", "", "reports", "/reports", &json!({ "method": "OPTIONS" }));
    let (_, told, _) = run(&preflight, None, &options, &[]);
    assert!(told.contains("  1  depend on Access-Control-Request-Method"), "{told}");

    let long =
        line("allow", "", "agents", &format!("/api/agents/{}", "x".repeat(1024)), &user("ADMIN"));
    let (_, told, _) = run(RULES, None, &long, &[]);
    assert!(told.contains("  1  depend on the whole path"), "{told}");
}

#[test]
fn a_token_of_an_issuer_is_one_of_that_issuer_again() {
    let issuers =
        "[[issuers]]\nname = \"acme\"\nissuer = \"https://idp.example.com\"\naudience = [\"a\"]\n";
    let next = format!(
        "{issuers}{}",
        RULES.replace("roles = [\"ADMIN\"]", "roles = [\"ADMIN\"]\nissuers = [\"own\"]")
    );
    let theirs = json!({ "user_id": "acme:7", "role": "ADMIN", "iss": "acme" });
    let log = line("allow", "", "reports", "/reports", &theirs)
        + &line("allow", "", "reports", "/reports", &user("ADMIN"));
    let (_, told, _) = run(&next, None, &log, &[]);
    assert!(told.contains("1  allow by reports -> deny by reports (issuer)"), "{told}");
}

#[test]
fn what_is_no_log_is_told() {
    for (log, arguments) in [("", &[][..]), ("junk\n", &[]), (&log(), &["none.log"])] {
        let (code, _, said) = run(RULES, None, log, arguments);
        assert_eq!(code, 2);
        assert!(said.contains("error: ") && said.contains("fix: "), "{said}");
    }
    // Not without an end either, nor what is no text.
    let endless = "x".repeat(1 << 20);
    assert_eq!(run(RULES, None, &endless, &[]).0, 2);
}

/// What was measured is in the release build: here, that it takes no time to speak
/// of for each line.
#[test]
fn many_lines_are_read_in_little_time() {
    let (day, mut many) = (log(), String::new());
    for _ in 0..2_000 {
        let _ = write!(many, "{day}");
    }
    let started = std::time::Instant::now();
    let (code, told, _) = run(RULES, None, &many, &["--fail-on", "any"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("decisions  22000\nunchanged  22000\n"), "{told}");
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_path_of_which_the_log_has_a_part_is_unknown_and_one_that_was_refused_stays_so() {
    let cut = json!({ "path_cut": true });
    let log = [
        line(
            "allow",
            "",
            "agents",
            "/api/agents",
            &json!({ "user_id": "7", "role": "REGULAR", "path_cut": true }),
        ),
        line("deny", "bad_path", "", "/api/healthcheck", &cut),
    ]
    .concat();
    let (code, told, _) = run(RULES, None, &log, &["--fail-on", "any", "--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["unknown"]), (0, &json!({ "the whole path": 1 })), "{told}");
    assert_eq!(told["unchanged"], 1);
    // Where other paths are let through, that is no longer sure.
    let lax = format!("check.path_allow = [\"semicolon\"]\n{RULES}");
    let (_, told, _) = run(&lax, None, &log, &["--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["unknown"], json!({ "the whole path": 2 }));
}

/// What a replay says of one line under these rules: whether it depends on something, or
/// what it changes to.
fn one(rules: &str, line: &str) -> String {
    let (_, told, said) = run(rules, None, line, &["--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{said}"));
    match told["unknown"].as_object().unwrap().keys().next() {
        Some(what) => format!("depends on {what}"),
        None if told["unchanged"] == 1 => "unchanged".to_owned(),
        None => told["changes"][0]["after"]["decision"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn whether_a_token_is_for_a_resource_is_unknown_and_a_key_is_for_none() {
    let rules = r#"
tokens.audience = "all"
api_keys = {}
[[rules]]
name = "mcp"
path_prefix = "/mcp"
access = "authenticated"
credentials = ["token", "api-key"]
resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com"] }
"#;
    let by_key = json!({ "user_id": "7", "role": "ADMIN", "key_id": "0123456789abcdef" });
    let allowed = |more: &Value| line("allow", "", "mcp", "/mcp", more);
    assert_eq!(one(rules, &allowed(&user("ADMIN"))), "depends on the token's audience");
    assert_eq!(one(rules, &allowed(&by_key)), "unchanged");
}

#[test]
fn a_rule_that_lets_preflights_pass_is_known_for_all_other_requests() {
    let rules =
        RULES.replace("path_prefix = \"/reports\"", "path_prefix = \"/reports\"\npreflight = true");
    assert_eq!(one(&rules, &line("allow", "", "reports", "/reports", &user("ADMIN"))), "unchanged");
}

#[test]
fn what_is_read_in_another_way_as_well_has_to_pass_there_too() {
    let folding = format!("check.case_insensitive = true\n{RULES}");
    let allowed = line("allow", "", "reports", "/reports/1", &user("ADMIN"));
    assert_eq!(one(&folding, &allowed), "unchanged");
    let asking = format!(
        "{folding}\n[[rules]]\nname = \"chat\"\npath = \"/chat\"\naccess = \"authenticated\"\n\
         llm = {{ models = [\"a\"] }}\n"
    );
    assert_eq!(one(&asking, &allowed), "depends on what it asked for");
    let asked = line("allow", "", "chat", "/chat", &user("ADMIN"));
    assert_eq!(
        one(&asking.replace("case_insensitive = true", "case_insensitive = false"), &asked),
        "depends on what it asked for"
    );
    let cutting = r#"
check.ignore_extension = true
tokens.audience = "all"
[[rules]]
name = "user"
path_template = "/users/{id}"
when = 'path.id != "7"'
[[rules]]
name = "mcp"
path_prefix = "/mcp"
access = "authenticated"
resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com"] }
[[rules]]
name = "rest"
path_prefix = "/"
access = "authenticated"
"#;
    for (path, rule, expected) in [
        ("/users/8.json", "user", "unchanged"),
        ("/users/7.json", "user", "deny"),
        ("/mcp.json", "rest", "depends on the token's audience"),
        ("/other.json", "rest", "unchanged"),
    ] {
        assert_eq!(
            one(cutting, &line("allow", "", rule, path, &user("ADMIN"))),
            expected,
            "{path}"
        );
    }
}

#[test]
fn what_has_nothing_to_be_cut_off_is_read_in_one_way() {
    let rules = r#"
check.ignore_extension = true
[[rules]]
name = "chat"
path = "/chat"
access = "authenticated"
llm = { models = ["a"] }
[[rules]]
name = "rest"
path_prefix = "/"
access = "authenticated"
"#;
    let allowed = |path: &str| line("allow", "", "rest", path, &user("ADMIN"));
    assert_eq!(one(rules, &allowed("/other")), "unchanged");
    assert_eq!(one(rules, &allowed("/other.json")), "depends on what it asked for");
}
