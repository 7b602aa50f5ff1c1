//! Between the messages of `envoy.service.auth.v3` and [`crate::authz`].

use super::question::{Question, body};
use crate::proto::envoy::service::auth::v3::{AttributeContext, attribute_context::Peer};
use crate::{
    authz::{CheckInput, Decision, Header, Headers, Verdict},
    operation::McpTold,
    proto::envoy::{
        config::core::v3::address,
        service::auth::v3::{CheckRequest, attribute_context::HttpRequest},
    },
};

/// Codes of `google.rpc.Code`.
const OK: u64 = 0;
const PERMISSION_DENIED: u64 = 7;
const UNAUTHENTICATED: u64 = 16;

/// What a question says that was read by the generated types.
pub(super) fn question(question: &CheckRequest) -> Question<'_> {
    let request = question.attributes.as_ref().and_then(|attributes| attributes.request.as_ref());
    let http = request.and_then(|request| request.http.as_ref());
    Question {
        input: http.map(|http| input(http, question.attributes.as_ref(), client(question))),
        id: http.map_or("", |http| &http.id),
        client: client(question),
    }
}

/// The client's address as the gateway tells it.
fn client(question: &CheckRequest) -> &str {
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

/// Who the certificate of a peer names.
fn principal(peer: Option<&Peer>) -> &str {
    peer.map_or("", |peer| &peer.principal)
}

/// The request as the engine takes it.
fn input<'a>(
    http: &'a HttpRequest,
    attributes: Option<&'a AttributeContext>,
    client: &'a str,
) -> CheckInput<'a> {
    let map =
        http.headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let list = http.header_map.iter().flat_map(|map| &map.headers).map(|header| Header {
        name: &header.key,
        value: if header.value.is_empty() { &header.raw_value } else { header.value.as_bytes() },
    });
    let extensions = attributes.into_iter().flat_map(|them| &them.context_extensions);
    let headers = Headers::new(map, list.collect());
    CheckInput {
        method: &http.method,
        scheme: &http.scheme,
        host: &http.host,
        path: &http.path,
        body: body(&http.body, &http.raw_body, &headers),
        headers,
        protocol: &http.protocol,
        id: &http.id,
        source_address: client,
        source_principal: principal(attributes.and_then(|them| them.source.as_ref())),
        destination_principal: principal(attributes.and_then(|them| them.destination.as_ref())),
        // Of which `metadata` reads the bytes.
        mcp_told: McpTold::Nothing,
        context: extensions.map(|(name, value)| (&**name, &**value)).collect(),
    }
}

/// The code that the answer says it with.
pub(super) fn code(decision: &Decision<'_>) -> u64 {
    match &decision.verdict {
        Verdict::Allow(_) => OK,
        Verdict::Deny(denial) if denial.status() == 401 => UNAUTHENTICATED,
        Verdict::Deny(_) | Verdict::Answer(_) => PERMISSION_DENIED,
    }
}
