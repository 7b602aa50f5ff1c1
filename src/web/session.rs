//! Who is signed in, and the end of that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::{Map, json};
use url::form_urlencoded;

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
            let mut answer = json!({
                "user_id": claims.user_id.as_str(),
                "name": claims.name,
                "email": claims.email,
                "role": engine.verifier.roles().name(claims.role),
                "expires_at": claims.expires_at.as_secs(),
            });
            if let (Some((sid, began)), Some(answer)) = (claims.session(), answer.as_object_mut()) {
                let ends = engine.sessions.limits.end(began).max(claims.expires_at);
                answer.insert("sid".to_owned(), sid.into());
                answer.insert("auth_time".to_owned(), began.as_secs().into());
                answer.insert("session_ends_at".to_owned(), ends.as_secs().into());
            }
            Json(answer).into_response()
        }
        Err(denial) => denied(&denial),
    }
}

/// `POST /session/logout`: ends the session, with `all=true` all of the user's, and
/// clears the cookie. Of a token of no session, that is revoked.
pub(super) async fn logout(
    State(site): State<Arc<Site>>,
    request: Request,
) -> Result<Response, ApiError> {
    let engine = &site.engine;
    let ends_all = ends_all(&request)?;
    let cookie = [(header::SET_COOKIE, site.cookie().end())];
    let identified = match engine.authenticate(&request_input(&request), site.clock.now()) {
        Ok(identified) => identified,
        // Good, but for that: a tab that signs out after another one, or twice.
        Err(Denial { reason: Reason::Token(Refusal::Revoked), .. }) if !ends_all => {
            let answer = json!({ "message": "Session already revoked." });
            return Ok((cookie, Json(answer)).into_response());
        }
        Err(denial) => return Ok(denied(&denial)),
    };
    let claims = identified.claims();
    let now = site.clock.now();
    // The own one last: who is told that this failed can try it again.
    if ends_all && claims.issued_by.is_none() {
        let user_id = claims.user_id.as_str();
        for other in site.register.of_user(user_id, now).await? {
            if claims.own_session_id() != Some(&*other.sid) {
                site.register.end(&other, "sign_out_of_all", now).await?;
            }
        }
    }
    if let Some(sid) = claims.own_session_id() {
        let begun = claims.auth_time.unwrap_or(now);
        let whose = (sid, claims.user_id.as_str());
        site.register.end_of_token(whose, begun, claims.expires_at, now).await?;
    }
    // Of a session, too: former versions know the token alone.
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

/// Whether all sessions are to end.
fn ends_all(request: &Request) -> Result<bool, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    let mut named = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "all");
    match (named.next().as_ref().map(|(_, value)| &**value), named.next()) {
        (None | Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        _ => Err(ApiError::invalid("Write all=true, once, or leave it out", Some("all"))),
    }
}
