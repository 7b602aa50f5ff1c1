//! The decision over HTTP, for proxies that ask so: nginx, ingress-nginx,
//! Traefik and Caddy, and Envoy's HTTP mode.
//!
//! Each way of asking reads the method and the address from its own proxy's
//! headers. Those of another way beside them could have come from a client,
//! and make a question that can be read in two ways: it is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};

use super::{
    error::denied,
    hints::{Asker, Hints, lacks_headers},
    names::header_name,
    request::request_input,
};
use crate::{
    authz::{CheckInput, Decision, Denial, Grant, IdentityHeaders, Reason, Single, Verdict},
    checker::Checker,
    error_body::{ErrorBody, ErrorKind},
    transport::{Context, Transport},
};

/// What stands before the path of a request that Envoy asks about.
const ENVOY_PREFIX: &str = "/api/auth";
/// Tells Envoy what to take off the request.
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// Tells nginx, whose logs are for operators alone, why.
const REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");
/// The same, and where it is to ask.
const ASK_ELSEWHERE: &str = "bad_header: nginx asks at /auth/nginx";

/// As many headers as an answer has without an allocation more.
const MANY_HEADERS: usize = 12;

/// A way of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Nginx,
    IngressNginx,
    Forward,
    Envoy,
    /// nginx, where Envoy asks: what it asks about is not known.
    NginxAsEnvoy,
}

impl Mode {
    /// The way that is asked at this path; `None` where nothing is decided.
    pub(super) fn asked_at(path: &str) -> Option<Self> {
        match path {
            "/auth/nginx" => Some(Self::Nginx),
            "/auth/ingress-nginx" => Some(Self::IngressNginx),
            "/auth/forward" => Some(Self::Forward),
            _ => {
                let below = path.strip_prefix(ENVOY_PREFIX)?;
                (below.is_empty() || below.starts_with('/')).then_some(Self::Envoy)
            }
        }
    }

    fn transport(self) -> Transport {
        match self {
            Self::Nginx | Self::NginxAsEnvoy => Transport::Nginx,
            Self::IngressNginx => Transport::IngressNginx,
            Self::Forward => Transport::Forward,
            Self::Envoy => Transport::EnvoyHttp,
        }
    }

    /// Its own proxy's headers.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["x-original-method", "x-original-uri", "x-original-host"],
            Self::IngressNginx => &["x-original-method", "x-original-url"],
            // Any proxy before it may have set the last one, too.
            Self::Forward => &["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"],
            Self::Envoy | Self::NginxAsEnvoy => &[],
        }
    }

    /// Those of the others, by which a proxy tells a method or an address.
    fn foreign(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["x-original-url", "x-forwarded-method", "x-forwarded-uri"],
            Self::IngressNginx => {
                &["x-original-uri", "x-original-host", "x-forwarded-method", "x-forwarded-uri"]
            }
            Self::Forward => {
                &["x-original-method", "x-original-uri", "x-original-url", "x-original-host"]
            }
            Self::Envoy | Self::NginxAsEnvoy => &[
                "x-original-method",
                "x-original-uri",
                "x-original-url",
                "x-original-host",
                "x-forwarded-method",
                "x-forwarded-uri",
            ],
        }
    }

    /// Whether the proxy understands 401 and 403, and takes the rest for a
    /// failure.
    fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::IngressNginx | Self::NginxAsEnvoy)
    }
}

/// A question that is not this proxy's.
#[derive(Clone, Copy, Debug)]
struct Misfit {
    header: &'static str,
    message: &'static str,
}

/// The answer to a question that was asked in this way.
pub(super) fn decide<B>(
    checker: &Checker,
    hints: &Hints,
    mode: Mode,
    request: &Request<B>,
) -> Response {
    let whose = if mode == Mode::Envoy { Asker::of(request) } else { Asker::Envoy };
    let mode = if whose == Asker::Nginx { Mode::NginxAsEnvoy } else { mode };
    let answer = || {
        let mut input = request_input(request);
        let asked = ask(mode, &mut input);
        if whose != Asker::Envoy {
            hints.of_nginx(whose == Asker::Nginx);
        }
        if mode == Mode::Envoy
            && input.path.contains('?')
            && lacks_headers(&input, &checker.engine().credentials)
        {
            hints.of_headers();
        }
        let request_id = input.headers.text("x-request-id").unwrap_or_default();
        let context = Context { request_id, client: "", transport: mode.transport(), trace: None };
        let question = match &asked {
            Ok(()) => Ok(&input),
            Err(misfit) => Err(Reason::BadHeader(misfit.header)),
        };
        checker.check(question, context, |decision| match decision.verdict {
            Verdict::Allow(grant) => allow(mode, grant, &input),
            Verdict::Deny(denial) => deny(mode, &denial, asked.err()),
            // What these proxies are answered, they take for an allowance, or throw
            // away: they have to ask the `http` listener itself.
            Verdict::Answer(_) => deny(mode, &Denial::of(Reason::NoRule), None),
        })
    };
    // An answer that could not be made is a denial.
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
        match Decision::deny(Reason::Internal).verdict {
            Verdict::Deny(denial) => deny(mode, &denial, None),
            Verdict::Allow(_) | Verdict::Answer(_) => {
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    })
}

