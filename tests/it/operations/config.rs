//! The configuration: layers, secrets, and all problems at once.

use std::{ffi::OsString, fs};

use portcullis::config::{Config, Problem, Sources};

use crate::jwt;

/// Loads a file of this content with these variables.
pub(crate) fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    fs::write(&file, toml).unwrap();
    let environment =
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(&Sources::new(vec![file], environment)).map_err(|problems| problems.problems)
}

pub(crate) const KEY: (&str, &str) = ("AUTH_JWT_SECRET", jwt::SECRET);

/// The keys that have a problem.
pub(crate) fn keys(toml: &str) -> Vec<String> {
    match load(toml, &[KEY]) {
        Ok(_) => vec![],
        Err(problems) => problems.into_iter().map(|problem| problem.key).collect(),
    }
}

#[test]
fn a_name_that_is_taken_is_told_with_what_else_is_wrong() {
    let toml = r#"
[[rules]]
name = "agents"
path = "/agents"
roles = ["NOBODY"]
[[rules]]
name = "other"
path = "/other"
access = "public"
[[rules]]
name = "agents"
path = "/more"
access = "public"
"#;
    let problems = load(toml, &[KEY]).unwrap_err();
    let told = |problem: &Problem| (problem.key.clone(), problem.cause.clone());
    let [roles, name] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(told(roles).0, "rules[0].roles");
    assert_eq!(told(name), ("rules[2].name".into(), "rules[0] has the same name".into()));
}

#[test]
fn the_whole_sample_of_the_reference_is_understood() {
    let room = tempfile::tempdir().unwrap();
    let secret = room.path().join("jwt");
    fs::write(&secret, jwt::SECRET).unwrap();
    let users = room.path().join("users.toml");
    fs::write(&users, "").unwrap();
    let toml = format!(
        r#"
[check]
listen = "unix:/run/portcullis/check.sock"
max_message_bytes = 1048576
path_allow = ["encoded-slash", "semicolon", "encoded-percent", "encoded-hash", "encoded-question-mark"]
case_insensitive = true
ignore_extension = true
remove_headers = ["x-http-method-override"]
sign_in_url = "https://auth.example.com/ui/login/"
[http]
listen = "0.0.0.0:8080"
public_url = "https://auth.example.com/auth"
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
trusted_hops = 1
[internal]
listen = "127.0.0.1:9192"
peers = ["127.0.0.0/8"]
[tokens]
keys = [{{ kid = "2026-11", secret_file = "{}" }}]
issuer = "https://auth.example.com"
audience = "agents"
leeway = "30s"
lifetime = "8h"
max_lifetime = "7d"
query_parameter = "access-token"
query_parameter_on = "websocket"
cookie = {{ name = "token", domain = "", accept = true, origins = ["https://a.example.com"] }}
forward = "as-is"
[identity]
roles = ["INACTIVE", "REGULAR", "ADMIN"]
header_prefix = "x-user-"
header_exempt = ["x-user-agent"]
headers = {{ id = "x-user-id", name = "x-user-name", email = "x-user-email", role = "x-user-role" }}
[[rules]]
name = "agents"
path_prefix = "/api/agents"
hosts = ["app.example.com", "*.example.com"]
methods = ["GET", "POST"]
roles = ["REGULAR", "ADMIN"]
preflight = true
[[rules]]
name = "runs"
path_template = "/users/{{id}}/runs"
access = "authenticated"
mode = "shadow"
[store]
kind = "memory"
prefix = "portcullis:"
timeout = "250ms"
require_at_start = true
[login]
control_plane_url = "https://cp.example.com"
return_to_paths = ["/ui/login"]
return_to_origins = ["https://app.example.com"]
users_file = "{}"
roles = ["REGULAR"]
code_ttl = "60s"
limits = {{ failures = 5, window = "60s", lockout = "300s", failures_per_address = 50, failures_per_name = 100 }}
[sso]
issuer = "https://idp.example.com"
client_id = "portcullis"
client_auth = "basic"
scopes = ["openid"]
state_ttl = "600s"
link_by_email = true
default_role = "INACTIVE"
role_claim = "groups"
role_map = {{ "platform-admins" = "ADMIN" }}
[[workers]]
worker_id = "eu"
name = "Europe"
url = "https://eu.example.com"
[lifecycle]
drain = "10s"
stop_within = "30s"
[telemetry]
log_format = "text"
allowed_decisions = 0.5
otlp_endpoint = "http://localhost:4317"
"#,
        secret.display(),
        users.display(),
    );
    let config = load(&toml, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(config.policy.rules().len(), 1);
    let warned: Vec<&str> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["store", "login.return_to_origins"]);
    let sso = config.sso.unwrap();
    assert_eq!(sso.redirect_uri.as_str(), "https://auth.example.com/auth/sso/callback");
    assert_eq!(sso.after_logout.as_str(), "https://cp.example.com/ui/login/");
}

