//! What works and may not be meant: `check-config` says so. And what cannot be
//! meant: it refuses that.

use crate::{
    ask,
    support::{output, portcullis},
};

/// The warnings of a configuration, each by its key, cause and fix.
fn warnings(toml: &str) -> Vec<String> {
    ask::config(toml).warnings.iter().map(ToString::to_string).collect()
}

fn rule(name: &str, path: &str, access: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\n{path}\n{access}\n")
}

/// What `check-config` says to a file, and its exit code.
fn check_config(toml: &str) -> (Option<i32>, String) {
    check(toml, &[])
}

fn check(toml: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = portcullis();
    let done = output(
        command.args(["check-config", "--config", file.to_str().unwrap()]).args(arguments),
        "",
    );
    (done.status.code(), String::from_utf8([done.stderr, done.stdout].concat()).unwrap())
}

#[test]
fn a_path_whose_other_form_with_a_slash_is_open_to_more_people_is_warned_of() {
    let admin = rule("admin", "path = \"/admin\"", "roles = [\"ADMIN\"]");
    let open = rule("all", "path_prefix = \"/\"", "access = \"public\"");
    let found = warnings(&format!("{admin}{open}"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("/admin/ is decided by \"all\""), "{found:?}");

    let post = rule("post", "path_prefix = \"/\"\nmethods = [\"POST\"]", "access = \"public\"");
    assert_eq!(warnings(&format!("{admin}{post}")).len(), 1);
    let strict = rule("all", "path_prefix = \"/\"", "access = \"deny\"");
    assert!(warnings(&format!("{admin}{strict}")).is_empty());
    let slashed = rule("slashed", "path = \"/admin/\"", "roles = [\"ADMIN\"]");
    assert!(warnings(&format!("{admin}{slashed}{open}")).is_empty());
    assert!(warnings(&admin).is_empty());
    let braces = warnings(&rule("a", "path = \"/users/{id}\"", "access = \"public\""));
    assert!(braces[0].contains("path_template"));
    // The other way round, and templates.
    let found = warnings(&format!("{slashed}{open}"));
    assert!(found[0].contains("/admin is decided by \"all\""), "{found:?}");
    for (template, others) in [
        ("/users/{id}", &["/users/{}/ is decided", "; /users/ is decided"][..]),
        ("/users/{id}/keys/", &["/users/{}/keys is decided"]),
    ] {
        let path = format!("path_template = \"{template}\"");
        let template = rule("template", &path, "access = \"authenticated\"");
        assert!(warnings(&template).is_empty());
        let found = warnings(&format!("{template}{open}"));
        assert_eq!(found.len(), others.len(), "{found:?}");
        for (found, other) in found.iter().zip(others) {
            assert!(found.contains(other), "{found}");
        }
    }
    let root = rule("root", "path = \"/\"", "access = \"deny\"");
    assert!(warnings(&format!("{root}{open}")).is_empty());
}

#[test]
fn a_path_without_a_value_for_its_last_variable_that_is_open_to_more_people_is_warned_of() {
    let rules = ["", "/"].map(|end| {
        let path = format!("path_template = \"/teams/{{team}}/agents/{{id}}{end}\"");
        rule(&format!("agent{end}"), &path, "roles = [\"ADMIN\"]")
    });
    let agent = rules.concat();
    let open = rule("all", "path_prefix = \"/\"", "access = \"public\"");
    let found = warnings(&format!("{agent}{open}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("/teams/{}/agents/ is decided by \"all\""), "{found:?}");
    assert!(warnings(&agent).is_empty());
    // Whoever has a rule for that very path has thought of it.
    for path in ["path_template = \"/teams/{team}/agents/\"", "path_prefix = \"/teams\""] {
        let other = rule("other", path, "roles = [\"ADMIN\"]");
        let found = warnings(&format!("{agent}{other}{open}")).concat();
        assert!(!found.contains("agents/ is decided"), "{found}");
    }
    let list = rule("list", "path_template = \"/teams/{team}/agents/\"", "access = \"public\"");
    assert!(!warnings(&format!("{agent}{list}{open}")).concat().contains("agents/ is decided"));
}

#[test]
fn a_host_that_opens_what_another_hosts_rule_closes_is_warned_of() {
    let at = |name: &str, hosts: &str, path: &str, access: &str| {
        rule(name, &format!("hosts = [\"{hosts}\"]\npath_prefix = \"{path}\""), access)
    };
    let admin = rule("admin", "path_prefix = \"/admin\"", "roles = [\"ADMIN\"]");
    let static_files = at("static", "static.example.com", "/", "access = \"public\"");
    let found = warnings(&format!("{admin}{static_files}"));
    assert_eq!(found.len(), 1, "{found:?}");
    for part in
        ["at static.example.com", "/admin[/*] is decided by \"static\"", "than \"admin\" does"]
    {
        assert!(found[0].contains(part), "{found:?}");
    }
    // Many that it opens are one warning; wildcards and any host count as well.
    let reports = rule("reports", "path = \"/reports\"", "access = \"authenticated\"");
    let found = warnings(&format!("{admin}{reports}{static_files}"));
    assert!(found.len() == 1 && found[0].contains("(more such rules: 1)"), "{found:?}");
    let below = at("below", "*.example.com", "/", "access = \"authenticated\"");
    assert!(warnings(&format!("{admin}{below}"))[0].contains("at *.example.com"));
    let app = at("app", "app.example.com", "/admin", "roles = [\"ADMIN\"]");
    let open = rule("open", "path_prefix = \"/\"", "access = \"public\"");
    assert!(warnings(&format!("{app}{open}"))[0].contains("at any other host"));
    // One that is as strict, or that has a rule of its own for the path, is meant.
    let strict = at("static", "static.example.com", "/", "roles = [\"ADMIN\"]");
    assert!(warnings(&format!("{admin}{strict}")).is_empty());
    let own = at("own", "static.example.com", "/admin", "access = \"deny\"");
    assert!(warnings(&format!("{admin}{static_files}{own}")).is_empty());
    let said = at("said", "static.example.com", "/admin", "access = \"public\"");
    let deny = at("static", "static.example.com", "/", "access = \"deny\"");
    assert!(warnings(&format!("{admin}{said}{deny}")).is_empty());
}

#[test]
fn what_envoys_own_filter_lets_through_is_warned_of() {
    let rule =
        rule("mcp", "path = \"/mcp\"\nmcp = { tools = [\"a\"] }", "access = \"authenticated\"");
    let (code, said) = check_config(&format!("[mcp]\nsource = \"envoy\"\n{rule}"));
    assert_eq!(code, Some(0), "{said}");
    for part in ["mcp.source", "1.38.3", "1.39.3", "1.40.0", "1.37.0", "reject_duplicate_keys"] {
        assert!(said.contains(part), "{said}");
    }
    for source in ["body", "headers"] {
        let found = warnings(&format!("[mcp]\nsource = \"{source}\"\n{rule}"));
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn what_the_engine_in_envoy_cannot_hold_alone_is_told_with_what_the_service_does() {
    let of = |toml: &str| check(toml, &["--envoy-module"]);
    assert_eq!(of(""), (Some(0), "ok\n".to_owned()));
    // It is asked for, or not told.
    let redis = "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:1\"\n";
    assert_eq!(check_config(redis), (Some(0), "ok\n".to_owned()));
    let issuer =
        "[[issuers]]\nname = \"acme\"\nissuer = \"https://idp.example.com\"\naudience = [\"a\"]\n";
    for (toml, refused, beside) in [
        (redis, "error: store: ", Some("left to the service: store: the list of what is revoked")),
        ("mcp.source = \"envoy\"\n", "error: mcp.source: ", None),
        (issuer, "error: issuers: ", Some("left to the service: issuers: the keys of \"acme\"")),
    ] {
        let (code, said) = of(toml);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(refused) && said.contains("\n  fix: "), "{said}");
        assert!(!said.contains("ok\n"), "{said}");
        assert!(beside.is_none_or(|part| said.contains(part)), "{said}");
    }
    // Where it is fed, it holds them, but for what it never can.
    let fed = "feed.listen = \"unix:/run/portcullis/feed.sock\"\n";
    for (toml, code) in [(redis, Some(0)), (issuer, Some(0)), ("mcp.source = \"envoy\"\n", Some(1))]
    {
        assert_eq!(of(&format!("{fed}{toml}")).0, code, "{toml}");
    }
    let sso = "[sso]\nissuer = \"https://idp.example.com\"\nclient_id = \"a\"\n";
    let (code, said) = of(&format!("http.public_url = \"https://a.example.com\"\n{sso}"));
    assert_eq!(code, Some(0), "{said}");
    for part in ["left to the service: sso: ", "ok\n"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn ten_thousand_rules_for_a_hundred_hosts_are_compared_in_a_moment() {
    let mut toml = String::new();
    for n in 0..10_000 {
        let path = format!("hosts = [\"h{}.example.com\"]\npath = \"/p{n}\"", n % 100);
        toml.push_str(&rule(&format!("r{n}"), &path, "access = \"authenticated\""));
    }
    let started = std::time::Instant::now();
    let found = warnings(&toml);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    assert!(
        found.iter().any(|warning| warning.contains("not all of them were compared")),
        "{found:?}"
    );
}

#[test]
fn an_asterisk_in_a_path_is_refused_and_says_what_to_write() {
    let open = rule("all", "path_prefix = \"/\"", "access = \"public\"");
    for path in [
        "path_prefix = \"/admin/*\"",
        "path_prefix = \"/admin*\"",
        "path = \"/admin/*\"",
        "path_template = \"/users/{id}/*\"",
        "path_prefix = \"/*/admin\"",
        "path = \"*\"",
    ] {
        let (code, said) =
            check_config(&format!("{}{open}", rule("a", path, "roles = [\"ADMIN\"]")));
        assert_eq!(code, Some(2), "{path}");
        assert!(said.contains("rules[0].path") && said.contains("%2A"), "{path}: {said}");
    }
    let (code, said) = check_config(&rule("a", "path = \"/a%2Ab\"", "roles = [\"ADMIN\"]"));
    assert_eq!((code, said.trim()), (Some(0), "ok"));
}

#[test]
fn a_key_of_an_example_is_refused() {
    for key in ["an-example-of-at-least-32-bytes-0123", "a-string-secret-at-least-256-bits-long"] {
        let (code, said) =
            check_config(&format!("tokens.keys = [{{ kid = \"a\", secret = \"{key}\" }}]"));
        assert_eq!(code, Some(2));
        assert!(said.contains("tokens.keys[0]") && said.contains("public example"), "{said}");
        assert!(said.contains("openssl rand") && !said.contains(key), "{said}");
    }
}

#[test]
fn a_cookie_for_a_domain_that_is_no_ones_own_is_warned_of() {
    let with = |domain: &str| warnings(&format!("tokens.cookie = {{ domain = \"{domain}\" }}"));
    for domain in ["com", "co.uk", ".co.uk", "github.io", "CO.UK", "internal", "xn--p1ai"] {
        let found = with(domain);
        assert!(
            found.len() == 1 && found[0].contains("tokens.cookie.domain"),
            "{domain}: {found:?}"
        );
    }
    for domain in [
        "",
        "example.com",
        ".example.com",
        "example.co.uk",
        "acme.github.io",
        "localhost",
        "app.internal",
    ] {
        assert!(with(domain).is_empty(), "{domain}");
    }
}

#[test]
fn a_network_of_proxies_that_everybody_is_in_is_warned_of() {
    for network in ["0.0.0.0/0", "::/0"] {
        let found = warnings(&format!("http.trusted_proxies = [\"10.0.0.0/8\", \"{network}\"]"));
        assert!(found.len() == 1 && found[0].contains("http.trusted_proxies"), "{found:?}");
    }
    assert!(warnings("http.trusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]").is_empty());
}

#[test]
fn the_default_key_of_another_system_is_warned_of() {
    let key = "8a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d";
    let (code, said) =
        check_config(&format!("tokens.keys = [{{ kid = \"a\", secret = \"{key}\" }}]"));
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: tokens.keys[0]") && !said.contains(key), "{said}");
}
