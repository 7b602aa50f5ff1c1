//! Who is signed in, and the end of that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::json;

use super::{
    error::{ApiError, denied},
    request::request_input,
    state::Site,
};

/// `GET /session`: who is signed in.
pub(super) async fn show(State(site): State<Arc<Site>>, request: Request) -> Response {
    let engine = site.checker.engine();
    match engine.authenticate(&request_input(&request), site.checker.now()) {
        Ok(identified) => {
            let claims = identified.claims;
            Json(json!({
                "user_id": claims.user_id.as_str(),
                "name": claims.name,
                "email": claims.email,
                "role": engine.verifier.roles().name(claims.role),
                "expires_at": claims.expires_at.as_secs(),
            }))
            .into_response()
        }
        Err(denial) => denied(&denial),
    }
}

/// `POST /session/logout`: revokes the token, and clears the cookie.
pub(super) async fn logout(
    State(site): State<Arc<Site>>,
    request: Request,
) -> Result<Response, ApiError> {
    let engine = site.checker.engine();
    let identified = match engine.authenticate(&request_input(&request), site.checker.now()) {
        Ok(identified) => identified,
        Err(denial) => return Ok(denied(&denial)),
    };
    let claims = &identified.claims;
    let (token, _) =
        engine.verifier.name_of(&identified.token).map_err(|_| ApiError::internal())?;
    site.store.revoke(token, claims.expires_at).await?;
    // Here at once; the other replicas follow.
    engine.verifier.revocations().revoke_token(token, claims.expires_at);
    tracing::info!(
        target: "portcullis::audit",
        event = "sign_out",
        result = "revoked",
        name = claims.name,
        user_id = claims.user_id.as_str(),
    );
    let cookie = [(header::SET_COOKIE, site.cookie("", true))];
    Ok((cookie, Json(json!({ "message": "Session revoked." }))).into_response())
}
