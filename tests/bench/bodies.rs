//! What a check costs, from bytes to bytes, where a rule is for what an MCP server is
//! asked for: by the path alone, by the headers that tell, and by bodies of two lengths.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use portcullis::{
    app,
    checker::Checker,
    config::{Config, Sources},
    decision_log::DecisionLog,
    grpc::CheckService,
    proto::envoy::service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Request},
        check_response::HttpResponse,
    },
    token::RevocationList,
};
use prost::Message as _;
use serde_json::json;

use crate::{Fixed, NOW, jwt, taken};

/// Questions of a kind in a turn.
const TIMES: u32 = 100;
const PLAIN: &str = "[[rules]]\nname = \"mcp\"\npath_prefix = \"/mcp\"\nroles = [\"REGULAR\"]\n";
const BY_TOOL: &str = "[[rules]]\nname = \"mcp-write\"\npath_prefix = \"/mcp\"\nroles = [\"REGULAR\"]\n\
                       mcp = { methods = [\"tools/call\"], tools = [\"delete_*\", \"send_mail\"] }\n";

fn service(rules: &str) -> CheckService {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    let secret = ("AUTH_JWT_SECRET".into(), jwt::SECRET.into());
    let config = Config::load(&Sources::new(vec![file.path().into()], [secret])).unwrap();
    let engine = app::engine(config, Arc::new(RevocationList::empty()));
    CheckService::new(Arc::new(Checker::new(
        Arc::new(engine),
        Arc::new(Fixed),
        DecisionLog::new(0.0),
    )))
}

/// A call of this many bytes or a little less, most of it its arguments: records of text,
/// numbers and quotes.
fn call(bytes: usize) -> Vec<u8> {
    let record = |at: usize| json!({ "at": at, "is_read": false, "text": "He said \"yes\",\nand went on for as long as a line is." });
    let with = |records: usize| {
        let lines: Vec<_> = (0..records).map(record).collect();
        let params = json!({ "name": "send_mail", "arguments": { "to": "ann", "lines": lines } });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        serde_json::to_vec(&call).unwrap()
    };
    with((bytes - 150) / (record(1000).to_string().len() + 1))
}

fn question(mcp_headers: bool, body: Vec<u8>) -> Vec<u8> {
    let length = body.len().to_string();
    let bearer = format!("Bearer {}", jwt::token(&jwt::with(NOW, &json!({}))));
    let mut headers = vec![
        (":authority", "app.example.com"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", &bearer),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("user-agent", "node"),
        ("x-forwarded-for", "192.0.2.10"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "4d3a75a5-41cf-400f-8471-f0a1b6fdcbfe"),
    ];
    if mcp_headers {
        headers.extend([("mcp-method", "tools/call"), ("mcp-name", "send_mail")]);
    }
    if !body.is_empty() {
        headers
            .extend([("content-length", length.as_str()), ("x-envoy-auth-partial-body", "false")]);
    }
    let http = HttpRequest {
        method: "POST".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/mcp".to_owned(),
        raw_body: body.into(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    let request = Some(Request { http: Some(http), ..Request::default() });
    let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
    CheckRequest { attributes }.encode_to_vec()
}

/// Runs all kinds in so many turns, and prints nanoseconds of CPU as JSON: the median
/// of each.
pub(crate) fn bodies(turns: usize) {
    let plain = service(PLAIN);
    let by_body = service(&format!("{PLAIN}{BY_TOOL}"));
    let by_headers = service(&format!("mcp.source = \"headers\"\n{PLAIN}{BY_TOOL}"));
    let kinds: [(&str, &CheckService, Vec<u8>, &str); 5] = [
        ("plain", &plain, question(false, Vec::new()), "mcp"),
        ("plain_with_headers", &plain, question(true, Vec::new()), "mcp"),
        ("headers", &by_headers, question(true, Vec::new()), "mcp-write"),
        ("body_4k", &by_body, question(false, call(4 * 1024)), "mcp-write"),
        ("body_64k", &by_body, question(false, call(64 * 1024)), "mcp-write"),
    ];
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for turn in 0..=turns {
        for (name, service, question, rule) in &kinds {
            let each = taken(TIMES, || {
                for _ in 0..TIMES {
                    black_box(service.answer(Some(black_box(question))));
                }
            });
            // The first turn warms up.
            if turn > 0 {
                took.entry(name).or_default().push(each);
                continue;
            }
            let answer = CheckResponse::decode(service.answer(Some(question))).unwrap();
            assert!(
                matches!(answer.http_response, Some(HttpResponse::OkResponse(_))),
                "{name}: {answer:?}"
            );
            let said = format!("{:?}", answer.dynamic_metadata);
            assert!(said.contains(&format!("\"{rule}\"")), "{name}: {said}");
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2].round()
    };
    println!(
        "{}",
        json!(took.into_iter().map(|(name, all)| (name, median(all))).collect::<BTreeMap<_, _>>())
    );
}
