//! The decision: where a request carries its token.

use portcullis::authz::Verdict;
use serde_json::json;

use crate::{
    ask::{Ask, NOW, ask, engine, good},
    jwt,
};

fn outcome(toml: &str, ask: &Ask) -> (u16, &'static str) {
    let out = ask.of(&engine(toml));
    (out.status, out.reason)
}

/// Another good token of the same user.
fn other() -> String {
    jwt::token(&jwt::with(NOW, &json!({ "jti": "token-2" })))
}

fn websocket(path: &str) -> Ask {
    ask("GET", path).with("upgrade", "websocket").with("connection", "Upgrade")
}

#[test]
fn the_scheme_is_bearer_in_any_case() {
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let ask = ask("GET", "/api/agents").with("authorization", &format!("{scheme} {}", good()));
        assert_eq!(outcome("", &ask), (200, ""), "{scheme}");
    }
    let blanks =
        ask("GET", "/api/agents").with("Authorization", &format!("  Bearer   {} ", good()));
    assert_eq!(outcome("", &blanks), (200, ""));
    for value in ["Basic YTpi", "Token x", "Bearerx y", "", "Digest username=\"a\", realm=\"b\""] {
        let ask = ask("GET", "/api/agents").with("authorization", value);
        let out = ask.of(&engine(""));
        assert_eq!((out.status, out.reason), (401, "no_credential"), "{value}");
        assert_eq!(out.header("www-authenticate"), Some("Bearer realm=\"portcullis\""));
    }
    for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer \u{e9}"] {
        let ask = ask("GET", "/api/agents").with("authorization", value);
        assert_eq!(outcome("", &ask), (401, "malformed_token"), "{value}");
    }
}

#[test]
fn a_repeated_authorization_is_ambiguous_however_it_arrives() {
    let bearer = format!("Bearer {}", good());
    let agents = || ask("GET", "/api/agents");
    for ask in [
        agents().with("authorization", &format!("{bearer},{bearer}")),
        agents().with("authorization", &format!("{bearer}, Bearer {}", other())),
        agents().with("authorization", &format!("Basic YTpi,{bearer}")),
        agents().with("authorization", &format!("{bearer},Basic YTpi")),
        agents().listed("authorization", &format!("{bearer},{bearer}")),
        agents().listed("authorization", &bearer).listed("authorization", &bearer),
        agents().listed("authorization", &bearer).listed("Authorization", "Basic YTpi"),
        agents().with("authorization", &bearer).with("Authorization", &bearer),
        agents()
            .with("authorization", &bearer)
            .listed("authorization", &format!("Bearer {}", other())),
    ] {
        assert_eq!(outcome("", &ask), (400, "ambiguous_credential"));
    }
    let alike = agents().with("authorization", &bearer).listed("authorization", &bearer);
    assert_eq!(outcome("", &alike), (200, ""), "both forms of the headers tell the same");
    assert_eq!(outcome("", &agents().listed("AUTHORIZATION", &bearer)), (200, ""));
}

#[test]
fn a_websocket_may_bring_the_token_in_its_query() {
    let path = format!("/api/agents/1/react?a=1&access-token={}", good());
    assert_eq!(outcome("", &websocket(&path)), (200, ""));
    assert_eq!(outcome("", &ask("GET", &path).with("upgrade", "WebSocket")), (200, ""));
    // nginx drops `Upgrade` from its subrequest.
    assert_eq!(outcome("", &ask("GET", &path).with("sec-websocket-version", "13")), (200, ""));
    assert_eq!(outcome("", &ask("GET", &path)), (401, "no_credential"), "no WebSocket");
    let h2c = "check.upgrades = [\"websocket\", \"h2c\"]";
    assert_eq!(outcome(h2c, &ask("GET", &path).with("upgrade", "h2c")), (401, "no_credential"));

    let always = "tokens.query_parameter_on = \"always\"";
    assert_eq!(outcome(always, &ask("POST", &path)), (200, ""));
    let never = "tokens.query_parameter_on = \"never\"";
    assert_eq!(outcome(never, &websocket(&path)), (401, "no_credential"));
    let named = "tokens.query_parameter = \"jwt\"";
    assert_eq!(outcome(named, &websocket(&format!("/api/agents?jwt={}", good()))), (200, ""));
    assert_eq!(outcome(named, &websocket(&path)), (401, "no_credential"));
}

