//! MCP servers and models behind the gateway: which rule is for what is asked for, and
//! what a client without a token is told. Over 400 lines: each row of the contract is
//! held by the engine and over gRPC, with one set of rules.

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, attribute_context::HttpRequest, check_response::HttpResponse,
};
use portcullis::authz::Engine;
use serde_json::{Value, json};

use crate::{
    ask::{Ask, ask, engine},
    config::{KEY, load},
    grpc::{bearer, denied, metadata, of_http, start},
};

/// As in the contract, with a key of our own in the place of an issuer.
pub(crate) const RULES: &str = r#"
tokens.audience = "all"

[[rules]]
name = "mcp"
path_prefix = "/mcp"
scopes = ["mcp:read"]
resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com/realms/acme"], scopes_supported = ["mcp:read", "mcp:write", "offline_access"], name = "Acme tools" }

[[rules]]
name = "mcp-write"
path_prefix = "/mcp"
mcp = { methods = ["tools/call"], tools = ["delete_*", "send_mail"] }
scopes = ["mcp:read", "mcp:write"]
roles = ["ADMIN"]

[[rules]]
name = "chat"
path = "/v1/chat/completions"
llm = { models = ["gpt-4o-mini", "claude-haiku-*"], max_tokens = 4096 }
roles = ["REGULAR"]

[[rules]]
name = "asked"
path = "/asked"
access = "authenticated"
when = 'mcp.tool == "refund" && mcp.arguments.amount <= 100'

[[rules]]
name = "streamed"
path = "/streamed"
when = '!llm.stream && llm.model.startsWith("gpt-")'
"#;

pub(crate) const METADATA: &str =
    "https://app.example.com/.well-known/oauth-protected-resource/mcp";

pub(crate) fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": { "method": "ping", "amount": 7 } } })
    .to_string()
}

pub(crate) fn message(method: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string()
}

/// Somebody with a token for the resource.
fn somebody(ask: Ask, role: &str, scope: &str) -> Ask {
    ask.claiming(
        &json!({ "role": role, "scope": scope, "aud": ["all", "https://app.example.com/mcp"] }),
    )
}

/// Somebody with a token that is for no resource.
pub(crate) fn anybody() -> Value {
    json!({ "role": "REGULAR", "aud": "all" })
}

/// What was decided, by which rule.
fn outcome(engine: &Engine, ask: &Ask) -> (u16, String, String) {
    let out = ask.of(engine);
    (out.status, out.reason.to_owned(), out.rule)
}

#[test]
fn the_rule_that_names_a_tool_goes_before_the_one_that_does_not() {
    let engine = engine(RULES);
    let posted = |body: &str| ask("POST", "/mcp").json(body);
    let of = |body: &str, role: &str, scope: &str| {
        let (status, reason, rule) = outcome(&engine, &somebody(posted(body), role, scope));
        format!("{status} {reason} {rule}")
    };
    for (body, role, scope, expected) in [
        (call("search"), "REGULAR", "mcp:read", "200  mcp"),
        (call("delete_all"), "REGULAR", "mcp:read mcp:write", "403 role mcp-write"),
        (call("delete_all"), "ADMIN", "mcp:read", "403 insufficient_scope mcp-write"),
        (call("delete_all"), "ADMIN", "mcp:read mcp:write", "200  mcp-write"),
        (call("send_mail"), "REGULAR", "mcp:read", "403 role mcp-write"),
        (call("send_mails"), "REGULAR", "mcp:read", "200  mcp"),
        (call("Delete_all"), "REGULAR", "mcp:read", "200  mcp"),
        (message("tools/list"), "REGULAR", "mcp:read", "200  mcp"),
        (message("initialize"), "REGULAR", "mcp:read", "200  mcp"),
        (message("notifications/initialized"), "REGULAR", "mcp:read", "200  mcp"),
        (message("ping"), "REGULAR", "", "403 insufficient_scope mcp"),
        (
            json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string(),
            "REGULAR",
            "mcp:read",
            "200  mcp",
        ),
        (format!("[{}]", call("delete_all")), "ADMIN", "mcp:read mcp:write", "400 bad_mcp "),
        (
            call("x").replace("\"x\"", "\"x\",\"name\":\"delete_all\""),
            "REGULAR",
            "mcp:read",
            "400 bad_mcp ",
        ),
        (String::new(), "REGULAR", "mcp:read", "400 bad_mcp "),
    ] {
        assert_eq!(of(&body, role, scope), expected, "{body}");
    }
    // A session's stream and its end ask for nothing of their own.
    for method in ["GET", "DELETE"] {
        let asked = somebody(ask(method, "/mcp"), "REGULAR", "mcp:read");
        assert_eq!(outcome(&engine, &asked), (200, String::new(), "mcp".to_owned()));
    }
    // What comes without a body cannot be told.
    let blind = somebody(ask("POST", "/mcp/x"), "ADMIN", "mcp:read mcp:write");
    assert_eq!(outcome(&engine, &blind).1, "bad_mcp");
}

