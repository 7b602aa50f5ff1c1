//! The decision: what becomes of an allowed request's headers.

use serde_json::json;

use crate::{
    ask::{ask, engine, good},
    spellings::spellings,
};

const REMOVED_ALWAYS: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

#[test]
fn the_upstream_learns_who_it_is_and_nothing_else() {
    let out = ask("GET", "/api/agents").role("ADMIN").of(&engine(""));
    insta::assert_debug_snapshot!(out.set, @r#"
    [
        (
            "x-user-id",
            "7",
        ),
        (
            "x-user-name",
            "ann",
        ),
        (
            "x-user-email",
            "ann@example.com",
        ),
        (
            "x-user-role",
            "ADMIN",
        ),
    ]
    "#);
    assert_eq!(out.remove, REMOVED_ALWAYS);
}

#[test]
fn values_are_encoded_so_that_they_are_one_header() {
    let claims = json!({ "sub": " Zoë\r\nx-user-role: ADMIN ", "email": "50%@x", "userId": 7 });
    let out = ask("GET", "/api/agents").claiming(&claims).of(&engine(""));
    assert_eq!(out.sets("x-user-name"), Some("%20Zo%C3%AB%0D%0Ax-user-role: ADMIN%20"));
    assert_eq!(out.sets("x-user-email"), Some("50%25@x"));
    assert_eq!(out.sets("x-user-id"), Some("7"));
}

/// Every spelling of the threat table, signed in, anonymous and public.
#[test]
fn no_identity_header_of_a_client_passes_in_any_spelling() {
    let plain = [
        "x-user-id",
        "X-User-Role",
        "X_USER_ROLE",
        "x_user.role",
        "x-user-anything",
        "X-uSeR_eMail",
        "x_user_agent",
        "x.user-agent",
        "x-user-",
        "x-user-role-x",
    ];
    let odd = spellings("user-role");
    let spellings: Vec<&str> = plain.into_iter().chain(odd.iter().map(String::as_str)).collect();
    let engine = engine("");
    for signed_in in [true, false] {
        for listed in [true, false] {
            let mut ask = ask("GET", if signed_in { "/api/agents" } else { "/api/healthcheck" });
            if signed_in {
                ask = ask.role("REGULAR");
            }
            for name in &spellings {
                ask = if listed { ask.listed(name, "ADMIN") } else { ask.with(name, "ADMIN") };
            }
            let out = ask.of(&engine);
            for name in &spellings {
                let name = name.to_ascii_lowercase();
                let overwritten = out.sets(&name).is_some_and(|value| value != "ADMIN");
                assert!(out.removes(&name) != overwritten, "{name} {signed_in} {:?}", out.set);
            }
            for (name, _) in &out.set {
                assert!(!out.removes(name), "Envoy removes last: {name}");
            }
        }
    }
}

#[test]
fn what_is_not_set_is_removed_whether_it_was_seen_or_not() {
    let engine = engine("");
    let none = json!({ "email": null });
    let out = ask("GET", "/api/agents").claiming(&none).with("x-user-email", "ceo@x").of(&engine);
    assert_eq!(out.sets("x-user-email"), None);
    assert!(out.removes("x-user-email"));
    let unseen = ask("GET", "/api/agents").claiming(&none).of(&engine);
    assert!(unseen.removes("x-user-email"));
    let anonymous = ask("GET", "/api/healthcheck").of(&engine);
    for name in ["x-user-id", "x-user-name", "x-user-email", "x-user-role"] {
        assert!(anonymous.removes(name), "{name}");
    }
}

#[test]
fn exempt_headers_pass_and_others_do_not() {
    let out = ask("GET", "/api/healthcheck")
        .with("x-user-agent", "grpc-web")
        .with("X-User-Agent", "grpc-web")
        .with("user-agent", "curl")
        .with("x-userid", "1")
        .of(&engine(""));
    for name in ["x-user-agent", "user-agent", "x-userid"] {
        assert!(!out.removes(name), "{name}");
    }
}

#[test]
fn headers_that_tell_of_another_request_are_removed_in_any_spelling() {
    let out = ask("GET", "/api/healthcheck").with("X_Original_URL", "/admin").of(&engine(""));
    assert!(REMOVED_ALWAYS.iter().all(|name| out.removes(name)));
    assert!(out.removes("x_original_url"));
    for name in ["http-method", "http-method-override", "method-override", "rewrite-url"] {
        for spelling in spellings(name) {
            let out = ask("GET", "/api/healthcheck").with(&spelling, "x").of(&engine(""));
            assert!(out.removes(&spelling.to_ascii_lowercase()), "{spelling}");
        }
    }
    let own = engine("check.remove_headers = [\"X-Secret\"]");
    let out = ask("GET", "/api/healthcheck").of(&own);
    assert!(out.removes("x-secret") && !out.removes("x-original-url"));
}

#[test]
fn identity_headers_may_have_other_names() {
    let engine = engine(
        "identity.header_prefix = \"x-auth-\"\n\
         identity.headers = { id = \"X-Auth-Id\", name = \"remote-user\", email = \"x-auth-mail\", role = \"x-auth-role\" }",
    );
    let out = ask("GET", "/api/agents")
        .role("REGULAR")
        .with("remote_user", "root")
        .with("x-auth-groups", "root")
        .with("x-user-id", "1")
        .of(&engine);
    assert_eq!(out.sets("remote-user"), Some("ann"));
    assert_eq!(out.sets("x-auth-id"), Some("7"));
    assert!(out.removes("remote_user") && out.removes("x-auth-groups"));
    assert!(!out.removes("x-user-id"), "it is not under the prefix any more");
    let out = ask("GET", "/api/healthcheck").with("connection", "remote-user").of(&engine);
    assert_eq!(out.reason, "bad_header");
}

#[test]
fn forwarding_as_is_leaves_the_credential_alone() {
    let path = format!("/api/agents?access-token={}", good());
    let out = ask("GET", &path)
        .with("upgrade", "websocket")
        .bearer(&good())
        .with("cookie", "token=x")
        .of(&engine(""));
    assert_eq!(out.status, 200);
    assert!(!out.removes("authorization") && !out.removes("cookie"));
    assert_eq!((out.sets("cookie"), out.remove_query.len()), (None, 0));
}

#[test]
fn forwarding_nothing_takes_the_credential_out_wherever_it_is() {
    let engine = engine("tokens.forward = \"none\"");
    let path = format!("/api/agents?a=1&access-token={}", good());
    let out = ask("GET", &path)
        .with("upgrade", "websocket")
        .with("cookie", "a=1; token=x; b=2")
        .of(&engine);
    assert!(out.removes("authorization"));
    assert_eq!(out.sets("cookie"), Some("a=1; b=2"));
    assert_eq!(out.remove_query, ["access-token"]);

    let cookie = format!("token={}", good());
    let out = ask("GET", "/api/agents?a=1").with("cookie", &cookie).of(&engine);
    assert_eq!(out.status, 200);
    assert!(out.removes("cookie") && out.sets("cookie").is_none());
    assert!(out.remove_query.is_empty(), "the query would be sorted for nothing");

    let out = ask("GET", "/api/healthcheck?access-token=junk")
        .with("cookie", "token=a; token=b; c=3")
        .of(&engine);
    assert_eq!(out.sets("cookie"), Some("c=3"));
    assert_eq!(out.remove_query, ["access-token"]);
    let other = ask("GET", "/api/healthcheck?b=access-token&c=1").with("cookie", "c=3").of(&engine);
    assert_eq!((other.sets("cookie"), other.remove_query.len()), (None, 0));
    let connect = ask("CONNECT", &path).with("upgrade", "websocket").of(&engine);
    assert_eq!((connect.status, connect.remove_query.len()), (200, 0));
}

#[test]
fn forwarding_nothing_also_takes_out_what_was_not_accepted() {
    let engine = engine("tokens.forward = \"none\"\ntokens.cookie = { accept = false }");
    let out = ask("GET", "/api/agents").bearer(&good()).with("cookie", "token=x; a=1").of(&engine);
    assert_eq!(out.sets("cookie"), Some("a=1"));
    let path = "/api/healthcheck?access%2Dtoken=x&a=1&access-token=y";
    let out = ask("GET", path).of(&engine);
    assert_eq!(out.remove_query, ["access%2Dtoken", "access-token"]);
}

#[test]
fn forwarding_as_a_header_moves_the_credential_there() {
    let engine = engine("tokens.forward = \"authorization-header\"");
    let bearer = format!("Bearer {}", good());
    let path = format!("/api/agents?access-token={}", good());
    for ask in [
        ask("GET", &path).with("upgrade", "websocket"),
        ask("GET", "/api/agents").with("cookie", &format!("token={}", good())),
        ask("GET", "/api/agents").bearer(&good()),
    ] {
        let out = ask.of(&engine);
        assert_eq!(out.sets("authorization"), Some(bearer.as_str()));
        assert!(!out.removes("authorization"));
    }
    let out = ask("GET", "/api/healthcheck").bearer("junk").of(&engine);
    assert!(out.removes("authorization") && out.sets("authorization").is_none());
}
