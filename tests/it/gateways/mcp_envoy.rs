//! `mcp.source = "envoy"`: what is asked of an MCP server comes from Envoy's own filter.
//! What that tells of which message, in each of its versions, is in
//! `tests/data/mcp-envoy.md`.

use std::fmt::Write as _;

use envoy_types::pb::{
    envoy::{
        config::core::v3::Metadata,
        service::auth::v3::{CheckRequest, attribute_context::HttpRequest},
    },
    google::protobuf::{Struct, Value as Member, value::Kind},
};
use portcullis::operation::{McpTold, Unclear};
use serde_json::{Value, json};

use crate::{
    api_keys_proxied::upstream,
    ask::{ask, engine},
    grpc::{bearer, denied, metadata, of_http, start},
    mcp::{RULES, call, posted},
    stack::{Answer, Mode, Stack, UPSTREAM},
    support::read,
};

fn rules() -> String {
    format!("mcp.source = \"envoy\"\n{RULES}")
}

fn anybody() -> Value {
    json!({ "scope": "mcp:read", "aud": ["all", "https://app.example.com/mcp"] })
}

const fn told(method: &'static str, name: Option<&'static str>) -> McpTold<'static> {
    McpTold::Message { method, name }
}

#[test]
fn what_envoy_tells_finds_the_rule_and_nothing_else_does() {
    let (engine, by_bodies) = (engine(&rules()), engine(RULES));
    for (told, expected) in [
        (told("tools/call", Some("search")), (200, "")),
        (told("tools/call", Some("delete_all")), (403, "role")),
        (told("tools/list", None), (200, "")),
        (told("notifications/initialized", None), (200, "")),
        (told("tools/call", None), (400, "bad_mcp")),
        (told("tools/call", Some("a\0")), (400, "bad_mcp")),
        (McpTold::Unclear(Unclear::Filter), (400, "bad_mcp")),
        (McpTold::Nothing, (400, "bad_mcp")),
    ] {
        let out = ask("POST", "/mcp").told(told).claiming(&anybody()).of(&engine);
        assert_eq!((out.status, out.reason), expected, "{told:?}");
    }
    // Neither a body nor headers stand in for it.
    let by_body = ask("POST", "/mcp").json(&call("search")).claiming(&anybody()).of(&engine);
    assert_eq!(by_body.reason, "bad_mcp");
    let headed = |name: &str, told: McpTold<'static>| {
        let of_now = ask("POST", "/mcp").with("mcp-protocol-version", "2026-07-28").told(told);
        let of_now = of_now.with("mcp-method", "tools/call").with("mcp-name", name);
        of_now.claiming(&anybody()).of(&engine).reason
    };
    assert_eq!(headed("search", McpTold::Nothing), "bad_mcp");
    assert_eq!(headed("search", told("tools/call", Some("search"))), "");
    assert_eq!(headed("search", told("tools/call", Some("delete_all"))), "bad_mcp");
    // A session's stream and its end ask for nothing.
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(method, "/mcp").claiming(&anybody()).of(&engine).status, 200, "{method}");
    }
    // Where nobody has chosen it, it counts for nothing.
    let search = told("tools/call", Some("search"));
    let out = ask("POST", "/mcp").told(search).claiming(&anybody()).of(&by_bodies);
    assert_eq!((out.status, out.reason), (400, "bad_mcp"));
}

#[test]
fn arguments_are_not_known_from_envoy() {
    let engine = engine(
        "mcp.source = \"envoy\"\n[[rules]]\nname = \"a\"\npath = \"/x\"\n\
         when = 'mcp.tool == \"a\" && !has(mcp.arguments.force)'\n\
         [[rules]]\nname = \"b\"\npath = \"/y\"\nwhen = 'mcp.tool == \"a\"'\n",
    );
    let of = |path: &str, tool: &'static str| {
        let told = told("tools/call", Some(tool));
        ask("POST", path).told(told).role("REGULAR").of(&engine).reason
    };
    assert_eq!(of("/x", "a"), "condition");
    assert_eq!((of("/y", "a"), of("/y", "b")), ("", "condition"));
}

