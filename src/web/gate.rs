//! What every request passes first: who may ask from a page elsewhere, and
//! the headers that every answer has.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{error::ApiError, state::Site};
use crate::authz::Origin;

/// How long a whole request may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a browser may remember a preflight, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Whose page a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// No page, or one that did not say.
    Nowhere,
    /// A page of this service.
    Here,
    /// A page of the control plane.
    ControlPlane,
    /// Somebody else's page.
    Elsewhere,
}

fn from(site: &Site, headers: &HeaderMap) -> From {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (first, more) = (origins.next(), origins.next().is_some());
    let Some(first) = first else { return From::Nowhere };
    let origin = first.to_str().ok().and_then(Origin::parse).filter(|_| !more);
    match origin {
        Some(origin) if site.control_plane.as_ref() == Some(&origin) => From::ControlPlane,
        Some(origin) if site.own.as_ref() == Some(&origin) => From::Here,
        _ => From::Elsewhere,
    }
}

/// Lets a request pass to its endpoint, or answers it.
pub(super) async fn pass(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let from = from(&site, request.headers());
    let signs_in = path.starts_with("/v3/") || path == "/v2/login" || path.starts_with("/session");
    let is_shared = signs_in || path.contains("/.well-known/");

    let mut response = if path.starts_with("/v3/") && site.control_plane.is_none() {
        if site.no_control_plane.is_due() {
            tracing::warn!(
                path,
                fix = "set login.control_plane_url to the address of the page that signs people \
                        in, or sign in by POST /session from a page of this service",
                "a page of another site asked for a sign-in, but login.control_plane_url is not set"
            );
        }
        ApiError::no_control_plane().into_response()
    } else if signs_in && from == From::Elsewhere {
        if site.foreign_origin.is_due() {
            tracing::warn!(
                path,
                origin = ?request.headers().get(header::ORIGIN),
                fix = "set http.public_url to the address at which browsers reach this service, or \
                        login.control_plane_url to the address of the page that signs people in",
                "a page of another origin asked to sign somebody in"
            );
        }
        ApiError::foreign_origin().into_response()
    } else if is_shared && from == From::ControlPlane && is_preflight(&request) {
        preflight()
    } else {
        match tokio::time::timeout(TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::unavailable().into_response(),
        }
    };

    let headers = response.headers_mut();
    if is_shared {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if is_shared
        && from == From::ControlPlane
        && let Some(url) = &site.settings.control_plane
        && let Ok(origin) = HeaderValue::from_str(&url.origin().ascii_serialization())
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    let always: [(HeaderName, &str); 3] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in always {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
