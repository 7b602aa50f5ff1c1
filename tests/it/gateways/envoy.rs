//! End to end: a client, a real Envoy, the real binary, and the agents.

use std::net::TcpListener;

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    jwt,
    stack::{MODES, Mode, NEWEST, Stack, VERSIONS, bearer, start_portcullis, token},
    support::eventually,
};

#[test]
fn who_may_passes_with_exactly_the_identity_headers_through_every_envoy() {
    for version in VERSIONS {
        for mode in MODES {
            let stack = Stack::start(version, mode);
            refuses_bad_tokens(&stack);
            drops_forged_headers(&stack, mode);
        }
    }
}

pub(crate) fn refuses_bad_tokens(stack: &Stack) {
    let now = SystemClock.now().as_secs();
    let claims = jwt::claims(now).to_string();
    let good = token(&json!({}));
    let unsigned = format!("{}.{}.", jwt::b64(r#"{"alg":"none"}"#), jwt::b64(&claims));
    let foreign = jwt::sign_with(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32], jwt::HEADER, &claims);
    let missing = stack.send("GET", "/api/agents", &[]);
    assert_eq!((missing.status, missing.reached()), (401, false));
    assert_eq!(missing.headers["www-authenticate"], "Bearer realm=\"portcullis\"");
    assert_eq!(missing.headers["content-type"], "application/json");
    assert_eq!(missing.headers["cache-control"], "no-store");
    assert_eq!(missing.json()["error"]["code"], "401");
    for bad in [
        "junk".to_owned(),
        unsigned,
        foreign,
        good[..good.len() - 6].to_owned(),
        token(&json!({ "exp": now - 31, "iat": now - 100 })),
    ] {
        let answer =
            stack.send("GET", "/api/agents", &[("Authorization", &format!("Bearer {bad}"))]);
        assert_eq!((answer.status, answer.reached()), (401, false), "{bad}");
        assert!(answer.headers["www-authenticate"].contains("error=\"invalid_token\""));
    }
    for role in ["INACTIVE", "RESTRICTED"] {
        let answer = stack.send("GET", "/api/agents", &[("authorization", &bearer(role))]);
        assert_eq!((answer.status, answer.reached()), (403, false));
    }
    let twice = bearer("ADMIN");
    let answer =
        stack.send("GET", "/api/agents", &[("authorization", &twice), ("authorization", &twice)]);
    assert_eq!((answer.status, answer.reached()), (400, false));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = stack.send(
            method,
            "/api/agents/9",
            &[("authorization", &bearer("REGULAR")), ("content-length", "0")],
        );
        assert_eq!(answer.json()["received"]["method"].as_str(), Some(method), "{answer:?}");
        let answer = stack.send(method, "/api/agents/9", &[("content-length", "0")]);
        assert_eq!((answer.status, answer.reached()), (401, false), "{method}");
    }
}

/// What a client sends to be taken for somebody.
const FORGED: [&str; 9] = [
    "x-user-id",
    "X-User-Role",
    "x_user_role",
    "X_User_Name",
    "x.user.role",
    "x-user_email",
    "x-user-anything",
    "X-USER-EMAIL",
    "x_user.id",
];

