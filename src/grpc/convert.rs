//! Between the messages of `envoy.service.auth.v3` and [`crate::authz`].

use std::borrow::Cow;

use super::read::Question;
use crate::proto::envoy::service::auth::v3::{AttributeContext, attribute_context::Peer};
use crate::{
    authz::{CheckInput, Decision, Header, Headers, Reason, Single, Verdict},
    operation::{Body, McpAsk, McpTold},
    proto::envoy::{
        config::core::v3::address,
        service::auth::v3::{CheckRequest, attribute_context::HttpRequest},
    },
};

/// What Envoy says beside a body: whether it is but a part.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

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

/// The body, of which Envoy says whether it is whole. Where it sends it as text, it has
/// put other bytes in the place of those that are none, so that is no body.
pub(super) fn body<'a>(text: &'a str, raw: &'a [u8], headers: &Headers<'_>) -> Body<'a> {
    match headers.single(PARTIAL_BODY) {
        Single::Absent if raw.is_empty() && text.is_empty() => Body::Absent,
        Single::One(b"false") if text.is_empty() => Body::Whole(raw),
        _ => Body::Cut,
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

/// The key of the list of shadow rules.
pub(super) const SHADOW: &str = "shadow";

/// For the gateway's filters and access log, by rising keys; the list under
/// [`SHADOW`] is [`shadow_names`]. What is not known is left out, so that
/// nothing takes an empty text for a user.
pub(super) fn metadata_texts<'a>(
    decision: &'a Decision<'_>,
) -> [(&'static str, Option<Cow<'a, str>>); 13] {
    let claims = decision.principal.as_ref().map(|principal| &principal.claims);
    let role = decision.principal.as_ref().map(|principal| principal.role);
    let claims = claims.filter(|_| decision.is_allowed());
    let key_id = decision.key_id.filter(|_| claims.is_some());
    let text = Cow::Borrowed::<'a, str>;
    let mcp = decision.asked.mcp.as_ref();
    [
        ("decision", Some(text(decision.name()))),
        ("iss", claims.and_then(|claims| claims.issued_by.as_deref()).map(text)),
        ("key_id", key_id.map(|id| id.to_string().into())),
        ("llm_model", decision.asked.llm.as_ref().map(|ask| text(&ask.model))),
        ("mcp_method", mcp.map(|ask| text(&ask.method))),
        ("mcp_tool", mcp.and_then(McpAsk::tool).map(text)),
        ("reason", decision.reason().map(Reason::as_str).map(text)),
        ("role", role.filter(|_| decision.is_allowed()).map(text)),
        ("rule", decision.rule_name().map(text)),
        (SHADOW, None),
        ("token_id", claims.and_then(|claims| claims.token_id.as_deref()).map(text)),
        ("user_id", claims.map(|claims| claims.user_id.as_str()).map(text)),
        ("user_name", claims.map(|claims| claims.name.as_str()).map(text)),
    ]
}

/// The shadow rules that would have denied.
pub(super) fn shadow_names<'a>(
    decision: &'a Decision<'_>,
) -> impl DoubleEndedIterator<Item = &'a str> {
    decision.shadow.iter().copied()
}
