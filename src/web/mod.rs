//! The HTTP listeners: `http` for everybody, `internal` for the platform.
//!
//! A request passes the `gate` (origins, CORS, headers of every answer),
//! then comes to its endpoint: a file a group.

mod address;
mod body;
mod discovery;
mod error;
mod gate;
mod internal;
mod login;
mod page;
mod request;
mod server;
mod session;
mod sso;
mod state;

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    middleware,
    routing::{MethodRouter, get, post},
};

use self::error::ApiError;
pub(crate) use self::{error::denied, request::request_input};
pub use self::{
    internal::{Internal, internal_router},
    server::HttpServer,
    state::{SigningIn, Site, SiteSettings},
};

/// GET that does something, so that HEAD, which looks and no more, is refused.
fn once<H, T>(handler: H) -> MethodRouter<Arc<Site>>
where
    H: Handler<T, Arc<Site>>,
    T: 'static,
{
    get(handler).head(async || ApiError::method_not_allowed())
}

/// The `http` listener's endpoints.
pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/v3/login", post(login::login))
        .route("/v3/login/exchange", post(login::exchange))
        .route("/v2/login", post(login::sign_in_here))
        .route("/session", get(session::show).post(login::sign_in_here))
        .route("/session/logout", post(session::logout))
        .route("/sso/login", once(sso::login))
        .route("/sso/key/generate", once(sso::login))
        .route("/sso/callback", once(sso::callback))
        .route("/.well-known/portcullis", get(discovery::document))
        .route("/.well-known/litellm-ui-config", get(discovery::document))
        .route("/litellm/.well-known/litellm-ui-config", get(discovery::document))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&site), gate::pass))
        .with_state(site)
}
