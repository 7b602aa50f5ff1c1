//! Between the messages of `envoy.service.auth.v3` and [`crate::authz`].

use std::{borrow::Cow, collections::BTreeMap};

use prost_types::{ListValue, Struct, Value, value::Kind};

use crate::{
    authz::{CheckInput, Decision, Denial, Grant, Header, Headers, Reason, Verdict},
    proto::{
        envoy::{
            config::core::v3::{
                HeaderValue, HeaderValueOption, address, header_value_option::HeaderAppendAction,
            },
            service::auth::v3::{
                CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
                attribute_context::HttpRequest, check_response::HttpResponse,
            },
            r#type::v3::HttpStatus,
        },
        google::rpc::Status,
    },
};

/// Codes of `google.rpc.Code`.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// The request that is asked about.
pub(super) fn http_attributes(question: &CheckRequest) -> Option<&HttpRequest> {
    question.attributes.as_ref()?.request.as_ref()?.http.as_ref()
}

/// The client's address as the gateway tells it.
pub(super) fn client(question: &CheckRequest) -> &str {
    let address = question
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.source.as_ref()?.address.as_ref()?.address.as_ref());
    match address {
        Some(address::Address::SocketAddress(socket)) => &socket.address,
        Some(address::Address::Pipe(pipe)) => &pipe.path,
        _ => "",
    }
}

/// The request as the engine takes it.
pub(super) fn input(http: &HttpRequest) -> CheckInput<'_> {
    let map =
        http.headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let list = http.header_map.iter().flat_map(|map| &map.headers).map(|header| Header {
        name: &header.key,
        value: if header.value.is_empty() { &header.raw_value } else { header.value.as_bytes() },
    });
    CheckInput {
        method: &http.method,
        scheme: &http.scheme,
        host: &http.host,
        path: &http.path,
        headers: Headers { map, list: list.collect() },
    }
}

/// The answer that says what was decided.
pub(super) fn response(decision: &Decision<'_>) -> CheckResponse {
    let (code, http_response) = match &decision.verdict {
        Verdict::Allow(grant) => (OK, HttpResponse::OkResponse(ok_response(grant))),
        Verdict::Deny(denial) => {
            let code = if denial.status() == 401 { UNAUTHENTICATED } else { PERMISSION_DENIED };
            (code, HttpResponse::DeniedResponse(denied_response(denial)))
        }
    };
    CheckResponse {
        status: Some(Status { code, ..Status::default() }),
        http_response: Some(http_response),
        dynamic_metadata: Some(metadata(decision)),
    }
}

fn ok_response(grant: &Grant<'_>) -> OkHttpResponse {
    OkHttpResponse {
        headers: grant.set.iter().map(|(name, value)| set_header(name, value)).collect(),
        headers_to_remove: grant.remove.iter().map(|name| name.clone().into_owned()).collect(),
        query_parameters_to_remove: grant.remove_query.iter().map(|&name| name.into()).collect(),
        ..OkHttpResponse::default()
    }
}

fn denied_response(denial: &Denial) -> DeniedHttpResponse {
    let header = |(name, value): &(&str, Cow<'_, str>)| set_header(name, value);
    DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(denial.status()) }),
        headers: denial.headers().iter().map(header).collect(),
        body: denial.body(),
    }
}

/// Over whatever is there, by the new field and by the old one: versions of
/// Envoy have differed in what they take for the default.
fn set_header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.into(), value: value.into(), raw_value: vec![] }),
        append: Some(false),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: false,
    }
}

/// For the gateway's filters and access log. What is not known is left out,
/// so that nothing takes an empty text for a user.
fn metadata(decision: &Decision<'_>) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let claims = decision.principal.as_ref().map(|principal| &principal.claims);
    let role = decision.principal.as_ref().map(|principal| principal.role);
    let mut fields = BTreeMap::from([("decision".to_owned(), text(decision.name()))]);
    let mut add = |key: &str, value: Option<&str>| {
        fields.extend(value.map(|value| (key.to_owned(), text(value))));
    };
    add("rule", decision.rule_name());
    add("reason", decision.reason().map(Reason::as_str));
    if decision.is_allowed() {
        add("user_id", claims.map(|claims| claims.user_id.as_str()));
        add("user_name", claims.map(|claims| claims.name.as_str()));
        add("role", role);
        add("token_id", claims.and_then(|claims| claims.token_id.as_deref()));
    }
    if !decision.shadow.is_empty() {
        let values = decision.shadow.iter().map(|name| text(name)).collect();
        let list = Value { kind: Some(Kind::ListValue(ListValue { values })) };
        fields.insert("shadow".to_owned(), list);
    }
    Struct { fields }
}
