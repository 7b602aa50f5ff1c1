//! One question, asked in every way: by gRPC and as each proxy asks over HTTP,
//! it is decided alike.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{collection::vec, prelude::*, sample::select};
use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::*;
use crate::{
    authz::{
        Access, CookieForm, CredentialSettings, Engine, Forward, Header, Headers, HostPattern,
        IdentitySettings, Needs, PathAllow, PathPattern, Policy, QueryOn, Rule, Sessions, Upgrades,
    },
    clock::{Clock, Timestamp},
    decision_log::DecisionLog,
    grpc::CheckService,
    operation::McpSource,
    proto::envoy::service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Request as Asked},
        check_response::HttpResponse,
    },
    token::{
        Key, KeyRing, Minter, NewToken, RevocationList, Roles, SessionClaims, SessionLimits,
        TokenShape, UserId, Verifier, VerifierSettings,
    },
};

/// As many as in `tests/it/decision/hostile.rs`.
fn many() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    ProptestConfig { cases: config.cases.max(100_000), ..config }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ISSUED: Timestamp = Timestamp::from_secs(1_800_000_000 - 30);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn rule(name: &str, path: PathPattern, methods: &[&str], access: Access) -> Rule {
    Rule {
        name: name.to_owned(),
        hosts: vec![HostPattern::Any],
        path,
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        access,
        preflight: name == "open",
        needs: Needs::default(),
        wants: None,
        resource: None,
        when: None,
        variables: Vec::new(),
        forward: None,
        shadow: false,
        number: 0,
    }
}

fn engine() -> Engine {
    let roles = Roles::new(["INACTIVE", "REGULAR", "ADMIN"].map(str::to_owned).to_vec()).unwrap();
    let admins = Access::Roles([roles.get("ADMIN").unwrap()].into_iter().collect());
    let prefix = |path| PathPattern::prefix(path).unwrap();
    let all = vec![
        rule("agents", prefix("/api/agents"), &[], Access::Authenticated),
        rule("delete", prefix("/open"), &["DELETE"], admins),
        rule("open", prefix("/open"), &[], Access::Public),
        rule("users", PathPattern::template("/users/{id}").unwrap(), &["GET"], admins),
    ];
    let secret = SecretSlice::from(b"a-secret-of-the-tests-0123456789abcdef".to_vec());
    let settings = VerifierSettings {
        issuer: None,
        audience: None,
        leeway: std::time::Duration::from_secs(30),
        max_lifetime: std::time::Duration::from_secs(7 * 24 * 3600),
        assume_lifetime: None,
        shape: TokenShape::default(),
    };
    let keys = KeyRing::new(vec![Key::new(None, &secret).unwrap()]).unwrap();
    let name = |name: &str| format!("x-user-{name}");
    Engine {
        policy: Policy::compile(all).unwrap(),
        verifier: Verifier::new(keys, settings, roles, Arc::new(RevocationList::empty())),
        credentials: CredentialSettings {
            query_parameter: "access-token".into(),
            query_on: QueryOn::Always,
            cookie: "token".into(),
            cookie_accepted: true,
            cookie_origins: vec![],
            forward: Forward::AsIs,
            keys: None,
        },
        api_keys: None,
        identity: IdentitySettings::new(
            "x-user-".into(),
            vec!["x-user-agent".into()],
            IdentityHeaders {
                id: name("id"),
                name: name("name"),
                email: name("email"),
                role: name("role"),
            },
            vec!["x-rewrite-url".into()],
        ),
        path_allow: PathAllow::default(),
        ignore_extension: false,
        upgrades: Upgrades::new(vec!["websocket".into()]),
        sign_in: None,
        context: Vec::new(),
        mcp_source: McpSource::Body,
        max_body_bytes: 64 * 1024,
        sessions: Sessions {
            limits: SessionLimits {
                lifetime: std::time::Duration::from_secs(3600),
                absolute: std::time::Duration::from_secs(24 * 3600),
            },
            renews: true,
            cookie: CookieForm { name: "token".into(), is_secure: false, domain: None },
        },
    }
}

struct Setting {
    checker: Arc<Checker>,
    tokens: Vec<String>,
    hints: Hints,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let engine = Arc::new(engine());
    let token = |role: &str| {
        let new = NewToken {
            name: "Zoë %",
            user_id: &UserId::new("7").unwrap(),
            role: engine.verifier.roles().get(role).unwrap(),
            email: (role == "ADMIN").then_some("ann@example.com"),
            lifetime: std::time::Duration::from_secs(60),
            login_method: None,
            // Due to be renewed, where it comes in the cookie.
            session: (role == "REGULAR")
                .then_some(SessionClaims { id: "a-session", began: ISSUED }),
        };
        Minter::new(&engine.verifier).mint(&new, ISSUED).unwrap().expose_secret().to_owned()
    };
    let forged = format!("{}.e30.x", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
    let tokens = vec![token("REGULAR"), token("ADMIN"), token("INACTIVE"), forged, "x".into()];
    let checker = Checker::new(engine, Arc::new(Still), DecisionLog::new(0.0));
    Setting { checker: Arc::new(checker), tokens, hints: Hints::default() }
});

