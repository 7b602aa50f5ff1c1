//! The HTTP listeners: `http` for everybody, `internal` for the platform.
//!
//! A request passes the `gate` (origins, CORS, headers of every answer),
//! then comes to its endpoint: a file a group.

mod address;
mod backchannel;
mod body;
mod decide;
mod discovery;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod hints;
mod internal;
mod login;
mod names;
mod page;
mod request;
mod server;
mod session;
mod sessions;
mod sso;
mod state;
mod ui;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware,
    routing::{any, delete, get, post},
};
use http::Uri;
use tower::ServiceExt as _;

use self::error::ApiError;
pub use self::{
    address::{Peer, TrustedProxies},
    hints::Hints,
    internal::{Internal, InternalAnswers},
    server::{Answers, HttpServer, Routed},
    state::{SigningIn, Site, SiteSettings, SiteShared},
};
pub(crate) use self::{
    error::{answered, denied},
    request::request_input,
};

/// The `http` listener: its endpoints, also below the path of `public_url`,
/// since some gateways take that away and others leave it.
pub fn router(site: Arc<Site>) -> Router {
    let root = site.settings.public_url.path().trim_end_matches('/').to_owned();
    let endpoints = endpoints(site);
    if root.is_empty() {
        return endpoints;
    }
    let below = move |mut request: Request| {
        if let Some(uri) = below(request.uri(), &root) {
            *request.uri_mut() = uri;
        }
        endpoints.clone().oneshot(request)
    };
    Router::new().fallback_service(tower::service_fn(below))
}

/// The address as it is below this path; `None` when it is not.
fn below(uri: &Uri, root: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(root)?;
    rest.starts_with('/').then(|| rest.parse().ok()).flatten()
}

/// The pages for people, and what they load.
fn pages() -> Router<Arc<Site>> {
    Router::new()
        .route("/ui", get(ui::with_slash))
        .route("/ui/", get(ui::home))
        .route("/ui/login", get(ui::with_slash))
        .route("/ui/login/", get(ui::login))
        .route("/ui/assets/{name}", get(ui::asset))
}

fn endpoints(site: Arc<Site>) -> Router {
    let pages = if site.settings.has_pages { pages() } else { Router::new() };
    Router::new()
        .merge(pages)
        .route("/v3/login", post(login::login))
        .route("/v3/login/exchange", post(login::exchange))
        .route("/v2/login", post(login::sign_in_here))
        .route("/session", get(session::show).post(login::sign_in_here))
        .route("/session/logout", post(session::logout))
        .route("/session/renew", post(sessions::renew))
        .route("/session/all", get(sessions::all))
        .route("/session/{sid}", delete(sessions::end))
        .route("/sso/login", get(sso::login))
        .route("/sso/key/generate", get(sso::login))
        .route("/sso/callback", get(sso::callback))
        .route("/sso/backchannel-logout", post(backchannel::logout))
        .route("/.well-known/jwks.json", get(discovery::own_keys))
        .route("/.well-known/oauth-protected-resource", any(discovery::resource))
        .route("/.well-known/oauth-protected-resource/{*path}", any(discovery::resource))
        .route("/.well-known/portcullis", get(discovery::document))
        .route("/.well-known/litellm-ui-config", get(discovery::document))
        .route("/litellm/.well-known/litellm-ui-config", get(discovery::document))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&site), gate::pass))
        .with_state(site)
}
