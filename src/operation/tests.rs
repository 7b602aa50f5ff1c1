use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const NOW: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

pub(super) fn carried<T>(
    method: &str,
    headers: &[(&str, &str)],
    body: Body<'_>,
    read: impl FnOnce(&Carried<'_, '_>) -> T,
) -> T {
    let header = |name: &str| {
        let mut values = headers.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (one, None) => Ok(one),
            _ => Err(Unclear::Headers),
        }
    };
    read(&Carried {
        http_method: method,
        query: "page=2",
        body,
        told: McpTold::Nothing,
        max_body_bytes: 64 * 1024,
        header: &header,
    })
}

/// What is asked of an MCP server: its method, and what it names.
fn mcp(
    source: McpSource,
    method: &str,
    headers: &[(&str, &str)],
    body: Body<'_>,
) -> Result<Option<String>, Unclear> {
    carried(method, headers, body, |carried| {
        let ask = McpAsk::read(source, carried)?;
        Ok(ask.map(|ask| format!("{} {}", ask.method, ask.name.as_deref().unwrap_or("-"))))
    })
}

fn posted(headers: &[(&str, &str)], body: &str) -> Result<Option<String>, Unclear> {
    let headers = [headers, &[JSON]].concat();
    mcp(McpSource::Body, "POST", &headers, Body::Whole(body.as_bytes()))
}

fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "arguments": { "name": "x", "method": "y" }, "name": tool } })
    .to_string()
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what can fail")]
fn asks(text: &str) -> Result<Option<String>, Unclear> {
    Ok(Some(text.to_owned()))
}