#[test]
fn two_credentials_that_differ_are_ambiguous() {
    let path = format!("/api/agents?access-token={}", good());
    assert_eq!(outcome("", &websocket(&path).bearer(&good())), (200, ""), "the same twice");
    let differ = websocket(&path).bearer(&other());
    assert_eq!(outcome("", &differ), (400, "ambiguous_credential"));
    let twice = websocket(&format!("{path}&access-token={}", good()));
    assert_eq!(outcome("", &twice), (400, "ambiguous_credential"));
    let twice = websocket(&format!("{path}&access-token="));
    assert_eq!(outcome("", &twice), (400, "ambiguous_credential"));
    let twice = websocket(&format!("{path}&access%2Dtoken={}", good()));
    assert_eq!(outcome("", &twice), (400, "ambiguous_credential"));
    assert_eq!(outcome("", &websocket("/api/agents?access-token=")), (401, "malformed_token"));
    assert_eq!(outcome("", &websocket("/api/agents?access-token")), (401, "malformed_token"));
}

#[test]
fn an_encoded_name_of_the_parameter_is_refused_where_it_could_not_be_removed() {
    let path = format!("/api/agents?access%2Dtoken={}", good());
    assert_eq!(outcome("", &websocket(&path)), (200, ""));
    for forward in ["none", "authorization-header"] {
        let toml = format!("tokens.forward = \"{forward}\"");
        assert_eq!(outcome(&toml, &websocket(&path)), (400, "ambiguous_credential"));
        assert_eq!(outcome(&toml, &ask("GET", &path)), (400, "ambiguous_credential"));
    }
}

#[test]
fn a_credential_is_at_most_8_kib() {
    let agents = || ask("GET", "/api/agents");
    assert_eq!(outcome("", &agents().bearer(&"a".repeat(8192))), (401, "malformed_token"));
    assert_eq!(outcome("", &agents().bearer(&"a".repeat(8193))), (400, "credential_too_large"));
    let query = websocket(&format!("/api/agents?access-token={}", "a".repeat(8193)));
    assert_eq!(outcome("", &query), (400, "credential_too_large"));
    let cookie = agents().with("cookie", &format!("token={}", "a".repeat(8193)));
    assert_eq!(outcome("", &cookie), (400, "credential_too_large"));
}

#[test]
fn the_cookie_stands_in_where_nothing_explicit_is_sent() {
    let cookie = format!("a=1; token={}; b=2", good());
    let agents = || ask("GET", "/api/agents").with("cookie", &cookie);
    assert_eq!(outcome("", &agents()), (200, ""));
    assert_eq!(outcome("tokens.cookie = { accept = false }", &agents()), (401, "no_credential"));
    assert_eq!(outcome("tokens.cookie = { name = \"other\" }", &agents()), (401, "no_credential"));
    // A newer Bearer goes before a stale cookie, and a bad one does not fall
    // back to it.
    assert_eq!(outcome("", &agents().claiming(&json!({ "role": "INACTIVE" }))), (403, "role"));
    assert_eq!(outcome("", &agents().bearer("junk")), (401, "malformed_token"));
    assert_eq!(outcome("", &agents().with("authorization", "Basic YTpi")), (200, ""));
    for cookies in [
        format!("token={0}; token={0}", good()),
        format!("token={0},token={0}", good()),
        format!("a=1,token={}", good()),
        format!("token={}, a=1", good()),
    ] {
        let ask = ask("GET", "/api/agents").with("cookie", &cookies);
        assert_eq!(outcome("", &ask), (400, "ambiguous_credential"), "{cookies}");
    }
    let twice = ask("GET", "/api/agents").listed("cookie", "token=a").listed("cookie", "token=b");
    assert_eq!(outcome("", &twice), (400, "ambiguous_credential"));
    let crumbs = ask("GET", "/api/agents")
        .listed("cookie", "a=1")
        .listed("cookie", &format!("token={}", good()));
    assert_eq!(outcome("", &crumbs), (200, ""), "HTTP/2 cuts the header into pieces");
}

