//! The ID token: who the provider says it is (OpenID Connect Core, 3.1.3.7).
//!
//! Pure: keys and time are given.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::{clock::Timestamp, token::json::Members};

/// The most members of the header, and of the claims.
const MAX_MEMBERS: usize = 256;
/// The most keys of a provider.
const MAX_KEYS: usize = 64;
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

/// The keys of a provider that can sign, of a JSON Web Key Set (RFC 7517).
/// `None` when it is none; a key that is not understood is left out.
pub(super) fn keys(set: &Value) -> Option<Vec<Jwk>> {
    let keys = set.get("keys")?.as_array()?;
    let signs =
        |key: &Jwk| matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let keys =
        keys.iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value(key.clone()).ok());
    Some(keys.filter(signs).collect())
}

/// The claims of an ID token.
pub(super) fn verify(
    token: &str,
    keys: &[Jwk],
    expected: &Expected<'_>,
) -> Result<Claims, IdTokenError> {
    let claims = signed_claims(token, keys)?;
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

fn signed_claims(token: &str, keys: &[Jwk]) -> Result<Claims, IdTokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(IdTokenError::Malformed)?;
    let header = object(header)?;
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("RS256") => Algorithm::RS256,
        Some("ES256") => Algorithm::ES256,
        Some("EdDSA") => Algorithm::EdDSA,
        _ => return Err(IdTokenError::Algorithm),
    };
    // RFC 7515, section 4.1.11: an extension that is not understood.
    if header.contains_key("crit") {
        return Err(IdTokenError::Malformed);
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid),
        Some(_) => return Err(IdTokenError::Malformed),
    };
    let fits =
        |key: &&Jwk| (kid.is_none() || key.common.key_id.as_ref() == kid) && is_of(key, algorithm);
    let mut candidates = keys.iter().filter(fits).peekable();
    if candidates.peek().is_none() {
        return Err(IdTokenError::UnknownKey);
    }
    let made = |key: &Jwk| {
        let key = DecodingKey::from_jwk(key);
        key.is_ok_and(|key| {
            crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap_or(false)
        })
    };
    if !candidates.any(made) {
        return Err(IdTokenError::Signature);
    }
    object(payload)
}

/// Whether a key is for this algorithm, by its type and by its own word.
fn is_of(key: &Jwk, algorithm: Algorithm) -> bool {
    let (fits, name) = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => (true, KeyAlgorithm::RS256),
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            (key.curve == EllipticCurve::P256, KeyAlgorithm::ES256)
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            (key.curve == EllipticCurve::Ed25519, KeyAlgorithm::EdDSA)
        }
        _ => return false,
    };
    fits && key.common.key_algorithm.is_none_or(|own| own == name)
}

fn object(segment: &str) -> Result<Claims, IdTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| IdTokenError::Malformed)?;
    match Members::parse(&bytes, MAX_MEMBERS).map(Members::into_value) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(IdTokenError::Malformed),
    }
}
