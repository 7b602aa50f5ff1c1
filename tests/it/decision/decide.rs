//! The decision: readiness, host, path, rule, role, and what is answered. Over 400
//! lines, since one table reaches every reason.

use std::sync::Arc;

use portcullis::{
    app,
    authz::{Engine, Reason},
    clock::Timestamp,
    token::RevocationList,
};
use serde_json::json;

use crate::{
    api_keys::{engine_of, made},
    ask::{Ask, NOW, Out, ask, config, engine, good},
    jwt,
};

fn outcome(out: &Out) -> (u16, &'static str) {
    (out.status, out.reason)
}

#[test]
fn the_built_in_rules_guard_agents_and_open_the_health_check() {
    let engine = engine("");
    for (role, expected) in [
        ("INACTIVE", (403, "role")),
        ("RESTRICTED", (403, "role")),
        ("REGULAR", (200, "")),
        ("ADMIN", (200, "")),
    ] {
        for path in ["/api/agents", "/api/agents/", "/api/agents/7/react?x=1"] {
            let out = ask("GET", path).role(role).of(&engine);
            assert_eq!(outcome(&out), expected, "{role} {path}");
            assert_eq!(out.rule, "agents");
            assert_eq!(out.user, "7", "who it was is known on a denial for the role, too");
        }
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"] {
        let out = ask(method, "/api/agents").of(&engine);
        assert_eq!(outcome(&out), (401, "no_credential"), "{method}");
        assert_eq!(ask(method, "/api/agents").role("ADMIN").of(&engine).status, 200, "{method}");
    }
    let out = ask("GET", "/api/healthcheck").of(&engine);
    assert_eq!((out.status, out.rule.as_str(), out.user.as_str()), (200, "health", ""));
    assert_eq!(outcome(&ask("GET", "/").role("ADMIN").of(&engine)), (403, "no_rule"));
    assert_eq!(outcome(&ask("GET", "/api/agentsx").role("ADMIN").of(&engine)), (403, "no_rule"));
    assert_eq!(outcome(&ask("GET", "/API/agents").role("ADMIN").of(&engine)), (403, "no_rule"));
    assert_eq!(outcome(&ask("GET", "/api/healthcheck/").of(&engine)), (403, "no_rule"));
}

#[test]
fn nobody_passes_before_it_is_known_who_is_shut_out() {
    let revoked = Arc::new(RevocationList::default());
    let engine = app::engine(config(""), Arc::clone(&revoked));
    for path in ["/api/agents", "/api/healthcheck", "//", "*"] {
        let out = ask("GET", path).role("ADMIN").of(&engine);
        assert_eq!(outcome(&out), (503, "not_ready"), "{path}");
    }
    revoked.set_loaded();
    assert_eq!(ask("GET", "/api/agents").role("ADMIN").of(&engine).status, 200);
}

#[test]
fn a_host_that_is_none_is_refused() {
    let engine = engine("");
    for host in ["", ":80", "user@app.example.com", "app .example.com", ".", "a,b"] {
        let out = ask("GET", "/api/healthcheck").host(host).of(&engine);
        assert_eq!(outcome(&out), (400, "bad_host"), "{host:?}");
    }
    for host in ["APP.example.com", "app.example.com.", "app.example.com:8443", "[::1]:80"] {
        assert_eq!(ask("GET", "/api/healthcheck").host(host).of(&engine).status, 200, "{host}");
    }
}

/// Every path of the threat table, with the best of tokens.
#[test]
fn a_path_that_can_be_read_in_two_ways_is_refused_even_on_public_routes() {
    let engine = engine("[[rules]]\nname = \"all\"\npath_prefix = \"/\"\naccess = \"public\"\n");
    let long = format!("/{}", "a".repeat(64 * 1024));
    for path in [
        "//x",
        "/a//b",
        "/a%2fb",
        "/a%2Fb",
        "/a%252fb",
        "/./",
        "/x/../y",
        "/%2e%2e/y",
        "/.%2e/y",
        "/x;v=1",
        "/public/..;/api",
        "/a\\b",
        "/a%5cb",
        "/a%00b",
        "/a%23",
        "/a%3f",
        "/%c0%af",
        "/%ef%bc%8f",
        "/%",
        "/%zz",
        "http://h/x",
        "*",
        "",
        "/%252e%252e/",
        long.as_str(),
        "/a b",
        "/é",
    ] {
        let out = ask("GET", path).role("ADMIN").of(&engine);
        assert_eq!(outcome(&out), (400, "bad_path"), "{path}");
    }
    assert_eq!(outcome(&ask("CONNECT", "").role("ADMIN").of(&engine)), (400, "bad_path"));
    assert_eq!(ask("GET", "/fine").of(&engine).status, 200);
}

