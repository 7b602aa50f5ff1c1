//! What the fuzz targets need of this room.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::{
    LogoutToken, LogoutTokenError, ProviderError,
    id_token::{self, IdTokenError},
    logout_token,
    metadata::Metadata,
};
use crate::{clock::Timestamp, issuers::FetchError, issuers::understood, token::KeySet};

/// What tokens have to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// This service.
    pub client_id: &'a str,
    /// What the sign-in began with.
    pub nonce: &'a str,
    /// The time.
    pub now: Timestamp,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// The claims of an ID token.
///
/// # Errors
///
/// [`IdTokenError`].
pub fn id_token(
    token: &str,
    keys: &KeySet,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, IdTokenError> {
    let Expected { issuer, client_id, nonce, now, leeway } = expected;
    id_token::verify(token, keys, &id_token::Expected { issuer, client_id, nonce, now, leeway })
}

/// What a logout token says.
///
/// # Errors
///
/// [`LogoutTokenError`].
pub fn logout_token(
    token: &str,
    keys: &KeySet,
    expected: Expected<'_>,
) -> Result<LogoutToken, LogoutTokenError> {
    let Expected { issuer, client_id, now, leeway, .. } = expected;
    logout_token::verify(token, keys, &logout_token::Expected { issuer, client_id, now, leeway })
}

/// What a provider says of itself: the endpoints that it names, those that may be
/// missing last.
///
/// # Errors
///
/// Why it is not taken.
pub fn endpoints(document: &[u8], issuer: &str) -> Result<Vec<Url>, ProviderError> {
    let garbled =
        |error: FetchError| super::provider_error::garbled("its metadata", error.to_string());
    let metadata = understood(document, issuer, Metadata::issuer, "sso.issuer");
    let it = metadata.map_err(garbled)?.check(issuer)?;
    let needed = [it.authorization_endpoint, it.token_endpoint, it.jwks_uri];
    let optional = [it.userinfo_endpoint, it.end_session_endpoint];
    Ok(needed.into_iter().chain(optional.into_iter().flatten()).collect())
}
