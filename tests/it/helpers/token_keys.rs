//! Issuers, the claims of their tokens, and verifiers that trust them. Shared by
//! the tests of tokens.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use portcullis::{
    clock::Timestamp,
    token::{
        Algorithm, ClaimWay, ClaimWays, Issuer, IssuerKeys, IssuerSettings, Key, KeyRing, KeySet,
        Refusal, RevocationList, Roles, TokenShape, Verifier, VerifierSettings,
    },
};
use secrecy::SecretSlice;
use serde_json::{Value, json};

use crate::{ask::NOW, signer::Signer};

/// What an issuer of this name calls itself.
pub(crate) fn iss(name: &str) -> String {
    format!("https://{name}.example.com")
}

/// The claims that everything is fine with, of an issuer of this name.
pub(crate) fn claims(name: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": iss(name), "aud": format!("{name}-api"), "sub": "ann", "role": "REGULAR",
        "iat": NOW, "exp": NOW + 3600, "jti": "1",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

pub(crate) fn settings(name: &str) -> IssuerSettings {
    let way = |name| ClaimWay::new(name).unwrap();
    IssuerSettings {
        name: name.into(),
        issuer: Some(iss(name)),
        audience: vec![format!("{name}-api")],
        algorithms: vec![
            Algorithm::Rs256,
            Algorithm::Ps256,
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
        ],
        types: vec!["jwt".into(), "at+jwt".into()],
        claims: ClaimWays {
            id: way("sub"),
            name: way("name"),
            email: way("email"),
            role: way("role"),
            scope: way("scope"),
        },
        id_tokens: false,
        role_map: None,
        default_role: None,
        id_prefix: format!("{name}:"),
        max_lifetime: Duration::from_secs(24 * 3600),
    }
}

/// The set that an issuer publishes.
pub(crate) fn published(keys: &[Value]) -> KeySet {
    read(keys).unwrap_or_else(|left_out| panic!("{left_out:?}"))
}

/// The same, or why there is none.
pub(crate) fn read(keys: &[Value]) -> Result<KeySet, Vec<String>> {
    let set = json!({ "keys": keys }).to_string();
    match KeySet::read(set.as_bytes(), &Algorithm::PUBLIC) {
        Ok((set, left_out)) if left_out.is_empty() => Ok(set),
        Ok((_, left_out)) => Err(left_out.iter().map(|one| one.cause.to_owned()).collect()),
        Err(error) => Err(vec![error.to_string()]),
    }
}

pub(crate) fn issuer(name: &str, keys: &[&Signer]) -> Issuer {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    let keys = Arc::new(IssuerKeys::fixed(published(&keys)));
    Issuer { settings: settings(name), keys }
}

pub(crate) fn secret(kid: Option<&str>, bytes: &[u8]) -> Key {
    Key::new(kid.map(str::to_owned), &SecretSlice::from(bytes.to_vec())).unwrap()
}

/// A verifier of own keys, and of the tokens of these issuers.
pub(crate) fn verifier(own: Vec<Key>, issuers: Vec<Issuer>) -> Verifier {
    let roles = ["INACTIVE", "RESTRICTED", "REGULAR", "ADMIN"].map(str::to_owned).to_vec();
    let settings = VerifierSettings {
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(7 * 24 * 3600),
        assume_lifetime: None,
        shape: TokenShape::default(),
    };
    let revoked = Arc::new(RevocationList::empty());
    Verifier::new(KeyRing::new(own).unwrap(), settings, Roles::new(roles).unwrap(), revoked)
        .trusting(issuers)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// Whose a token is, or why it is not accepted.
pub(crate) fn seen(verifier: &Verifier, token: &str) -> Result<String, Refusal> {
    verifier.verify(token, now()).map(|verified| verified.claims.user_id.to_string())
}

/// A key by which everybody can verify.
pub(crate) fn key_pair(kid: &str, algorithm: Algorithm) -> Key {
    let der = match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            pair.to_pkcs8v1().unwrap().as_ref().to_vec()
        }
        _ => Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec(),
    };
    Key::pair(kid.to_owned(), &SecretSlice::from(der)).unwrap()
}

/// How often something is asked of many threads at once: so often, or more by
/// `PROPTEST_CASES`.
pub(crate) fn interleaved(least: usize) -> usize {
    let cases = proptest::prelude::ProptestConfig::default().cases;
    least.max(usize::try_from(cases).unwrap())
}