/// A question with these namespaces, each with these members.
fn with_metadata(http: HttpRequest, namespaces: &[(&str, &Value)]) -> CheckRequest {
    fn member(value: &Value) -> Member {
        let kind = match value {
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Bool(flag) => Kind::BoolValue(*flag),
            Value::Object(_) => Kind::StructValue(members(value)),
            other => Kind::NumberValue(other.as_f64().unwrap()),
        };
        Member { kind: Some(kind) }
    }
    fn members(value: &Value) -> Struct {
        let members = value.as_object().unwrap().iter();
        Struct { fields: members.map(|(key, value)| (key.clone(), member(value))).collect() }
    }
    let filter_metadata = namespaces.iter().map(|(name, it)| ((*name).to_owned(), members(it)));
    let metadata = Metadata { filter_metadata: filter_metadata.collect(), ..Metadata::default() };
    let mut question = of_http(http);
    question.attributes.as_mut().unwrap().metadata_context = Some(metadata);
    question
}

const NAMESPACE: &str = "envoy.filters.http.mcp";

fn of_call(tool: &str) -> Value {
    json!({ "id": 1, "is_mcp_request": true, "jsonrpc": "2.0", "method": "tools/call",
            "params": { "name": tool }, "status": "mcp_ok" })
}

#[tokio::test]
async fn the_metadata_of_the_filter_is_read_and_that_of_nobody_else() {
    let service = start(&rules()).await;
    let without_body = || {
        let mut http = posted("/mcp", b"", &[]);
        http.headers.remove("x-envoy-auth-partial-body");
        http
    };
    let of = |namespaces: &[(&str, &Value)]| with_metadata(without_body(), namespaces);
    let (search, delete) = (of_call("search"), of_call("delete_all"));
    let allowed = service.check(of(&[(NAMESPACE, &search)])).await;
    assert_eq!(allowed.status.as_ref().unwrap().code, 0, "{allowed:?}");
    assert_eq!(metadata(&allowed, "mcp_method"), "tools/call");
    assert_eq!(metadata(&allowed, "mcp_tool"), "search");
    let beside = service.check(of(&[("a", &delete), (NAMESPACE, &search), ("z", &delete)])).await;
    assert_eq!(metadata(&beside, "mcp_tool"), "search");
    let response = service.check(of(&[(NAMESPACE, &delete)])).await;
    assert_eq!(denied(&response), (7, 403, "role".into()));
    let partial = json!({ "is_exceeding_limit": true, "is_mcp_request": true, "jsonrpc": "2.0",
        "method": "tools/call", "params": { "name": "search" }, "status": "mcp_ok" });
    for namespaces in [&[][..], &[("mcp_proxy", &search)], &[(NAMESPACE, &partial)]] {
        let response = service.check(of(namespaces)).await;
        assert_eq!(denied(&response), (7, 400, "bad_mcp".into()), "{namespaces:?}");
    }
    // More headers than are read without the generated types.
    let mut many = without_body();
    many.headers.extend((0..80).map(|n| (format!("x-{n}"), String::new())));
    let response = service.check(with_metadata(many, &[(NAMESPACE, &delete)])).await;
    assert_eq!(denied(&response), (7, 403, "role".into()));
    // The route's is somebody else's.
    let mut route = of(&[(NAMESPACE, &search)]);
    let attributes = route.attributes.as_mut().unwrap();
    attributes.route_metadata_context = attributes.metadata_context.take();
    assert_eq!(denied(&service.check(route).await), (7, 400, "bad_mcp".into()));
}