/// What a transport made of a decision: why it was denied, or what it sets, the
/// cookie of the answer among it.
#[derive(Debug, PartialEq)]
enum Told {
    Denied(u16),
    Allowed(BTreeMap<String, String>, Option<Vec<String>>),
}

/// A question as a client makes it.
#[derive(Clone, Debug)]
struct Question {
    method: &'static str,
    host: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

fn any_question() -> impl Strategy<Value = Question> {
    let methods = select(&["GET", "GET", "GET", "DELETE", "POST", "OPTIONS", "delete", "HEAD"][..]);
    let hosts = select(
        &["app.example.com", "APP.example.com:8443", "10.0.0.1", "10.1", "[::1]", "a..b"][..],
    );
    let pieces = [
        "/", "/", "api", "agents", "open", "users", "7", "..", ".", "%2e", "%2f", ";", "%61pi",
        "?a=b", "&x", "*", "é",
    ];
    let whole =
        select(&["/api/agents", "/open/x", "/users/7", "/", "/api/agents/1?access-token="][..]);
    let path = prop_oneof![
        3 => whole.prop_map(str::to_owned),
        2 => vec(select(pieces.to_vec()), 0..7).prop_map(|pieces| format!("/{}", pieces.concat())),
    ];
    let header = (
        select(
            &[
                "authorization",
                "authorization",
                "authorization",
                "cookie",
                "connection",
                "upgrade",
                "origin",
                "sec-fetch-site",
                "sec-websocket-version",
                "access-control-request-method",
                "x-user-role",
                "x~user~id",
                "x-user-agent",
                "x-rewrite-url",
                "x-other",
            ][..],
        ),
        0..12_usize,
    );
    (methods, hosts, path, any::<bool>(), vec(header, 0..5)).prop_map(
        |(method, host, path, token, headers)| {
            let tokens = &SETTING.tokens;
            let value = |(name, choice): (&'static str, usize)| {
                let token = &tokens[choice % tokens.len()];
                let pick = |values: &[&str]| values[choice % values.len()].to_owned();
                let value = match name {
                    "authorization" => format!(
                        "{} {token}",
                        pick(&["Bearer", "bearer", "Basic", "Bearer a,Bearer"])
                    ),
                    "cookie" => format!("a=1; token={token}; b=2"),
                    "connection" => pick(&["close", "x-user-id", "upgrade, x~user~role"]),
                    "upgrade" => pick(&["websocket", "WebSocket", "h2c", "websocket, h2c", ""]),
                    "origin" => pick(&["https://app.example.com", "https://evil.example"]),
                    "sec-fetch-site" => pick(&["same-origin", "cross-site"]),
                    "access-control-request-method" => pick(&["GET", "delete", "DELETE"]),
                    _ => pick(&["ADMIN", "13", "king\u{e9}"]),
                };
                (name, value)
            };
            let path = if path.ends_with('=') && token { path + &tokens[0] } else { path };
            Question { method, host, path, headers: headers.into_iter().map(value).collect() }
        },
    )
}

/// As the engine itself decides.
fn by_engine(question: &Question) -> Told {
    let map = question.headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
    let input = CheckInput {
        method: question.method,
        scheme: "",
        host: question.host,
        path: &question.path,
        headers: Headers::new(vec![], map.collect()),
        ..CheckInput::default()
    };
    let engine = SETTING.checker.engine();
    match engine.decide(&input, NOW).verdict {
        Verdict::Deny(denial) => Told::Denied(denial.status()),
        Verdict::Answer(answer) => Told::Denied(answer.status),
        Verdict::Allow(grant) => Told::Allowed(
            grant
                .set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .chain(grant.set_cookie.clone().map(|cookie| ("set-cookie".to_owned(), cookie)))
                .collect(),
            Some(grant.remove.iter().map(|name| name.clone().into_owned()).collect()),
        ),
    }
}

/// As a gateway hears it by gRPC.
fn by_grpc(question: &Question) -> Told {
    use crate::proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
    let headers = question.headers.iter().map(|(name, value)| HeaderValue {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: value.clone().into_bytes(),
    });
    let http = HttpRequest {
        method: question.method.to_owned(),
        host: question.host.to_owned(),
        path: question.path.clone(),
        header_map: Some(HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    };
    let request = Some(Asked { http: Some(http), ..Asked::default() });
    let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
    let service = CheckService::new(Arc::clone(&SETTING.checker));
    let answer = service.answer(Some(&CheckRequest { attributes }.encode_to_vec()));
    let answer = CheckResponse::decode(answer).unwrap();
    match answer.http_response.unwrap() {
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(answer.status.unwrap().code, 0);
            Told::Denied(denied.status.unwrap().code.try_into().unwrap())
        }
        HttpResponse::OkResponse(ok) => {
            assert_eq!(answer.status.unwrap().code, 0);
            let added = ok.response_headers_to_add.into_iter();
            let added = added.filter_map(|option| option.header);
            let cookie = added.filter(|header| header.key == "set-cookie");
            let set = ok.headers.into_iter().filter_map(|option| option.header).chain(cookie);
            Told::Allowed(
                set.map(|header| (header.key, header.value)).collect(),
                Some(ok.headers_to_remove),
            )
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
}

/// As a proxy hears it; `None` when it cannot ask so.
fn by_http(question: &Question, mode: Mode) -> Option<Told> {
    let mut request = Request::builder();
    for (name, value) in &question.headers {
        request = request.header(*name, value.as_bytes());
    }
    let Question { method, host, path, .. } = question;
    let own: &[(&str, String)] = match mode {
        Mode::Nginx => &[
            ("x-original-method", (*method).into()),
            ("x-original-uri", path.clone()),
            ("x-original-host", (*host).into()),
        ],
        Mode::IngressNginx => &[
            ("x-original-method", (*method).into()),
            ("x-original-url", format!("https://{host}{path}")),
        ],
        Mode::Forward => &[
            ("x-forwarded-method", (*method).into()),
            ("x-forwarded-uri", path.clone()),
            ("x-forwarded-host", (*host).into()),
        ],
        Mode::Envoy | Mode::NginxAsEnvoy => {
            request = request.method(*method).uri(format!("{ENVOY_PREFIX}{path}"));
            &[("host", (*host).into()), ("content-length", "0".into())]
        }
    };
    for (name, value) in own {
        request = request.header(*name, value.as_str());
    }
    let request = request.body(()).ok()?;
    let answer = decide(&SETTING.checker, &SETTING.hints, mode, &request);
    let status = answer.status().as_u16();
    if !answer.status().is_success() {
        return Some(Told::Denied(status));
    }
    assert_eq!(status, if mode == Mode::Envoy { 200 } else { 204 });
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let is_told = |name: &HeaderName| name.as_str().starts_with("x-user-") || name == "set-cookie";
    let identity = answer.headers().iter().filter(|(name, _)| is_told(name));
    let set = identity.map(|(name, value)| (name.to_string(), text(value)));
    let removed = answer
        .headers()
        .get(REMOVE)
        .map(|names| text(names).split(',').map(str::to_owned).collect());
    Some(Told::Allowed(set.filter(|(_, value)| !value.is_empty()).collect(), removed))
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn every_transport_decides_alike(question in any_question()) {
        let expected = by_engine(&question);
        prop_assert_eq!(&by_grpc(&question), &expected);
        for mode in [Mode::Nginx, Mode::IngressNginx, Mode::Forward, Mode::Envoy] {
            let Some(told) = by_http(&question, mode) else { continue };
            match (&told, &expected) {
                // These proxies hear 401 and 403 alone.
                (Told::Denied(told), Told::Denied(status)) if mode.is_nginx() => {
                    prop_assert_eq!(*told, if *status == 401 { 401 } else { 403 });
                }
                (Told::Denied(told), Told::Denied(status)) => {
                    prop_assert_eq!(told, status, "{:?}", mode);
                }
                // Only Envoy is told what to remove.
                (Told::Allowed(told, removed), Told::Allowed(set, remove)) => {
                    prop_assert_eq!(told, set, "{:?}", mode);
                    prop_assert_eq!(removed.is_some(), mode == Mode::Envoy);
                    prop_assert!(removed.is_none() || removed == remove);
                }
                _ => prop_assert!(false, "{:?}: {:?}, not {:?}", mode, told, expected),
            }
        }
    }
}

#[test]
fn some_of_these_questions_are_renewed() {
    let token = &SETTING.tokens[0];
    let headers = vec![("cookie", format!("token={token}"))];
    let question =
        Question { method: "GET", host: "app.example.com", path: "/open/x".into(), headers };
    let Told::Allowed(set, _) = by_engine(&question) else { panic!("{question:?}") };
    assert!(set["set-cookie"].starts_with("token=ey"), "{set:?}");
}

#[test]
fn each_way_of_asking_refuses_the_headers_of_all_others() {
    let all = Mode::Envoy.foreign();
    for mode in [Mode::Nginx, Mode::IngressNginx, Mode::Forward] {
        let others: Vec<_> = all.iter().filter(|name| !mode.own().contains(name)).collect();
        assert_eq!(mode.foreign().iter().collect::<Vec<_>>(), others, "{mode:?}");
    }
    assert_eq!(Mode::NginxAsEnvoy.foreign(), all);
}
