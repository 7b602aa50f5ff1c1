//! Signing in with a password: a code for a page elsewhere, a token for a
//! code, or a token at once for a page of this service.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    address::Peer,
    body::{self, Object},
    error::ApiError,
    state::{Client, IssuedToken, Site},
};
use crate::{
    clock::Timestamp,
    login::{ExchangeError, Issued, Proof, SignInError, SignedIn},
    secret,
    store::Standing,
};

/// The longest name that is logged, in bytes.
const MAX_LOGGED_NAME: usize = 128;
/// The length of a verifier (RFC 7636, section 4.1).
const VERIFIER_CHARACTERS: std::ops::RangeInclusive<usize> = 43..=128;

/// `POST /v3/login`: name and password for a one-time code.
pub(super) async fn login(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let body = body::read(request).await?;
    let object = Object::parse(&body)?;
    let credentials = credentials(&object)?;
    let bound =
        Issued { origin: origin(&headers), challenge: challenge(&object)?, return_to: None };
    let (user, _) = sign_in(&site, credentials, &site.client(peer, &headers)).await?;
    let code = site.codes.issue(user, bound).await?;
    let expires_in = site.codes.ttl().as_secs();
    Ok(Json(json!({ "code": code.expose_secret(), "expires_in": expires_in })).into_response())
}

/// `POST /v3/login/exchange`: a one-time code for a token.
pub(super) async fn exchange(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let body = body::read(request).await?;
    let object = Object::parse(&body)?;
    let code = object.text("code")?;
    let verifier = object.optional_text("code_verifier")?;
    let is_one = |verifier: &String| VERIFIER_CHARACTERS.contains(&verifier.len());
    // One of another length is wrong; the code is used up by it all the same.
    let verifier = verifier.map(|verifier| {
        SecretString::from(if is_one(&verifier) { verifier } else { String::new() })
    });
    let proof = Proof { origin: origin(&headers), verifier };
    let exchanged = site.codes.exchange(&code, &proof).await;
    let result = match &exchanged {
        Ok(_) => "ok",
        Err(ExchangeError::Invalid) => "refused",
        Err(ExchangeError::Unavailable(_)) => "unavailable",
    };
    site.metrics.count_login("code", result);
    audit_exchange(exchanged.as_ref().ok().map(|(user, _)| user));
    let (user, return_to) = exchanged?;
    let standing = site.store.standing(&user.user_id).await?;
    if standing.cut_off.map(Timestamp::as_secs) != user.cut_off {
        // Shut out between the sign-in and its exchange.
        return Err(ExchangeError::Invalid.into());
    }
    let issued = site.issue(&user, &standing, &site.client(peer, &headers)).await?;
    Ok(signed_in(&site, &issued, return_to))
}

/// `POST /session`: name and password for a token, where the page is of this
/// service.
pub(super) async fn sign_in_here(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let body = body::read(request).await?;
    let credentials = credentials(&Object::parse(&body)?)?;
    let client = site.client(peer, &headers);
    let (user, standing) = sign_in(&site, credentials, &client).await?;
    let issued = site.issue(&user, &standing, &client).await?;
    Ok(signed_in(&site, &issued, None))
}

/// A name and its password.
struct Credentials {
    name: String,
    password: SecretString,
}

fn credentials(object: &Object<'_>) -> Result<Credentials, ApiError> {
    let name = object.text("username")?;
    Ok(Credentials { name, password: object.text("password")?.into() })
}

fn challenge(object: &Object<'_>) -> Result<Option<String>, ApiError> {
    checked_challenge(
        object.optional_text("code_challenge")?,
        object.optional_text("code_challenge_method")?,
    )
}

/// A challenge that a code can be bound to (RFC 7636, section 4.2): S256, and
/// no other.
pub(super) fn checked_challenge(
    challenge: Option<String>,
    method: Option<String>,
) -> Result<Option<String>, ApiError> {
    if method.as_deref().is_some_and(|method| method != "S256") {
        let cause = "The challenge method must be S256";
        return Err(ApiError::invalid(cause, Some("code_challenge_method")));
    }
    match (&challenge, method) {
        (Some(challenge), _) if !secret::is_well_formed(challenge) => {}
        (None, Some(_)) => {}
        _ => return Ok(challenge),
    }
    Err(ApiError::invalid("The challenge must be a SHA-256 as base64url", Some("code_challenge")))
}

fn origin(headers: &HeaderMap) -> Option<String> {
    headers.get(header::ORIGIN).and_then(|origin| Some(origin.to_str().ok()?.to_owned()))
}

async fn sign_in(
    site: &Site,
    credentials: Credentials,
    client: &Client,
) -> Result<(SignedIn, Standing), ApiError> {
    let address = client.address;
    let Credentials { name, password } = credentials;
    let result = site.login.sign_in(&name, password, address).await;
    let told = match &result {
        Ok(_) => "signed_in",
        Err(SignInError::Wrong) => "wrong",
        Err(SignInError::Forbidden) => "forbidden",
        Err(SignInError::LockedOut(_)) => "locked_out",
        Err(SignInError::Unavailable) => "unavailable",
    };
    site.metrics.count_login("password", if result.is_ok() { "ok" } else { told });
    tracing::info!(
        target: "portcullis::audit",
        event = "sign_in",
        result = told,
        // What was typed there need not be a name, nor short.
        name = name.get(..name.floor_char_boundary(MAX_LOGGED_NAME)),
        user_id = result.as_ref().ok().map(|account| account.id.as_str()),
        address = address.map(tracing::field::display),
        method = "password",
    );
    site.stand(&result?, "password").await
}

fn audit_exchange(user: Option<&SignedIn>) {
    tracing::info!(
        target: "portcullis::audit",
        event = "exchange",
        result = if user.is_some() { "exchanged" } else { "refused" },
        name = user.map(|user| user.name.as_str()),
        user_id = user.map(|user| user.user_id.as_str()),
        method = user.map(|user| user.method.as_str()),
    );
}

/// The answer to who has signed in: the token, and the cookie.
fn signed_in(site: &Site, issued: &IssuedToken, return_to: Option<String>) -> Response {
    let token = issued.token.expose_secret();
    let redirect_url = return_to.unwrap_or_else(|| format!("{}/ui/?login=success", site.base()));
    let answer = json!({
        "token": token,
        "redirect_url": redirect_url,
        "expires_in": issued.expires_in,
    });
    ([(header::SET_COOKIE, site.cookie().set(token))], Json(answer)).into_response()
}
