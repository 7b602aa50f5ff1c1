//! What a sign-in page needs to know of this instance, and what upstreams need to
//! verify its tokens.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::{Value, json};

use super::{
    error::{ApiError, answered},
    request::request_input,
    state::Site,
};
use crate::token::KeyRing;

/// The public keys (RFC 7517). A key that is added is known to every upstream
/// when this has passed, and can be signed with then.
pub(super) fn key_set(keys: &KeyRing) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, keys.public().to_string()).into_response()
}

/// The same on the `http` listener.
pub(super) async fn own_keys(State(site): State<Arc<Site>>) -> Response {
    key_set(site.engine.verifier.keys())
}

/// The metadata of a protected resource (RFC 9728), for gateways that cannot hand on what
/// a check answers. It is the same whoever asks.
pub(super) async fn resource(State(site): State<Arc<Site>>, request: Request) -> Response {
    match site.engine.answer(&request_input(&request)) {
        Some(answer) => answered(&answer),
        None => ApiError::not_found().into_response(),
    }
}

/// The discovery document: what this service's own pages ask, and all that the
/// dashboard of LiteLLM 1.109.1 does. What there is none of here is told so.
pub(super) async fn document(State(site): State<Arc<Site>>) -> Json<Value> {
    let workers = &site.settings.workers;
    let root = site.settings.public_url.path().trim_end_matches('/');
    Json(json!({
        "is_control_plane": !workers.is_empty(),
        "workers": workers,
        "sso_configured": site.sso.is_some(),
        "server_root_path": root,
        "proxy_base_url": null,
        "gateway_base_url": null,
        "auto_redirect_to_sso": site.settings.auto_redirect_to_sso && site.sso.is_some(),
        "admin_ui_disabled": !site.settings.has_pages,
        // There are no default credentials that a page could hint at.
        "hide_default_credentials_hint": true,
        "mcp_stdio_enabled": false,
        "use_si_terminology": false,
        "claude_code_marketplace_auth_required": false,
    }))
}
