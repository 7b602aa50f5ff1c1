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

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    pub(in crate::sso) const NOW: i64 = 1_800_000_000;
    pub(in crate::sso) const LEEWAY: i64 = 60;

    /// A token of the provider, and the provider's keys.
    pub(in crate::sso) fn signed(header: &Value, claims: &Value) -> (String, KeySet) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": public }] });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()));
        let keys = KeySet::read(jwks.to_string().as_bytes(), &ALGORITHMS).unwrap().0;
        (format!("{input}.{signature}"), keys)
    }

    /// Why a token is refused that has these in the place of good claims.
    fn refusal(changes: &Value) -> Option<IdTokenError> {
        let mut claims = json!({ "iss": "idp", "aud": "us", "exp": NOW, "nonce": "n", "sub": "7" });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let (token, keys) = signed(&json!({ "alg": "EdDSA" }), &claims);
        let expected = Expected {
            issuer: "idp",
            client_id: "us",
            nonce: "n",
            now: Timestamp::from_secs(NOW),
            leeway: Duration::from_secs(LEEWAY.unsigned_abs()),
        };
        verify(&token, &keys, &expected).err()
    }

    #[test]
    fn times_count_to_the_very_end_of_the_leeway() {
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "exp": NOW - LEEWAY }), Some(IdTokenError::Expired)),
            (json!({ "exp": NOW - LEEWAY + 1 }), None),
            (json!({ "exp": null }), Some(IdTokenError::Expired)),
            (json!({ "iat": NOW + LEEWAY }), None),
            (json!({ "iat": NOW + LEEWAY + 1 }), Some(IdTokenError::NotYetValid)),
            (json!({ "nbf": NOW + LEEWAY }), None),
            (json!({ "nbf": NOW + LEEWAY + 1 }), Some(IdTokenError::NotYetValid)),
            (json!({ "nbf": "soon" }), Some(IdTokenError::NotYetValid)),
        ] {
            assert_eq!(refusal(&changes), expected, "{changes}");
        }
    }

    #[test]
    fn a_subject_has_from_one_to_255_bytes() {
        for (length, expected) in
            [(0, Some(IdTokenError::Subject)), (255, None), (256, Some(IdTokenError::Subject))]
        {
            assert_eq!(refusal(&json!({ "sub": "x".repeat(length) })), expected, "{length}");
        }
    }

    #[test]
    fn a_token_for_several_names_the_one_that_it_was_given_to() {
        let several = json!(["us", "them"]);
        for (aud, azp, expected) in [
            (json!(["us"]), None, None),
            (several.clone(), None, Some(IdTokenError::AuthorizedParty)),
            (several.clone(), Some("us"), None),
            (several, Some("them"), Some(IdTokenError::AuthorizedParty)),
            (json!("us"), Some("them"), Some(IdTokenError::AuthorizedParty)),
            (json!(["them"]), Some("us"), Some(IdTokenError::Audience)),
            (json!("them"), None, Some(IdTokenError::Audience)),
        ] {
            let mut changes = json!({ "aud": aud });
            if let Some(azp) = azp {
                changes["azp"] = json!(azp);
            }
            assert_eq!(refusal(&changes), expected, "{changes}");
        }
    }
}