/// A call, compressed by gzip.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x0d\xc9\x31\x0a\xc0\x20\x0c\x05\xd0\xbb\
    \xfc\x59\x6a\xdb\x31\xb7\x09\xa9\x60\x4b\x34\x62\xdc\xc4\xbb\xd7\xed\xc1\x9b\xf8\
    \xdc\x6a\x6f\x02\xc2\x7d\x9c\x08\x78\x1f\xd0\x15\x50\xd2\xc8\xb6\x89\x61\xa6\x1e\
    \x85\x55\x77\x36\xee\x5c\x1c\x34\x51\xb9\xa4\xbd\x9e\xb8\x4b\xc6\x5a\x3f\x7b\x68\
    \x7e\xaa\x49\x00\x00\x00";

/// A message, and how it is sent.
struct Case {
    name: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let call = |tool: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } })
            .to_string()
    };
    let long = |bytes: usize| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "arguments": { "text": "x".repeat(bytes) }, "name": "search" } })
        .to_string()
    };
    let of = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("call", call("search").into()),
        ("call-of-an-administrator", call("delete_all").into()),
        ("list", of("tools/list").into()),
        ("notification", br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into()),
        (
            "resource",
            br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#.into(),
        ),
        ("answer", br#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into()),
        (
            "call-with-a-result",
            br#"{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"delete_all"}}"#.into(),
        ),
        (
            "two-methods",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete_all"}}"#.into(),
        ),
        (
            "two-methods-call-first",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_all"},"method":"tools/list"}"#.into(),
        ),
        (
            "two-names",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","name":"delete_all"}}"#.into(),
        ),
        (
            "two-params",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search"},"params":{"name":"delete_all"}}"#.into(),
        ),
        (
            "two-names-by-case",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","Name":"delete_all"}}"#.into(),
        ),
        ("no-name", of("tools/call").into()),
        (
            "name-is-a-number",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#.into(),
        ),
        ("batch", format!("[{}]", call("search")).into()),
        ("20-kb-before-the-name", long(20 * 1024).into()),
        ("100-kb-before-the-name", long(100 * 1024).into()),
        ("byte-order-mark", [b"\xef\xbb\xbf", call("search").as_bytes()].concat()),
        ("trailing-bytes", format!("{0}{0}", call("search")).into()),
        ("single-quotes", call("search").replace('"', "'").into()),
        ("half-a-surrogate-pair", call("TOOL").replace("TOOL", "a\\ud800").into()),
        ("nul", call("TOOL").replace("TOOL", "a\\u0000").into()),
        ("compressed", GZIP.to_vec()),
        ("not-json", b"search".into()),
        ("empty", vec![]),
    ];
    let json = ("content-type", "application/json");
    let both = ("accept", "application/json, text/event-stream");
    let post = |(name, body): (&'static str, Vec<u8>)| {
        let gzip = (name == "compressed").then_some(("content-encoding", "gzip"));
        let headers = [json, both].into_iter().chain(gzip).collect();
        Case { name, method: "POST", headers, body }
    };
    let of = |name, method, headers: &[_], body: &str| Case {
        name,
        method,
        headers: headers.to_vec(),
        body: body.into(),
    };
    let now = ("mcp-protocol-version", "2026-07-28");
    let headed = [json, both, now, ("mcp-method", "tools/call"), ("mcp-name", "search")];
    let mut cases: Vec<Case> = bodies.into_iter().map(post).collect();
    cases.extend([
        of("text", "POST", &[("content-type", "text/plain"), both], &call("search")),
        of("accepts-json-alone", "POST", &[json, ("accept", "application/json")], &call("search")),
        of("put", "PUT", &[json, both], &call("search")),
        of("headers-that-agree", "POST", &headed, &call("search")),
        of("headers-that-lie", "POST", &headed, &call("delete_all")),
        of("get", "GET", &[("accept", "text/event-stream")], ""),
        of("get-with-a-body", "GET", &[json, ("accept", "text/event-stream")], &call("search")),
        of("delete", "DELETE", &[("mcp-session-id", "s")], ""),
    ]);
    cases
}

