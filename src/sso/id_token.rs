//! The ID token: who the provider says it is (OpenID Connect Core, 3.1.3.7).
//!
//! Pure: keys and time are given.

use std::time::Duration;

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::{
    clock::Timestamp,
    token::{Algorithm, KeySet, Refusal, json::Members, signed_payload},
};

/// What an ID token may be signed with.
pub(super) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
/// The most claims.
const MAX_MEMBERS: usize = 256;
/// The longest `sub`, in bytes (OpenID Connect Core, section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// Claims by their names.
pub(super) type Claims = Map<String, Value>;

/// Why an ID token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each says itself")]
pub enum IdTokenError {
    #[error("it is missing")]
    Missing,
    #[error("it is no signed JWT")]
    Malformed,
    #[error("its alg is not RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("the provider has no such key")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("its iss is not sso.issuer")]
    Issuer,
    #[error("its aud is not sso.client_id")]
    Audience,
    #[error("its azp is not sso.client_id")]
    AuthorizedParty,
    #[error("it has expired, or says not when")]
    Expired,
    #[error("it is not valid yet: compare the clocks")]
    NotYetValid,
    #[error("its nonce is not the one of this sign-in")]
    Nonce,
    #[error("its sub is missing or too long")]
    Subject,
}

/// What an ID token must be.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
    pub(super) leeway: Duration,
}

/// The claims of an ID token.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Claims, IdTokenError> {
    let (claims, _) = signed_claims(token, keys)?;
    let text = |name| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(IdTokenError::Issuer);
    }
    let several = match claims.get("aud") {
        Some(Value::String(one)) if one == expected.client_id => false,
        Some(Value::Array(all)) if all.iter().any(|one| one == expected.client_id) => all.len() > 1,
        _ => return Err(IdTokenError::Audience),
    };
    let is_for_us = claims.get("azp").map_or(!several, |party| party == expected.client_id);
    if !is_for_us {
        return Err(IdTokenError::AuthorizedParty);
    }
    let time =
        |name| claims.get(name).map(|value| value.as_f64().map(Timestamp::from_numeric_date));
    match time("exp") {
        Some(Some(at)) if expected.now < at.plus(expected.leeway) => {}
        _ => return Err(IdTokenError::Expired),
    }
    for name in ["iat", "nbf"] {
        match time(name) {
            None => {}
            Some(Some(at)) if at <= expected.now.plus(expected.leeway) => {}
            _ => return Err(IdTokenError::NotYetValid),
        }
    }
    let nonce = text("nonce").unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(IdTokenError::Nonce);
    }
    match text("sub") {
        Some(sub) if !sub.is_empty() && sub.len() <= MAX_SUBJECT_BYTES => Ok(claims),
        _ => Err(IdTokenError::Subject),
    }
}

/// What the provider has signed, and the `typ` that its header says.
pub(super) fn signed_claims(
    token: &str,
    keys: &KeySet,
) -> Result<(Claims, Option<String>), IdTokenError> {
    let signed = signed_payload(token, keys, &ALGORITHMS).map_err(|refusal| match refusal {
        Refusal::BadAlgorithm => IdTokenError::Algorithm,
        Refusal::UnknownKey => IdTokenError::UnknownKey,
        Refusal::BadSignature => IdTokenError::Signature,
        _ => IdTokenError::Malformed,
    });
    let (payload, typ) = signed?;
    match Members::parse(&payload, MAX_MEMBERS).map(Members::into_value) {
        Ok(Value::Object(members)) => Ok((members, typ)),
        _ => Err(IdTokenError::Malformed),
    }
}
