//! Who is signed in, and the end of that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::{Map, json};

use super::{
    error::{ApiError, denied},
    request::request_input,
    state::Site,
};
use crate::{
    authz::{Denial, Reason},
    token::Refusal,
};

/// `GET /session`: who is signed in.
pub(super) async fn show(State(site): State<Arc<Site>>, request: Request) -> Response {
    let engine = &site.engine;
    match engine.authenticate(&request_input(&request), site.clock.now()) {
        Ok(identified) => {
            let claims = identified.claims();
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
    let engine = &site.engine;
    let cookie = [(header::SET_COOKIE, site.cookie("", true))];
    let identified = match engine.authenticate(&request_input(&request), site.clock.now()) {
        Ok(identified) => identified,
        // Good, but for that: a tab that signs out after another one, or twice.
        Err(Denial { reason: Reason::Token(Refusal::Revoked), .. }) => {
            let answer = json!({ "message": "Session already revoked." });
            return Ok((cookie, Json(answer)).into_response());
        }
        Err(denial) => return Ok(denied(&denial)),
    };
    let claims = identified.claims();
    let token = identified.verified.name();
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
    let mut answer = Map::from_iter([("message".to_owned(), json!("Session revoked."))]);
    if let Some(sso) = site.sso.as_ref().filter(|_| claims.is_sso)
        && let Some(url) = sso.end_session_url().await
    {
        answer.insert("end_session_url".to_owned(), json!(url));
    }
    Ok((cookie, Json(answer)).into_response())
}
