//! The logout token: whom the provider says to have signed out (OpenID Connect
//! Back-Channel Logout 1.0, sections 2.4 and 2.6).
//!
//! Pure: keys and time are given.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::id_token::{IdTokenError, signed_claims};
use crate::{clock::Timestamp, token::KeySet};

/// The event that it has to tell of.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old one may be, beside the leeway.
const MAX_AGE: Duration = Duration::from_secs(300);
/// The longest `jti`, `sid` and `sub`, in bytes.
const MAX_TEXT_BYTES: usize = 255;
/// The types that it may be of, in lower case; one that does not say is a JWT.
const TYPES: [&str; 4] = ["logout+jwt", "application/logout+jwt", "jwt", "application/jwt"];

/// Why a logout token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each says itself")]
pub enum LogoutTokenError {
    #[error("it is no signed JWT")]
    Malformed,
    #[error("its alg is not RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("the provider has no such key")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("its typ is not logout+jwt")]
    Type,
    #[error("its iss is not sso.issuer")]
    Issuer,
    #[error("its aud is not sso.client_id")]
    Audience,
    #[error("its iat is missing, lies ahead, or is too long ago: compare the clocks")]
    IssuedAt,
    #[error("it has expired")]
    Expired,
    #[error("it tells of no back-channel logout")]
    Event,
    #[error("it has a nonce, as an ID token has")]
    Nonce,
    #[error("its jti is missing or too long")]
    TokenId,
    #[error("it names neither a sid nor a sub, or one that is too long")]
    Nobody,
    #[error("its jti came before")]
    Repeated,
}

impl From<IdTokenError> for LogoutTokenError {
    fn from(error: IdTokenError) -> Self {
        match error {
            IdTokenError::Algorithm => Self::Algorithm,
            IdTokenError::UnknownKey => Self::UnknownKey,
            IdTokenError::Signature => Self::Signature,
            _ => Self::Malformed,
        }
    }
}

/// Whom the provider has signed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The token's own id.
    pub(super) token_id: String,
    /// The session at the provider.
    pub session_id: Option<String>,
    /// The subject; all of its sessions where none is named.
    pub subject: Option<String>,
}

/// What a logout token must be.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
    pub(super) leeway: Duration,
}

/// For how long one may be taken at the most: from when it still lies ahead.
pub(super) fn good_for(leeway: Duration) -> Duration {
    MAX_AGE + 2 * leeway
}