#[test]
fn the_query_is_no_part_of_the_path() {
    let engine = engine(
        "[[rules]]\nname = \"public\"\npath_prefix = \"/public\"\naccess = \"public\"\n\
         [[rules]]\nname = \"api\"\npath_prefix = \"/api\"\nroles = [\"ADMIN\"]\n",
    );
    for path in [
        "/api?y=/public",
        "/api?/../public",
        "/api/x?/public",
        "/api?//public",
        "/api/?%2e%2e/public",
    ] {
        let out = ask("GET", path).of(&engine);
        assert_eq!((out.status, out.rule.as_str()), (401, "api"), "{path}");
    }
    assert_eq!(ask("GET", "/public?x=/../api//;%00").of(&engine).status, 200);
}

#[test]
fn forms_that_are_let_through_must_not_change_the_rule() {
    let engine = engine(
        "check.path_allow = [\"encoded-slash\", \"semicolon\", \"encoded-percent\", \"encoded-hash\", \"encoded-question-mark\"]\n\
         [[rules]]\nname = \"files\"\npath_prefix = \"/files\"\naccess = \"public\"\n\
         [[rules]]\nname = \"secret\"\npath_prefix = \"/files/secret\"\nroles = [\"ADMIN\"]\n",
    );
    for path in ["/files/a%2Fb", "/files/a;v=1", "/files/100%25", "/files/a%23b", "/files/a%3Fb"] {
        assert_eq!(ask("GET", path).of(&engine).status, 200, "{path}");
    }
    for path in [
        "/files%2Fsecret",
        "/files/secret;v=1",
        "/files/secret%3Bv=1",
        "/files/secret%23x",
        "/files/secret%3Fx",
        "/files/%2573ecret",
        "/files/..%2Fsecret",
        "/files/a/..;/secret",
        "/files;/secret",
        "/files/x%2F..%2Fsecret",
        "/files/a%253F%252F..%252Fsecret",
        "/files/secret%3Bx%2Fb",
        "/files%3Bx%2Fsecret",
    ] {
        assert_eq!(outcome(&ask("GET", path).of(&engine)), (400, "bad_path"), "{path}");
    }
}

#[test]
fn a_connection_header_cannot_drop_an_identity_header() {
    let engine = engine("");
    for value in [
        "x-user-role",
        "close, X-User-Role",
        "upgrade,x-user-id",
        "x_user_role",
        "x.user.name",
        "x-user-anything",
        "keep-alive , x-user-email",
    ] {
        let out = ask("GET", "/api/agents").role("ADMIN").with("connection", value).of(&engine);
        assert_eq!(outcome(&out), (400, "bad_header"), "{value}");
        let out = ask("GET", "/api/healthcheck").listed("Connection", value).of(&engine);
        assert_eq!(outcome(&out), (400, "bad_header"), "{value}");
    }
    for value in ["close", "keep-alive", "Upgrade", "x-user-agent", "x-other"] {
        let out = ask("GET", "/api/agents").role("ADMIN").with("connection", value).of(&engine);
        assert_eq!(out.status, 200, "{value}");
    }
}

const RULES: &str = r#"
[[rules]]
name = "all"
path_prefix = "/"
access = "public"
[[rules]]
name = "signed-in"
path_prefix = "/me"
access = "authenticated"
[[rules]]
name = "closed"
path_prefix = "/closed"
access = "deny"
[[rules]]
name = "reports"
path_prefix = "/reports"
methods = ["GET"]
roles = ["ADMIN"]
"#;

#[test]
fn access_says_who_may_pass() {
    let engine = engine(RULES);
    assert_eq!(outcome(&ask("GET", "/closed/x").role("ADMIN").of(&engine)), (403, "rule_denies"));
    assert_eq!(outcome(&ask("GET", "/closed/x").of(&engine)), (403, "rule_denies"));
    for role in ["INACTIVE", "RESTRICTED", "REGULAR", "ADMIN"] {
        assert_eq!(ask("GET", "/me").role(role).of(&engine).status, 200, "{role}");
    }
    assert_eq!(outcome(&ask("GET", "/me").of(&engine)), (401, "no_credential"));
    assert_eq!(outcome(&ask("POST", "/reports").role("ADMIN").of(&engine)), (403, "method"));
    assert_eq!(outcome(&ask("OPTIONS", "/reports").role("ADMIN").of(&engine)), (403, "method"));
}

