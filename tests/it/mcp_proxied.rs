//! An MCP server behind every gateway: by the body where the gateway sends it, by
//! headers where it does not.

use serde_json::{Value, json};

use crate::{
    api_keys_proxied::upstream,
    grpc::bearer,
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
