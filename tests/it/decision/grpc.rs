//! The gRPC listener, asked by types that were not made from our `proto/`.
//!
//! Over 400 lines: one listener, from its first call to its last.

#![allow(deprecated, reason = "`append` is what older versions of Envoy read")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderMap, HeaderValue, header_value_option::HeaderAppendAction},
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse,
            attribute_context::{HttpRequest, Request},
            check_response::HttpResponse,
        },
    },
    google::protobuf::{BoolValue, value::Kind},
};
use portcullis::{
    app,
    authz::Reason,
    checker::Checker,
    clock::{Clock, SystemClock, Timestamp},
    decision_log::DecisionLog,
    grpc::CheckService,
    token::RevocationList,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{ask, jwt, support::InProcess};

/// A question with these headers in the map.
pub(crate) fn question(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers: HashMap<String, String> =
        headers.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    of_http(HttpRequest {
        id: "id-1".into(),
        method: method.into(),
        scheme: "http".into(),
        host: "app.example.com".into(),
        path: path.into(),
        headers,
        ..HttpRequest::default()
    })
}

pub(crate) fn of_http(http: HttpRequest) -> CheckRequest {
    let request = Request { http: Some(http), ..Request::default() };
    let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

fn seconds() -> i64 {
    SystemClock.now().as_secs()
}

/// A bearer token that is good by the machine's clock.
pub(crate) fn bearer(changes: &serde_json::Value) -> String {
    format!("Bearer {}", jwt::token(&jwt::with(seconds(), changes)))
}

pub(crate) async fn start(toml: &str) -> InProcess {
    InProcess::start(toml, Arc::new(SystemClock)).await
}

/// The denial in an answer: the code, the status, and the reason.
pub(crate) fn denied(response: &CheckResponse) -> (i32, i32, String) {
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("not denied: {response:?}");
    };
    let code = response.status.as_ref().unwrap().code;
    (code, denied.status.as_ref().unwrap().code, metadata(response, "reason"))
}

pub(crate) fn metadata(response: &CheckResponse, key: &str) -> String {
    let fields = &response.dynamic_metadata.as_ref().unwrap().fields;
    match fields.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        None => "absent".into(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn an_allowance_sets_and_removes_headers_and_tells_the_gateway_who_it_was() {
    let service = start("").await;
    let token = bearer(&json!({ "role": "ADMIN", "email": null }));
    let headers = [("authorization", token.as_str()), ("x-user-role", "KING"), ("x_user_id", "0")];
    let response = service.check(question("GET", "/api/agents", &headers)).await;

    assert_eq!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
        panic!("{response:?}")
    };
    let set: Vec<(&str, &str)> = ok
        .headers
        .iter()
        .map(|option| {
            assert_eq!(option.append, Some(BoolValue { value: false }));
            assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = option.header.as_ref().unwrap();
            (header.key.as_str(), header.value.as_str())
        })
        .collect();
    assert_eq!(set, [("x-user-id", "7"), ("x-user-name", "ann"), ("x-user-role", "ADMIN")]);
    assert_eq!(
        ok.headers_to_remove,
        [
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
            "x-user-email",
            "x_user_id"
        ]
    );
    assert!(ok.query_parameters_to_remove.is_empty() && ok.response_headers_to_add.is_empty());
    for (key, value) in [
        ("decision", "allow"),
        ("rule", "agents"),
        ("user_id", "7"),
        ("user_name", "ann"),
        ("role", "ADMIN"),
        ("token_id", "token-1"),
        ("reason", "absent"),
        ("shadow", "absent"),
    ] {
        assert_eq!(metadata(&response, key), value, "{key}");
    }
}

#[tokio::test]
async fn an_anonymous_allowance_names_nobody() {
    let service = start("").await;
    let response = service.check(question("GET", "/api/healthcheck", &[])).await;
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    for (key, value) in [
        ("decision", "allow"),
        ("rule", "health"),
        ("user_id", "absent"),
        ("user_name", "absent"),
        ("role", "absent"),
        ("token_id", "absent"),
    ] {
        assert_eq!(metadata(&response, key), value, "{key}");
    }
}

#[tokio::test]
async fn a_denial_has_a_code_a_status_headers_a_body_and_a_reason() {
    let service = start("check.sign_in_url = \"https://a.example/l\"").await;
    let inactive = bearer(&json!({ "role": "INACTIVE" }));
    let navigate = [("sec-fetch-mode", "navigate")];
    for (path, headers, expected) in [
        ("/api/agents", &[][..], (16, 401, "no_credential")),
        ("/api/agents", &[("authorization", "Bearer x")][..], (16, 401, "malformed_token")),
        ("/api/agents", &[("authorization", inactive.as_str())][..], (7, 403, "role")),
        ("/nowhere", &[][..], (7, 403, "no_rule")),
        ("/api//agents", &[][..], (7, 400, "bad_path")),
        ("/api/agents", &navigate[..], (7, 302, "no_credential")),
    ] {
        let response = service.check(question("GET", path, headers)).await;
        let (code, status, reason) = denied(&response);
        assert_eq!((code, status, reason.as_str()), expected, "{path}");
        assert_eq!(metadata(&response, "decision"), "deny");
        assert_eq!(metadata(&response, "user_id"), "absent");
        let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!() };
        let value = |name: &str| {
            denied
                .headers
                .iter()
                .filter_map(|option| option.header.as_ref())
                .find(|header| header.key == name)
                .map(|header| header.value.clone())
        };
        assert_eq!(value("content-type").as_deref(), Some("application/json"));
        assert_eq!(value("cache-control").as_deref(), Some("no-store"));
        assert_eq!(value("www-authenticate").is_some(), status == 401);
        assert_eq!(value("location").is_some(), status == 302);
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!(body["error"]["code"], status.to_string());
    }
}

#[tokio::test]
async fn a_question_without_a_request_is_denied_and_not_an_error() {
    let service = start("").await;
    let no_request = CheckRequest { attributes: Some(AttributeContext::default()) };
    let no_http = CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request::default()),
            ..Default::default()
        }),
    };
    for request in [CheckRequest::default(), no_request, no_http] {
        let response = service.check(request).await;
        assert_eq!(denied(&response), (7, 403, "no_http_attributes".into()));
    }
    let empty = service.check(of_http(HttpRequest::default())).await;
    assert_eq!(denied(&empty), (7, 400, "bad_host".into()));
}