/// Reads a logout token. Whether it came before is for others to tell.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<LogoutToken, LogoutTokenError> {
    let (claims, typ) = signed_claims(token, keys)?;
    if typ.is_some_and(|typ| !TYPES.contains(&typ.to_ascii_lowercase().as_str())) {
        return Err(LogoutTokenError::Type);
    }
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(LogoutTokenError::Issuer);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == expected.client_id,
        Some(Value::Array(all)) => all.iter().any(|one| one == expected.client_id),
        _ => false,
    };
    if !is_for_us {
        return Err(LogoutTokenError::Audience);
    }
    let time =
        |name| claims.get(name).map(|value| value.as_f64().map(Timestamp::from_numeric_date));
    let Expected { now, leeway, .. } = *expected;
    match time("iat") {
        Some(Some(at)) if at <= now.plus(leeway) && now <= at.plus(leeway + MAX_AGE) => {}
        _ => return Err(LogoutTokenError::IssuedAt),
    }
    match time("exp") {
        None => {}
        Some(Some(at)) if now < at.plus(leeway) => {}
        Some(_) => return Err(LogoutTokenError::Expired),
    }
    // An ID token tells of no event, and has the nonce of its sign-in.
    if !claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(LogoutTokenError::Event);
    }
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_TEXT_BYTES => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(()),
    };
    let token_id = text("jti").ok().flatten().ok_or(LogoutTokenError::TokenId)?;
    let nobody = |()| LogoutTokenError::Nobody;
    let session_id = text("sid").map_err(nobody)?;
    let subject = text("sub").map_err(nobody)?;
    if session_id.is_none() && subject.is_none() {
        return Err(LogoutTokenError::Nobody);
    }
    Ok(LogoutToken { token_id, session_id, subject })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sso::id_token::tests::{LEEWAY, NOW, signed};

    /// What comes of a token that has these in the place of good claims.
    fn read(changes: &Value) -> Result<LogoutToken, LogoutTokenError> {
        let mut claims = json!({
            "iss": "idp", "aud": "us", "iat": NOW, "jti": "j", "sub": "7", "events": { EVENT: {} },
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let (token, keys) = signed(&json!({ "alg": "EdDSA", "typ": "Logout+JWT" }), &claims);
        let leeway = Duration::from_secs(LEEWAY.unsigned_abs());
        let now = Timestamp::from_secs(NOW);
        verify(&token, &keys, &Expected { issuer: "idp", client_id: "us", now, leeway })
    }

    #[test]
    fn a_logout_is_good_for_five_minutes_and_the_leeway_at_either_end() {
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "iat": NOW + LEEWAY }), None),
            (json!({ "iat": NOW + LEEWAY + 1 }), Some(LogoutTokenError::IssuedAt)),
            (json!({ "iat": NOW - LEEWAY - 300 }), None),
            (json!({ "iat": NOW - LEEWAY - 301 }), Some(LogoutTokenError::IssuedAt)),
            (json!({ "exp": NOW - LEEWAY + 1 }), None),
            (json!({ "exp": NOW - LEEWAY }), Some(LogoutTokenError::Expired)),
            (json!({ "exp": "never" }), Some(LogoutTokenError::Expired)),
        ] {
            assert_eq!(read(&changes).err(), expected, "{changes}");
        }
        // From the first to the last moment at which it is.
        let leeway = Duration::from_secs(LEEWAY.unsigned_abs());
        assert_eq!(good_for(leeway), Duration::from_secs(300 + 2 * LEEWAY.unsigned_abs()));
    }

    #[test]
    fn what_is_wrong_with_its_signature_is_told() {
        let refusal = |header: &Value, spoilt: &str| {
            let (token, keys) = signed(header, &json!({ "iss": "idp" }));
            let token = token.replacen('.', spoilt, 1);
            let (now, leeway) = (Timestamp::from_secs(NOW), Duration::ZERO);
            let expected = Expected { issuer: "idp", client_id: "us", now, leeway };
            verify(&token, &keys, &expected).unwrap_err()
        };
        let good = json!({ "alg": "EdDSA" });
        assert_eq!(refusal(&good, "."), LogoutTokenError::Audience);
        assert_eq!(refusal(&good, ".e"), LogoutTokenError::Signature);
        assert_eq!(refusal(&good, ".."), LogoutTokenError::Malformed);
        assert_eq!(refusal(&json!({ "alg": "HS256" }), "."), LogoutTokenError::Algorithm);
        let other = json!({ "alg": "EdDSA", "kid": "other" });
        assert_eq!(refusal(&other, "."), LogoutTokenError::UnknownKey);
    }

    #[test]
    fn it_is_for_this_client_alone_or_among_others() {
        let audience = |aud: Value| read(&json!({ "aud": aud })).err();
        assert_eq!((audience(json!(["us"])), audience(json!(["them", "us"]))), (None, None));
        for other in [json!("them"), json!(["them"]), json!([]), json!(7)] {
            assert_eq!(audience(other), Some(LogoutTokenError::Audience));
        }
    }

    #[test]
    fn what_it_names_has_from_one_to_255_bytes() {
        for (name, error) in [
            ("jti", LogoutTokenError::TokenId),
            ("sid", LogoutTokenError::Nobody),
            ("sub", LogoutTokenError::Nobody),
        ] {
            for (length, is_good) in [(0, false), (1, true), (255, true), (256, false)] {
                let read = read(&json!({ name: "x".repeat(length) }));
                assert_eq!(read.err(), (!is_good).then_some(error), "{name} {length}");
            }
        }
    }
}