#[test]
fn on_https_the_cookie_of_one_host_has_a_name_that_browsers_protect() {
    let https = "http.public_url = \"https://auth.example.com\"";
    let plain = ask("GET", "/api/agents").with("cookie", &format!("token={}", good()));
    let host = ask("GET", "/api/agents").with("cookie", &format!("__Host-token={}", good()));
    assert_eq!(outcome(https, &host), (200, ""));
    assert_eq!(outcome(https, &plain), (401, "no_credential"));
    let shared = format!("{https}\ntokens.cookie = {{ domain = \"example.com\" }}");
    assert_eq!(outcome(&shared, &plain), (200, ""));
}

#[test]
fn a_cookie_needs_a_page_of_ours_where_something_changes() {
    let toml = "check.upgrades = [\"websocket\", \"h2c\"]\n\
                http.public_url = \"http://auth.example.com:8080\"\n\
                login.control_plane_url = \"https://cp.example.com/base\"\n\
                tokens.cookie = { origins = [\"https://friend.example.org\"] }";
    let engine = engine(toml);
    let send = |method: &str, pairs: &[(&str, &str)]| {
        let mut ask = ask(method, "/api/agents").with("cookie", &format!("token={}", good()));
        for (name, value) in pairs {
            ask = ask.with(name, value);
        }
        let out = ask.of(&engine);
        (out.status, out.reason)
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(send(method, &[("sec-fetch-site", "cross-site")]), (200, ""), "{method}");
    }
    let refused = (403, "cross_site_cookie");
    for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE"] {
        assert_eq!(send(method, &[]), refused, "{method}");
        assert_eq!(send(method, &[("sec-fetch-site", "same-origin")]), (200, ""), "{method}");
        assert_eq!(send(method, &[("sec-fetch-site", "none")]), (200, ""), "{method}");
    }
    for site in ["cross-site", "same-site", "Same-Origin", ""] {
        assert_eq!(send("POST", &[("sec-fetch-site", site)]), refused, "{site}");
    }
    for (origin, expected) in [
        ("https://app.example.com", (200, "")),
        ("https://app.example.com:443", (200, "")),
        ("http://auth.example.com:8080", (200, "")),
        ("https://cp.example.com", (200, "")),
        ("https://friend.example.org", (200, "")),
        ("http://app.example.com", refused),
        ("https://app.example.com:8443", refused),
        ("http://cp.example.com", refused),
        ("https://cp.example.com:8443", refused),
        ("https://evil.example", refused),
        ("https://app.example.com.evil.example", refused),
        ("https://evilapp.example.com", refused),
        ("null", refused),
        ("", refused),
    ] {
        assert_eq!(send("POST", &[("origin", origin)]), expected, "{origin}");
    }
    let two = [("origin", "https://app.example.com"), ("Origin", "https://evil.example")];
    assert_eq!(send("POST", &two), refused);
    for upgrade in [("upgrade", "websocket"), ("upgrade", "h2c"), ("sec-websocket-version", "13")] {
        assert_eq!(send("GET", &[upgrade]), refused);
        assert_eq!(send("GET", &[upgrade, ("origin", "https://app.example.com")]), (200, ""));
    }
}