#[test]
fn proxies_are_counted_from_one() {
    let hops = |text: &str| load(&format!("http.trusted_hops = {text}"), &[KEY]);
    for (text, counted) in [("1", 1), ("16", 16)] {
        assert_eq!(hops(text).unwrap().http.trusted_hops, Some(counted));
    }
    assert_eq!(load("", &[KEY]).unwrap().http.trusted_hops, None);
    let variable = load("", &[KEY, ("PORTCULLIS__HTTP__TRUSTED_HOPS", "2")]);
    assert_eq!(variable.unwrap().http.trusted_hops, Some(2));
    for text in ["0", "17", "-1", "\"1\"", "true"] {
        assert_eq!(hops(text).unwrap_err()[0].key, "http.trusted_hops", "{text}");
    }
}

#[test]
fn limits_that_shut_everybody_out_are_problems_or_warned_of() {
    for key in ["failures", "failures_per_address", "failures_per_name"] {
        let toml = format!("login.limits = {{ {key} = 0 }}");
        assert_eq!(keys(&toml), [format!("login.limits.{key}")]);
    }
    let warned = |limits: &str| -> Vec<String> {
        let config = load(&format!("login.limits = {{ {limits} }}"), &[KEY]).unwrap();
        config.warnings.into_iter().map(|warning| warning.key).collect()
    };
    assert_eq!(warned("failures = 5, failures_per_name = 5"), [""; 0]);
    assert_eq!(warned("failures = 5, failures_per_name = 4"), ["login.limits.failures_per_name"]);
}

#[test]
fn every_problem_is_named_at_once_with_its_key_its_source_and_its_fix() {
    let toml = r#"
[check]
listen = "nowhere"
max_message_bytes = "many"
path_allow = ["everything"]
sign_in_url = "javascript:alert(1)"
tls = { cert_file = "x" }
colour = "red"
[http]
public_url = "https://user:pass@example.com/"
[tokens]
leeway = 30
lifetime = "8d"
forward = "always"
cookie = { name = "a b", origins = ["nowhere"] }
[identity]
roles = ["A", "A"]
headers = { id = "authorization" }
[[rules]]
name = "a"
[[rules]]
path = "/x"
path_prefix = "/x"
access = "public"
[[rules]]
name = "c"
path = "/a/../b"
roles = []
[[rules]]
name = "d"
path_template = "/users/{id"
access = "maybe"
methods = ["get"]
hosts = ["a:80"]
[telemetry]
allowed_decisions = 2
[lifecycle]
drain = "soon"
[store]
kind = "redis"
[nonsense]
"#;
    let problems = load(toml, &[KEY]).unwrap_err();
    let found: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in [
        "check.listen",
        "check.max_message_bytes",
        "check.path_allow",
        "check.sign_in_url",
        "check.tls.cert_file",
        "check.tls.key_file",
        "check.colour",
        "http.public_url",
        "tokens.leeway",
        "tokens.lifetime",
        "tokens.forward",
        "tokens.cookie.name",
        "tokens.cookie.origins",
        "identity.roles",
        "identity.headers.id",
        "rules[0]",
        "rules[1]",
        "rules[1].name",
        "rules[2].path",
        "rules[2].roles",
        "rules[3].path_template",
        "rules[3].access",
        "rules[3].methods",
        "rules[3].hosts",
        "telemetry.allowed_decisions",
        "lifecycle.drain",
        "nonsense",
    ] {
        assert!(found.contains(&key), "{key} is not among {found:?}");
    }
    for problem in &problems {
        let source = problem.source.as_deref();
        assert!(source.is_some_and(|source| source.ends_with("portcullis.toml")), "{problem:?}");
        assert!(!problem.cause.is_empty() && !problem.fix.is_empty(), "{problem:?}");
    }
}

