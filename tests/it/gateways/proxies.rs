//! The same decision through every gateway: one table, and what each of them
//! does to a request on its way.

use std::{collections::BTreeMap, path::Path};

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, authorization_client::AuthorizationClient, check_response::HttpResponse,
};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    grpc::question,
    spellings::spellings,
    stack::{Answer, Mode, NEWEST, Stack, bearer, token},
    support::eventually,
};

const GATEWAYS: [Mode; 7] = [
    Mode::Strict,
    Mode::Http,
    Mode::Nginx,
    Mode::Caddy,
    Mode::RouteGrpc,
    Mode::RouteHttp,
    Mode::Location,
];
const IDENTITY: [&str; 4] = ["x-user-id", "x-user-name", "x-user-email", "x-user-role"];

/// A request, and a name for it.
struct Row {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
}

/// Every credential at every kind of rule by every method, some of them with
/// forged headers.
fn table() -> Vec<Row> {
    let now = SystemClock.now().as_secs();
    let of = |name: &'static str, value: String| vec![(name, value)];
    let credentials: Vec<Vec<(&str, String)>> = vec![
        vec![],
        of("authorization", "Bearer junk".into()),
        of("authorization", "Basic YTpi".into()),
        of("authorization", bearer("INACTIVE")),
        of("authorization", bearer("REGULAR")),
        of("authorization", bearer("ADMIN")),
        of(
            "authorization",
            format!("Bearer {}", token(&json!({ "exp": now - 60, "iat": now - 99 }))),
        ),
        of("authorization", format!("Bearer {}", token(&json!({ "email": null, "sub": "Zoë %" })))),
        of("cookie", format!("a=1; token={}; b=2", token(&json!({})))),
        of("cookie", format!("token={0}; token={0}", token(&json!({})))),
    ];
    let mut rows = Vec::new();
    for (n, credential) in credentials.iter().enumerate() {
        for (path, methods) in [
            ("/api/agents", &["GET", "POST", "PATCH", "OPTIONS"][..]),
            ("/api/agents/1?page=2&x=a%20b", &["PUT", "DELETE"]),
            ("/api/healthcheck", &["GET"]),
            ("/open/x", &["GET", "POST"]),
            ("/api", &["GET"]),
            ("/nowhere", &["GET"]),
        ] {
            for method in methods {
                let mut headers = credential.clone();
                if n % 2 == 1 {
                    headers.extend(
                        [("X-User-Role", "ADMIN"), ("x-user-id", "1"), ("x-user-email", "king@x")]
                            .map(|(name, value)| (name, value.to_owned())),
                    );
                }
                rows.push(Row { method, path, headers });
            }
        }
    }
    rows
}

/// What a decision is to a client: a status, or what the upstream is told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Denied(u16),
    Passed(BTreeMap<String, String>),
}

fn by_check(response: CheckResponse) -> Told {
    match response.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => Told::Passed(
            ok.headers
                .into_iter()
                .filter_map(|option| option.header)
                .map(|header| (header.key, header.value))
                .collect(),
        ),
        HttpResponse::DeniedResponse(denied) => {
            Told::Denied(u16::try_from(denied.status.unwrap().code).unwrap())
        }
        other @ HttpResponse::ErrorResponse(_) => panic!("{other:?}"),
    }
}

fn by_gateway(answer: &Answer) -> Told {
    // The health check tells nothing of what arrived.
    if answer.body == "ok" {
        return Told::Passed(BTreeMap::new());
    }
    if !answer.reached() {
        return Told::Denied(answer.status);
    }
    let identity = answer.json()["received"]["identity"].clone();
    let identity = identity.as_object().unwrap();
    // A value that is there twice, or empty, is told as it is.
    let told = identity.iter().map(|(name, values)| {
        let values: Vec<&str> =
            values.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        (name.clone(), values.join("|"))
    });
    Told::Passed(told.filter(|(_, value)| !value.is_empty()).collect())
}

async fn check(stack: &Stack, row: &Row) -> Told {
    let address = format!("http://127.0.0.1:{}", stack.portcullis_port);
    let mut client = AuthorizationClient::connect(address).await.unwrap();
    let headers: Vec<(&str, &str)> =
        row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    by_check(client.check(question(row.method, row.path, &headers)).await.unwrap().into_inner())
}

fn send(stack: &Stack, row: &Row) -> Answer {
    let mut headers: Vec<(&str, &str)> =
        row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("content-length", "0"));
    stack.send(row.method, row.path, &headers)
}

