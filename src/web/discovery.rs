//! What a sign-in page needs to know of this instance.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::state::Site;

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
