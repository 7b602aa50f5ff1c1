//! An MCP server behind every gateway: by the body where the gateway sends it, by
//! headers where it does not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::{Value, json};

use crate::{
    api_keys_proxied::upstream,
    grpc::{bearer, question},
    replica::{OPEN, Replica},
    stack::{Answer, Mode, NEWEST, Stack, UPSTREAM, VERSIONS},
};

const RULES: &str = r#"[
    { name = "health", path = "/api/healthcheck", access = "public" },
    { name = "mcp", path_prefix = "/mcp", scopes = ["mcp:read"], resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com"], scopes_supported = ["mcp:read"] } },
    { name = "tools", path_prefix = "/mcp", mcp = { tools = ["delete_*"] }, roles = ["ADMIN"] },
]"#;

const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

fn stack(version: &str, mode: Mode, source: &str) -> Stack {
    let (upstream, _) = upstream();
    let upstream = upstream.to_string();
    let variables = [
        (UPSTREAM, upstream.as_str()),
        ("PORTCULLIS__RULES", RULES),
        ("PORTCULLIS__TOKENS__AUDIENCE", "https://app.example.com/mcp"),
        ("PORTCULLIS__MCP__SOURCE", source),
    ];
    Stack::waiting_at("/api/healthcheck", version, mode, &variables)
}

/// Posts a message as a client of MCP 2026-07-28 does.
fn post(stack: &Stack, token: Option<&str>, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!(
        "POST /mcp HTTP/1.1\r\nhost: app.example.com\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\nmcp-protocol-version: 2026-07-28\r\n",
        body.len()
    );
    let token = token.map(|token| ("authorization", token));
    for (name, value) in token.iter().chain(headers) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stack.send_bytes(format!("{request}\r\n{body}").as_bytes())
}

fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } })
        .to_string()
}

fn holds(version: &str, mode: Mode, source: &str) {
    let stack = stack(version, mode, source);
    let token = bearer(&json!({ "scope": "mcp:read", "aud": "https://app.example.com/mcp" }));
    let of = |token: Option<&str>, tool: &str| {
        let headers = [("mcp-method", "tools/call"), ("mcp-name", tool)];
        post(&stack, token, &call(tool), &headers)
    };

    let metadata = stack.send("GET", METADATA, &[]);
    assert_eq!(metadata.status, 200, "{mode:?} {metadata:?}");
    let document: Value = serde_json::from_str(&metadata.body).unwrap();
    assert_eq!(document["resource"], "https://app.example.com/mcp", "{mode:?}");
    assert_eq!(metadata.headers["cache-control"], "public, max-age=300", "{mode:?}");
    assert_eq!(metadata.headers["access-control-allow-origin"], "*", "{mode:?}");

    let nobody = of(None, "search");
    let place = format!("resource_metadata=\"https://app.example.com{METADATA}\"");
    assert_eq!(nobody.status, 401, "{mode:?} {nobody:?}");
    assert!(nobody.headers["www-authenticate"].contains(&place), "{mode:?} {nobody:?}");

    // Who comes with too few scopes is told which to come back with.
    let poor = bearer(&json!({ "scope": "mcp:see", "aud": "https://app.example.com/mcp" }));
    let poor = of(Some(&poor), "search");
    assert_eq!(poor.status, 403, "{mode:?} {poor:?}");
    let step_up = format!("Bearer error=\"insufficient_scope\", {place}, scope=\"mcp:read\"");
    assert_eq!(poor.headers["www-authenticate"], step_up, "{mode:?}");

    assert_eq!(of(Some(&token), "search").status, 200, "{mode:?}");
    assert_eq!(of(Some(&token), "delete_all").status, 403, "{mode:?}");
    // No header, and another one than the body's.
    if source == "headers" {
        let silent = post(&stack, Some(&token), &call("search"), &[]);
        assert!(matches!(silent.status, 400 | 403), "{mode:?} {silent:?}");
        return;
    }
    assert_eq!(post(&stack, Some(&token), &call("search"), &[]).status, 200, "{mode:?}");
    assert_eq!(post(&stack, Some(&token), &call("delete_all"), &[]).status, 403, "{mode:?}");
    let lies = [("mcp-method", "tools/call"), ("mcp-name", "search")];
    assert_eq!(post(&stack, Some(&token), &call("delete_all"), &lies).status, 400, "{mode:?}");
    let batch = format!("[{}]", call("search"));
    assert_eq!(post(&stack, Some(&token), &batch, &[]).status, 400, "{mode:?}");
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"ping"}"#;
    let twice = post(&stack, Some(&token), twice, &[]);
    assert_eq!(twice.status, 400, "{mode:?}");
    let error: Value = serde_json::from_str(&twice.body).unwrap();
    assert_eq!((&error["jsonrpc"], &error["id"]), (&json!("2.0"), &Value::Null), "{mode:?}");
    // The name behind a long body, in pieces, and a body that is too long.
    let far = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "arguments": { "text": "x".repeat(40 * 1024) }, "name": "delete_all" } });
    let far = far.to_string();
    assert_eq!(post(&stack, Some(&token), &far, &[]).status, 403, "{mode:?}");
    let (one, two) = far.split_at(30 * 1024);
    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nhost: app.example.com\r\ncontent-type: application/json\r\n\
         authorization: {token}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    assert_eq!(stack.send_bytes(chunked.as_bytes()).status, 403, "{mode:?}");
    assert_eq!(post(&stack, Some(&token), &call(&"x".repeat(70_000)), &[]).status, 413, "{mode:?}");
}

