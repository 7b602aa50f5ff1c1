//! What a check costs, from bytes to bytes, where a rule is for what an MCP server is
//! asked for: by the path alone, by the headers that tell, and by bodies of two lengths.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use portcullis::{
    app,
    config::{Config, Sources},
    grpc::CheckService,
    proto::envoy::config::core::v3::Metadata,
    proto::envoy::service::auth::v3::{
        CheckResponse, attribute_context::HttpRequest, check_response::HttpResponse,
    },
    token::RevocationList,
};
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind as ValueKind};
use serde_json::json;

use crate::{NOW, encoded, jwt, print_medians, service_of, taken};

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
    service_of(app::engine(config, Arc::new(RevocationList::empty())))
}

/// A call of this many bytes or a little less, most of it its arguments: so much of them
/// in records, and the rest a document.
fn call(bytes: usize, in_records: usize) -> Vec<u8> {
    let record = |at: usize| json!({ "at": at, "is_read": false, "text": "He said \"yes\",\nand went on for as long as a line is." });
    let line = "A line of a document, as long as lines are where they are for people:\n";
    let records = in_records / (record(1000).to_string().len() + 1);
    // Its head and its names, and a line's end is of two bytes.
    let lines = (bytes - 150).saturating_sub(in_records) / (line.len() + 1);
    let records: Vec<_> = (0..records).map(record).collect();
    let arguments = json!({ "to": "ann", "text": line.repeat(lines), "records": records });
    let params = json!({ "name": "send_mail", "arguments": arguments });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let call = serde_json::to_vec(&call).unwrap();
    assert!((bytes * 9 / 10..=bytes).contains(&call.len()), "{}", call.len());
    call
}

/// What Envoy's MCP filter tells of that.
fn told() -> Metadata {
    let text = |text: &str| Value { kind: Some(ValueKind::StringValue(text.to_owned())) };
    let object = |members: Vec<(&str, Value)>| Struct {
        fields: members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let params = object(vec![("name", text("send_mail"))]);
    let members = object(vec![
        ("id", Value { kind: Some(ValueKind::NumberValue(1.0)) }),
        ("is_mcp_request", Value { kind: Some(ValueKind::BoolValue(true)) }),
        ("jsonrpc", text("2.0")),
        ("method", text("tools/call")),
        ("params", Value { kind: Some(ValueKind::StructValue(params)) }),
        ("status", text("mcp_ok")),
    ]);
    let filter_metadata = [("envoy.filters.http.mcp".to_owned(), members)].into();
    Metadata { filter_metadata, ..Metadata::default() }
}

fn question(mcp_headers: bool, told: Option<Metadata>, body: Vec<u8>) -> Vec<u8> {
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
        raw_body: body,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    encoded(http, told)
}

/// A question, who answers it, and by which rule.
struct Kind {
    name: &'static str,
    service: CheckService,
    question: Vec<u8>,
    rule: &'static str,
}

impl Kind {
    #[inline(never)]
    fn ask(&self, times: u32) {
        for _ in 0..times {
            black_box(self.service.answer(Some(black_box(&self.question))));
        }
    }

    /// That it is answered as it should be.
    fn verify(&self) {
        let Self { name, service, question, rule } = self;
        let answer = CheckResponse::decode(service.answer(Some(question))).unwrap();
        assert!(
            matches!(answer.http_response, Some(HttpResponse::OkResponse(_))),
            "{name}: {answer:?}"
        );
        let said = format!("{:?}", answer.dynamic_metadata);
        assert!(said.contains(&format!("\"{rule}\"")), "{name}: {said}");
    }
}

fn kinds() -> Vec<Kind> {
    let by = |source: &str| service(&format!("{source}{PLAIN}{BY_TOOL}"));
    let none = Vec::new;
    let with = |bytes: usize, in_records: usize| question(false, None, call(bytes, in_records));
    let plain = |name, question| Kind { name, service: service(PLAIN), question, rule: "mcp" };
    let told_by =
        |name, source, question| Kind { name, service: by(source), question, rule: "mcp-write" };
    vec![
        plain("plain", question(false, None, none())),
        plain("plain_with_headers", question(true, None, none())),
        plain("plain_with_metadata", question(false, Some(told()), none())),
        told_by("headers", "mcp.source = \"headers\"\n", question(true, None, none())),
        told_by("metadata", "mcp.source = \"envoy\"\n", question(false, Some(told()), none())),
        told_by("body_4k", "", with(4096, 2048)),
        told_by("body_64k", "", with(65536, 32768)),
        told_by("records_64k", "", with(65536, 65536 - 300)),
    ]
}

/// Answers one of these so many times.
pub(crate) fn count(name: &str, times: u32) {
    kinds().iter().find(|kind| kind.name == name).unwrap().ask(times);
}

/// Runs all kinds in so many turns, and prints nanoseconds of CPU as JSON: the median
/// of each.
pub(crate) fn bodies(turns: usize) {
    let kinds = kinds();
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    kinds.iter().for_each(Kind::verify);
    for turn in 0..=turns {
        for kind in &kinds {
            let each = taken(TIMES, || kind.ask(TIMES));
            // The first turn warms up.
            if turn > 0 {
                took.entry(kind.name).or_default().push(each);
            }
        }
    }
    print_medians(took);
}
