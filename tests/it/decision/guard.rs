//! The guard of an upstream, over real HTTP and WebSockets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::WebSocketUpgrade,
    http::HeaderMap,
    routing::{any, get},
};
use futures_util::{SinkExt as _, StreamExt as _};
use portcullis::{
    clock::{Clock, SystemClock, Timestamp},
    config::{Config, Sources},
    guard::{Admission, Expired, GuardLayer, User},
};
use reqwest::StatusCode;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{ask, jwt};

/// A clock that tests move.
#[derive(Debug)]
struct Hand(Mutex<Timestamp>);

impl Hand {
    fn now() -> Arc<Self> {
        Arc::new(Self(Mutex::new(SystemClock.now())))
    }

    fn forward(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(span);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

async fn upstream(toml: &str, clock: Arc<Hand>) -> SocketAddr {
    let react = async |upgrade: WebSocketUpgrade, Extension(admission): Extension<Admission>| {
        upgrade.on_upgrade(async move |mut socket| {
            let echo = async {
                while let Some(Ok(message)) = socket.recv().await {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            };
            let _: Result<(), Expired> = admission.until_expired(echo).await;
        })
    };
    let who = async |Extension(admission): Extension<Admission>| match admission.user() {
        Some(User { id, name, role, .. }) => format!("{id} {name} {role}"),
        None => "nobody".to_owned(),
    };
    let headers = async |headers: HeaderMap| {
        let mut seen: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with('x'))
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        seen.sort();
        seen.join(" ")
    };
    let router = Router::new()
        .route("/api/agents", any(who))
        .route("/api/healthcheck", any(who))
        .route("/api/agents/headers", any(headers))
        .route("/api/healthcheck/headers", any(headers))
        .route("/api/agents/{id}/react", get(react))
        .layer(GuardLayer::with_clock(ask::config(toml), clock));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn token(changes: &serde_json::Value) -> String {
    jwt::token(&jwt::with(SystemClock.now().as_secs(), changes))
}

#[tokio::test]
async fn rest_needs_a_bearer_token_of_a_role_of_the_rule() {
    let address = upstream("", Hand::now()).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{address}{path}");
    let send = async |path: &str, token: Option<String>| {
        let mut request = client.get(url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    };
    let (status, headers, body) = send("/api/agents", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"portcullis\"");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(body.contains("\"auth_error\""), "{body}");
    let (status, headers, _) = send("/api/agents", Some("junk".into())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    for role in ["INACTIVE", "RESTRICTED"] {
        let (status, ..) = send("/api/agents", Some(token(&json!({ "role": role })))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    for role in ["REGULAR", "ADMIN"] {
        let (status, _, body) = send("/api/agents", Some(token(&json!({ "role": role })))).await;
        assert_eq!((status, body), (StatusCode::OK, format!("7 ann {role}")));
    }
    let (status, _, body) = send("/api/healthcheck", None).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "nobody"));
    let in_query = url(&format!("/api/agents?access-token={}", token(&json!({}))));
    let response = client.get(in_query).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "no WebSocket, no query");
    // The same role check as at the gateway for a path that can be misread.
    let encoded =
        client.get(url("/api/%61gents")).bearer_auth(token(&json!({}))).send().await.unwrap();
    assert_eq!(encoded.status(), StatusCode::NOT_FOUND, "it passed the guard, and is no route");
    let hidden =
        client.get(url("/api%2Fagents")).bearer_auth(token(&json!({}))).send().await.unwrap();
    assert_eq!(hidden.status(), StatusCode::BAD_REQUEST);
}

async fn status_of(url: String) -> u16 {
    match tokio_tungstenite::connect_async(url).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_websocket_is_refused_before_the_upgrade() {
    let address = upstream("", Hand::now()).await;
    let url = |query: &str| format!("ws://{address}/api/agents/1/react{query}");
    assert_eq!(status_of(url("")).await, 401);
    assert_eq!(status_of(url("?access-token=junk")).await, 401);
    assert_eq!(
        status_of(url(&format!("?access-token={}", token(&json!({ "role": "INACTIVE" }))))).await,
        403
    );
    assert_eq!(
        status_of(url(&format!("?access-token={0}&access-token={0}", token(&json!({}))))).await,
        400
    );
    assert_eq!(status_of(url(&format!("?access-token={}", token(&json!({}))))).await, 101);
}

#[tokio::test]
async fn a_websocket_ends_when_its_token_expires() {
    let clock = Hand::now();
    let address = upstream("tokens.leeway = \"1s\"", Arc::clone(&clock)).await;
    let expires = SystemClock.now().as_secs() + 2;
    let url = format!(
        "ws://{address}/api/agents/1/react?access-token={}",
        token(&json!({ "exp": expires }))
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    clock.forward(Duration::from_secs(5));
    let ended = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it goes on");
}

#[tokio::test]
async fn who_comes_past_the_gateway_cannot_be_somebody_else() {
    let rules = "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\"]\n\
                 [[rules]]\nname = \"open\"\npath_prefix = \"/api/healthcheck\"\naccess = \"public\"";
    let address = upstream(rules, Hand::now()).await;
    let send = async |path: &str, token: Option<String>| {
        let mut request = reqwest::Client::new()
            .get(format!("http://{address}{path}"))
            .header("x-user-id", "999")
            .header("x-user-role", "ADMIN")
            .header("x_user_role", "ADMIN")
            .header("x-user-agent", "grpc-web");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().text().await.unwrap()
    };
    let seen = send("/api/agents/headers", Some(token(&json!({ "email": null })))).await;
    assert_eq!(seen, "x-user-agent=grpc-web x-user-id=7 x-user-name=ann x-user-role=REGULAR");
    assert_eq!(send("/api/healthcheck/headers", None).await, "x-user-agent=grpc-web");
}

#[tokio::test]
async fn a_host_that_is_told_twice_is_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = upstream("", Hand::now()).await;
    for head in [
        "GET /api/healthcheck HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET http://a/api/healthcheck HTTP/1.1\r\nhost: b\r\n",
        "GET /api/healthcheck HTTP/1.0\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.split(' ').nth(1) == Some("400"), "{head} {answer}");
    }
}

#[test]
fn an_upstream_reads_the_services_configuration_without_the_services_files() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    let toml = "[check]\ntls = { cert_file = \"a\", key_file = \"b\", client_ca_file = \"c\" }\n\
                [http]\npublic_url = \"https://a.example.com\"\ntls = { cert_file = \"a\", key_file = \"b\" }\n\
                [login]\nusers_file = \"users.toml\"\n\
                [sso]\nissuer = \"https://idp.example.com\"\nclient_id = \"x\"\nclient_secret_file = \"s\"\n";
    std::fs::write(&file, toml).unwrap();
    let key = [("AUTH_JWT_SECRET".into(), jwt::SECRET.into())];
    let sources = Sources::new(vec![file.clone()], key.clone());
    assert_eq!(Config::load(&sources).unwrap_err().problems.len(), 7);
    let config = Config::load(&sources.for_upstream()).unwrap();
    let _guard = GuardLayer::new(config);
    // What it has to do with is held to the same.
    std::fs::write(&file, format!("{toml}[[rules]]\nname = \"x\"\n")).unwrap();
    let broken = Config::load(&Sources::new(vec![file], key).for_upstream()).unwrap_err();
    assert!(!broken.problems.is_empty());
}