#[test]
fn envoy_sends_the_whole_body_and_hands_the_answer_on() {
    for version in VERSIONS {
        holds(version, Mode::Bodies, "body");
    }
}

#[test]
fn nginx_and_caddy_ask_by_headers_and_serve_the_metadata() {
    for mode in [Mode::Nginx, Mode::Caddy] {
        holds(NEWEST, mode, "headers");
    }
}

/// Posts a body of a mebibyte to Envoy; the status.
fn flood(stack: &Stack, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", stack.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut into = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        // Envoy has answered, and closes, before all of it is sent.
        scope.spawn(move || {
            let _ = into.write_all(head.as_bytes()).and_then(|()| into.write_all(body));
        });
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        String::from_utf8_lossy(&status[9..]).into_owned()
    })
}

#[test]
fn a_flood_of_bodies_of_a_mebibyte_is_413_and_takes_no_memory() {
    let stack = stack(NEWEST, Mode::Bodies, "body");
    let portcullis = stack.portcullis.as_ref().unwrap();
    let body = vec![b' '; 1 << 20];
    let (length, coded) =
        (format!("content-length: {}", body.len()), "transfer-encoding: chunked".to_owned());
    let of = |times: usize| {
        for turn in 0..times {
            let (framing, size) =
                if turn % 2 == 0 { (&length, "") } else { (&coded, "100000\r\n") };
            let head = format!(
                "POST /mcp HTTP/1.1\r\nhost: app.example.com\r\ncontent-type: application/json\r\n\
                 {framing}\r\n\r\n{size}"
            );
            assert_eq!(flood(&stack, &head, &body), "413", "{framing}");
        }
    };
    of(20);
    let before = portcullis.memory("VmHWM");
    of(400);
    // Nothing of them has come to it; a mebibyte is what else it may have done meanwhile.
    let after = portcullis.memory("VmHWM");
    println!("{before} KiB, and {after} KiB after 400 bodies");
    assert!(after <= before + 1024, "{before} KiB, {after} KiB");
    assert_eq!(post(&stack, None, &call("search"), &[]).status, 401);
}

/// Whoever asks without Envoy sends as much as there is room for, and more.
#[tokio::test]
async fn questions_of_a_mebibyte_are_denied_and_take_no_memory() {
    let toml = format!("{OPEN}tokens.audience = \"a\"\nrules = {RULES}\n");
    let replica = Replica::start(&toml).ready().await;
    let mut client =
        AuthorizationClient::connect(format!("http://{}", replica.check)).await.unwrap();
    let mut asked = async |bytes: usize| {
        let mut http = question("POST", "/mcp", &[("content-type", "application/json")]);
        let request = http.attributes.as_mut().unwrap().request.as_mut().unwrap();
        request.http.as_mut().unwrap().raw_body = vec![b' '; bytes];
        client.check(http).await.map(|answer| answer.into_inner().status.unwrap().code)
    };
    let mut before = 0;
    for turn in 0..500 {
        // Of one that is not read, either an error is told or a denial: no consent.
        let bytes = if turn % 2 == 0 { 1 << 20 } else { 1000 * 1024 };
        let code = asked(bytes).await;
        assert!(!matches!(code, Ok(0)), "{code:?}");
        if turn == 100 {
            before = replica.running.memory("VmHWM");
        }
    }
    let after = replica.running.memory("VmHWM");
    println!("{before} KiB, and {after} KiB after 400 questions");
    // A fiftieth of what was sent: an allocator need not give back all at once.
    assert!(after <= before + 8 * 1024, "{before} KiB, {after} KiB");
}