/// Where a transport may differ: nginx knows 401 and 403 alone.
fn as_told_by(mode: Mode, told: Told) -> Told {
    match told {
        Told::Denied(status) if mode.is_nginx() && status != 401 => Told::Denied(403),
        told => told,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_is_decided_alike_through_every_gateway() {
    let rows = table();
    assert!(rows.len() >= 60, "{}", rows.len());
    let mut expected: Vec<Told> = Vec::new();
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        if expected.is_empty() {
            for row in &rows {
                let told = check(&stack, row).await;
                if let Told::Denied(status) = told {
                    *statuses.entry(status).or_default() += 1;
                }
                // The health check's upstream does not say what it was told.
                let is_health = row.path == "/api/healthcheck";
                expected.push(if is_health { Told::Passed(BTreeMap::new()) } else { told });
            }
            assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [400, 401, 403]);
        }
        let mut differ = 0;
        for (row, direct) in rows.iter().zip(&expected) {
            let told = by_gateway(&send(&stack, row));
            let allowed = as_told_by(mode, direct.clone());
            assert_eq!(told, allowed, "{mode:?} {} {} {:?}", row.method, row.path, row.headers);
            differ += usize::from(told != *direct);
        }
        println!("{mode:?}: {} rows, {differ} of them 400 told as 403", rows.len());
        assert_eq!(differ > 0, mode.is_nginx());
    }
}

#[test]
fn no_forged_header_reaches_the_upstream_in_any_spelling() {
    let mut forged = spellings("user-role");
    forged.extend(["X_User_Name", "x-user_email", "X-USER-EMAIL", "x-user-id"].map(str::to_owned));
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let no_email = format!("Bearer {}", token(&json!({ "email": null })));
        // Where the list of headers can hold no pattern, it has these.
        let is_listed = |name: &&str| {
            mode != Mode::RouteHttp
                || name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        };
        for name in forged.iter().map(String::as_str).filter(is_listed) {
            for (path, credential, expected) in [
                ("/open/x", None, json!({})),
                (
                    "/api/agents",
                    Some(&no_email),
                    json!({ "x-user-id": ["7"], "x-user-name": ["ann"], "x-user-role": ["REGULAR"] }),
                ),
            ] {
                let mut headers = vec![(name, "KING"), (name, "ADMIN")];
                headers.extend(credential.map(|value| ("authorization", value.as_str())));
                let answer = stack.send("GET", path, &headers);
                // Envoy refuses some spellings itself.
                if mode.is_envoy() && answer.status == 400 {
                    continue;
                }
                assert!(answer.reached(), "{mode:?} {name}: {answer:?}");
                let mut identity = answer.json()["received"]["identity"].clone();
                let identity_map = identity.as_object_mut().unwrap();
                identity_map.retain(|_, values| values != &json!([""]));
                assert_eq!(identity, expected, "{mode:?} {path} {name}");
            }
        }
    }
}

/// What a client may send to be taken for a proxy.
const FORWARDING: [(&str, &str); 14] = [
    ("X-Original-URI", "/api/healthcheck"),
    ("X-Original-URL", "http://app.example.com/api/healthcheck"),
    ("X-Original-Method", "OPTIONS"),
    ("X-Original-Host", "other.example.com"),
    ("X-Forwarded-Uri", "/api/healthcheck"),
    ("X-Forwarded-Method", "OPTIONS"),
    ("X-Forwarded-Host", "other.example.com"),
    ("X-Forwarded-Proto", "ftp"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Path", "/api/healthcheck"),
    ("X-Rewrite-URL", "/api/healthcheck"),
    ("X-HTTP-Method-Override", "OPTIONS"),
    ("Forwarded", "for=127.0.0.1;host=other.example.com"),
    ("x-envoy-original-path", "/api/healthcheck"),
];

#[test]
fn no_forwarding_header_of_a_client_changes_a_decision() {
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let good = bearer("REGULAR");
        for forged in FORWARDING {
            let denied = stack.send("GET", "/api/agents", &[forged]);
            assert_eq!((denied.status, denied.reached()), (401, false), "{mode:?} {forged:?}");
            let passed = stack.send("GET", "/api/agents", &[forged, ("authorization", &good)]);
            assert_eq!((passed.status, passed.reached()), (200, true), "{mode:?} {forged:?}");
            assert_eq!(passed.json()["received"]["path"], "/api/agents");
        }
        // All at once, as an outer balancer and a client together would.
        let mut all = FORWARDING.to_vec();
        assert_eq!(stack.send("GET", "/api/agents", &all).status, 401, "{mode:?}");
        all.push(("authorization", &good));
        assert_eq!(stack.send("GET", "/api/agents", &all).status, 200, "{mode:?}");
    }
}

#[test]
fn a_websocket_opens_with_its_token_and_not_without() {
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let react = stack.new_agent("any");
        let path = |token: &str| format!("{react}?access-token={token}");
        let good = token(&json!({}));
        for (path, expected) in [
            (path(&good), 101),
            (path("junk"), 401),
            (react.clone(), 401),
            (path(&token(&json!({ "role": "INACTIVE" }))), 403),
        ] {
            assert_eq!(stack.send("GET", &path, &headers).status, expected, "{mode:?} {path}");
        }
        // Off a WebSocket the parameter is none, and no log holds the token.
        assert_eq!(stack.send("GET", &path(&good), &[]).status, 401, "{mode:?}");
        for log in [stack.gateway.log(), stack.portcullis.as_ref().unwrap().log()] {
            assert!(!log.contains(&good), "{mode:?}: {log}");
        }
    }
}

