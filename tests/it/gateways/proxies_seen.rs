//! What the gateways themselves do, seen by somebody who stands in for
//! portcullis: the facts that its answers are made for.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::{
    envoy::hostile_paths,
    stack::{Mode, NEWEST, STANDS_IN, Stack, bearer},
};

/// Somebody who answers every question alike, and remembers them.
#[derive(Clone)]
struct Oracle {
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    status: StatusCode,
    headers: Vec<(&'static str, &'static str)>,
}

impl Oracle {
    /// Behind a gateway, in front of the agents.
    async fn behind(
        mode: Mode,
        status: u16,
        headers: &[(&'static str, &'static str)],
    ) -> (Self, Stack) {
        let oracle = Self {
            seen: Arc::default(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.to_vec(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let answer = async |State(oracle): State<Self>, request: Request| oracle.answer(&request);
        let router = Router::new().fallback(answer).with_state(oracle.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let stack = tokio::task::spawn_blocking(move || {
            Stack::waiting_at("", NEWEST, mode, &[(STANDS_IN, &port)])
        });
        (oracle, stack.await.unwrap())
    }

    fn answer(self, request: &Request) -> Response {
        let line = format!("{} {}", request.method(), request.uri());
        // Envoy asks after its health, too.
        if request.uri().path() == "/readyz" {
            return StatusCode::OK.into_response();
        }
        self.seen.lock().unwrap().push((line, request.headers().clone()));
        let mut response = self.status.into_response();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    }

    /// The last question.
    fn last(&self) -> (String, HeaderMap) {
        self.seen.lock().unwrap().pop().expect("nobody has asked")
    }
}

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_by_get_without_upgrade_and_with_its_own_headers() {
    let (oracle, stack) = Oracle::behind(Mode::Nginx, 204, &[]).await;
    stack.send("GET", "/api/agents/1/react?access-token=x", &WEBSOCKET);
    let (line, headers) = oracle.last();
    assert_eq!(line, "GET /auth/nginx");
    assert!(!headers.contains_key("upgrade"), "{headers:?}");
    assert_eq!(headers["sec-websocket-version"], "13");
    assert_eq!(headers["x-original-uri"], "/api/agents/1/react?access-token=x");
    // Every method asks by GET, and says which it is; the body stays.
    for method in ["POST", "PATCH", "OPTIONS", "DELETE"] {
        stack.send(method, "/api/agents", &[("content-length", "0"), ("X-Original-Method", "GET")]);
        let (line, headers) = oracle.last();
        assert_eq!(line, "GET /auth/nginx");
        assert_eq!(headers.get_all("x-original-method").iter().collect::<Vec<_>>(), [method]);
        assert!(!headers.contains_key("content-length"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_makes_a_header_of_its_own_placeholder_where_the_answer_has_none() {
    let (oracle, stack) = Oracle::behind(Mode::Caddy, 204, &[("x-user-id", "7")]).await;
    let answer = stack.send(
        "PATCH",
        "/api/agents",
        &[("content-length", "0"), ("authorization", &bearer("ADMIN"))],
    );
    let identity = &answer.json()["received"]["identity"];
    assert_eq!(identity["x-user-id"], json!(["7"]));
    assert_eq!(identity["x-user-email"], json!(["{http.reverse_proxy.header.X-User-Email}"]));
    let (line, headers) = oracle.last();
    assert_eq!(line, "GET /auth/forward");
    assert_eq!(headers["x-forwarded-method"], "PATCH");
    assert_eq!(headers["x-forwarded-uri"], "/api/agents");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_over_http_keeps_what_it_is_not_told_to_remove() {
    let forged = [("x-user-email", "king@x"), ("x-user-extra", "1")];
    let good = bearer("ADMIN");
    let headers = [&forged[..], &[("authorization", good.as_str())]].concat();
    for (told, remains) in [
        (vec![("x-user-id", "7")], true),
        (
            vec![
                ("x-user-id", "7"),
                ("x-envoy-auth-headers-to-remove", "x-user-email,x-user-extra"),
            ],
            false,
        ),
    ] {
        let (_, stack) = Oracle::behind(Mode::Http, 200, &told).await;
        let answer = stack.send("GET", "/api/agents", &headers);
        let identity = answer.json()["received"]["identity"].clone();
        assert_eq!(identity["x-user-id"], json!(["7"]));
        assert_eq!(identity.get("x-user-email").is_some(), remains, "{identity}");
        assert_eq!(identity.get("x-user-extra").is_some(), remains, "{identity}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_over_http_takes_204_for_a_denial_and_sends_what_it_may() {
    let (oracle, stack) = Oracle::behind(Mode::Http, 204, &[]).await;
    let good = bearer("ADMIN");
    let headers = [
        ("authorization", good.as_str()),
        ("cookie", "a=1"),
        ("x-user-role", "ADMIN"),
        ("x-other", "1"),
        ("x-original-uri", "/api/healthcheck"),
        ("x-forwarded-host", "outer.example.com"),
        ("x-forwarded-proto", "https"),
    ];
    let answer = stack.send("DELETE", "/api/agents?x=1", &headers);
    assert_eq!((answer.status, answer.reached()), (204, false));
    let (line, sent) = oracle.last();
    assert_eq!(line, "DELETE /api/auth/api/agents?x=1");
    assert_eq!(sent["host"], "app.example.com");
    for name in ["authorization", "cookie", "x-user-role"] {
        assert!(sent.contains_key(name), "{name}: {sent:?}");
    }
    // What is not listed does not come.
    for name in ["x-other", "x-original-uri", "x-forwarded-host"] {
        assert!(!sent.contains_key(name), "{name}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_outer_balancer_says_arrives_where_it_is_passed_on() {
    for mode in [Mode::Nginx, Mode::Caddy] {
        let (oracle, stack) = Oracle::behind(mode, 204, &[]).await;
        let outer = [("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.example.com")];
        stack.send("GET", "/api/agents", &outer);
        let (_, headers) = oracle.last();
        if mode == Mode::Nginx {
            assert_eq!(headers["x-forwarded-host"], "outer.example.com");
        } else {
            // Caddy trusts nobody it was not told of, and writes its own.
            assert_eq!(headers["x-forwarded-host"], "app.example.com");
        }
        assert!(headers.contains_key("x-forwarded-proto"), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_path_reaches_the_agents_through_any_gateway() {
    for mode in [Mode::Http, Mode::Nginx, Mode::Caddy] {
        let stack = tokio::task::spawn_blocking(move || {
            Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[])
        });
        let stack = stack.await.unwrap();
        for path in hostile_paths() {
            for method in ["GET", "POST"] {
                let answer = stack.send(method, &path, &[("content-length", "0")]);
                let shown = path.get(..80).unwrap_or(&path);
                assert_ne!(answer.status, 200, "{mode:?} {method} {shown}");
                if answer.reached() {
                    let arrived = answer.json()["received"]["path"].to_string();
                    assert!(
                        !arrived.to_ascii_lowercase().contains("agents"),
                        "{mode:?} {method} {shown} arrived as {arrived}"
                    );
                }
            }
        }
    }
}
