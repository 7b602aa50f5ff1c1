//! Gateways that ask where they should not, or too little: what becomes of
//! their questions, and what an operator is told. And of those that guard one
//! route, what becomes of the others.

use serde_json::{Value, json};

use crate::{
    one_route::ELSEWHERE,
    stack::{Mode, NEWEST, Stack, VERSIONS, bearer, token},
};

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

const OF_NGINX: &str = "a request at /api/auth does not come from Envoy";
const OF_HEADERS: &str = "a token in the query was ignored";

/// The rules of a place where a method decides.
const BY_METHOD: &str = r#"[
    { name = "read", path_prefix = "/api/agents", methods = ["GET"], roles = ["REGULAR", "ADMIN"] },
    { name = "write", path_prefix = "/api/agents", methods = ["PATCH", "DELETE"], roles = ["ADMIN"] },
    { name = "health", path = "/api/healthcheck", access = "public" },
]"#;

/// The log of portcullis up to a request that is made for that: lines come in
/// their order, but later than the answers.
fn log(stack: &Stack) -> String {
    stack.send("GET", "/at/the/end", &[("x-request-id", "at/the/end")]);
    let portcullis = stack.portcullis.as_ref().unwrap();
    portcullis.line("at/the/end");
    portcullis.log()
}

/// The lines of portcullis's log with this text, whole.
fn told(stack: &Stack, text: &str) -> Vec<Value> {
    let log = log(stack);
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn nginx_that_asks_where_envoy_does_is_refused_and_told_where_to_ask() {
    let variables = [("PORTCULLIS__RULES", BY_METHOD)];
    let stack = Stack::waiting_at(ELSEWHERE, NEWEST, Mode::AsksAtEnvoys(0), &variables);
    let (regular, admin) = (bearer("REGULAR"), bearer("ADMIN"));
    for (method, path, token) in [
        ("PATCH", "/api/agents/1", &regular),
        ("DELETE", "/api/agents/1", &admin),
        ("GET", "/api/agents", &admin),
        // What would be 400, and with it 500.
        ("GET", "/api/agents/%2e%2e/x", &admin),
        ("GET", "/api/healthcheck", &admin),
    ] {
        let headers = [("authorization", token.as_str()), ("content-length", "0")];
        let answer = stack.send(method, path, &headers);
        assert_eq!((answer.status, answer.reached()), (403, false), "{method} {path}: {answer:?}");
    }
    let told = told(&stack, OF_NGINX);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["level"], "WARN");
    let fix = told[0]["fix"].as_str().unwrap();
    assert!(fix.contains("/auth/nginx") && fix.contains("X-Original-Method"), "{fix}");
}

#[test]
fn nginx_that_asks_there_by_http_1_1_is_refused_where_a_request_was_lost_and_always_told() {
    let variables = [("PORTCULLIS__RULES", BY_METHOD)];
    let stack = Stack::waiting_at(ELSEWHERE, NEWEST, Mode::AsksAtEnvoys(1), &variables);
    let regular = bearer("REGULAR");
    let body = [
        ("authorization", regular.as_str()),
        ("content-type", "application/json"),
        ("content-length", "0"),
    ];
    let answer = stack.send("PATCH", "/api/agents/1", &body);
    assert_eq!((answer.status, answer.reached()), (403, false), "{answer:?}");
    let path = format!("/api/agents/1/react?access-token={}", token(&json!({})));
    assert_eq!(stack.send("GET", &path, &WEBSOCKET).status, 403);
    assert_eq!(told(&stack, OF_NGINX).len(), 1);
}