#[test]
fn a_public_route_knows_a_good_token_and_forgives_a_bad_one() {
    let engine = engine(RULES);
    let out = ask("GET", "/x").role("REGULAR").of(&engine);
    assert_eq!((out.status, out.sets("x-user-id")), (200, Some("7")));
    let big = "a".repeat(9000);
    let anonymous = [
        ask("GET", "/x"),
        ask("GET", "/x").bearer("junk"),
        ask("GET", "/x").bearer(&big),
        ask("GET", "/x").claiming(&json!({ "exp": 1 })),
        ask("GET", "/x").with("authorization", "Bearer a,Bearer b"),
        ask("GET", "/x").listed("authorization", "Bearer a").listed("authorization", "Bearer b"),
        ask("POST", "/x").with("cookie", &format!("token={}", good())),
        ask("GET", "/x").with("cookie", "token=a; token=b"),
    ];
    for ask in anonymous {
        let out = ask.of(&engine);
        assert_eq!((out.status, out.user.as_str(), out.set.len()), (200, "", 0));
        assert!(out.removes("x-user-id") && out.removes("x-user-role"));
    }
}

#[test]
fn a_preflight_passes_where_the_rule_for_its_method_says_so() {
    let engine = engine(
        r#"
[[rules]]
name = "read"
path_prefix = "/api"
methods = ["GET"]
roles = ["ADMIN"]
preflight = true
[[rules]]
name = "write"
path_prefix = "/api"
methods = ["POST"]
roles = ["ADMIN"]
[[rules]]
name = "any"
path_prefix = "/any"
roles = ["ADMIN"]
preflight = true
[[rules]]
name = "own-options"
path_prefix = "/any"
methods = ["OPTIONS"]
access = "deny"
"#,
    );
    let preflight = |path: &str, method: &str| {
        ask("OPTIONS", path)
            .with("origin", "https://x")
            .with("access-control-request-method", method)
    };
    let out = preflight("/api/x", "GET").of(&engine);
    assert_eq!((out.status, out.rule.as_str(), out.user.as_str()), (200, "read", ""));
    let out = preflight("/api/x", "GET").role("ADMIN").of(&engine);
    assert_eq!((out.status, out.user.as_str(), out.set.len()), (200, "", 0), "as anonymous");
    assert_eq!(outcome(&preflight("/api/x", "POST").of(&engine)), (403, "method"));
    assert_eq!(outcome(&preflight("/api/x", "PUT").of(&engine)), (403, "method"));
    assert_eq!(outcome(&preflight("/any", "GET").of(&engine)), (403, "rule_denies"));
    for ask in [
        ask("OPTIONS", "/api/x").with("origin", "https://x"),
        ask("OPTIONS", "/api/x").with("access-control-request-method", "GET"),
        preflight("/api/x", "GET").listed("origin", "https://y"),
        preflight("/api/x", "GET").listed("access-control-request-method", "POST"),
    ] {
        assert_eq!(outcome(&ask.of(&engine)), (403, "method"), "it is no preflight");
    }
}

#[test]
fn shadow_rules_tell_and_never_decide() {
    let engine = engine(
        r#"
[[rules]]
name = "open"
path_prefix = "/"
access = "public"
[[rules]]
name = "strict"
path_prefix = "/"
roles = ["ADMIN"]
mode = "shadow"
[[rules]]
name = "closed"
path = "/x"
methods = ["GET"]
access = "deny"
mode = "shadow"
[[rules]]
name = "agents"
path_prefix = "/agents"
roles = ["ADMIN"]
[[rules]]
name = "loose"
path_prefix = "/agents"
access = "public"
mode = "shadow"
"#,
    );
    let shadow = |ask: crate::ask::Ask| ask.of(&engine).shadow;
    assert_eq!(shadow(ask("GET", "/x")), ["strict", "closed"]);
    assert_eq!(shadow(ask("POST", "/x")), ["strict"]);
    assert_eq!(shadow(ask("GET", "/y").role("ADMIN")), [""; 0]);
    assert_eq!(ask("GET", "/x").of(&engine).status, 200);
    // One that lets pass opens nothing, and it does not hide the denial.
    let out = ask("GET", "/agents").of(&engine);
    assert_eq!((outcome(&out), out.shadow), ((401, "no_credential"), vec!["strict".to_owned()]));
}