#[test]
fn a_client_without_a_token_is_told_where_to_get_one() {
    let engine = engine(RULES);
    let challenged = |ask: Ask| {
        let out = ask.of(&engine);
        let challenge = out.header("www-authenticate").unwrap_or_default().to_owned();
        let body: Value = serde_json::from_str(&out.body).unwrap();
        assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &Value::Null), "{body}");
        assert!(body["error"]["code"].is_i64() && body["error"]["message"].is_string(), "{body}");
        (out.status, challenge)
    };
    let posted = |body: &str| ask("POST", "/mcp").json(body);
    let of = |text: &str| format!("Bearer {}", text.replace("METADATA", METADATA));
    let read = r#"resource_metadata="METADATA", scope="mcp:read""#;
    let write = r#"resource_metadata="METADATA", scope="mcp:read mcp:write""#;
    let wrong = format!("error=\"invalid_token\", {read}");
    assert_eq!(challenged(posted(&message("initialize"))), (401, of(read)));
    assert_eq!(challenged(ask("GET", "/mcp")), (401, of(read)));
    assert_eq!(challenged(posted(&call("delete_all"))), (401, of(write)));
    assert_eq!(challenged(posted(&message("ping")).bearer("x")), (401, of(&wrong)));
    let poor = somebody(posted(&call("delete_all")), "ADMIN", "mcp:read");
    let step_up = format!("error=\"insufficient_scope\", {write}");
    assert_eq!(challenged(poor), (403, of(&step_up)));
    assert_eq!(challenged(posted("[]")), (400, String::new()));
    let role = somebody(posted(&call("delete_all")), "REGULAR", "mcp:read mcp:write");
    assert_eq!(challenged(role), (403, String::new()));
    // The audience is the resource, to the letter.
    for audience in [
        "",
        "https://app.example.com/mcp/",
        "https://app.example.com/mc",
        "https://app.example.com/mcp2",
        "https://APP.example.com/mcp",
        "https://app.example.com",
    ] {
        let claims = json!({ "scope": "mcp:read", "aud": ["all", audience] });
        let refused = challenged(posted(&message("ping")).claiming(&claims));
        assert_eq!(refused, (401, of(&wrong)), "{audience}");
    }
    let good = somebody(posted(&message("ping")), "REGULAR", "mcp:read");
    assert_eq!(good.of(&engine).status, 200);
    // Elsewhere nothing is told of it.
    let chat = ask("POST", "/v1/chat/completions").json(r#"{"model":"gpt-4o-mini"}"#).of(&engine);
    assert_eq!(chat.header("www-authenticate"), Some(r#"Bearer realm="portcullis""#));
}

#[test]
fn models_are_let_through_by_name_and_no_larger_ask_is() {
    let engine = engine(RULES);
    for (body, expected) in [
        (json!({ "model": "gpt-4o-mini", "max_tokens": 4096 }), (200, "")),
        (json!({ "model": "claude-haiku-4", "max_tokens": 1, "stream": true }), (200, "")),
        (json!({ "model": "gpt-4o-mini", "max_completion_tokens": 4097 }), (403, "max_tokens")),
        (json!({ "model": "gpt-4o-mini" }), (403, "max_tokens")),
        (json!({ "model": "gpt-4o", "max_tokens": 1 }), (403, "operation")),
        (json!({ "model": "GPT-4o-mini", "max_tokens": 1 }), (403, "operation")),
        (json!({ "model": ["gpt-4o-mini"], "max_tokens": 1 }), (400, "bad_body")),
        (json!({ "Model": "gpt-4o-mini", "max_tokens": 1 }), (400, "bad_body")),
        (json!([]), (400, "bad_body")),
    ] {
        let out = ask("POST", "/v1/chat/completions")
            .json(&body.to_string())
            .claiming(&anybody())
            .of(&engine);
        assert_eq!((out.status, out.reason), expected, "{body}");
        // A denial says no more than any other.
        assert!(!out.body.contains("gpt"), "{}", out.body);
    }
    let blind = ask("POST", "/v1/chat/completions").claiming(&anybody()).of(&engine);
    assert_eq!((blind.status, blind.reason), (400, "bad_body"));
    let listed = ask("GET", "/v1/chat/completions").claiming(&anybody()).of(&engine);
    assert_eq!((listed.status, listed.reason), (403, "operation"));
}

#[test]
fn conditions_ask_for_the_tool_its_arguments_and_the_model() {
    let engine = engine(RULES);
    let refund = |amount: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": "refund", "arguments": { "amount": amount } } })
        .to_string()
    };
    for (path, body, status) in [
        ("/asked", refund(json!(100)), 200),
        ("/asked", refund(json!(101)), 403),
        ("/asked", refund(json!("7")), 403),
        ("/asked", refund(Value::Null), 403),
        ("/asked", call("refund"), 200),
        ("/asked", call("search"), 403),
        ("/asked", message("ping"), 403),
        // What cannot be told is not true.
        ("/asked", "[]".to_owned(), 403),
        ("/asked", refund(json!(1)).replace("\"amount\":1", "\"amount\":1,\"amount\":500"), 403),
        ("/streamed", json!({ "model": "gpt-4o" }).to_string(), 200),
        ("/streamed", json!({ "model": "gpt-4o", "stream": true }).to_string(), 403),
        ("/streamed", json!({ "model": "o3" }).to_string(), 403),
        ("/streamed", "{}".to_owned(), 403),
    ] {
        let out = ask("POST", path).json(&body).claiming(&anybody()).of(&engine);
        assert_eq!(out.status, status, "{path} {body}: {}", out.reason);
    }
}

#[test]
fn rules_that_nobody_could_tell_apart_are_refused_and_so_is_what_names_nothing() {
    let rule = |name: &str, more: &str| {
        format!("[[rules]]\nname = \"{name}\"\npath = \"/x\"\naccess = \"authenticated\"\n{more}\n")
    };
    for (rules, key) in [
        (
            rule("a", "mcp = { tools = [\"a*\"] }")
                + &rule("b", "mcp = { tools = [\"b\", \"a*\"] }"),
            "rules",
        ),
        (
            rule("a", "llm = { models = [\"m\"] }")
                + &rule("b", "llm = { models = [\"m\"], max_tokens = 1 }"),
            "rules",
        ),
        (
            rule("a", "llm = { models = [\"m\"] }") + &rule("b", "mcp = { tools = [\"m\"] }"),
            "rules",
        ),
        (
            rule("a", "llm = { models = [\"m\"] }\nmethods = [\"POST\"]")
                + &rule("b", "mcp = { tools = [\"n\"] }"),
            "rules",
        ),
        (rule("a", "mcp = {}"), "rules[0].mcp"),
        (rule("a", "llm = {}"), "rules[0].llm"),
        (rule("a", "mcp = { tools = [\"a*b\"] }"), "rules[0].mcp.tools"),
        (
            rule("a", "mcp = { methods = [\"tools/list\"], tools = [\"a\"] }"),
            "rules[0].mcp.methods",
        ),
        (rule("a", "mcp = { tools = [\"a\"] }\nllm = { models = [\"m\"] }"), "rules[0].llm"),
        (rule("a", "llm = { models = [\"m\"], max_tokens = -1 }"), "rules[0].llm.max_tokens"),
        (rule("a", "resource = { url = \"https://x/y\" }"), "rules[0].resource"),
        (
            rule(
                "a",
                "methods = [\"GET\"]\nresource = { url = \"https://x/y\", authorization_servers = [\"https://i\"] }",
            ) + &rule(
                "b",
                "methods = [\"PUT\"]\nresource = { url = \"https://x/z\", authorization_servers = [\"https://i\"] }",
            ),
            "rules",
        ),
        (
            rule(
                "a",
                "resource = { url = \"https://x/y/\", authorization_servers = [\"https://i\"] }",
            ),
            "rules[0].resource",
        ),
        ("[mcp]\nsource = \"query\"\n".to_owned() + &rule("a", ""), "mcp.source"),
        ("[check]\nmax_body_bytes = 1048576\n".to_owned() + &rule("a", ""), "check.max_body_bytes"),
    ] {
        let problems = load(&rules, &[KEY]).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|problem| &*problem.key).collect();
        assert!(keys.contains(&key), "{rules}: {keys:?}");
    }
    // Those of other methods, and those that name more or less closely, stand together.
    let good = [
        rule("a", "mcp = { tools = [\"a*\"] }\nmethods = [\"POST\"]"),
        rule("b", "mcp = { tools = [\"a*\"] }\nmethods = [\"PUT\"]"),
        rule("c", "mcp = { tools = [\"ab\"] }"),
        rule("d", "mcp = { methods = [\"tools/*\"] }"),
        rule("e", ""),
    ];
    load(&good.concat(), &[KEY]).unwrap();
}

