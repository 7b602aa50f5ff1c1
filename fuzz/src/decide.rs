//! Decisions over HTTP, as each proxy asks for them.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};
use portcullis::{
    authz::{CheckInput, Header, Headers, Verdict},
    checker::Checker,
    clock::Timestamp,
    decision_log::DecisionLog,
    web,
};

use super::setting::{NOW, Still, engine, with_tokens};

/// Guarded below `/api` and `/admin`, and open elsewhere.
const RULES: &str = r#"
[identity]
header_prefix = "x-user-"
[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]
[[rules]]
name = "admin"
path_prefix = "/admin"
roles = ["ADMIN"]
[[rules]]
name = "changed"
path_prefix = "/open"
methods = ["DELETE", "PUT"]
roles = ["ADMIN"]
[[rules]]
name = "open"
path_prefix = "/open"
access = "public"
"#;

static CHECKER: LazyLock<Checker> =
    LazyLock::new(|| Checker::new(Arc::new(engine(RULES)), Arc::new(Still), DecisionLog::new(0.0)));

/// Headers that tell of a user.
const IDENTITY: [&str; 4] = ["x-user-id", "x-user-name", "x-user-email", "x-user-role"];
/// By which proxies tell what they ask about.
const TELLING: [&str; 7] = [
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-original-host",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-forwarded-host",
];

/// A request that is let through is one that its proxy asked about in one way, and that
/// the engine lets through; and no header goes on by which it could pass for another's.
///
/// The first line is the method and the target, then comes a header a line.
pub fn decide(data: &[u8]) {
    let data = with_tokens(data);
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let Some((method, target)) = first.split_once(' ') else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let request = Request::builder().method(method).uri(target).version(Version::HTTP_11);
    let Ok(mut request) = request.body(()) else { return };
    *request.headers_mut() = headers;
    let Some(response) = web::fuzzing::answer(&CHECKER, &request) else { return };
    if !response.status().is_success() {
        let codes = [302, 303, 400, 401, 403, 405, 500, 503];
        assert!(codes.contains(&response.status().as_u16()), "{}", response.status());
        return;
    }
    let path = request.uri().path();
    let input = asked(&request).expect("what is asked about can be read in two ways");
    let engine = CHECKER.engine();
    let decision = engine.decide(&input, Timestamp::from_secs(NOW));
    let Verdict::Allow(grant) = &decision.verdict else { panic!("the engine denies it") };
    let told = response.headers();
    let set = |name: &str| grant.set.iter().find(|(it, _)| *it == name).map(|(_, it)| it.as_str());
    for name in IDENTITY {
        let mut values = told.get_all(name).iter();
        let (value, more) = (values.next(), values.next());
        assert!(more.is_none(), "{name} is there twice");
        let expected = set(name);
        if path.starts_with("/api/auth") {
            // Envoy takes off what it is told to.
            let removed = told.get("x-envoy-auth-headers-to-remove");
            let removed = removed.and_then(|it| it.to_str().ok()).unwrap_or_default();
            let is_off = removed.split(',').any(|it| it == name);
            let is_there = request.headers().contains_key(name);
            assert!(expected.is_some() || !is_there || is_off, "{name} goes on as it came");
            assert_eq!(value.map(HeaderValue::as_bytes), expected.map(str::as_bytes));
        } else {
            // The others put the answer's in its place.
            let expected = expected.unwrap_or_default();
            assert_eq!(value.map(HeaderValue::as_bytes), Some(expected.as_bytes()), "{name}");
        }
    }
}

/// What the proxy asks about, read by the documentation: none where it is not clear.
fn asked(request: &Request<()>) -> Option<CheckInput<'_>> {
    let headers = request.headers();
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { std::str::from_utf8(value.as_bytes()).ok() }
    };
    let path = request.uri().path();
    let (own, host): (&[&str], &str) = match path {
        "/auth/nginx" => (&["x-original-method", "x-original-uri", "x-original-host"], ""),
        "/auth/ingress-nginx" => (&["x-original-method", "x-original-url"], ""),
        "/auth/forward" => (&["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"], ""),
        _ => (&[], "x-forwarded-host"),
    };
    // A proxy before this one may have told of its host.
    let may_be = |name: &&str| own.contains(name) || *name == "x-forwarded-host" || *name == host;
    if TELLING.iter().any(|name| headers.contains_key(*name) && !may_be(name)) {
        return None;
    }
    let map = headers.iter().map(|(name, it)| Header { name: name.as_str(), value: it.as_bytes() });
    let base =
        CheckInput { headers: Headers::new(map.collect(), Vec::new()), ..Default::default() };
    let told: Vec<&str> = own.iter().map(|name| one(name)).collect::<Option<_>>()?;
    match told[..] {
        [method, path, host] => Some(CheckInput { method, host, path, ..base }),
        [method, url] => {
            let (scheme, rest) = url.split_once("://")?;
            let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(at);
            let is_web = scheme == "http" || scheme == "https";
            is_web.then_some(CheckInput { method, scheme, host, path, ..base })
        }
        _ => {
            let target = request.uri().path_and_query()?.as_str();
            let path = target.strip_prefix("/api/auth")?;
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            let host = match (authority, headers.contains_key(header::HOST)) {
                (Some(authority), false) => authority,
                (None, true) => one("host")?,
                (Some(authority), true) => {
                    one("host").filter(|it| it.eq_ignore_ascii_case(authority))?
                }
                (None, false) => return None,
            };
            let scheme = request.uri().scheme_str().unwrap_or_default();
            Some(CheckInput { method: request.method().as_str(), path, host, scheme, ..base })
        }
    }
}