#[test]
fn without_portcullis_no_gateway_lets_anything_pass() {
    for mode in GATEWAYS {
        let mut stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        drop(stack.portcullis.take());
        let good = bearer("ADMIN");
        for path in ["/api/agents", "/api/healthcheck", "/open/x"] {
            let answer = stack.send("GET", path, &[("authorization", &good)]);
            assert!(!answer.reached() && answer.status >= 500, "{mode:?} {path}: {answer:?}");
            if mode.is_nginx() {
                assert_eq!(answer.status, 500);
            }
        }
    }
}

#[test]
fn a_denial_comes_with_its_challenge_and_a_browser_is_sent_to_sign_in() {
    let page = "https://auth.example.com/ui/login/";
    for mode in GATEWAYS {
        let stack = Stack::waiting_at(
            "/api/healthcheck",
            NEWEST,
            mode,
            &[("PORTCULLIS__CHECK__SIGN_IN_URL", page)],
        );
        let plain = stack.send("GET", "/api/agents", &[]);
        assert_eq!(plain.headers["www-authenticate"], "Bearer realm=\"portcullis\"", "{mode:?}");
        assert_eq!(plain.headers["content-type"], "application/json", "{mode:?}");
        assert_eq!(plain.headers["cache-control"], "no-store", "{mode:?}");
        assert_eq!(plain.json()["error"]["type"], "auth_error", "{mode:?}");
        let junk = stack.send("GET", "/api/agents", &[("authorization", "Bearer junk")]);
        assert!(junk.headers["www-authenticate"].contains("error=\"invalid_token\""), "{mode:?}");
        assert!(!junk.headers.contains_key("x-portcullis-reason"), "{mode:?}: {junk:?}");
        let browser = stack.send("GET", "/api/agents?x=1", &[("sec-fetch-mode", "navigate")]);
        assert_eq!(browser.status, 302, "{mode:?}: {browser:?}");
        let to = &browser.headers["location"];
        assert!(to.starts_with(&format!("{page}?return_to=")), "{mode:?}: {to}");
        assert!(to.ends_with("app.example.com/api/agents%3Fx%3D1"), "{mode:?}: {to}");
        let role = stack.send("GET", "/api/agents", &[("authorization", &bearer("INACTIVE"))]);
        assert_eq!((role.status, &role.json()["error"]["message"]), (403, &json!("Access denied")));
    }
}

#[test]
fn what_is_not_set_reaches_the_upstream_empty_or_not_at_all() {
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let no_email = format!("Bearer {}", token(&json!({ "email": null })));
        for headers in [vec![("authorization", no_email.as_str())], vec![]] {
            let path = if headers.is_empty() { "/open/x" } else { "/api/agents" };
            let answer = stack.send("GET", path, &headers);
            let identity = answer.json()["received"]["identity"].clone();
            for name in IDENTITY {
                let value = identity.get(name).unwrap_or(&Value::Null);
                let is_set = !headers.is_empty() && name != "x-user-email";
                let is_nothing = value.is_null() || *value == json!([""]);
                assert_eq!(is_nothing, !is_set, "{mode:?} {path} {name}: {value}");
            }
        }
    }
}

#[test]
fn no_gateway_lets_a_client_drop_who_it_is_or_open_another_tunnel() {
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let good = bearer("REGULAR");
        for connection in ["X-User-Role, X-User-Id", "close, x_user_role", "upgrade, x-user-email"]
        {
            let headers = [("authorization", good.as_str()), ("connection", connection)];
            let answer = stack.send("GET", "/api/agents", &headers);
            if answer.reached() {
                let identity = &answer.json()["received"]["identity"];
                assert_eq!(identity["x-user-role"], json!(["REGULAR"]), "{mode:?} {connection}");
                assert_eq!(identity["x-user-email"], json!(["ann@example.com"]), "{mode:?}");
            } else {
                assert_eq!(answer.status, 400, "{mode:?} {connection}: {answer:?}");
            }
        }
        // A tunnel of HTTP/2, in which nobody would be asked again.
        let headers = [
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ];
        let answer = stack.send("GET", "/open/x", &headers);
        assert_ne!(answer.status, 101, "{mode:?}");
        if answer.reached() {
            let names = answer.json()["received"]["headers"].to_string();
            assert!(!names.contains("upgrade") && !names.contains("http2"), "{mode:?}: {names}");
        }
        // What makes an upstream read another request.
        for name in
            ["X-Rewrite-URL", "X-HTTP-Method-Override", "x.rewrite.url", "x.http-method.override"]
        {
            if mode == Mode::RouteHttp && name.contains('.') {
                continue;
            }
            let answer = stack.send("GET", "/open/x", &[(name, "/api/agents")]);
            let names = answer.json()["received"]["headers"].to_string();
            assert!(!names.contains("rewrite") && !names.contains("override"), "{mode:?}: {names}");
        }
    }
}

#[test]
fn nothing_of_an_nginx_outlives_its_test() {
    let stack = Stack::with(NEWEST, Mode::Nginx, &[]);
    let id = stack.gateway.child.id();
    let workers = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    assert_ne!(workers.trim(), "");
    drop(stack);
    for worker in workers.split_whitespace() {
        let place = format!("/proc/{worker}");
        eventually("a worker's end", || (!Path::new(&place).exists()).then_some(()));
    }
}