#[test]
fn a_preflight_of_a_page_elsewhere_passes_before_anything_is_asked_for() {
    let engine = engine(
        "[[rules]]\nname = \"a\"\npath = \"/x\"\naccess = \"authenticated\"\npreflight = true\nmcp = { tools = [\"a\"] }",
    );
    let preflight = |method: &str| {
        ask("OPTIONS", "/x")
            .with("origin", "https://inspector.example.com")
            .with("access-control-request-method", method)
            .of(&engine)
    };
    assert_eq!((preflight("POST").status, preflight("POST").rule), (200, "a".to_owned()));
    assert_eq!(ask("OPTIONS", "/x").of(&engine).reason, "operation");
}

/// Asks over gRPC, as Envoy does with `with_request_body`.
pub(crate) fn posted(path: &str, body: &[u8], more: &[(&str, &str)]) -> HttpRequest {
    let token =
        bearer(&json!({ "scope": "mcp:read", "aud": ["all", "https://app.example.com/mcp"] }));
    let headers = [
        ("authorization", &*token),
        ("content-type", "application/json"),
        ("x-envoy-auth-partial-body", "false"),
    ];
    let headers = headers.iter().filter(|(name, _)| more.iter().all(|(own, _)| own != name));
    HttpRequest {
        method: "POST".into(),
        host: "app.example.com".into(),
        path: path.into(),
        headers: headers.chain(more).map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        raw_body: body.to_vec(),
        ..HttpRequest::default()
    }
}