#[tokio::test]
async fn headers_are_read_from_the_list_too_also_when_they_are_no_text() {
    let service = start("").await;
    let header = |key: &str, value: &str, raw: &[u8]| HeaderValue {
        key: key.into(),
        value: value.into(),
        raw_value: raw.to_vec(),
    };
    let with = |headers: Vec<HeaderValue>| {
        let mut request = question("GET", "/api/agents", &[]);
        let http =
            request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        http.header_map = Some(HeaderMap { headers });
        request
    };
    let token = bearer(&json!({}));
    let raw = service.check(with(vec![header("authorization", "", token.as_bytes())])).await;
    assert_eq!(raw.status.unwrap().code, 0);
    let text = service.check(with(vec![header("authorization", &token, b"")])).await;
    assert_eq!(text.status.unwrap().code, 0);
    let twice = vec![header("authorization", &token, b""), header("authorization", &token, b"")];
    assert_eq!(denied(&service.check(with(twice)).await), (7, 400, "ambiguous_credential".into()));
    let no_text = vec![header("authorization", "", b"Bearer \xff\xfe")];
    assert_eq!(denied(&service.check(with(no_text)).await), (16, 401, "malformed_token".into()));
    let odd =
        vec![header("x-odd", "", b"\xff\0\r\n"), header("connection", "", b"\xff, x-user-id")];
    assert_eq!(denied(&service.check(with(odd)).await), (7, 400, "bad_header".into()));
}

/// A clock that panics when it is told to, but for who follows the store: that is another
/// story, and the end of the service.
#[derive(Debug, Default)]
struct Fragile {
    broken: AtomicBool,
}

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        let follows = thread::current().name() == Some("revocations");
        let is_broken = self.broken.load(Ordering::Relaxed) && !follows;
        assert!(!is_broken, "a panic that the test asked for");
        SystemClock.now()
    }
}

#[tokio::test]
async fn a_panic_is_a_denial_and_the_service_lives_on() {
    let clock = Arc::new(Fragile::default());
    let service = InProcess::start("", Arc::clone(&clock) as Arc<dyn Clock>).await;
    let token = bearer(&json!({ "role": "ADMIN" }));
    let ask = || question("GET", "/api/agents", &[("authorization", &token)]);
    assert_eq!(service.check(ask()).await.status.unwrap().code, 0);
    clock.broken.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(denied(&service.check(ask()).await), (7, 500, "internal".into()));
        let public = service.check(question("GET", "/api/healthcheck", &[])).await;
        assert_eq!(denied(&public), (7, 500, "internal".into()));
    }
    clock.broken.store(false, Ordering::Relaxed);
    assert_eq!(service.check(ask()).await.status.unwrap().code, 0);
}

/// A service to be asked without a network.
fn offline(toml: &str, revoked: RevocationList, clock: Arc<dyn Clock>) -> CheckService {
    let engine = app::engine(ask::config(toml), Arc::new(revoked));
    let checker = Checker::new(Arc::new(engine), clock, DecisionLog::new(0.0));
    CheckService::new(Arc::new(checker))
}

