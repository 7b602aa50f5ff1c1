//! The sessions of whoever is signed in: which there are, the end of one, and a
//! new token for this one.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    error::{ApiError, denied},
    request::request_input,
    state::Site,
};
use crate::{
    authz::{Denial, Reason},
    sessions::Record,
    token::Refusal,
};

/// `POST /session/renew`: a token of the same session that lives longer, where there
/// can be one. Who shows the cookie gets the cookie.
pub(super) async fn renew(
    State(site): State<Arc<Site>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (engine, now) = (&site.engine, site.clock.now());
    let input = request_input(&request);
    let identified = match engine.authenticate(&input, now) {
        Ok(identified) => identified,
        Err(denial) => return Ok(denied(&denial)),
    };
    let in_cookie = engine.credentials.came_in_cookie(&input, &engine.credentials.forward);
    let claims = identified.claims();
    let Some((_, began)) = claims.session() else {
        let message = "This token is of no session: sign in to get one that can be renewed";
        return Err(ApiError::invalid(message, None));
    };
    let limits = engine.sessions.limits;
    if limits.end(began) <= now {
        return Ok(denied(&Denial::of(Reason::Token(Refusal::Expired))));
    }
    if !engine.sessions.renews {
        let message = "Nothing is renewed here: sign in again, or set sessions.renew";
        return Err(ApiError::invalid(message, None));
    }
    let renewed = engine.verifier.renewed(&identified.verified, limits, now);
    let (token, expires_at) = match &renewed {
        Some(renewed) => (renewed.token.expose_secret(), renewed.expires_at),
        // None lives longer than the one that was shown.
        None => (identified.token().unwrap_or_default(), claims.expires_at),
    };
    let expires_in = expires_at.since(now).as_secs();
    Ok(if in_cookie {
        let cookie = [(header::SET_COOKIE, site.cookie().set(token))];
        (cookie, Json(json!({ "expires_in": expires_in }))).into_response()
    } else {
        Json(json!({ "token": token, "expires_in": expires_in })).into_response()
    })
}

/// `GET /session/all`: the user's sessions, the newest first.
pub(super) async fn all(
    State(site): State<Arc<Site>>,
    request: Request,
) -> Result<Response, ApiError> {
    let now = site.clock.now();
    let identified = match site.engine.authenticate(&request_input(&request), now) {
        Ok(identified) => identified,
        Err(denial) => return Ok(denied(&denial)),
    };
    let claims = identified.claims();
    // Users of other issuers have none here, whatever their ids are.
    let records = match claims.issued_by {
        None => site.register.of_user(claims.user_id.as_str(), now).await?,
        Some(_) => Vec::new(),
    };
    let own = claims.own_session_id();
    let sessions: Vec<Value> = records.iter().map(|record| shown(record, own)).collect();
    Ok(Json(json!({ "sessions": sessions })).into_response())
}

fn shown(record: &Record, own: Option<&str>) -> Value {
    json!({
        "sid": record.sid,
        "current": own == Some(&*record.sid),
        "method": record.method,
        "agent": record.agent,
        "address": record.address,
        "begun": record.begun,
        "seen": record.seen,
        "ends": record.ends,
    })
}

/// `DELETE /session/{sid}`: ends one of the user's sessions.
pub(super) async fn end(
    State(site): State<Arc<Site>>,
    Path(sid): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let now = site.clock.now();
    let identified = match site.engine.authenticate(&request_input(&request), now) {
        Ok(identified) => identified,
        Err(denial) => return Ok(denied(&denial)),
    };
    let claims = identified.claims();
    let record = match claims.issued_by {
        None => site.register.find_of(claims.user_id.as_str(), &sid, now).await?,
        Some(_) => None,
    };
    let record = record.ok_or(ApiError::not_found())?;
    site.register.end(&record, "ended_by_user", now).await?;
    let answer = Json(json!({ "message": "Session ended." }));
    Ok(if claims.own_session_id() == Some(&*sid) {
        ([(header::SET_COOKIE, site.cookie().end())], answer).into_response()
    } else {
        answer.into_response()
    })
}
