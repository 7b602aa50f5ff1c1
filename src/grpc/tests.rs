//! The reader and the writer of the wire, held to the generated types. Over 400 lines,
//! since both are held by the same questions and decisions.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};

use super::{convert, metadata, question::Question, read::has_good_maps, write};
use crate::{
    authz::{
        Access, Answer, Asked, CheckInput, Decision, Denial, Grant, HostPattern, Needs,
        PathPattern, Principal, Reason, Rule, Verdict,
    },
    clock::Timestamp as Time,
    operation::{LlmAsk, McpAsk},
    proto::{
        envoy::{
            config::core::v3::{
                Address, HeaderMap, HeaderValue, HeaderValueOption, Metadata, Pipe, SocketAddress,
                address, header_value_option::HeaderAppendAction, socket_address::PortSpecifier,
            },
            service::auth::v3::{
                AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
                attribute_context::{HttpRequest, Peer, Request, TlsSession},
                check_response::HttpResponse,
            },
            r#type::v3::HttpStatus,
        },
        google::rpc::Status,
    },
    token::{Claims, Roles, UserId},
};

/// The answer as a tree of the generated types.
fn response(decision: &Decision<'_>) -> CheckResponse {
    let (code, http_response) = match &decision.verdict {
        Verdict::Allow(grant) => (0, HttpResponse::OkResponse(ok_response(grant))),
        Verdict::Deny(denial) => {
            let code = if denial.status() == 401 { 16 } else { 7 };
            (code, HttpResponse::DeniedResponse(denied_response(denial)))
        }
        Verdict::Answer(answer) => {
            let headers = answer.headers.iter().map(|(name, value)| set_header(name, value));
            let response = DeniedHttpResponse {
                status: Some(HttpStatus { code: i32::from(answer.status) }),
                headers: headers.collect(),
                body: answer.body.to_owned(),
            };
            (7, HttpResponse::DeniedResponse(response))
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
        response_headers_to_add: grant
            .answer_headers()
            .map(|(name, value)| HeaderValueOption {
                append: Some(true),
                append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
                ..set_header(name, value)
            })
            .collect(),
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

fn metadata(decision: &Decision<'_>) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let mut fields = BTreeMap::new();
    for (key, value) in decision.metadata() {
        fields.extend(value.map(|value| (key.to_owned(), text(&value))));
    }
    if !decision.shadow.is_empty() {
        let values = decision.shadow.iter().map(|name| text(name)).collect();
        let list = Value { kind: Some(Kind::ListValue(ListValue { values })) };
        fields.insert("shadow".to_owned(), list);
    }
    Struct { fields }
}

/// Text of any length that matters to a varint of lengths, and of any kind.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z:-]{0,12}", 1 => ".{0,40}", 1 => "[a-z]{120,140}", 1 => "x{16380,16390}"]
}

fn any_texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    vec(any_text(), 0..most)
}

const REASONS: [Reason; 5] =
    [Reason::BadPath, Reason::NoCredential, Reason::Role, Reason::NotReady, Reason::Internal];

proptest! {
    #[test]
    fn answers_are_the_bytes_that_the_generated_types_write(
        set in vec(any_text(), 0..6),
        remove in any_texts(20),
        remove_query in any_texts(3),
        shadow in any_texts(3),
        rule in option::of(any_text()),
        user in option::of((any_text(), option::of(any_text()))),
        set_cookie in option::of(any_text()),
        denied in option::of((0..REASONS.len(), option::of(any_text()))),
        (tool, model) in (option::of(any_text()), option::of(any_text())),
    ) {
        let rule = rule.map(|name| Rule {
            name,
            hosts: vec![HostPattern::Any],
            path: PathPattern::exact("/").unwrap(),
            methods: vec![],
            access: Access::Public,
            preflight: false,
            needs: Needs::default(),
            wants: None,
            resource: None,
            when: None,
            variables: Vec::new(),
            forward: None,
            shadow: false,
            number: 0,
        });
        let claims = user.map(|(name, token_id)| {
            let roles = Roles::new(vec!["REGULAR".to_owned()]).unwrap();
            let claims = Claims {
                name,
                user_id: UserId::new("7").unwrap(),
                role: roles.get("REGULAR").unwrap(),
                email: None,
                expires_at: Time::from_secs(1),
                issued_at: None,
                not_before: None,
                issuer: None,
                audience: None,
                token_id,
                is_sso: false,
                issued_by: None,
                scope: None,
                actor: None,
                session_id: None,
                auth_time: None,
            };
            Arc::new(claims)
        });
        let answered: String;
        let verdict = match denied {
            Some((0, Some(body))) => {
                answered = body;
                let headers = &[("content-type", "application/json")];
                Verdict::Answer(Answer { status: 200, headers, body: &answered })
            }
            Some((reason, location)) => {
                let denial = Denial::of(REASONS[reason]);
                Verdict::Deny(Denial { location, ..denial })
            }
            None => Verdict::Allow(Grant {
                set: set.iter().map(|value| ("x-user-name", value.clone())).collect(),
                remove: remove.iter().map(Cow::from).collect(),
                identity: None,
                key_headers: Vec::new(),
                remove_query: remove_query.iter().map(String::as_str).collect(),
                keeps_credential: false,
                set_cookie,
            }),
        };
        let decision = Decision {
            rule: rule.as_ref(),
            key_id: None,
            principal: claims.map(|claims| Principal { claims, role: "REGULAR" }),
            unmet: None,
            shadow: shadow.iter().map(String::as_str).collect(),
            asked: Asked {
                mcp: tool.map(|tool| McpAsk { method: "tools/call".into(), name: Some(tool.into()) }),
                llm: model.map(|model| LlmAsk { model: model.into(), stream: false, max_tokens: None }),
            },
            verdict,
        };
        let written = write::response(&decision);
        let expected = response(&decision).encode_to_vec();
        let length = u32::try_from(expected.len()).unwrap().to_be_bytes();
        prop_assert_eq!(&written[..5], &[&[0], &length[..]].concat()[..]);
        prop_assert_eq!(&written[5..], &expected[..]);
    }
}

/// A peer with this address, or none.
fn any_peer() -> impl Strategy<Value = Option<Peer>> {
    let socket = (any_text(), any::<u32>()).prop_map(|(address, port)| {
        address::Address::SocketAddress(SocketAddress {
            address,
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })
    });
    let pipe = any_text().prop_map(|path| address::Address::Pipe(Pipe { path, ..Pipe::default() }));
    let address = prop_oneof![4 => socket, 1 => pipe];
    let peer = (option::of(address), any_text()).prop_map(|(address, principal)| Peer {
        address: Some(Address { address }),
        principal,
        ..Peer::default()
    });
    option::of(peer)
}

fn any_http() -> impl Strategy<Value = HttpRequest> {
    let headers = vec((any_text(), any_text()), 0..70);
    let list = vec((any_text(), any_text(), vec(any::<u8>(), 0..9)), 0..5);
    let texts = [(); 8].map(|()| any_text());
    (texts, headers, option::of(list), any::<i64>(), vec(any::<u8>(), 0..9)).prop_map(
        |(
            [id, method, path, host, scheme, query, protocol, body],
            headers,
            list,
            size,
            raw_body,
        )| {
            let header = |(key, value, raw_value)| HeaderValue { key, value, raw_value };
            HttpRequest {
                id,
                method,
                headers: headers.into_iter().collect(),
                path,
                host,
                scheme,
                query,
                fragment: String::new(),
                size,
                protocol,
                body,
                raw_body,
                header_map: list
                    .map(|list| HeaderMap { headers: list.into_iter().map(header).collect() }),
            }
        },
    )
}

fn metadata_of(name: &str) -> Metadata {
    let filter_metadata = [(name.to_owned(), Struct::default())].into_iter().collect();
    Metadata { filter_metadata, ..Metadata::default() }
}

fn any_question() -> impl Strategy<Value = CheckRequest> {
    let parts = (any_peer(), any_peer(), option::of(any_http()), any::<i64>(), 0..8, any_text());
    let extensions = prop::collection::hash_map(any_text(), any_text(), 0..3);
    (parts, extensions).prop_map(
        |((source, destination, http, seconds, odd, sni), context_extensions)| {
            let attributes = AttributeContext {
                source,
                destination,
                request: Some(Request { time: Some(Timestamp { seconds, nanos: 1 }), http }),
                metadata_context: (odd == 0).then(|| metadata_of(&sni)),
                route_metadata_context: (odd != 2).then(Metadata::default),
                tls_session: (odd > 4).then_some(TlsSession { sni }),
                context_extensions,
            };
            CheckRequest { attributes: (odd != 1).then_some(attributes) }
        },
    )
}

/// What a question says, in a form that can be compared.
fn told(question: &Question<'_>) -> String {
    let input = question.input.as_ref().map(|input| {
        let CheckInput { method, scheme, host, path, headers, protocol, id, .. } = input;
        let CheckInput { source_address, source_principal, destination_principal, .. } = input;
        let mut context = input.context.clone();
        context.sort_unstable();
        let [map, list] = headers.forms();
        let mut map: Vec<_> = map.iter().map(|h| (h.name, h.value)).collect();
        map.sort_unstable();
        let list: Vec<_> = list.iter().map(|h| (h.name, h.value)).collect();
        let peers = [source_address, source_principal, destination_principal];
        let body = input.body;
        format!("{method:?} {scheme:?} {host:?} {path:?} {map:?} {list:?} {protocol:?} {id:?} {peers:?} {context:?} {body:?}")
    });
    format!("{input:?} {:?} {:?}", question.id, question.client)
}

/// Holds the two readers together: whoever reads it, it says the same.
fn agree(message: &[u8]) -> Result<bool, TestCaseError> {
    let Some(read) = Question::read(message) else { return Ok(false) };
    let decoded = CheckRequest::decode(message);
    prop_assert!(decoded.is_ok(), "{decoded:?}");
    let decoded = decoded.unwrap();
    prop_assert_eq!(told(&read), told(&convert::question(&decoded)));
    let of_filter = read.input.map(|input| input.mcp_told);
    prop_assert_eq!(of_filter, Some(metadata::of_question(message)));
    Ok(true)
}

proptest! {
    #[test]
    fn questions_are_read_as_the_generated_types_read_them(question in any_question()) {
        let is_common = question.attributes.as_ref().is_some_and(|attributes| {
            let is_socket = |peer: &Option<Peer>| peer.as_ref().is_none_or(|peer| {
                let address = peer.address.as_ref().and_then(|address| address.address.as_ref());
                matches!(address, Some(address::Address::SocketAddress(_)))
            });
            let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
            is_socket(&attributes.source)
                && is_socket(&attributes.destination)
                && http.is_some_and(|http| http.headers.len() <= 64)
        });
        // What is common is not left to them: it has to be fast.
        let message = question.encode_to_vec();
        prop_assert!(agree(&message)? || !is_common);
        prop_assert!(has_good_maps(&message));
    }

    #[test]
    fn broken_and_doubled_questions_have_one_reading(
        question in any_question(),
        other in any_question(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = question.encode_to_vec();
        agree(&[whole.clone(), other.encode_to_vec()].concat())?;
        if whole.is_empty() {
            return Ok(());
        }
        agree(&whole[..cut.index(whole.len())])?;
        let mut changed = whole;
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        agree(&changed)?;
    }

    #[test]
    fn small_messages_of_any_bytes_have_one_reading(bytes in vec(any::<u8>(), 0..24)) {
        agree(&bytes)?;
        // Within the parts that are looked into.
        let nested = |number: u8, inner: &[u8]| {
            [&[number << 3 | 2, u8::try_from(inner.len()).unwrap()], inner].concat()
        };
        for path in [&[1][..], &[4, 1], &[2, 4, 1], &[1, 1], &[1, 1, 1], &[13, 2, 4, 1], &[3, 2, 4, 1], &[12, 1]] {
            let message = path.iter().fold(bytes.clone(), |inner, number| nested(*number, &inner));
            agree(&message)?;
        }
    }
}

/// A field of this number and wire type, with a length before it as if it were
/// a message.
fn field(number: u8, wire_type: u8, inner: &[u8]) -> Vec<u8> {
    let length = u8::try_from(inner.len()).unwrap();
    [&[number << 3 | wire_type, length], inner].concat()
}

#[test]
fn a_map_of_another_wire_type_is_none() {
    let entry = [field(1, 2, b"a"), field(2, 2, b"")].concat();
    // Fields around a map: headers, labels, extensions, metadata and what is in it.
    let ways: [&[u8]; 8] = [
        &[3, 2, 4, 1],
        &[3, 1, 1],
        &[3, 2, 1],
        &[10, 1],
        &[1, 11, 1],
        &[2, 13, 1],
        &[1, 2, 1, 11, 1],
        &[1, 5, 2, 1, 2, 1, 11, 1],
    ];
    for way in ways {
        for wire_type in [0, 1, 2, 5] {
            let (map, around) = way.split_first().unwrap();
            let message = around
                .iter()
                .fold(field(*map, wire_type, &entry), |inner, number| field(*number, 2, &inner));
            assert_eq!(has_good_maps(&message), wire_type == 2, "{way:?} {wire_type}");
        }
        // The cause: to the generated types it is the map all the same.
        let (map, around) = way.split_first().unwrap();
        let message =
            around.iter().fold(field(*map, 0, &entry), |inner, number| field(*number, 2, &inner));
        assert!(CheckRequest::decode(&message[..]).is_ok(), "{way:?}");
    }
}

#[test]
fn messages_within_messages_are_followed_so_far_and_no_further() {
    let deep = |levels: usize| {
        let mut inner = Vec::new();
        for _ in 0..levels {
            // A list's value within a value.
            for number in [1, 6] {
                let mut outer = vec![number << 3 | 2];
                prost::encoding::encode_varint(inner.len() as u64, &mut outer);
                outer.extend_from_slice(&inner);
                inner = outer;
            }
        }
        for number in [2, 1, 2, 1, 11, 1] {
            let mut outer = vec![number << 3 | 2];
            prost::encoding::encode_varint(inner.len() as u64, &mut outer);
            outer.extend_from_slice(&inner);
            inner = outer;
        }
        inner
    };
    assert!(has_good_maps(&deep(10)));
    assert!(!has_good_maps(&deep(100_000)));
}