#[test]
fn a_page_over_http_is_own_only_where_the_request_came_over_http() {
    let engine = engine("");
    let send = |scheme: &str, origin: &str| {
        let cookie = format!("token={}", good());
        let ask = ask("POST", "/api/agents").scheme(scheme).with("cookie", &cookie);
        ask.with("origin", origin).of(&engine).status
    };
    assert_eq!(send("http", "http://app.example.com"), 200);
    assert_eq!(send("http", "https://app.example.com"), 200, "TLS ended before the gateway");
    assert_eq!(send("https", "http://app.example.com"), 403);
    assert_eq!(send("", "http://app.example.com"), 403);
}

#[test]
fn whoever_prints_a_question_or_an_answer_sees_no_credential() {
    let toml = "tokens = { query_parameter_on = \"always\", forward = \"authorization-header\" }";
    let (engine, token) = (engine(toml), good());
    let asked = ask("GET", &format!("/api/agents?access-token={token}")).with("x-a", "b");
    let input = asked.input();
    let shown = format!("{input:?}");
    assert!(
        shown.contains("method: \"GET\", host: \"app.example.com\", path: \"/api/agents\""),
        "{shown}"
    );
    assert!(shown.contains("x-a") && !shown.contains(&token), "{shown}");
    let decision = engine.decide(&input, portcullis::clock::Timestamp::from_secs(NOW));
    let shown = format!("{decision:?}");
    assert!(shown.contains("set: [") && shown.contains("\"authorization\""), "{shown}");
    assert!(shown.contains("remove_query: [\"access-token\"]"), "{shown}");
    assert!(!shown.contains(&token), "{shown}");
}

#[test]
fn a_credential_has_up_to_eight_kibibytes() {
    for (length, expected) in
        [(8192, (401, "malformed_token")), (8193, (400, "credential_too_large"))]
    {
        let asked = ask("GET", "/api/agents").bearer(&"x".repeat(length));
        assert_eq!(outcome("", &asked), expected, "{length}");
    }
}

#[test]
fn a_credential_that_goes_on_is_told_to_the_gateway_where_another_one_would_not() {
    let keeps = |toml: &str, ask: &Ask| {
        let engine = engine(toml);
        let input = ask.input();
        let decision = engine.decide(&input, portcullis::clock::Timestamp::from_secs(NOW));
        match decision.verdict {
            Verdict::Allow(grant) => grant.keeps_credential,
            _ => panic!("{:?}", decision.verdict),
        }
    };
    let asked = ask("GET", "/a").bearer(&good());
    let rule = |name: &str, path: &str, forward: &str| {
        format!("{{ name = \"{name}\", path = \"{path}\", access = \"authenticated\"{forward} }}")
    };
    let plain = rule("a", "/a", "");
    for (toml, is_kept) in [
        (format!("rules = [{plain}]"), false),
        (format!("rules = [{plain}]\napi_keys = {{}}"), true),
        (format!("rules = [{plain}, {}]", rule("b", "/b", ", forward = \"none\"")), true),
        (format!("rules = [{plain}]\ntokens.forward = \"none\""), false),
        (
            format!(
                "rules = [{}]\ntokens.forward = \"none\"",
                rule("a", "/a", ", forward = \"as-is\"")
            ),
            true,
        ),
    ] {
        assert_eq!(keeps(&toml, &asked), is_kept, "{toml}");
    }
}

#[test]
fn the_cookies_of_both_forms_have_to_be_the_same() {
    let cookie = format!("token={}", good());
    let asked = ask("GET", "/api/agents").with("cookie", &cookie);
    assert_eq!(outcome("", &asked.clone().listed("cookie", &cookie)), (200, ""));
    let other = asked.listed("cookie", &format!("a=1; {cookie}"));
    assert_eq!(outcome("", &other), (400, "ambiguous_credential"));
}

#[test]
fn nothing_is_said_to_be_signed_in_lower_case_that_is_signed_as_it_should_be_or_by_others() {
    let engine = engine("");
    for token in [good(), format!("{}x", good()), "junk".to_owned()] {
        let asked = ask("GET", "/api/agents").bearer(&token);
        assert!(!engine.is_signed_in_lower_case(&asked.input()), "{token}");
    }
}