fn answered(response: &CheckResponse) -> (i32, String, Vec<(String, String)>) {
    let Some(HttpResponse::DeniedResponse(answer)) = &response.http_response else {
        panic!("{response:?}");
    };
    let headers = answer.headers.iter().filter_map(|option| option.header.as_ref());
    let headers = headers.map(|header| (header.key.clone(), header.value.clone()));
    (answer.status.as_ref().unwrap().code, answer.body.clone(), headers.collect())
}

#[tokio::test]
async fn the_gateway_is_told_what_was_asked_for_and_no_argument() {
    let service = start(RULES).await;
    let allowed = service.check(of_http(posted("/mcp", call("search").as_bytes(), &[]))).await;
    assert_eq!(allowed.status.as_ref().unwrap().code, 0, "{allowed:?}");
    assert_eq!(metadata(&allowed, "mcp_method"), "tools/call");
    assert_eq!(metadata(&allowed, "mcp_tool"), "search");
    assert_eq!(metadata(&allowed, "llm_model"), "absent");
    assert!(!format!("{allowed:?}").contains("amount"), "{allowed:?}");
    let chat = json!({ "model": "claude-haiku-4", "max_tokens": 9 }).to_string();
    let chat = service.check(of_http(posted("/v1/chat/completions", chat.as_bytes(), &[]))).await;
    assert_eq!(metadata(&chat, "llm_model"), "claude-haiku-4");
    assert_eq!(metadata(&chat, "mcp_method"), "absent");
}