#[test]
fn what_cannot_be_read_is_said_once_and_a_slip_of_the_pen_is_understood() {
    for (toml, key) in [
        ("[tokens]\nlifetime = 3600", "tokens.lifetime"),
        ("[tokens]\nmax_lifetime = \"soon\"", "tokens.max_lifetime"),
        ("[rules]\nname = \"a\"", "rules"),
        ("[login.limits]\nwindow = 1", "login.limits.window"),
    ] {
        assert_eq!(keys(toml), [key]);
    }
    let problems = load("[check]\nlistn = \"127.0.0.1:0\"", &[KEY]).unwrap_err();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.fix.starts_with("write listen, if that is meant; else remove it, or"));
    assert!(problem.fix.contains("sign_in_url, tls, upgrades"), "{}", problem.fix);
}

#[test]
fn the_environment_goes_before_a_later_file_before_an_earlier_one() {
    let room = tempfile::tempdir().unwrap();
    let (first, second) = (room.path().join("1.toml"), room.path().join("2.toml"));
    fs::write(&first, "[tokens]\nissuer = \"first\"\naudience = \"first\"\nleeway = \"1s\"")
        .unwrap();
    fs::write(&second, "[tokens]\nissuer = \"second\"\naudience = \"second\"").unwrap();
    let variables = [
        ("AUTH_JWT_SECRET", jwt::SECRET),
        ("PORTCULLIS__TOKENS__ISSUER", "12345"),
        ("PORTCULLIS__TELEMETRY__ALLOWED_DECISIONS", "0.5"),
        ("PORTCULLIS__TOKENS__COOKIE", "{ accept = false }"),
        ("PORTCULLIS__CHECK__PATH_ALLOW", "[\"semicolon\"]"),
        ("PORTCULLIS_PORT", "tcp://10.0.0.1:80"),
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
    ];
    let environment = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let config = Config::load(&Sources::new(vec![first.clone(), second], environment)).unwrap();
    assert_eq!(config.tokens.settings.issuer.as_deref(), Some("12345"), "text stays text");
    assert_eq!(config.tokens.settings.audience.as_deref(), Some("second"));
    assert_eq!(config.tokens.settings.leeway.as_secs(), 1);
    assert!((config.telemetry.allowed_decisions - 0.5).abs() < f64::EPSILON);
    assert!(!config.tokens.cookie.accept);
    assert_eq!(config.tokens.cookie.name, "token", "a table is merged");
    assert!(config.check.path_allow.semicolon);

    let named = [("PORTCULLIS_CONFIG", first.to_str().unwrap()), KEY];
    let environment = named.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let config = Config::load(&Sources::new(vec![], environment)).unwrap();
    assert_eq!(config.tokens.settings.audience.as_deref(), Some("first"));
}

#[test]
fn a_problem_of_a_variable_names_the_variable() {
    let problems =
        load("", &[KEY, ("PORTCULLIS__CHECK__LISTEN", "x"), ("PORTCULLIS__A____B", "x")])
            .unwrap_err();
    let sources: Vec<&str> =
        problems.iter().filter_map(|problem| problem.source.as_deref()).collect();
    assert!(sources.contains(&"environment variable PORTCULLIS__CHECK__LISTEN"), "{sources:?}");
    assert!(sources.contains(&"environment variable PORTCULLIS__A____B"), "{sources:?}");
}

#[test]
fn keys_are_long_enough_apart_and_given_one_way() {
    assert_eq!(load("", &[]).unwrap_err()[0].key, "tokens.keys");
    let short = load("", &[("AUTH_JWT_SECRET", "0123456789012345678901234567890")]).unwrap_err();
    assert!(short[0].cause.contains("31 bytes") && short[0].fix.contains("openssl rand -hex 32"));
    let long = "0123456789".repeat(4);
    for (keys_value, bad) in [
        (format!("{{ secret = \"{long}\" }}"), vec![]),
        (
            format!(
                "{{ kid = \"a\", secret = \"{long}\" }}, {{ kid = \"b\", secret = \"{long}\" }}"
            ),
            vec![],
        ),
        (
            format!(
                "{{ kid = \"a\", secret = \"{long}\" }}, {{ kid = \"a\", secret = \"{long}\" }}"
            ),
            vec!["tokens.keys"],
        ),
        ("{ kid = \"a\", secret = \"short\" }".into(), vec!["tokens.keys[0]"]),
        ("{ kid = \"a\" }".into(), vec!["tokens.keys[0]"]),
        ("{ kid = \"a\", secret = 5 }".into(), vec!["tokens.keys[0].secret"]),
        ("{ kid = \"a\", secret_file = \"/nowhere\" }".into(), vec!["tokens.keys[0].secret_file"]),
        (format!("{{ secret = \"{long}\", secret_file = \"x\" }}"), vec!["tokens.keys[0].secret"]),
        (format!("{{ secret = \"{long}\", alg = \"none\" }}"), vec!["tokens.keys[0].alg"]),
    ] {
        assert_eq!(keys(&format!("[tokens]\nkeys = [{keys_value}]")), bad, "{keys_value}");
    }
}