/// What Envoy would make of an answer. Panics when it is not whole.
fn as_envoy_takes_it(answer: &[u8]) -> bool {
    assert!(!answer.is_empty(), "Envoy takes zero bytes for an allowance");
    let response = CheckResponse::decode(answer).unwrap();
    let code = response.status.as_ref().expect("no status is an allowance").code;
    match &response.http_response {
        Some(HttpResponse::OkResponse(_)) => assert_eq!(code, 0),
        Some(HttpResponse::DeniedResponse(denied)) => {
            assert!(code == 7 || code == 16);
            assert!(denied.status.as_ref().unwrap().code >= 300);
            assert!(denied.body.starts_with("{\"error\""));
        }
        other => panic!("{other:?}"),
    }
    code == 0
}

#[test]
fn every_answer_on_every_way_through_the_code_is_whole() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let plain = offline("", RevocationList::empty(), Arc::clone(&clock));
    let waiting = offline("", RevocationList::default(), clock);
    let broken = Fragile { broken: AtomicBool::new(true) };
    let broken = offline("", RevocationList::empty(), Arc::new(broken));
    let token = bearer(&json!({ "role": "ADMIN" }));
    let good = question("GET", "/api/agents", &[("authorization", &token)]).encode_to_vec();
    assert!(as_envoy_takes_it(&plain.answer(Some(&good))));
    for (service, question) in [
        (&plain, None),
        (&plain, Some(&b""[..])),
        (&plain, Some(&b"junk"[..])),
        (&waiting, Some(&good[..])),
        (&waiting, None),
        (&broken, Some(&good[..])),
        (&broken, None),
    ] {
        assert!(!as_envoy_takes_it(&service.answer(question)));
    }
    // Each reason, as the transport writes it.
    for reason in Reason::ALL {
        let status = i32::from(reason.status());
        assert!(
            envoy_types::pb::envoy::r#type::v3::StatusCode::try_from(status).is_ok(),
            "Envoy refuses an answer with a status that it does not know"
        );
    }
}

proptest! {
    /// Whatever bytes come, the answer is whole, and is no allowance.
    #[test]
    fn no_bytes_are_let_through(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let service = offline("", RevocationList::empty(), Arc::new(SystemClock));
        prop_assert!(!as_envoy_takes_it(&service.answer(Some(&bytes))));
    }

    /// Nor is a good question with bytes changed, unless it stays good.
    #[test]
    fn a_damaged_question_gets_a_whole_answer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let service = offline("", RevocationList::empty(), Arc::new(SystemClock));
        let mut message = question("GET", "/api/agents", &[("authorization", "Bearer x")]).encode_to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        // Changed into /api/healthcheck it cannot be, so nothing is public.
        prop_assert!(!as_envoy_takes_it(&service.answer(Some(&message))));
    }
}

#[tokio::test]
async fn health_tells_of_the_service_by_name_and_of_draining() {
    let service = start("lifecycle.drain = \"20s\"").await;
    let mut client = HealthClient::new(service.channel().await);
    let mut status = async |name: &str| {
        let request = HealthCheckRequest { service: name.into() };
        client.check(request).await.map(|response| response.into_inner().status())
    };
    for name in ["", "envoy.service.auth.v3.Authorization"] {
        assert_eq!(status(name).await.unwrap(), ServingStatus::Serving, "{name}");
    }
    assert_eq!(status("other").await.unwrap_err().code(), tonic::Code::NotFound);

    service.stop.cancel();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while status("").await.unwrap() == ServingStatus::Serving {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    // Not ready, and still serving: also who connects only now.
    let token = bearer(&json!({}));
    let response =
        service.check(question("GET", "/api/agents", &[("authorization", &token)])).await;
    assert_eq!(response.status.unwrap().code, 0);
}

#[tokio::test]
async fn it_stops_by_itself_when_it_has_drained() {
    let service = start("lifecycle.drain = \"10ms\"").await;
    // A connection that stays open does not keep it.
    let _idle = service.channel().await;
    service.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), service.ended).await;
    ended.expect("it did not stop").unwrap();
}

#[tokio::test]
async fn reflection_shows_the_services_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let service = start("").await;
    let expected = [
        "envoy.service.auth.v3.Authorization",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];

    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(service.channel().await);
    let stream = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!()
    };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, expected);

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "envoy.service.auth.v3.CheckRequest".into(),
            ),
        ),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(service.channel().await);
    let stream = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) =
        answer
    else {
        panic!("{answer:?}")
    };
    assert!(!files.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn a_unix_socket_serves_and_leaves_no_file_behind() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("check.sock");
    // One that nobody listens on any more is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let toml = format!("check.listen = \"unix:{}\"\nlifecycle.drain = \"0s\"", path.display());
    let service = start(&toml).await;
    let response = service.check(question("GET", "/api/healthcheck", &[])).await;
    assert_eq!(response.status.unwrap().code, 0);

    let taken = app::App::bind(ask::config(&toml), Arc::new(SystemClock)).await;
    assert!(taken.unwrap_err().to_string().starts_with("check.listen: cannot listen on unix:"));

    service.stop.cancel();
    service.ended.await.unwrap();
    assert!(!path.exists());
}
