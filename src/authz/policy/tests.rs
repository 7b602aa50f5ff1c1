use proptest::prelude::*;

use super::*;
use crate::authz::{
    path::{NormalPath, PathAllow},
    pattern::{PathPattern, Segment},
    rule::{Access, Needs},
};

fn rule(name: &str, path: PathPattern) -> Rule {
    Rule {
        name: name.into(),
        hosts: vec![HostPattern::Any],
        path,
        methods: vec![],
        access: Access::Authenticated,
        preflight: false,
        needs: Needs::default(),
        wants: None,
        resource: None,
        when: None,
        variables: Vec::new(),
        forward: None,
        shadow: false,
        number: 0,
    }
}

fn exact(path: &str) -> PathPattern {
    PathPattern::exact(path).unwrap()
}

fn prefix(path: &str) -> PathPattern {
    PathPattern::prefix(path).unwrap()
}

fn template(path: &str) -> PathPattern {
    PathPattern::template(path).unwrap()
}

fn on(hosts: &[&str], rule: Rule) -> Rule {
    Rule { hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(), ..rule }
}

fn methods(methods: &[&str], rule: Rule) -> Rule {
    Rule { methods: methods.iter().map(|&method| method.into()).collect(), ..rule }
}

/// What is found, in one word.
fn find(policy: &Policy, host: &str, path: &str, method: &str) -> String {
    let host = NormalHost::parse(host).unwrap();
    let path = NormalPath::parse(path, PathAllow::default()).unwrap();
    match policy.find(&host, path.segments(), method, None) {
        Found::Rule(rule) => rule.name.clone(),
        Found::Preflight(rule) => format!("preflight of {}", rule.name),
        Found::NoMethod => "no method".into(),
        Found::NoOperation | Found::Unclear(_) => "asks".into(),
        Found::Nothing => "nothing".into(),
    }
}

#[test]
fn exact_goes_before_template_before_prefix_and_the_longer_prefix_wins() {
    let policy = Policy::compile(vec![
        rule("root", prefix("/")),
        rule("users", prefix("/users/")),
        rule("one", template("/users/{id}")),
        rule("me", exact("/users/me")),
        rule("runs", template("/users/{id}/runs")),
        rule("my", template("/users/me/{what}")),
    ])
    .unwrap();
    for (path, expected) in [
        ("/", "root"),
        ("/x", "root"),
        ("/users", "users"),
        ("/users/", "users"),
        ("/users/7", "one"),
        ("/users/me", "me"),
        ("/users/me/", "users"),
        ("/users/7/", "users"),
        ("/users/7/runs", "runs"),
        ("/users/me/runs", "my"),
        ("/users/me/x/y", "users"),
        ("/usersx", "root"),
        ("/Users/7", "root"),
    ] {
        assert_eq!(find(&policy, "h", path, "GET"), expected, "{path}");
    }
}

#[test]
fn between_templates_the_first_segment_that_differs_decides() {
    let policy = Policy::compile(vec![
        rule("late", template("/{a}/b/c")),
        rule("early", template("/a/{b}/{c}")),
        rule("mid", template("/a/b/{c}")),
    ])
    .unwrap();
    for (path, expected) in
        [("/a/b/c", "mid"), ("/a/x/c", "early"), ("/x/b/c", "late"), ("/x/y/c", "nothing")]
    {
        assert_eq!(find(&policy, "h", path, "GET"), expected, "{path}");
    }
}

#[test]
fn the_more_specific_host_goes_before_the_more_specific_path() {
    let policy = Policy::compile(vec![
        rule("any", exact("/x")),
        on(&["*.example.com"], rule("below", exact("/x"))),
        on(&["*.eu.example.com"], rule("further", exact("/x"))),
        on(&["a.eu.example.com"], rule("host", prefix("/"))),
        on(&["a.eu.example.com"], rule("deny", prefix("/only/here"))),
    ])
    .unwrap();
    for (host, path, expected) in [
        ("a.eu.example.com", "/x", "host"),
        ("A.EU.example.com.:443", "/x", "host"),
        ("b.eu.example.com", "/x", "further"),
        ("b.a.eu.example.com", "/x", "further"),
        ("us.example.com", "/x", "below"),
        ("example.com", "/x", "any"),
        ("notexample.com", "/x", "any"),
        ("b.eu.example.com", "/y", "nothing"),
    ] {
        assert_eq!(find(&policy, host, path, "GET"), expected, "{host}{path}");
    }
}

