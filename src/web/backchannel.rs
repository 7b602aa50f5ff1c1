//! `POST /sso/backchannel-logout`: the provider signs somebody out (OpenID Connect
//! Back-Channel Logout 1.0).

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use url::form_urlencoded;

use super::{address::Peer, body, error::ApiError, state::Site};
use crate::{
    sessions::OfIssuer,
    sso::{LogoutToken, Sso, SsoError},
    store::StoreError,
};

/// Ends what the token says, on every replica. Once begun it goes to its end, also
/// when the provider hangs up meanwhile: the token is used up.
pub(super) async fn logout(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let address = site.client_address(peer, request.headers());
    let work = async move {
        let sso = site.sso.as_ref().ok_or(ApiError::not_found())?;
        // One that is not right counts as a try, so that nobody has keys fetched and
        // signatures verified for nothing.
        site.login.enter(address).await?;
        let ended = end(&site, sso, address, request).await;
        let is_no = ended.as_ref().is_err_and(|error| error.status() == StatusCode::BAD_REQUEST);
        if !is_no {
            site.login.leave(address).await;
        }
        ended
    };
    match tokio::spawn(work).await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::internal().into_response(),
    }
}

async fn end(
    site: &Site,
    sso: &Sso,
    address: Option<IpAddr>,
    request: Request,
) -> Result<(), ApiError> {
    let body = body::read_form(request).await?;
    let mut tokens = form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
        return Err(ApiError::bad_logout("The body must be a form with one logout_token"));
    };
    let token = match sso.logout_token(&token).await {
        Ok(token) => token,
        Err(error) => {
            tell("refused", address, None, Some(&error));
            return Err(match error {
                SsoError::LogoutToken(_) => ApiError::bad_logout("The logout token is not valid"),
                // Neither the store's nor the provider's silence is the token's fault.
                _ => ApiError::unavailable(),
            });
        }
    };
    match end_all(site, sso, &token).await {
        Ok(count) => {
            tell("ended", address, Some(count), None);
            Ok(())
        }
        Err(error) => {
            // It may come again.
            sso.give_back(&token).await;
            tell("unavailable", address, None, None);
            Err(error.into())
        }
    }
}

/// One session where that is named, else all of the subject; and those of the subject
/// that could be the one that is named.
async fn end_all(site: &Site, sso: &Sso, token: &LogoutToken) -> Result<usize, StoreError> {
    let (issuer, now) = (&sso.settings().issuer, site.clock.now());
    let register = &site.register;
    match (&token.session_id, &token.subject) {
        (Some(sid), subject) => {
            let named = register.end_of_issuer(issuer, OfIssuer::Session(sid), now).await?;
            let unnamed = match subject {
                Some(subject) => register.end_unnamed(issuer, subject, now).await?,
                None => 0,
            };
            Ok(named + unnamed)
        }
        (None, Some(subject)) => {
            register.end_of_issuer(issuer, OfIssuer::Subject(subject), now).await
        }
        (None, None) => Ok(0),
    }
}

fn tell(
    result: &'static str,
    address: Option<IpAddr>,
    sessions: Option<usize>,
    cause: Option<&SsoError>,
) {
    tracing::info!(
        target: "portcullis::audit",
        event = "backchannel_logout",
        result,
        sessions,
        address = address.map(tracing::field::display),
        cause = cause.map(tracing::field::display),
    );
}
