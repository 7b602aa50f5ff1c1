//! Tokens as an attacker would make them: any header and any payload, signed
//! or not. Shared by the unit tests and the integration tests.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The key that the tests sign with.
pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789abcdef";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and payload as given, signed with HMAC by this algorithm.
pub(crate) fn sign_with(
    algorithm: hmac::Algorithm,
    secret: &[u8],
    header: &str,
    payload: &str,
) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
    format!("{input}.{}", b64(tag))
}

/// Header and payload as given, signed with the tests' key and HS256.
pub(crate) fn sign(header: &str, payload: &str) -> String {
    sign_with(hmac::HMAC_SHA256, SECRET.as_bytes(), header, payload)
}

/// The header that everything is fine with.
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The claims that everything is fine with, at the time `now` in seconds.
pub(crate) fn claims(now: i64) -> Value {
    json!({
        "sub": "ann", "userId": "7", "role": "REGULAR", "email": "ann@example.com",
        "iat": now, "exp": now + 3600, "jti": "token-1",
    })
}

/// A signed token of these claims.
pub(crate) fn token(claims: &Value) -> String {
    sign(HEADER, &claims.to_string())
}

/// The fine claims with some of them changed; null takes one away.
pub(crate) fn with(now: i64, changes: &Value) -> Value {
    let mut claims = claims(now);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() && name != "email" {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}