#[test]
fn a_method_that_no_rule_lists_never_falls_to_a_broader_pattern() {
    let policy = Policy::compile(vec![
        rule("public", prefix("/")),
        methods(&["GET", "HEAD"], rule("read", prefix("/api"))),
        methods(&["POST"], rule("write", prefix("/api"))),
        methods(&["DELETE"], rule("drop", exact("/api/x"))),
        rule("rest", exact("/api/x")),
    ])
    .unwrap();
    for (method, path, expected) in [
        ("GET", "/api/a", "read"),
        ("POST", "/api/a", "write"),
        ("PATCH", "/api/a", "no method"),
        ("OPTIONS", "/api/a", "no method"),
        ("get", "/api/a", "no method"),
        ("", "/api/a", "no method"),
        ("DELETE", "/api/x", "drop"),
        ("GET", "/api/x", "rest"),
        ("PATCH", "/", "public"),
    ] {
        assert_eq!(find(&policy, "h", path, method), expected, "{method} {path}");
    }
}

#[test]
fn patterns_may_be_written_decoded_or_encoded() {
    for pattern in ["/v1/x:purge", "/v1/x%3Apurge", "/v1/x%3apurge", "/%761/x:purge"] {
        let policy = Policy::compile(vec![rule("purge", exact(pattern))]).unwrap();
        for path in ["/v1/x:purge", "/v1/x%3Apurge", "/v1/%78:purge"] {
            assert_eq!(find(&policy, "h", path, "GET"), "purge", "{pattern} {path}");
        }
    }
    let policy = Policy::compile(vec![rule("café", prefix("/café au lait"))]).unwrap();
    assert_eq!(find(&policy, "h", "/caf%C3%A9%20au%20lait/x", "GET"), "café");
    let braces = template("/%7Bid%7D/{id}");
    assert_eq!(braces.segments()[0], Segment::Literal("{id}".into()));
    assert_eq!(braces.segments()[1], Segment::Variable);
}

