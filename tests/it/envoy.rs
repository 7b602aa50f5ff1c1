//! End to end: a client, a real Envoy, the real binary, and the agents.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use futures_util::{SinkExt as _, StreamExt as _};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest as _};

use crate::{
    jwt,
    support::{PATIENCE, Running, eventually, free_port, listens, read, root, serve},
};

const VERSIONS: [&str; 3] = ["1.36.4", "1.37.0", "1.40.0"];
const NEWEST: &str = "1.40.0";

/// How Envoy is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// By `envoy/envoy.yaml` as it is.
    Strict,
    /// Nothing normalised, nothing refused, so that all reaches portcullis.
    Lax,
    /// The same, with headers sent as a list of bytes.
    LaxRaw,
}

/// The built-in rules, and a public path at which the agents show what
/// arrived.
const RULES: &str = r#"[
    { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR", "ADMIN"] },
    { name = "health", path = "/api/healthcheck", access = "public" },
    { name = "open", path_prefix = "/open", access = "public" },
]"#;

const MODES: [Mode; 3] = [Mode::Strict, Mode::Lax, Mode::LaxRaw];

/// Replaces text that has to be there.
fn replace(config: &str, from: &str, to: &str) -> String {
    assert!(config.contains(from), "envoy.yaml has no {from:?}");
    config.replace(from, to)
}

fn start_portcullis(port: u16, environment: &[(&str, &str)]) -> Running {
    let environment = [environment, &[("PORTCULLIS__RULES", RULES)]].concat();
    serve(&format!("127.0.0.1:{port}"), &environment)
}

struct Stack {
    port: u16,
    portcullis_port: u16,
    portcullis: Option<Running>,
    envoy: Running,
    agents: Running,
}

impl Stack {
    fn start(version: &str, mode: Mode) -> Self {
        Self::with(version, mode, &[])
    }

    /// With these variables for portcullis and the agents.
    fn with(version: &str, mode: Mode, environment: &[(&str, &str)]) -> Self {
        let stack = Self::waiting_at("", version, mode, environment);
        // It is up before it has seen that the others are.
        stack.comes_back();
        stack
    }

    /// The same, up when this path is answered.
    fn waiting_at(path: &str, version: &str, mode: Mode, environment: &[(&str, &str)]) -> Self {
        let binary = root().join("target/envoy").join(version).join("envoy");
        assert!(binary.exists(), "no Envoy {version}: run tests/run, or envoy/install {version}");
        let [port, portcullis_port, agents_port, admin] = [(); 4].map(|()| free_port());

        let portcullis = start_portcullis(portcullis_port, environment);
        let agents = std::path::Path::new(env!("CARGO_BIN_EXE_portcullis"));
        let agents = agents.parent().unwrap().join("examples/agents");
        let agents = Running::start(
            Command::new(agents)
                .env("AUTH_JWT_SECRET", jwt::SECRET)
                .env("PORTCULLIS__RULES", RULES)
                .env("AGENTS_LISTEN", format!("127.0.0.1:{agents_port}"))
                .envs(environment.iter().copied()),
        );
        agents.line("listening on");

        let mut config = read("envoy/envoy.yaml");
        for (theirs, ours) in
            [(8000, port), (9191, portcullis_port), (8081, agents_port), (9901, admin)]
        {
            config = replace(
                &config,
                &format!("port_value: {theirs} "),
                &format!("port_value: {ours} "),
            );
        }
        if mode != Mode::Strict {
            for (from, to) in [
                ("normalize_path: true", "normalize_path: false"),
                ("merge_slashes: true", "merge_slashes: false"),
                ("UNESCAPE_AND_REDIRECT", "KEEP_UNCHANGED"),
                ("REJECT_REQUEST", "ALLOW"),
                ("max_request_headers_kb: 32", "max_request_headers_kb: 96"),
            ] {
                config = replace(&config, from, to);
            }
        }
        if mode == Mode::LaxRaw {
            config = replace(&config, "validate_mutations: true", "encode_raw_headers: true");
        }
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let envoy = Running::start(
            Command::new(binary).args(["--config-path", file.path().to_str().unwrap()]).args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ]),
        );
        listens(port);
        let stack = Self { port, portcullis_port, portcullis: Some(portcullis), envoy, agents };
        if !path.is_empty() {
            eventually(path, || (stack.send("GET", path, &[]).status == 200).then_some(()));
        }
        stack
    }

    /// Waits until a good token is let through.
    fn comes_back(&self) {
        let good = bearer("ADMIN");
        eventually("a good answer", || {
            let answer = self.send("GET", "/api/agents", &[("authorization", &good)]);
            (answer.status == 200).then_some(())
        });
    }

    /// Sends a request as it is written, over a socket.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: app.example.com\r\n").into_bytes();
        let closes = !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection"));
        for (name, value) in headers {
            request.extend(format!("{name}: {value}\r\n").bytes());
        }
        request.extend(if closes { &b"connection: close\r\n\r\n"[..] } else { &b"\r\n"[..] });
        self.send_bytes(&request)
    }

    fn send_bytes(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have answered, and closed, before it has read all.
        let _ = stream.write_all(request);
        Answer::read(&mut stream)
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    /// Reads an answer with a `content-length`, or up to the end.
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let answer = Self::parse(head, body);
                let length = answer.headers.get("content-length").and_then(|v| v.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) || answer.status == 101
                {
                    return answer;
                }
            }
            if let Ok(length @ 1..) = stream.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..length]);
            } else {
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                return Self::parse(head, body);
            }
        }
    }

    fn parse(head: &str, body: &str) -> Self {
        let mut lines = head.lines();
        // A connection that is closed without an answer lets nothing through.
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Whether the upstream has seen the request.
    fn reached(&self) -> bool {
        self.body.contains("\"received\"")
    }
}