fn send(stack: &Stack, case: &Case, token: &str) -> Answer {
    let Case { name, method, headers, body } = case;
    let mut request = format!(
        "{method} /mcp/{name} HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n\
         authorization: {token}\r\n"
    );
    if *method == "POST" || !body.is_empty() {
        write!(request, "content-length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    stack.send_bytes(&[request.as_bytes(), b"\r\n", body].concat())
}

/// What Envoy tells, in short, and what it has reserved.
fn in_short(mcp: &Value) -> String {
    let Some(mcp) = mcp.as_object() else { return "nothing".to_owned() };
    let mut words = vec![mcp.get("method").map_or("no method".to_owned(), text)];
    let params = mcp.get("params");
    words.extend(params.and_then(|it| it.get("name").or(it.get("uri"))).map(text));
    for (key, value) in mcp {
        let usual = match key.as_str() {
            "id" | "jsonrpc" | "method" | "params" => continue,
            "is_mcp_request" => json!(true),
            "status" => json!("mcp_ok"),
            _ => Value::Null,
        };
        if *value != usual {
            words.push(format!("({key}: {})", text(value)));
        }
    }
    words.join(" ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string())
}

/// What becomes of each case: what Envoy tells, and who answers how.
fn column(version: &str, mode: Mode) -> Vec<String> {
    let (upstream, _) = upstream();
    let upstream = upstream.to_string();
    let rules = r#"[
        { name = "health", path = "/api/healthcheck", access = "public" },
        { name = "mcp", path_prefix = "/mcp", access = "authenticated" },
        { name = "tools", path_prefix = "/mcp", mcp = { tools = ["delete_*"] }, roles = ["ADMIN"] },
    ]"#;
    let variables = [
        (UPSTREAM, upstream.as_str()),
        ("PORTCULLIS__RULES", rules),
        ("PORTCULLIS__MCP__SOURCE", "envoy"),
    ];
    let stack = Stack::waiting_at("/api/healthcheck", version, mode, &variables);
    let token = bearer(&json!({ "role": "REGULAR" }));
    // Envoy writes its log now and then.
    let answers: Vec<_> = cases().iter().map(|case| send(&stack, case, &token)).collect();
    let mut column = Vec::new();
    for (case, answer) in cases().iter().zip(answers) {
        let line = stack.gateway.line(&format!("\"/mcp/{}\"", case.name));
        let line: Value = serde_json::from_str(&line).unwrap();
        // What it refuses itself was not asked about.
        let by = match (answer.status, line["decision"].as_str()) {
            (200, _) => "200".to_owned(),
            (status, None) => format!("{status} by Envoy"),
            (status, Some(_)) => format!("{status} {}", text(&line["reason"])),
        };
        column.push(format!("{}: **{by}**", in_short(&line["mcp"])));
    }
    column
}

#[test]
fn each_envoy_tells_what_the_table_says_and_portcullis_refuses_what_is_reserved() {
    let columns = [
        ("1.38.3", Mode::McpFilterLoose),
        ("1.39.3", Mode::McpFilterLoose),
        ("1.40.0", Mode::McpFilterLoose),
        ("1.39.3", Mode::McpFilter),
        ("1.40.0", Mode::McpFilter),
    ];
    let told: Vec<_> = std::thread::scope(|scope| {
        let started = columns.map(|(version, mode)| scope.spawn(move || column(version, mode)));
        started.into_iter().map(|column| column.join().unwrap()).collect()
    });
    let mut table = String::new();
    for (at, case) in cases().iter().enumerate() {
        let cells: Vec<&str> = told.iter().map(|column| &*column[at]).collect();
        writeln!(table, "| {} | {} |", case.name, cells.join(" | ")).unwrap();
    }
    let written = read("tests/data/mcp-envoy.md");
    let written: String = written
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| case"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(table, written, "tests/data/mcp-envoy.md should have:\n{table}");
}