#[test]
fn patterns_that_can_never_match_or_are_mistaken_are_refused() {
    for bad in
        ["", "api", "//x", "/a//b", "/a/../b", "/a/%2e%2e", "/a%2Fb", "/a\\b", "/a%zz", "/*/../x"]
    {
        assert!(PathPattern::exact(bad).is_err(), "{bad}");
    }
    for bad in ["/a/b", "/a{id}", "/{id", "/id}", "/{}", "/{{id}}", "/{a}{b}"] {
        assert!(PathPattern::template(bad).is_err(), "{bad}");
    }
    for bad in ["", "*", "*.", "a:80", "*.a:80", "a/b", "a.*.b", "**.a", "https://a", "user@a"] {
        assert!(HostPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn rules_that_one_request_could_match_alike_conflict() {
    let conflict = |a: Rule, b: Rule| Policy::compile(vec![a, b]).is_err();
    assert!(conflict(rule("a", exact("/x")), rule("b", exact("/%78"))));
    assert!(conflict(rule("a", prefix("/x")), rule("b", prefix("/x/"))));
    assert!(conflict(rule("a", template("/{x}/y")), rule("b", template("/{z}/y"))));
    assert!(conflict(rule("a", exact("/x")), rule("a", exact("/y"))), "one name");
    assert!(conflict(
        methods(&["GET", "PUT"], rule("a", exact("/x"))),
        methods(&["PUT"], rule("b", exact("/x")))
    ));
    assert!(conflict(
        on(&["a.com", "b.com"], rule("a", exact("/x"))),
        on(&["B.com"], rule("b", exact("/x")))
    ));
    assert!(!conflict(rule("a", exact("/x")), rule("b", prefix("/x"))));
    assert!(!conflict(rule("a", exact("/x")), methods(&["GET"], rule("b", exact("/x")))));
    assert!(!conflict(on(&["a.com"], rule("a", exact("/x"))), rule("b", exact("/x"))));
    let shadow = Rule { shadow: true, ..rule("b", exact("/x")) };
    assert!(!conflict(rule("a", exact("/x")), shadow));
}

/// The order of section "which rule decides", told by comparing all rules
/// that match with each other.
fn naive<'p>(
    rules: &'p [Rule],
    host: &NormalHost<'_>,
    path: &[Cow<'_, str>],
    method: &str,
) -> Option<&'p Rule> {
    let rank = |pattern: &HostPattern, rule: &Rule| {
        let host_rank = match pattern {
            HostPattern::Exact(_) => (2, 0),
            HostPattern::Below(parent) => (1, parent.len()),
            HostPattern::Any => (0, 0),
        };
        let literals: Vec<bool> =
            rule.path.segments().iter().map(|segment| *segment != Segment::Variable).collect();
        let path_rank = match &rule.path {
            PathPattern::Exact(_) => (2, 0, vec![]),
            PathPattern::Template(_) => (1, 0, literals),
            PathPattern::Prefix(segments) => (0, segments.len(), vec![]),
        };
        (host_rank, path_rank)
    };
    let matching: Vec<_> = rules
        .iter()
        .flat_map(|rule| rule.hosts.iter().map(move |host| (host, rule)))
        .filter(|(pattern, rule)| pattern.matches(host) && rule.path.matches(path))
        .collect();
    let best = matching.iter().map(|(pattern, rule)| rank(pattern, rule)).max()?;
    let candidates: Vec<&Rule> = matching
        .iter()
        .filter(|(pattern, rule)| rank(pattern, rule) == best)
        .map(|(_, rule)| *rule)
        .collect();
    let listing = candidates.iter().find(|rule| rule.methods.iter().any(|listed| listed == method));
    listing.or_else(|| candidates.iter().find(|rule| rule.methods.is_empty())).copied()
}

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let segment = prop::sample::select(vec!["a", "b", "{x}", "{y}"]);
    let path =
        prop::collection::vec(segment, 0..4).prop_map(|parts| format!("/{}", parts.join("/")));
    let host = prop::sample::select(vec!["", "h.com", "*.com", "*.h.com", "a.h.com"]);
    let method = prop::sample::select(vec!["", "GET", "POST"]);
    let rule = (path, any::<bool>(), host, method).prop_map(|(path, is_prefix, host, method)| {
        let path = match (path.contains('{'), is_prefix) {
            (true, _) => template(&path),
            (false, true) => prefix(&path),
            (false, false) => exact(&path),
        };
        let rule = rule("", path);
        let rule = if host.is_empty() { rule } else { on(&[host], rule) };
        if method.is_empty() { rule } else { methods(&[method], rule) }
    });
    prop::collection::vec(rule, 1..12).prop_map(|mut rules| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("r{at}");
        }
        rules
    })
}

proptest! {
    /// The tree finds what comparing all rules with each other finds.
    #[test]
    fn the_tree_agrees_with_the_naive_matcher(
        rules in any_rules(),
        host in prop::sample::select(vec!["h.com", "a.h.com", "b.a.h.com", "x.org", "com"]),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..5),
        method in prop::sample::select(vec!["GET", "POST", "PUT"]),
    ) {
        let path = format!("/{}", path.join("/"));
        let host = NormalHost::parse(host).unwrap();
        if let (Ok(policy), Ok(path)) =
            (Policy::compile(rules.clone()), NormalPath::parse(&path, PathAllow::default()))
        {
            let found = match policy.find(&host, path.segments(), method, None) {
                Found::Rule(rule) => Some(rule.name.as_str()),
                _ => None,
            };
            let expected = naive(&rules, &host, path.segments(), method);
            prop_assert_eq!(found, expected.map(|rule| rule.name.as_str()));
        }
    }
}