fn token(changes: &Value) -> String {
    jwt::token(&jwt::with(SystemClock.now().as_secs(), changes))
}

fn bearer(role: &str) -> String {
    format!("Bearer {}", token(&json!({ "role": role })))
}

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

fn refuses_bad_tokens(stack: &Stack) {
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
        assert_eq!(
            (answer.status, answer.json()["received"]["method"].as_str()),
            (200, Some(method))
        );
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

fn drops_forged_headers(stack: &Stack, mode: Mode) {
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
        let answer = stack.send("GET", "/api/agents/1", &headers);
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
fn hostile_paths() -> Vec<String> {
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
        let path = format!("/api/agents/1/react?access-token={good}");
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

async fn websocket(stack: &Stack, query: &str) -> Result<String, u16> {
    let url = format!("ws://127.0.0.1:{}/api/agents/1/react{query}", stack.port);
    let request = url.into_client_request().unwrap();
    let (mut socket, _) = match tokio_tungstenite::connect_async(request).await {
        Ok(open) => open,
        Err(Error::Http(response)) => return Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    };
    socket.send(Message::text("hello")).await.unwrap();
    Ok(socket.next().await.unwrap().unwrap().into_text().unwrap().to_string())
}

#[tokio::test]
async fn a_websocket_opens_and_echoes_with_a_token_in_its_query_alone() {
    for mode in MODES {
        let stack = tokio::task::spawn_blocking(move || Stack::start(NEWEST, mode)).await.unwrap();
        let good = token(&json!({}));
        assert_eq!(
            websocket(&stack, &format!("?access-token={good}")).await.as_deref(),
            Ok("hello")
        );
        assert_eq!(
            websocket(&stack, &format!("?a=1&access-token={good}&b=2")).await.as_deref(),
            Ok("hello")
        );
        assert_eq!(websocket(&stack, "").await, Err(401));
        assert_eq!(websocket(&stack, "?access-token=junk").await, Err(401));
        let inactive = token(&json!({ "role": "INACTIVE" }));
        assert_eq!(websocket(&stack, &format!("?access-token={inactive}")).await, Err(403));
        assert_eq!(
            websocket(&stack, &format!("?access-token={good}&access-token={good}")).await,
            Err(400)
        );
        // No token in any log: Envoy's access log, portcullis', the agents'.
        stack.envoy.line("/api/agents/1/react");
        let logs =
            [stack.envoy.log(), stack.portcullis.as_ref().unwrap().log(), stack.agents.log()]
                .concat();
        assert!(!logs.contains(&good) && !logs.contains("access-token"), "{logs}");
        assert!(
            logs.contains("\"decision\":\"allow\"") && logs.contains("\"user_id\":\"7\""),
            "{logs}"
        );
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
    stack.portcullis.as_ref().unwrap().signal("STOP");
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

/// A model server that answers each connection with these bytes.
fn model_server(answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut chunk = [0; 4096];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                    _ => break,
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, received)
}

#[test]
fn the_agents_list_the_models_of_their_server_and_never_its_key() {
    const KEY: &str = "sk-very-secret-master-key";
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{\"data\":[{\"id\":\"m\"}]}",
            200,
        ),
        (
            "HTTP/1.1 500 Oops\r\ncontent-length: 25\r\nconnection: close\r\n\r\nsk-very-secret-master-key",
            502,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n<ht>", 502),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\"sk-very-secret-master-key\"",
            502,
        ),
        ("", 502),
    ] {
        let (base, received) = model_server(answer);
        let stack = Stack::with(
            NEWEST,
            Mode::Strict,
            &[("LITELLM_BASE_URL", &base), ("LITELLM_MASTER_KEY", KEY)],
        );
        let answer =
            stack.send("GET", "/api/agents/models", &[("authorization", &bearer("REGULAR"))]);
        assert_eq!(answer.status, expected, "{answer:?}");
        let asked = received.recv_timeout(PATIENCE).unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("get /v1/models ") && asked.contains(&format!("bearer {KEY}")));
        assert!(!answer.body.contains(KEY) && !stack.agents.log().contains(KEY));
        if expected == 200 {
            assert_eq!(answer.json()["data"][0]["id"], "m");
        } else {
            assert!(answer.json()["error"].as_str().unwrap().starts_with("the model server"));
        }
        assert_eq!(stack.send("GET", "/api/agents/models", &[]).status, 401);
    }
    let stack = Stack::start(NEWEST, Mode::Strict);
    let unset = stack.send("GET", "/api/agents/models", &[("authorization", &bearer("REGULAR"))]);
    assert_eq!(
        (unset.status, unset.json()["error"].as_str()),
        (502, Some("LITELLM_BASE_URL is not set"))
    );
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
