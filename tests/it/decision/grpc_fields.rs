//! The messages of `proto/`, field by field against Envoy's own.

#![allow(deprecated, reason = "`append` is what older versions of Envoy read")]

use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            Address, EnvoyInternalAddress, HeaderMap, HeaderValue, HeaderValueOption, Metadata,
            Pipe, QueryParameter, SocketAddress, address, envoy_internal_address, socket_address,
        },
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            attribute_context::{HttpRequest, Peer, Request, TlsSession},
            check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::{
        protobuf::{Any, BoolValue, Struct, Timestamp, Value, value::Kind},
        rpc::Status,
    },
};
use prost::Message as _;

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

fn fields() -> Struct {
    Struct { fields: HashMap::from([("k".to_owned(), text("v"))]).into_iter().collect() }
}

fn metadata_context(name: &str) -> Metadata {
    Metadata {
        filter_metadata: [(name.to_owned(), fields())].into_iter().collect(),
        typed_filter_metadata: [(name.to_owned(), Any { type_url: "t".into(), value: vec![1] })]
            .into_iter()
            .collect(),
    }
}

fn address_of(kind: address::Address) -> Address {
    Address { address: Some(kind) }
}

/// A wrong field number of ours would lose or move a value.
#[test]
fn the_question_has_the_same_fields_as_envoys() {
    let socket = SocketAddress {
        protocol: 1,
        address: "192.0.2.1".into(),
        resolver_name: "r".into(),
        ipv4_compat: true,
        network_namespace_filepath: "/n".into(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(443)),
    };
    let internal = EnvoyInternalAddress {
        endpoint_id: "e".into(),
        address_name_specifier: Some(
            envoy_internal_address::AddressNameSpecifier::ServerListenerName("l".into()),
        ),
    };
    let peer = |address| Peer {
        address: Some(address),
        service: "s".into(),
        labels: [("a".to_owned(), "b".to_owned())].into_iter().collect(),
        principal: "p".into(),
        certificate: "c".into(),
    };
    let http = HttpRequest {
        id: "1".into(),
        method: "GET".into(),
        path: "/p".into(),
        host: "h".into(),
        scheme: "https".into(),
        query: "q".into(),
        fragment: "f".into(),
        size: -1,
        protocol: "HTTP/2".into(),
        body: "b".into(),
        raw_body: vec![0, 255],
        headers: [("n".to_owned(), "v".to_owned())].into_iter().collect(),
        header_map: Some(HeaderMap {
            headers: vec![HeaderValue { key: "k".into(), value: "v".into(), raw_value: vec![255] }],
        }),
    };
    for (source, destination) in [
        (
            address::Address::SocketAddress(socket),
            address::Address::Pipe(Pipe { path: "/p".into(), mode: 7 }),
        ),
        (
            address::Address::EnvoyInternalAddress(internal),
            address::Address::SocketAddress(SocketAddress {
                port_specifier: Some(socket_address::PortSpecifier::NamedPort("x".into())),
                ..SocketAddress::default()
            }),
        ),
    ] {
        let question = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(peer(address_of(source))),
                destination: Some(peer(address_of(destination))),
                request: Some(Request {
                    time: Some(Timestamp { seconds: 1, nanos: 2 }),
                    http: Some(http.clone()),
                }),
                context_extensions: [("c".to_owned(), "e".to_owned())].into_iter().collect(),
                metadata_context: Some(metadata_context("m")),
                route_metadata_context: Some(metadata_context("r")),
                tls_session: Some(TlsSession { sni: "sni".into() }),
            }),
        };
        let ours = portcullis::proto::envoy::service::auth::v3::CheckRequest::decode(
            question.encode_to_vec().as_slice(),
        )
        .unwrap();
        assert_eq!(CheckRequest::decode(ours.encode_to_vec().as_slice()).unwrap(), question);
    }
}

#[test]
fn the_answer_has_the_same_fields_as_envoys() {
    let option = HeaderValueOption {
        header: Some(HeaderValue { key: "k".into(), value: "v".into(), raw_value: vec![1] }),
        append: Some(BoolValue { value: true }),
        append_action: 3,
        keep_empty_value: true,
    };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: 451 - 20 }),
        headers: vec![option.clone()],
        body: "b".into(),
    };
    let ok = OkHttpResponse {
        headers: vec![option.clone()],
        headers_to_remove: vec!["r".into()],
        dynamic_metadata: Some(fields()),
        response_headers_to_add: vec![option],
        query_parameters_to_set: vec![QueryParameter { key: "k".into(), value: "v".into() }],
        query_parameters_to_remove: vec!["q".into()],
    };
    for http_response in [
        HttpResponse::OkResponse(ok),
        HttpResponse::DeniedResponse(denied.clone()),
        HttpResponse::ErrorResponse(denied),
    ] {
        let answer = CheckResponse {
            status: Some(Status {
                code: 7,
                message: "m".into(),
                details: vec![Any { type_url: "t".into(), value: vec![1] }],
            }),
            http_response: Some(http_response),
            dynamic_metadata: Some(fields()),
        };
        let ours = portcullis::proto::envoy::service::auth::v3::CheckResponse::decode(
            answer.encode_to_vec().as_slice(),
        )
        .unwrap();
        assert_eq!(CheckResponse::decode(ours.encode_to_vec().as_slice()).unwrap(), answer);
    }
}