/// One request for each reason, so that none is only a word in a table.
#[test]
fn every_reason_that_the_engine_has_can_be_reached() {
    let plain = engine("");
    let revoked = engine("");
    revoked.verifier.revocations().cut_off_user("7", portcullis::clock::Timestamp::from_secs(NOW));
    let keyed = engine(&format!(
        "tokens.keys = [{{ kid = \"a\", secret = \"{}\" }}]\ntokens.issuer = \"i\"\ntokens.audience = \"a\"",
        jwt::SECRET
    ));
    let waiting = app::engine(config(""), Arc::new(RevocationList::default()));
    let rules = engine(RULES);
    // Nobody fetches the keys.
    let trusting = engine(
        "[[issuers]]\nname = \"acme\"\nissuer = \"https://idp.example.com\"\naudience = [\"api\"]",
    );
    let asking = engine(
        "[[issuers]]\nname = \"acme\"\nissuer = \"i\"\nkeys = [{ secret = \"another-secret-of-at-least-32-bytes\" }]\n\
         [[rules]]\nname = \"theirs\"\npath = \"/theirs\"\nissuers = [\"acme\"]\n\
         [[rules]]\nname = \"scoped\"\npath = \"/scoped\"\nscopes = [\"a\"]\n\
         [[rules]]\nname = \"asked\"\npath = \"/asked\"\nwhen = \"has(claims.vip)\"\n",
    );
    let keys = [
        made(|key| key.expires = Some(Timestamp::from_secs(NOW))),
        made(|key| key.revoked = Some(Timestamp::from_secs(NOW))),
        made(|key| key.says.allow = vec!["10.0.0.0/8".parse().unwrap()]),
        made(|key| key.says.role = "GONE".to_owned()),
        made(|_| {}),
    ];
    let by_keys = engine_of(
        "[api_keys]\n[[rules]]\nname = \"agents\"\npath = \"/api/agents\"\ncredentials = [\"token\"]\n",
        &keys.each_ref(),
    );
    let stranger = made(|_| {}).text;
    let agents = || ask("GET", "/api/agents");
    let guarded = engine(crate::mcp::RULES);
    let chat = |body: &str| {
        ask("POST", "/v1/chat/completions").json(body).claiming(&crate::mcp::anybody())
    };
    let by_key = |text: &str| agents().with("x-api-key", text);
    let cookie = format!("token={}", good());
    let claims = jwt::claims(NOW).to_string();
    let cases: Vec<(&str, &Engine, crate::ask::Ask)> = vec![
        ("bad_host", &plain, agents().host("")),
        ("bad_path", &plain, ask("GET", "//")),
        ("bad_method", &plain, ask("get", "/api/agents")),
        ("bad_header", &plain, agents().with("connection", "x-user-id")),
        ("no_rule", &plain, ask("GET", "/")),
        ("rule_denies", &rules, ask("GET", "/closed")),
        ("method", &rules, ask("PUT", "/reports")),
        ("no_credential", &plain, agents()),
        ("ambiguous_credential", &plain, agents().with("authorization", "Bearer a,Bearer b")),
        ("credential_too_large", &plain, agents().bearer(&"a".repeat(8193))),
        ("cross_site_cookie", &plain, ask("POST", "/api/agents").with("cookie", &cookie)),
        ("malformed_key", &by_keys, by_key("x")),
        ("unknown_key_id", &by_keys, by_key(&stranger)),
        ("key_expired", &by_keys, by_key(&keys[0].text)),
        ("key_revoked", &by_keys, by_key(&keys[1].text)),
        ("key_address", &by_keys, by_key(&keys[2].text)),
        ("bad_key", &by_keys, by_key(&keys[3].text)),
        ("credential_kind", &by_keys, by_key(&keys[4].text)),
        ("malformed_token", &plain, agents().bearer("x")),
        ("bad_algorithm", &plain, agents().bearer(&jwt::sign(r#"{"alg":"none"}"#, &claims))),
        (
            "unknown_issuer",
            &trusting,
            agents().claiming(&json!({ "iss": "https://idp.example.com/" })),
        ),
        (
            "issuer_unavailable",
            &trusting,
            agents().bearer(&jwt::sign(
                r#"{"alg":"RS256"}"#,
                &json!({ "iss": "https://idp.example.com" }).to_string(),
            )),
        ),
        (
            "unknown_key",
            &keyed,
            agents().bearer(&jwt::sign(r#"{"alg":"HS256","kid":"z"}"#, &claims)),
        ),
        (
            "bad_signature",
            &plain,
            agents().bearer(&jwt::sign_with(
                aws_lc_rs::hmac::HMAC_SHA256,
                b"x",
                jwt::HEADER,
                &claims,
            )),
        ),
        ("missing_claim", &plain, agents().claiming(&json!({ "sub": null }))),
        ("bad_claim", &plain, agents().claiming(&json!({ "role": "ROOT" }))),
        ("expired", &plain, agents().claiming(&json!({ "exp": 1 }))),
        ("not_yet_valid", &plain, agents().claiming(&json!({ "nbf": NOW + 3000 }))),
        ("lives_too_long", &plain, agents().claiming(&json!({ "exp": NOW * 2 }))),
        ("bad_issuer", &keyed, agents().role("ADMIN")),
        ("bad_audience", &keyed, agents().claiming(&json!({ "iss": "i", "aud": "b" }))),
        ("revoked", &revoked, agents().role("ADMIN")),
        ("role", &plain, agents().role("INACTIVE")),
        ("issuer", &asking, ask("GET", "/theirs").role("ADMIN")),
        ("insufficient_scope", &asking, ask("GET", "/scoped").role("ADMIN")),
        ("condition", &asking, ask("GET", "/asked").role("ADMIN")),
        ("bad_mcp", &guarded, ask("POST", "/mcp").json("[]")),
        ("bad_body", &guarded, chat("[]")),
        ("operation", &guarded, chat(r#"{"model":"o3"}"#)),
        ("max_tokens", &guarded, chat(r#"{"model":"gpt-4o-mini"}"#)),
        ("not_ready", &waiting, agents()),
    ];
    for (reason, engine, ask) in &cases {
        assert_eq!(ask.of(engine).reason, *reason);
    }
    // Those two are the transports': see the tests of gRPC.
    let told_by_transports = ["no_http_attributes", "internal"];
    for reason in Reason::ALL.map(Reason::as_str) {
        let reached = cases.iter().any(|(name, ..)| *name == reason);
        assert!(reached || told_by_transports.contains(&reason), "{reason} is not reached");
    }
}

#[test]
fn a_shadow_knows_who_asks_for_what_no_rule_lets_through_and_nobody_else_does() {
    let engine = engine(
        r#"rules = [
            { name = "closed", path_prefix = "/closed", access = "deny" },
            { name = "later", path_prefix = "/", roles = ["ADMIN"], mode = "shadow" },
        ]"#,
    );
    for path in ["/closed", "/nowhere"] {
        let shadow = |ask: Ask| {
            let out = ask.of(&engine);
            assert_eq!((out.status, out.user.as_str()), (403, ""), "{path}");
            out.shadow
        };
        assert_eq!(shadow(ask("GET", path).role("ADMIN")), Vec::<String>::new());
        assert_eq!(shadow(ask("GET", path).role("REGULAR")), ["later"]);
        assert_eq!(shadow(ask("GET", path)), ["later"]);
    }
}

#[test]
fn readings_of_a_path_have_to_agree_about_the_answer() {
    let engine = engine(
        r#"
        check.path_allow = ["semicolon"]
        rules = [
            { name = "open", path = "/a", access = "public" },
            { name = "read", path_prefix = "/b", methods = ["GET"], access = "public" },
            { name = "other", path = "/b/c;d", methods = ["PUT"], access = "public" },
            { name = "c", path_prefix = "/c", access = "public" },
        ]"#,
    );
    let told = |method: &str, path: &str| {
        let out = ask(method, path).of(&engine);
        (out.reason, out.rule)
    };
    assert_eq!(told("GET", "/c/d;e"), ("", "c".to_owned()));
    assert_eq!(told("GET", "/a;x"), ("bad_path", String::new()));
    assert_eq!(told("GET", "/nowhere;x"), ("no_rule", String::new()));
    assert_eq!(told("POST", "/b/e;x"), ("method", String::new()));
    assert_eq!(told("POST", "/b/c;d"), ("method", String::new()));
    assert_eq!(told("PUT", "/b/c;d"), ("bad_path", String::new()));
}