pub(crate) fn drops_forged_headers(stack: &Stack, mode: Mode) {
    // Envoy itself refuses underscores when it is told to.
    let forged: Vec<(&str, &str)> = FORGED
        .into_iter()
        .filter(|name| mode != Mode::Strict || !name.contains('_'))
        .flat_map(|name| [(name, "KING"), (name, "ADMIN")])
        .collect();
    for (claims, expected) in [
        (
            json!({ "role": "REGULAR" }),
            json!({
                "x-user-id": ["7"], "x-user-name": ["ann"], "x-user-role": ["REGULAR"],
                "x-user-email": ["ann@example.com"],
            }),
        ),
        (
            json!({ "role": "ADMIN", "email": null, "sub": "Zoë" }),
            json!({
                "x-user-id": ["7"], "x-user-name": ["Zo%C3%AB"], "x-user-role": ["ADMIN"],
            }),
        ),
    ] {
        let bearer = format!("Bearer {}", token(&claims));
        let headers =
            [&forged[..], &[("authorization", &bearer), ("x-user-agent", "grpc-web")]].concat();
        let answer = stack.send("GET", "/api/agents", &headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut identity = answer.json()["received"]["identity"].clone();
        let exempt = identity.as_object_mut().unwrap().remove("x-user-agent");
        assert_eq!((identity, exempt), (expected, Some(json!(["grpc-web"]))));
    }
    // On a public route, too: with no token, with a bad one, and with a good
    // one, which tells who it is.
    let junk = [&forged[..], &[("authorization", "Bearer junk")]].concat();
    for headers in [&forged, &junk] {
        let anonymous = stack.send("GET", "/open/x", headers);
        assert_eq!(anonymous.json()["received"]["identity"], json!({}), "{anonymous:?}");
    }
    let good = bearer("REGULAR");
    let known = stack.send("GET", "/open/x", &[&forged[..], &[("authorization", &good)]].concat());
    assert_eq!(known.json()["received"]["identity"]["x-user-role"], json!(["REGULAR"]));
    let health = stack.send("GET", "/api/healthcheck", &[]);
    assert_eq!((health.status, health.body.as_str()), (200, "ok"));
    let without = stack.send("GET", "/api/agents/1", &forged);
    assert_eq!((without.status, without.reached()), (401, false));
    if mode == Mode::Strict {
        let underscore = stack.send(
            "GET",
            "/api/agents",
            &[("authorization", &bearer("ADMIN")), ("x_user_role", "KING")],
        );
        assert_eq!((underscore.status, underscore.reached()), (400, false));
    }
}

/// Every path of the threat table, aimed at the agents.
pub(crate) fn hostile_paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "//api/agents",
        "/api//agents",
        "/api/agents//",
        "///",
        "/api%2fagents",
        "/api%2Fagents",
        "/api%252fagents",
        "/api/./agents",
        "/x/../api/agents",
        "/%2e%2e/api/agents",
        "/.%2e/api/agents",
        "/%2e/api/agents",
        "/%252e%252e/api/agents",
        "/api/healthcheck/../agents",
        "/api/healthcheck/%2e%2e/agents",
        "/api/healthcheck/..;/agents",
        "/api/healthcheck%2f..%2fagents",
        "/api/healthcheck/..%2fagents",
        "/api/healthcheck;/../agents",
        "/open/../api/agents",
        "/open/..%2fapi/agents",
        "/open/%2e%2e%2fapi%2fagents",
        "/open/..;/api/agents",
        "/open%2f..%2fapi/agents",
        "/open/%252e%252e/api/agents",
        "/open/..\\api\\agents",
        "/open/..%5capi%5cagents",
        "/api\\agents",
        "/api%5cagents",
        "/api/agents%00",
        "/open%00/../api/agents",
        "/api/agents%23",
        "/api/agents%3f",
        "/open%3f/../api/agents",
        "/api/agents;v=1",
        "/api;x/agents",
        "/api/agents%3bv=1",
        "/api%c0%afagents",
        "/%c0%ae%c0%ae/api/agents",
        "/api%ef%bc%8fagents",
        "/open/%ef%bc%8e%ef%bc%8e/api/agents",
        "/%",
        "/%zz",
        "/api/agents%",
        "/api/agents%zz",
        "/API/agents",
        "/Api/Agents",
        "/api/agents",
        "/api/agents/",
        "/api/%61gents",
        "/api/agents?/../../open",
        "/api/agents?x=/open",
        "/api/agents#/open",
        "/api/agents\t",
        "*",
        "",
        "api/agents",
        "http://app.example.com/api/agents",
        "http://other/api/agents",
        "http://app.example.com//api/agents",
        "https://user@app.example.com/api/agents",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/api/agents/{}", "a".repeat(64 * 1024)));
    paths.push(format!("/open/{}/../../api/agents", "a".repeat(8 * 1024)));
    paths
}

#[test]
fn no_spelling_of_a_path_reaches_the_agents_without_a_token() {
    for mode in MODES {
        let stack = Stack::start(NEWEST, mode);
        for path in hostile_paths() {
            for method in ["GET", "POST", "OPTIONS"] {
                let answer = stack.send(method, &path, &[("content-length", "0")]);
                let shown = path.get(..80).unwrap_or(&path);
                assert_ne!(answer.status, 200, "{mode:?} {method} {shown}");
                // What it shows of public paths is theirs; the agents' are not.
                let path = if answer.reached() {
                    answer.json()["received"]["path"].clone()
                } else {
                    json!("")
                };
                let path = path.as_str().unwrap().to_ascii_lowercase();
                assert!(!path.contains("agents"), "{mode:?} {method} {shown} arrived as {path}");
            }
        }
        // CONNECT, the absolute form, and headers that tell of another path.
        let connect = stack.send("CONNECT", "app.example.com:80", &[]);
        assert!(!(200..300).contains(&connect.status), "{connect:?}");
        for name in [
            "x-original-url",
            "x-rewrite-url",
            "x-original-uri",
            "x-forwarded-uri",
            "x-forwarded-path",
        ] {
            let answer = stack.send("GET", "/api/agents", &[(name, "/api/healthcheck")]);
            assert_eq!((answer.status, answer.reached()), (401, false), "{name}");
        }
        let good = bearer("ADMIN");
        let headers = [
            ("authorization", good.as_str()),
            ("X-Original-URL", "/x"),
            ("x-rewrite-url", "/x"),
            ("X-HTTP-Method-Override", "DELETE"),
        ];
        let names =
            stack.send("GET", "/api/agents", &headers).json()["received"]["headers"].to_string();
        for name in ["x-original-url", "x-rewrite-url", "x-http-method-override"] {
            assert!(!names.contains(name), "{names}");
        }
    }
}