/// Puts the request that is asked about in the place of the one that asks.
fn ask(mode: Mode, input: &mut CheckInput<'_>) -> Result<(), Misfit> {
    if mode == Mode::NginxAsEnvoy {
        let message = "This header is missing: nginx asks at /auth/nginx, and sets it";
        return Err(Misfit { header: "x-original-method", message });
    }
    if let Some(header) = mode.foreign().iter().find(|header| input.headers.contains(header)) {
        let message = "This header is of another way of asking: take it off in the proxy";
        return Err(Misfit { header, message });
    }
    let mut own = [""; 3];
    for (header, value) in mode.own().iter().zip(&mut own) {
        let misfit = |message| Misfit { header, message };
        *value = match input.headers.single(header) {
            Single::One(value) => {
                std::str::from_utf8(value).map_err(|_| misfit("This header is not text"))?
            }
            Single::Absent => return Err(misfit("This header is missing: set it in the proxy")),
            Single::Repeated => {
                let message = "This header is there more than once: set it in the proxy";
                return Err(misfit(message));
            }
        };
    }
    match (mode, own) {
        (Mode::Nginx | Mode::Forward, [method, path, host]) => {
            (input.method, input.path, input.host, input.scheme) = (method, path, host, "");
        }
        (Mode::IngressNginx, [method, url, _]) => {
            let message = "This header is no http(s) address";
            let misfit = Misfit { header: "x-original-url", message };
            let (scheme, rest) = url.split_once("://").ok_or(misfit)?;
            if !matches!(scheme, "http" | "https") {
                return Err(misfit);
            }
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at_checked(end).ok_or(misfit)?;
            (input.method, input.path, input.host, input.scheme) = (method, path, host, scheme);
        }
        (Mode::Envoy | Mode::NginxAsEnvoy, _) => {
            input.path = input.path.strip_prefix(ENVOY_PREFIX).unwrap_or_default();
        }
    }
    Ok(())
}

/// The answer to a request that may pass.
fn allow(mode: Mode, mut grant: Grant<'_>, input: &CheckInput<'_>) -> Response {
    let status = if mode == Mode::Envoy { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(MANY_HEADERS);
    // Envoy hands on what there is of it, so there is none but beside a cookie.
    if mode == Mode::Forward {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if mode == Mode::Envoy {
        let names: Vec<&str> = grant.remove.iter().map(AsRef::as_ref).collect();
        match HeaderValue::try_from(names.join(",")) {
            Ok(names) if !names.is_empty() => drop(headers.insert(REMOVE, names)),
            _ => {}
        }
    } else {
        // These proxies take no header off, and overwrite: whatever tells of a
        // user is there, and empty where there is nothing.
        // None of the identity headers goes on, and none for keys, but as it is set.
        let identity = grant.identity.into_iter().flat_map(IdentityHeaders::names);
        let never = identity.chain(grant.key_headers.iter().copied());
        let never = never.filter(|name| grant.set.iter().all(|(set, _)| set != name));
        let is_removed = |name: &&str| grant.remove.iter().any(|removed| removed == name);
        for name in never.chain(["authorization", "cookie"].into_iter().filter(is_removed)) {
            if let Some(name) = header_name(name) {
                headers.insert(name, HeaderValue::from_static(""));
            }
        }
    }
    for (name, value) in std::mem::take(&mut grant.set) {
        match (header_name(name), HeaderValue::try_from(value)) {
            (Some(name), Ok(value)) => drop(headers.insert(name, value)),
            // Never without a header that the upstream trusts.
            _ => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    for (name, value) in grant.answer_headers() {
        if let Ok(mut value) = HeaderValue::try_from(value) {
            value.set_sensitive(true);
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let as_sent = |name: HeaderName, between: &[u8]| {
        let lines: Vec<&[u8]> = input.headers.values(name.as_str()).collect();
        HeaderValue::from_bytes(&lines.join(between))
    };
    // The proxy hands on what the answer has, here as elsewhere.
    if mode != Mode::Envoy && grant.keeps_credential {
        match as_sent(header::AUTHORIZATION, b", ") {
            Ok(value) => drop(headers.insert(header::AUTHORIZATION, value)),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    // Where the credential is not forwarded, the proxy hands on the cookies of
    // the answer: those of others stay as they are.
    let is_changed = headers.contains_key(header::AUTHORIZATION);
    if mode != Mode::Envoy && is_changed && !headers.contains_key(header::COOKIE) {
        match as_sent(header::COOKIE, b"; ") {
            Ok(cookies) => drop(headers.insert(header::COOKIE, cookies)),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    response
}

/// The answer to one that may not.
fn deny(mode: Mode, denial: &Denial, misfit: Option<Misfit>) -> Response {
    let mut response: Response = denied(denial);
    if let Some(Misfit { header, message }) = misfit {
        let code = denial.status();
        let kind = ErrorKind::InvalidRequestError;
        let body = ErrorBody { message, kind, param: Some(header), code };
        *response.body_mut() = body.to_json().into();
    }
    if mode.is_nginx() {
        let signs_in = denial.location.is_some();
        let is_known = signs_in || response.status() == StatusCode::UNAUTHORIZED;
        *response.status_mut() =
            if is_known { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        let reason = match mode {
            Mode::NginxAsEnvoy => ASK_ELSEWHERE,
            _ => denial.reason.as_str(),
        };
        let reason = HeaderValue::from_static(reason);
        response.headers_mut().insert(REASON, reason);
    }
    response
}

#[cfg(test)]
mod tests;