#[test]
fn one_newline_at_the_end_of_a_secret_file_is_dropped_with_a_warning() {
    let room = tempfile::tempdir().unwrap();
    fs::write(room.path().join("jwt"), format!("{}\n", jwt::SECRET)).unwrap();
    fs::write(room.path().join("p.toml"), "tokens.keys = [{ secret_file = \"jwt\" }]").unwrap();
    // A relative path starts at the directory of its file.
    let config = Config::load(&Sources::new(vec![room.path().join("p.toml")], [])).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].cause.contains("newline"));
    let engine = portcullis::app::engine(
        config,
        std::sync::Arc::new(portcullis::token::RevocationList::empty()),
    );
    assert_eq!(crate::ask::ask("GET", "/api/agents").role("ADMIN").of(&engine).status, 200);
}

#[test]
fn no_secret_is_shown_by_any_error_or_debug() {
    let secret = "hunter2-hunter2-hunter2-hunter2-hunter2";
    for toml in [
        format!("[tokens]\nkeys = [{{ secret = \"{secret}\" }}]\nleeway = 5\nx = 1"),
        format!("[tokens]\nkeys = [{{ secret = \"{secret}\", }}]\nkeys = 1"),
        format!("[tokens]\nkeys = [{{ secret = \"{secret}\" "),
        format!("[tokens]\nkeys = \"{secret}\""),
        format!("[tokens]\nkeys = [\"{secret}\"]"),
        format!("[tokens]\nkeys = [{{ secret = [\"{secret}\"] }}]"),
        format!("[sso]\nclient_secret = {{ a = \"{secret}\" }}"),
        format!("[store]\nurls = \"redis://:{secret}@a:1\""),
        format!("[store]\nkind = \"redis\"\nurl = [\"redis://:{secret}@a:1\"]"),
        format!("[login]\ncontrol_plane_url = \"https://admin:{secret}@cp.example.com\""),
        format!("[[workers]]\nurl = \"https://admin:{secret}@cp.example.com\""),
    ] {
        let problems = load(&toml, &[("AUTH_JWT_SECRET", "hunter2")]).unwrap_err();
        let shown: String = problems.iter().map(ToString::to_string).collect();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let sources = Sources::new(vec![], [("AUTH_JWT_SECRET".into(), secret.into())]);
    assert!(!format!("{sources:?}").contains("hunter2"));
    let config = Config::load(&sources).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let engine = portcullis::app::engine(
        config,
        std::sync::Arc::new(portcullis::token::RevocationList::empty()),
    );
    assert!(!format!("{engine:?}").contains("hunter2"));
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let problems = load("[check]\nlisten = \"0.0.0.0:1\"\nlisten =", &[KEY]).unwrap_err();
    assert!(problems[0].cause.starts_with("line 3 is not TOML"), "{problems:?}");
    let missing =
        Config::load(&Sources::new(vec!["/nowhere.toml".into()], [(KEY.0.into(), KEY.1.into())]));
    let problems = missing.unwrap_err().problems;
    assert_eq!(problems[0].source.as_deref(), Some("/nowhere.toml"));
}

#[test]
fn a_worker_has_an_id_of_its_own_and_an_address_that_browsers_can_open() {
    let worker = |id: &str, url: &str| {
        format!("[[workers]]\nworker_id = \"{id}\"\nname = \"{id}\"\nurl = \"{url}\"\n")
    };
    for url in [
        "eu.example.com",
        "ftp://eu.example.com",
        "javascript:alert(1)",
        "https://a:b@eu.example.com",
        "https://eu.example.com/?x=1",
        "https://eu.example.com/#x",
        "//eu.example.com",
        "",
    ] {
        assert_eq!(keys(&worker("eu", url)), ["workers[0].url"], "{url}");
    }
    assert_eq!(keys(&worker("eu", "https://eu.example.com/base/")), [""; 0]);
    let twice = worker("eu", "https://a.example") + &worker("eu", "https://b.example");
    assert_eq!(keys(&twice), ["workers[1].worker_id"]);
    assert_eq!(keys("[[workers]]\n").len(), 3);
    let control_plane = "login.control_plane_url = \"https://cp.example.com\"";
    assert!(load(control_plane, &[KEY]).unwrap().warnings.iter().any(|w| w.key == "store"));
}