#[tokio::test]
async fn a_body_that_the_gateway_has_not_sent_whole_is_none() {
    let service = start(RULES).await;
    let body = call("search");
    let body = body.as_bytes();
    let partial = |value: &'static str| [("x-envoy-auth-partial-body", value)];
    let both = HttpRequest { body: call("a"), ..posted("/mcp", body, &[]) };
    let silent = {
        let mut http = posted("/mcp", body, &[]);
        http.headers.remove("x-envoy-auth-partial-body");
        http
    };
    for http in [
        posted("/mcp", body, &partial("true")),
        posted("/mcp", body, &partial("false,true")),
        posted("/mcp", body, &[("content-length", "9")]),
        posted("/mcp", body, &[("content-encoding", "gzip")]),
        posted("/mcp", &body[..body.len() - 1], &[]),
        posted("/mcp", b"", &[]),
        posted("/mcp", &[body, b"\0"].concat(), &[]),
        posted("/mcp", &[&b"\xef\xbb\xbf"[..], body].concat(), &[]),
        posted("/mcp", &vec![b' '; 64 * 1024 + 1], &[]),
        // As text, it is what Envoy has made of it.
        HttpRequest { body: call("search"), ..posted("/mcp", b"", &[]) },
        both,
        silent,
    ] {
        let response = service.check(of_http(http.clone())).await;
        assert_eq!(denied(&response), (7, 400, "bad_mcp".into()), "{http:?}");
    }
    // The name behind 20 KB of arguments is read.
    let far = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "arguments": { "text": "x".repeat(20 * 1024) }, "name": "delete_all" } });
    let far = service.check(of_http(posted("/mcp", far.to_string().as_bytes(), &[]))).await;
    assert_eq!(denied(&far), (7, 403, "role".into()));
    assert_eq!(metadata(&far, "mcp_tool"), "delete_all");
}

#[tokio::test]
async fn the_metadata_of_a_resource_is_answered_whoever_asks_and_says_nothing_of_the_request() {
    let service = start(RULES).await;
    let asked = |method: &str, host: &str, path: &str| {
        of_http(HttpRequest {
            method: method.into(),
            host: host.into(),
            path: path.into(),
            headers: [("x-forwarded-host".into(), "evil.example.com".into())].into(),
            ..HttpRequest::default()
        })
    };
    let path = "/.well-known/oauth-protected-resource/mcp";
    let response = service.check(asked("GET", "app.example.com:443", path)).await;
    let (status, body, headers) = answered(&response);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, body),
        (
            200,
            json!({
                "resource": "https://app.example.com/mcp",
                "authorization_servers": ["https://idp.example.com/realms/acme"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["mcp:read", "mcp:write"],
                "resource_name": "Acme tools",
            })
        )
    );
    for header in [
        ("content-type", "application/json"),
        ("cache-control", "public, max-age=300"),
        ("access-control-allow-origin", "*"),
    ] {
        let header = (header.0.to_owned(), header.1.to_owned());
        assert!(headers.contains(&header), "{headers:?}");
    }
    assert_eq!(metadata(&response, "decision"), "answer");
    let head = service.check(asked("HEAD", "app.example.com", path)).await;
    assert_eq!((answered(&head).0, answered(&head).1), (200, String::new()));
    let preflight = service.check(asked("OPTIONS", "app.example.com", path)).await;
    assert_eq!(answered(&preflight).0, 204);
    for (method, host, path) in [
        ("POST", "app.example.com", path),
        ("GET", "evil.example.com", path),
        ("GET", "app.example.com", "/.well-known/oauth-protected-resource"),
        ("GET", "app.example.com", "/.well-known/oauth-protected-resource/mcp/"),
        ("GET", "app.example.com", "/.well-known/oauth-protected-resource/MCP"),
    ] {
        let response = service.check(asked(method, host, path)).await;
        assert_eq!(denied(&response), (7, 403, "no_rule".into()), "{method} {host} {path}");
    }
}