#[test]
fn the_reason_header_names_where_nginx_is_to_ask() {
    use std::io::Write as _;

    let stack = Stack::waiting_at("/api/healthcheck", NEWEST, Mode::Nginx, &[]);
    let portcullis = stack.portcullis.as_ref().unwrap();
    let internal = crate::support::address_of_listener(portcullis, "internal");
    let ask = |version: &str| {
        let mut stream = std::net::TcpStream::connect(internal).unwrap();
        let head = format!("GET /api/auth/api/healthcheck {version}\r\nhost: a\r\n");
        write!(stream, "{head}connection: close\r\n\r\n").unwrap();
        crate::stack::Answer::read(&mut stream)
    };
    let answer = ask("HTTP/1.0");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.headers["x-portcullis-reason"], "bad_header: nginx asks at /auth/nginx");
    assert_eq!(answer.json()["error"]["param"], "x-original-method");
    // By hand, as before.
    let answer = ask("HTTP/1.1");
    assert_eq!((answer.status, answer.headers.get("x-portcullis-reason")), (200, None));
}

#[test]
fn a_policy_without_the_headers_of_a_websocket_is_told_once_what_to_add() {
    let stack = Stack::waiting_at("/api/healthcheck", NEWEST, Mode::Texera, &[]);
    assert_eq!(told(&stack, OF_HEADERS).len(), 0);
    let path = format!("/api/agents/1/react?access-token={}", token(&json!({})));
    for _ in 0..3 {
        assert_eq!(stack.send("GET", &path, &WEBSOCKET).status, 401);
    }
    let told = told(&stack, OF_HEADERS);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["level"], "WARN");
    let fix = told[0]["fix"].as_str().unwrap();
    for name in ["upgrade", "sec-websocket-version", "headersToExtAuth", "x-user-role"] {
        assert!(fix.contains(name), "{fix}");
    }
    assert!(!fix.contains("eyJ"));
}

#[test]
fn no_right_configuration_is_told_of_anything() {
    let versions = VERSIONS.map(|version| (version, Mode::Http));
    for (version, mode) in versions.into_iter().chain([(NEWEST, Mode::RouteHttp)]) {
        let stack = Stack::waiting_at("/api/healthcheck", version, mode, &[]);
        let good = token(&json!({}));
        let path = format!("{}?access-token={good}", stack.new_agent("echo"));
        // No WebSocket, but a token in the query; and whatever a client may send.
        for headers in [
            &[][..],
            &[("connection", "close")],
            &[("content-type", "application/json"), ("content-length", "0")],
            &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
            &[("transfer-encoding", "chunked"), ("connection", "close")],
        ] {
            assert_eq!(stack.send("GET", &path, headers).status, 401, "{mode:?} {headers:?}");
        }
        let answer = stack.send("GET", &path, &WEBSOCKET);
        assert_eq!(answer.status, 101, "{mode:?}: {answer:?}");
        let log = log(&stack);
        assert!(!log.contains("WARN"), "{mode:?}: {log}");
    }
}

#[test]
fn what_no_rule_is_for_is_denied_on_the_guarded_route_and_nowhere_else() {
    for mode in [Mode::RouteGrpc, Mode::RouteHttp, Mode::Location] {
        let stack = Stack::waiting_at(ELSEWHERE, NEWEST, mode, &[]);
        let answer = stack.send("GET", "/nowhere", &[("authorization", &bearer("ADMIN"))]);
        assert_eq!((answer.status, answer.reached()), (403, false), "{mode:?}");
        // Whatever the decision about it would be: nobody is asked.
        for headers in [&[][..], &[("authorization", "Bearer junk"), ("x-user-role", "ADMIN")]] {
            let answer = stack.send("GET", ELSEWHERE, headers);
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{mode:?}");
        }
        let log = log(&stack);
        assert_eq!(log.matches("\"target\":\"portcullis::decision\"").count(), 2, "{log}");
    }
}

#[test]
fn a_name_that_no_list_can_hold_goes_on_by_http_and_not_by_grpc() {
    for (mode, stays) in [(Mode::RouteGrpc, false), (Mode::RouteHttp, true)] {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        let forged = [("x-user-extra", "1"), ("x.user.role", "ADMIN"), ("x-user-id", "1")];
        let answer = stack.send("GET", "/open/x", &forged);
        let identity = answer.json()["received"]["identity"].clone();
        let expected = if stays { json!({ "x-user-extra": ["1"] }) } else { json!({}) };
        assert_eq!(identity, expected, "{mode:?}");
    }
}
