//! What the targets are asked against: engines of a configuration, and keys whose
//! other halves are known here.

use std::{io::Write as _, sync::Arc, sync::LazyLock};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    app,
    authz::Engine,
    clock::{Clock, Timestamp},
    config::{Config, Problems, Sources},
    token::RevocationList,
};

/// The time at which everything is asked.
pub(crate) const NOW: i64 = 1_800_000_000;
/// The key of the service.
pub(crate) const SECRET: &str = "no-secret-of-the-fuzz-targets-0123456789";
/// The issuer whose keys are known here.
pub(crate) const ISSUER: &str = "https://idp.example.com";

/// Always the same time.
#[derive(Debug)]
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

/// Loads a configuration from TOML.
pub(crate) fn load(toml: &[u8]) -> Result<Config, Problems> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(toml).expect("room for a file");
    let environment = [("AUTH_JWT_SECRET".into(), SECRET.into())];
    Config::load(&Sources::new(vec![file.path().to_owned()], environment))
}

/// The engine of a configuration.
pub(crate) fn engine(toml: &str) -> Engine {
    let config = load(toml.as_bytes()).expect("a configuration");
    app::engine(config, Arc::new(RevocationList::empty()))
}

/// A key of `EdDSA`.
pub(crate) static ED25519: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed"));

/// Its public half.
pub(crate) static ED25519_X: LazyLock<String> =
    LazyLock::new(|| b64(ED25519.public_key().as_ref()));

/// A set with it.
pub(crate) static JWKS: LazyLock<String> = LazyLock::new(|| {
    let x = &*ED25519_X;
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"1","alg":"EdDSA","x":"{x}"}}]}}"#)
});

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and payload as given, signed with the service's key by HMAC.
pub(crate) fn sign(header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{input}.{}", b64(hmac::sign(&key, input.as_bytes())))
}

/// The same, signed with the issuer's key by `EdDSA`.
pub(crate) fn sign_eddsa(header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    format!("{input}.{}", b64(ED25519.sign(input.as_bytes())))
}

/// What `{ann}` and the like stand for in what is fuzzed: nobody guesses a signature.
pub(crate) static TOKENS: LazyLock<[(&str, String); 4]> = LazyLock::new(|| {
    let token = |id: u32, role: &str| {
        let exp = NOW + 3600;
        let claims = format!(
            r#"{{"sub":"ann","userId":{id},"role":"{role}","iat":{NOW},"exp":{exp},"jti":"{id}"}}"#
        );
        sign(br#"{"alg":"HS256"}"#, claims.as_bytes())
    };
    [
        ("{ann}", token(7, "REGULAR")),
        ("{root}", token(1, "ADMIN")),
        ("{new}", token(9, "INACTIVE")),
        ("{bad}", token(7, "REGULAR") + "A"),
    ]
});

/// The text with the tokens in it.
pub(crate) fn with_tokens(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let known = TOKENS.iter().find(|(name, _)| rest.starts_with(name.as_bytes()));
        if let Some((name, token)) = known {
            out.extend_from_slice(token.as_bytes());
            rest = &rest[name.len()..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}