/// Rules around a resource, of which none says anything about it.
const AROUND: &str = r#"
tokens.audience = "all"
[[rules]]
name = "mcp"
path_prefix = "/mcp"
access = "authenticated"
resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com"] }
[[rules]]
name = "admin"
path = "/mcp/admin"
access = "authenticated"
[[rules]]
name = "here"
path = "/mcp/here"
hosts = ["app.example.com"]
access = "authenticated"
[[rules]]
name = "open"
path_prefix = "/mcp/open"
access = "public"
[[rules]]
name = "rest"
path_prefix = "/"
access = "authenticated"
"#;

#[test]
fn a_token_for_somebody_else_is_none_below_a_resource_whichever_rule_decides() {
    let engine = engine(AROUND);
    let elsewhere = json!({ "aud": "all" });
    let here = json!({ "aud": ["all", "https://app.example.com/mcp"] });
    for path in ["/mcp", "/mcp/", "/mcp/x", "/mcp/admin", "/mcp/here"] {
        let out = ask("GET", path).claiming(&elsewhere).of(&engine);
        assert_eq!((out.status, out.reason), (401, "bad_audience"), "{path}");
        assert!(out.header("www-authenticate").unwrap().contains("resource_metadata"), "{path}");
        assert_eq!(ask("GET", path).claiming(&here).of(&engine).status, 200, "{path}");
    }
    // Where nobody has to have one, it is nobody's.
    let open = ask("GET", "/mcp/open").claiming(&elsewhere).of(&engine);
    assert_eq!((open.status, &*open.user, open.sets("x-user-id")), (200, "", None));
    let open = ask("GET", "/mcp/open").claiming(&here).of(&engine);
    assert_eq!((open.status, open.sets("x-user-id")), (200, Some("7")));
    assert_eq!(ask("GET", "/mcpx").claiming(&elsewhere).of(&engine).status, 200);
}

#[test]
fn a_shadow_tells_of_what_it_could_not_have_read() {
    let engine = engine(
        "[[rules]]\nname = \"plain\"\npath = \"/x\"\naccess = \"authenticated\"\n\
         [[rules]]\nname = \"asks\"\npath = \"/x\"\naccess = \"authenticated\"\nmode = \"shadow\"\n\
         mcp = { tools = [\"a\"] }\n",
    );
    let shadow = |body: &str| ask("POST", "/x").json(body).role("REGULAR").of(&engine).shadow;
    assert_eq!(shadow("[]"), ["asks"]);
    assert_eq!(shadow(&call("a")), [""; 0]);
    assert_eq!(shadow(&call("b")), [""; 0]);
}

#[test]
fn arguments_that_nobody_told_are_not_taken_for_none() {
    let engine = engine(
        "mcp.source = \"headers\"\n[[rules]]\nname = \"a\"\npath = \"/x\"\n\
         when = '!has(mcp.arguments.force)'\n",
    );
    let out = ask("POST", "/x")
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "tools/call")
        .with("mcp-name", "a")
        .role("REGULAR")
        .of(&engine);
    assert_eq!((out.status, out.reason), (403, "condition"));
}