#[test]
fn a_message_is_told_by_its_body() {
    assert_eq!(posted(&[], &call("send_mail")), asks("tools/call send_mail"));
    for (body, expected) in [
        (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#, "tools/list -"),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notifications/initialized -",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#,
            "resources/read file:///a",
        ),
        (
            r#"{"params":{"name":"p"},"method":"prompts/get","id":1,"jsonrpc":"2.0"}"#,
            "prompts/get p",
        ),
    ] {
        assert_eq!(posted(&[], body), asks(expected), "{body}");
    }
    // An answer to the server asks for nothing.
    assert_eq!(posted(&[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(None));
    assert_eq!(posted(&[], r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#), Ok(None));
    // Nor does a session's stream, nor its end.
    for method in ["GET", "DELETE", "OPTIONS", "HEAD"] {
        assert_eq!(mcp(McpSource::Body, method, &[], Body::Absent), Ok(None), "{method}");
        assert_eq!(mcp(McpSource::Headers, method, &[], Body::Absent), Ok(None), "{method}");
    }
}

#[test]
fn a_message_that_can_be_read_in_two_ways_is_refused() {
    for (body, cause) in [
        (r#"{"method":"tools/list","method":"tools/call"}"#, Unclear::Json),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Unclear::NoObject),
        (r#"{"id":1,"method":"ping"}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","result":1}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":1}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":1}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":null,"result":1}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#, Unclear::NoMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping "}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"p\u0000ing"}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"pïng"}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["a"]}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, Unclear::Name),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"a"}}"#, Unclear::Json),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"PARAMS":{}}"#,
            Unclear::Json,
        ),
        ("", Unclear::Json),
    ] {
        assert_eq!(posted(&[], body), Err(cause), "{body}");
    }
    for name in ["a\\u0000", "a\\n", " a", "a\\u0085", "a\\ufeff", "a\\u200b", "a\\u00a0b", ""] {
        let body = call("TOOL").replace("TOOL", name);
        assert_eq!(posted(&[], &body), Err(Unclear::Name), "{name}");
    }
}

#[test]
fn a_body_that_is_not_whole_and_plain_is_refused() {
    let body = call("a");
    let of = |method: &str, headers: &[(&str, &str)], body: Body<'_>| {
        mcp(McpSource::Body, method, headers, body)
    };
    let whole = Body::Whole(body.as_bytes());
    assert_eq!(of("POST", &[JSON], Body::Absent), Err(Unclear::Nothing));
    assert_eq!(of("POST", &[JSON], Body::Cut), Err(Unclear::Cut));
    assert_eq!(of("POST", &[], whole), Err(Unclear::MediaType));
    assert_eq!(of("POST", &[("content-type", "text/plain")], whole), Err(Unclear::MediaType));
    assert_eq!(of("POST", &[JSON, JSON], whole), Err(Unclear::MediaType));
    let form = ("content-type", "multipart/form-data; boundary=b");
    assert_eq!(of("POST", &[form], whole), Err(Unclear::MediaType));
    let length = body.len().to_string();
    for (length, expected) in [
        (&*length, asks("tools/call a")),
        ("1", Err(Unclear::Cut)),
        (&*format!("+{length}"), Err(Unclear::Cut)),
        ("x", Err(Unclear::Cut)),
    ] {
        assert_eq!(of("POST", &[JSON, ("content-length", length)], whole), expected, "{length}");
    }
    for (coding, expected) in [
        ("identity", asks("tools/call a")),
        ("gzip", Err(Unclear::Encoded)),
        ("", Err(Unclear::Encoded)),
        ("identity, gzip", Err(Unclear::Encoded)),
    ] {
        assert_eq!(of("POST", &[JSON, ("content-encoding", coding)], whole), expected, "{coding}");
    }
    let long = call(&"a".repeat(64 * 1024));
    assert_eq!(of("POST", &[JSON], Body::Whole(long.as_bytes())), Err(Unclear::TooLong));
    // Whatever asks for something by another method is read, and not let through.
    assert_eq!(of("PUT", &[JSON], whole), asks("tools/call a"));
    assert_eq!(of("GET", &[JSON], whole), Err(Unclear::NoMessage));
    assert_eq!(of("GET", &[("content-length", "9")], Body::Absent), Err(Unclear::NoMessage));
    assert_eq!(
        of("GET", &[("transfer-encoding", "chunked")], Body::Absent),
        Err(Unclear::NoMessage)
    );
    assert_eq!(of("GET", &[("content-length", "0")], Body::Whole(b"")), Ok(None));
}

#[test]
fn headers_tell_what_the_body_tells_or_nothing() {
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "a");
    let body = call("a");
    for (headers, expected) in [
        (&[method, name, NOW][..], asks("tools/call a")),
        (&[NOW], asks("tools/call a")),
        (&[method, name], Err(Unclear::Protocol)),
        (&[method, name, ("mcp-protocol-version", "2025-11-25")], Err(Unclear::Protocol)),
        (&[method, name, ("mcp-protocol-version", "2027")], Err(Unclear::Protocol)),
        (&[method, name, ("mcp-protocol-version", "9999999999")], Err(Unclear::Protocol)),
        (&[method, name, NOW, NOW], Err(Unclear::Protocol)),
        (&[method, NOW], Err(Unclear::Headers)),
        (&[name, NOW], Err(Unclear::Headers)),
        (&[method, name, name, NOW], Err(Unclear::Headers)),
        (&[method, method, name, NOW], Err(Unclear::Headers)),
        (&[method, ("mcp-name", "b"), NOW], Err(Unclear::Headers)),
        (&[method, ("mcp-name", "A"), NOW], Err(Unclear::Headers)),
        (&[("mcp-method", "tools/list"), NOW], Err(Unclear::Headers)),
        (&[("mcp-method", "tools/list"), name, NOW], Err(Unclear::Headers)),
        (&[method, ("mcp-name", "=?base64?YQ==?="), NOW], asks("tools/call a")),
        (&[method, ("mcp-name", "=?base64?YQ?="), NOW], Err(Unclear::Name)),
        (&[method, ("mcp-name", "=?utf-8?Q?a?="), NOW], Err(Unclear::Name)),
        (&[method, ("mcp-name", "\u{e4}"), NOW], Err(Unclear::Name)),
    ] {
        assert_eq!(posted(headers, &body), expected, "{headers:?}");
    }
    // An answer to the server has none.
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(posted(&[method, name, NOW], answer), Err(Unclear::Headers));
}

#[test]
fn headers_alone_tell_where_they_are_the_source() {
    let of =
        |headers: &[(&str, &str)], body: Body<'_>| mcp(McpSource::Headers, "POST", headers, body);
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "a");
    assert_eq!(of(&[method, name, NOW], Body::Absent), asks("tools/call a"));
    assert_eq!(of(&[("mcp-method", "ping"), NOW], Body::Absent), asks("ping -"));
    assert_eq!(of(&[method, NOW], Body::Absent), Err(Unclear::Name));
    assert_eq!(of(&[], Body::Absent), Err(Unclear::Nothing));
    assert_eq!(of(&[NOW], Body::Absent), Err(Unclear::Nothing));
    // Where the body is known, too, both say the same.
    let body = call("a");
    let whole = Body::Whole(body.as_bytes());
    assert_eq!(of(&[JSON, method, name, NOW], whole), asks("tools/call a"));
    assert_eq!(of(&[JSON, method, ("mcp-name", "b"), NOW], whole), Err(Unclear::Headers));
    assert_eq!(of(&[JSON, NOW], whole), Err(Unclear::Nothing));
    assert_eq!(of(&[JSON, method, name, NOW], Body::Cut), Err(Unclear::Cut));
}

fn llm(
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Option<(String, bool, Option<u64>)>, Unclear> {
    carried("POST", headers, Body::Whole(body.as_bytes()), |carried| {
        let ask = LlmAsk::read(carried)?;
        Ok(ask.map(|ask| (ask.model.into_owned(), ask.stream, ask.max_tokens)))
    })
}

#[test]
fn a_model_is_told_by_every_form_of_request() {
    let model = |stream, tokens| Ok(Some(("gpt-4o-mini".to_owned(), stream, tokens)));
    for (body, expected) in [
        (json!({ "model": "gpt-4o-mini", "messages": [{ "content": "hi" }] }), model(false, None)),
        (json!({ "model": "gpt-4o-mini", "stream": true, "max_tokens": 5 }), model(true, Some(5))),
        (json!({ "model": "gpt-4o-mini", "max_completion_tokens": 7 }), model(false, Some(7))),
        // What another kind of request has for it counts for nothing.
        (
            json!({ "model": "gpt-4o-mini", "max_output_tokens": 7, "max_tokens": 9 }),
            model(false, Some(9)),
        ),
        (
            json!({ "model": "gpt-4o-mini", "input": "x", "max_output_tokens": 7, "max_tokens": 9 }),
            model(false, Some(7)),
        ),
        (json!({ "model": "gpt-4o-mini", "input": "x", "max_tokens": 9 }), model(false, None)),
        (json!({ "model": "gpt-4o-mini", "max_output_tokens": 9 }), model(false, None)),
        (json!({ "model": "gpt-4o-mini", "max_tokens": 9, "n": 3 }), model(false, Some(27))),
        (json!({ "model": "gpt-4o-mini", "models": ["o3"] }), Err(Unclear::OtherModel)),
        (json!({ "model": "gpt-4o-mini", "fallbacks": ["o3"] }), Err(Unclear::OtherModel)),
        (json!({ "model": "gpt-4o-mini", "extra_body": {} }), Err(Unclear::OtherModel)),
        (json!({ "model": "gpt-4o-mini, o3" }), Err(Unclear::OtherModel)),
        (json!({ "model": "gpt-4o-mini\u{feff}" }), Err(Unclear::Name)),
        (json!({ "model": "gpt-4o-mini", "max_tokens": null, "stream": null }), model(false, None)),
        (json!({ "model": "gpt-4o-mini", "input": [{ "model": "x" }] }), model(false, None)),
        (json!({ "model": ["gpt-4o-mini"] }), Err(Unclear::Name)),
        (json!({ "Model": "gpt-4o-mini" }), Err(Unclear::Json)),
        (json!({ "model": "gpt-4o-mini", "MODEL": "x" }), Err(Unclear::Json)),
        (json!({ "messages": [] }), Err(Unclear::Name)),
        (json!({ "model": "gpt-4o-mini", "stream": "true" }), Err(Unclear::Value)),
        (json!({ "model": "gpt-4o-mini", "max_tokens": 1.5 }), Err(Unclear::Value)),
        (json!({ "model": "gpt-4o-mini", "max_tokens": "5" }), Err(Unclear::Value)),
        (json!({ "model": "gpt-4o-mini", "max_tokens": -5 }), Err(Unclear::Value)),
        (json!([]), Err(Unclear::NoObject)),
    ] {
        assert_eq!(llm(&[JSON], &body.to_string()), expected, "{body}");
    }
    let twice = r#"{"model":"gpt-4o-mini","model":"o3"}"#;
    assert_eq!(llm(&[JSON], twice), Err(Unclear::Json));
    let form =
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o-mini\r\n--b--\r\n";
    let kind = ("content-type", "multipart/form-data; boundary=b");
    assert_eq!(llm(&[kind], form), model(false, None));
    assert_eq!(llm(&[kind], &form.replace("model", "other")), Err(Unclear::Name));
    assert_eq!(llm(&[JSON], form), Err(Unclear::Json));
    assert_eq!(llm(&[kind], r#"{"model":"gpt-4o-mini"}"#), Err(Unclear::Form));
    let stream = "--b\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n";
    assert_eq!(llm(&[kind], &format!("{stream}{form}")), model(true, None));
    assert_eq!(
        llm(&[kind], &format!("{}{form}", stream.replace("true", "1"))),
        Err(Unclear::Value)
    );
    for (query, is_refused) in [
        ("model=o3", true),
        ("a=1&Mod%65l=o3", true),
        ("a=1;model", true),
        ("+Model%20%09=o3", true),
        ("%00model%0A=o3", true),
        ("models=1&modelx=2", false),
    ] {
        let body = br#"{"model":"gpt-4o-mini"}"#;
        let ask = carried("POST", &[JSON], Body::Whole(body), |carried| {
            LlmAsk::read(&Carried { query, ..*carried }).map(|_| ())
        });
        assert_eq!(ask, if is_refused { Err(Unclear::OtherModel) } else { Ok(()) }, "{query}");
    }
    let none =
        carried("GET", &[], Body::Absent, |carried| LlmAsk::read(carried).map(|ask| ask.is_none()));
    assert_eq!(none, Ok(true));
}

#[test]
fn rules_name_what_is_asked_for_more_or_less_closely() {
    let pattern = |text: &&str| NamePattern::parse(text).unwrap();
    let rule = |methods: &[&str], tools: &[&str]| McpRule {
        methods: methods.iter().map(pattern).collect(),
        tools: tools.iter().map(pattern).collect(),
    };
    let call = |tool: &'static str| McpAsk { method: "tools/call".into(), name: Some(tool.into()) };
    let list = McpAsk { method: "tools/list".into(), name: None };
    let prompt = McpAsk { method: "prompts/get".into(), name: Some("delete_all".into()) };
    let rules = [
        rule(&["*"], &[]),
        rule(&["tools/*"], &[]),
        rule(&["tools/call"], &[]),
        rule(&[], &["*"]),
        rule(&[], &["delete_*"]),
        rule(&[], &["delete_all"]),
        rule(&["tools/call"], &["delete_all"]),
    ];
    let best = |ask: &McpAsk<'_>| {
        let ranks = rules.iter().enumerate().filter_map(|(at, rule)| Some((rule.rank(ask)?, at)));
        ranks.max().unwrap().1
    };
    assert_eq!(best(&call("delete_all")), 6);
    assert_eq!(best(&call("delete_one")), 4);
    assert_eq!(best(&call("send_mail")), 3);
    assert_eq!(best(&list), 1);
    // What is named like a tool, and is none.
    assert_eq!(best(&prompt), 0);
    for (at, one) in rules.iter().enumerate() {
        for (other_at, other) in rules.iter().enumerate() {
            assert_eq!(one.collides(other), at == other_at, "{one:?} {other:?}");
        }
    }
    let models = |names: &[&str], max_tokens| LlmRule {
        models: names.iter().map(pattern).collect(),
        max_tokens,
    };
    let ask = |max_tokens| LlmAsk { model: "gpt-4o".into(), stream: false, max_tokens };
    assert!(models(&["gpt-4o"], None).rank(&ask(None)) > models(&["gpt-*"], None).rank(&ask(None)));
    assert!(models(&["o3", "gpt-*"], None).rank(&ask(None)) > models(&[], None).rank(&ask(None)));
    assert_eq!(models(&["o3"], None).rank(&ask(None)), None);
    assert!(
        models(&[], Some(5)).admits(&ask(Some(5))) && !models(&[], Some(5)).admits(&ask(Some(6)))
    );
    // Who does not say how much asks for as much as there is.
    assert!(!models(&[], Some(5)).admits(&ask(None)) && models(&[], None).admits(&ask(None)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z\\PC\\x00-\\x1f]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-zA-Z_ſ]{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever is written as JSON, whatever it holds, is read as what it says.
    #[test]
    fn what_is_written_is_read(arguments in any_json(), tool in "[a-z_]{1,12}", pretty: bool) {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                           "params": { "name": tool, "arguments": arguments } });
        let text =
            if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let asked = posted(&[], &text);
        // A zero in a member's name is refused; nothing else is.
        prop_assert!(asked == asks(&format!("tools/call {tool}")), "{text}: {asked:?}");
    }

    /// A body of which a byte is another one is refused, or says what another reader of
    /// it says.
    #[test]
    fn what_is_broken_is_refused_or_means_what_it_says(at in any::<prop::sample::Index>(), byte: u8) {
        let mut body = call("send_mail").into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let asked = mcp(McpSource::Body, "POST", &[JSON], Body::Whole(&body));
        if let Ok(asked) = asked {
            let read: Value = serde_json::from_slice(&body).unwrap();
            let name = read["params"]["name"].as_str().filter(|_| read["method"] == "tools/call");
            let method = read["method"].as_str().unwrap();
            prop_assert_eq!(asked, Some(format!("{method} {}", name.unwrap_or("-"))));
        }
    }
}