#[test]
fn a_connection_header_drops_no_identity_header() {
    for mode in MODES {
        let stack = Stack::start(NEWEST, mode);
        let good = token(&json!({}));
        for value in ["close, x-user-role", "upgrade, x-user-role", "X-User-Id"] {
            let bearer = format!("Bearer {good}");
            let answer = stack.send(
                "GET",
                "/api/agents",
                &[("authorization", &bearer), ("connection", value)],
            );
            // Envoy takes it out of what is no upgrade, and out of the request.
            if answer.reached() {
                assert_eq!(
                    answer.json()["received"]["identity"]["x-user-role"],
                    json!(["REGULAR"]),
                    "{value}"
                );
            } else {
                assert_eq!(answer.status, 400, "{mode:?} {value}");
            }
        }
        let path = format!("{}?access-token={good}", stack.new_agent("any"));
        let upgrade = |connection: &str| {
            stack
                .send(
                    "GET",
                    &path,
                    &[
                        ("connection", connection),
                        ("upgrade", "websocket"),
                        ("sec-websocket-version", "13"),
                        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    ],
                )
                .status
        };
        assert_eq!(upgrade("upgrade"), 101);
        assert_eq!(upgrade("upgrade, x-user-role"), 400);
    }
}

#[test]
fn without_portcullis_nothing_passes_and_with_it_traffic_returns() {
    let mut stack = Stack::start(NEWEST, Mode::Strict);
    let good = bearer("ADMIN");
    let closed = |stack: &Stack, what: &str| {
        for _ in 0..10 {
            for path in ["/api/agents", "/api/healthcheck"] {
                let answer = stack.send("GET", path, &[("authorization", &good)]);
                assert!(answer.status == 403 || answer.status >= 500, "{what}: {answer:?}");
                assert!(!answer.reached());
            }
        }
    };
    // Killed, and another one in its place.
    drop(stack.portcullis.take());
    closed(&stack, "killed");
    stack.portcullis = Some(start_portcullis(stack.portcullis_port, &[]));
    stack.comes_back();

    // It hangs, and goes on.
    stack.portcullis.as_ref().unwrap().freeze();
    let answer = stack.send("GET", "/api/agents", &[("authorization", &good)]);
    assert!(answer.status >= 500, "{answer:?}");
    stack.portcullis.as_ref().unwrap().signal("CONT");
    stack.comes_back();

    // Something else listens there.
    drop(stack.portcullis.take());
    let squatter =
        eventually("the port", || TcpListener::bind(("127.0.0.1", stack.portcullis_port)).ok());
    closed(&stack, "squatted");
    drop(squatter);
}

#[test]
fn a_question_behind_too_much_metadata_is_denied_where_an_error_is_consent() {
    // Nothing is public there: it is up when it denies.
    let stack = Stack::waiting_at("", NEWEST, Mode::Open, &[]);
    eventually("a denial", || {
        let answer = stack.send("GET", "/open/x", &[]);
        // Until Envoy has found portcullis, there is none.
        (!answer.reached()).then_some(()).filter(|()| answer.status == 403)
    });
    for _ in 0..20 {
        let answer = stack.send("GET", "/open/x", &[("authorization", &bearer("ADMIN"))]);
        assert_eq!((answer.status, answer.reached()), (403, false), "{answer:?}");
    }
    let said = stack.portcullis.as_ref().unwrap().log();
    assert!(said.contains("no_http_attributes"), "{said}");
}

#[test]
fn a_credential_that_is_not_forwarded_does_not_arrive() {
    for mode in MODES {
        let forward = [("PORTCULLIS__TOKENS__FORWARD", "none")];
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &forward);
        let good = bearer("REGULAR");
        let headers = [("authorization", good.as_str()), ("cookie", "a=1; token=x; b=2")];
        for (path, identity) in [
            ("/open/x?b=2&access-token=x&a=1", json!(["REGULAR"])),
            // Two spellings are two credentials: on a public route, nobody.
            ("/open/x?b=2&access-token=x&access%2Dtoken=y&a=1", Value::Null),
        ] {
            let answer = stack.send("GET", path, &headers);
            let arrived = &answer.json()["received"];
            assert_eq!(arrived["identity"]["x-user-role"], identity, "{answer:?}");
            assert!(!arrived["headers"].to_string().contains("authorization"), "{arrived}");
            let query = arrived["query"].as_str().unwrap();
            let mut left: Vec<&str> = query.split('&').collect();
            left.sort_unstable();
            assert_eq!(left, ["a=1", "b=2"]);
        }
        // The agents check once more, and have nothing to check.
        let refused = stack.send("GET", "/api/agents", &headers);
        assert_eq!((refused.status, refused.reached()), (401, false));
    }
}

/// The guard of the agents holds without a gateway before it.
#[test]
fn a_request_past_the_gateway_is_checked_once_more() {
    let mut stack = Stack::start(NEWEST, Mode::Strict);
    let line = stack.agents.line("listening on");
    stack.port = line.rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(stack.send("GET", "/api/agents", &[("x-user-role", "ADMIN")]).status, 401);
    assert_eq!(
        stack.send("GET", "/api/agents", &[("authorization", &bearer("INACTIVE"))]).status,
        403
    );
    assert_eq!(
        stack.send("GET", "/api/agents", &[("authorization", &bearer("REGULAR"))]).status,
        200
    );
    assert_eq!(stack.send("GET", "/api/healthcheck", &[]).status, 200);
}
