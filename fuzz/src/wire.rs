//! The reader of the wire, held to the types that others have generated of Envoy's API.

use std::collections::BTreeMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::address::Address,
        service::auth::v3::{CheckRequest, attribute_context::Peer},
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use portcullis::{
    authz::{CheckInput, Header},
    grpc,
    operation::{Body, ENVOY_MCP, McpTold},
};
use prost::Message as _;

/// A message that is read here can be read by the generated types, and says the same;
/// and whichever way it is read here, it says the same.
pub fn wire(data: &[u8]) {
    let decoded = CheckRequest::decode(data);
    let read = grpc::fuzzing::read(data, |input| {
        agree(input, decoded.as_ref().expect("the generated types refuse it"));
        input.map(shown)
    });
    let left = grpc::fuzzing::decode(data, |input| {
        if let Ok(decoded) = &decoded {
            agree(input, decoded);
        }
        input.map(shown)
    });
    assert!(read.is_none() || read == left, "{read:?} {left:?}");
}

/// All of it, but in an order: that of a map is another one each time.
fn shown(input: &CheckInput<'_>) -> String {
    let CheckInput { method, scheme, host, path, headers, body, mcp_told, protocol, .. } = input;
    let CheckInput { id, source_address, source_principal, destination_principal, .. } = input;
    let [map, list] = headers.forms().map(|all| {
        let mut all: Vec<_> = all.iter().map(|it| (it.name, it.value)).collect();
        all.sort_unstable();
        all
    });
    let mut context = input.context.clone();
    context.sort_unstable();
    let texts = [method, scheme, host, path, protocol, id, source_address, source_principal];
    format!(
        "{texts:?} {destination_principal:?} {map:?} {list:?} {body:?} {mcp_told:?} {context:?}"
    )
}

/// Whether the input is what the message says.
fn agree(input: Option<&CheckInput<'_>>, decoded: &CheckRequest) {
    let attributes = decoded.attributes.as_ref();
    let http = attributes.and_then(|it| it.request.as_ref()?.http.as_ref());
    let (Some(input), Some(http)) = (input, http) else {
        assert!(input.is_none() && http.is_none(), "one of them sees no request");
        return;
    };
    let own = [input.id, input.method, input.path, input.host, input.scheme, input.protocol];
    let theirs = [&http.id, &http.method, &http.path, &http.host, &http.scheme, &http.protocol];
    assert_eq!(own, theirs.map(String::as_str));
    let of = |peer: fn(&Peer) -> &str, source: bool| {
        let peers = attributes.map(|it| if source { &it.source } else { &it.destination });
        peers.and_then(Option::as_ref).map_or("", peer)
    };
    let principal: fn(&Peer) -> &str = |peer| &peer.principal;
    let address: fn(&Peer) -> &str =
        |peer| match peer.address.as_ref().and_then(|it| it.address.as_ref()) {
            Some(Address::SocketAddress(socket)) => &socket.address,
            Some(Address::Pipe(pipe)) => &pipe.path,
            _ => "",
        };
    assert_eq!(input.source_address, of(address, true));
    assert_eq!(input.source_principal, of(principal, true));
    assert_eq!(input.destination_principal, of(principal, false));
    let context: BTreeMap<&str, &str> = input.context.iter().copied().collect();
    let extensions = attributes.into_iter().flat_map(|it| &it.context_extensions);
    assert_eq!(context, extensions.map(|(name, value)| (&**name, &**value)).collect());

    let [map, list] = input.headers.forms();
    let pairs = |headers: &[Header<'_>]| -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|it| (it.name.to_owned(), it.value.to_vec())).collect()
    };
    let mut own = pairs(map);
    own.sort_unstable();
    let mut theirs: Vec<_> =
        http.headers.iter().map(|(name, it)| (name.clone(), it.clone().into_bytes())).collect();
    theirs.sort_unstable();
    assert_eq!(own, theirs);
    let listed = http.header_map.iter().flat_map(|it| &it.headers).map(|it| {
        let value = if it.value.is_empty() { &it.raw_value } else { it.value.as_bytes() };
        (it.key.clone(), value.to_vec())
    });
    assert_eq!(pairs(list), listed.collect::<Vec<_>>());

    match input.body {
        Body::Whole(body) => {
            assert!(body == http.raw_body && http.body.is_empty());
            let mut told = input.headers.values("x-envoy-auth-partial-body");
            assert!(told.all(|value| value == b"false"), "a part is taken for the whole");
        }
        Body::Absent => assert!(http.body.is_empty() && http.raw_body.is_empty()),
        Body::Cut => {}
    }
    let metadata = attributes.and_then(|it| it.metadata_context.as_ref());
    let told = metadata.and_then(|it| it.filter_metadata.get(ENVOY_MCP));
    match input.mcp_told {
        McpTold::Nothing => assert!(told.is_none(), "what Envoy tells is passed over"),
        McpTold::Unclear(_) => {}
        McpTold::Message { method, name } => {
            let told = told.expect("Envoy tells nothing");
            assert!(text(told, "jsonrpc") == Some("2.0") && text(told, "method") == Some(method));
            let is_request = told.fields.get("is_mcp_request").and_then(|it| it.kind.as_ref());
            assert_eq!(is_request, Some(&Kind::BoolValue(true)));
            let params = match told.fields.get("params").and_then(|it| it.kind.as_ref()) {
                Some(Kind::StructValue(params)) => Some(params),
                _ => None,
            };
            let expected = match method {
                "tools/call" | "prompts/get" => params.and_then(|it| text(it, "name")),
                "resources/read" => params.and_then(|it| text(it, "uri")),
                _ => None,
            };
            assert_eq!(name, expected);
        }
    }
}

fn text<'s>(of: &'s Struct, name: &str) -> Option<&'s str> {
    match of.fields.get(name) {
        Some(Value { kind: Some(Kind::StringValue(text)) }) => Some(text),
        _ => None,
    }
}
