//! A token as another issuer would make it, for trying and for tests.

use std::path::Path;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, RsaEncoding,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::token::{Algorithm, IssuerSettings};
use serde_json::{Map, Value, json};

/// What the token is to say.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) email: Option<&'a str>,
    /// As the issuer calls it.
    pub(super) role: &'a str,
    /// Other claims, over all that would be there.
    pub(super) claims: &'a [(String, Value)],
    /// Seconds since 1970.
    pub(super) now: i64,
    /// In seconds.
    pub(super) lifetime: i64,
}

/// A token of this issuer, signed by the private JSON Web Key of this file.
///
/// # Errors
///
/// What is wrong with the key.
pub(super) fn token(
    issuer: &IssuerSettings,
    file: &Path,
    wanted: &Wanted<'_>,
) -> Result<String, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let jwk: Value = serde_json::from_slice(&text).map_err(|_| "it is not JSON".to_owned())?;
    let key = Signer::read(&jwk)?;
    let mut header = json!({ "alg": key.algorithm(&jwk).name(), "typ": "JWT" });
    if let (Some(kid), Value::Object(header)) = (jwk.get("kid"), &mut header) {
        header.insert("kid".to_owned(), kid.clone());
    }
    let message = message(&header, &claims(issuer, wanted));
    let signature = key.sign(message.as_bytes(), key.algorithm(&jwk))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token of this issuer says.
pub(super) fn claims(issuer: &IssuerSettings, wanted: &Wanted<'_>) -> Value {
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    put("iat", wanted.now.into());
    put("exp", (wanted.now + wanted.lifetime).into());
    if let Some(iss) = &issuer.issuer {
        put("iss", iss.as_str().into());
    }
    if let Some(audience) = issuer.audience.first() {
        put("aud", audience.as_str().into());
    }
    let ways = &issuer.claims;
    ways.role.put(&mut claims, json!([wanted.role]));
    ways.name.put(&mut claims, wanted.name.into());
    if let Some(email) = wanted.email {
        ways.email.put(&mut claims, email.into());
    }
    ways.id.put(&mut claims, wanted.id.into());
    claims.extend(wanted.claims.iter().cloned());
    Value::Object(claims)
}

/// A token that is signed with this secret (HS256).
pub(super) fn signed_with(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// What is signed.
fn message(header: &Value, claims: &Value) -> String {
    let b64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", b64(header), b64(claims))
}

/// A private key of one of the kinds of RFC 7518 and RFC 8037.
enum Signer {
    Secret(Box<hmac::Key>),
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair, Algorithm),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn read(jwk: &Value) -> Result<Self, String> {
        let text = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str);
            text.ok_or_else(|| format!("the key has no {name:?}: is it a private key?"))
        };
        let bytes = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)?);
            bytes.map_err(|_| format!("{name:?} is not base64url"))
        };
        let rejected = |_| "it is not a private key, or its parts do not match".to_owned();
        match text("kty")? {
            "oct" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes("k")?);
                Ok(Self::Secret(Box::new(key)))
            }
            "RSA" => {
                let components = rsa::KeyPairComponents {
                    public_key: rsa::PublicKeyComponents { n: bytes("n")?, e: bytes("e")? },
                    d: bytes("d")?,
                    p: bytes("p")?,
                    q: bytes("q")?,
                    dP: bytes("dp")?,
                    dQ: bytes("dq")?,
                    qInv: bytes("qi")?,
                };
                rsa::KeyPair::from_components(&components).map(Self::Rsa).map_err(rejected)
            }
            "EC" => {
                let (curve, algorithm) = match text("crv")? {
                    "P-256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256),
                    "P-384" => (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384),
                    _ => return Err("its crv is neither P-256 nor P-384".to_owned()),
                };
                let point = [&[4][..], &bytes("x")?, &bytes("y")?].concat();
                let key =
                    EcdsaKeyPair::from_private_key_and_public_key(curve, &bytes("d")?, &point);
                key.map(|key| Self::Ec(key, algorithm)).map_err(rejected)
            }
            "OKP" => {
                let key = Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?);
                key.map(Self::Ed).map_err(rejected)
            }
            _ => Err("its kty is none of oct, RSA, EC and OKP".to_owned()),
        }
    }

    fn algorithm(&self, jwk: &Value) -> Algorithm {
        let own = jwk.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        match self {
            Self::Secret(_) => Algorithm::Hs256,
            Self::Rsa(_) => own.unwrap_or(Algorithm::Rs256),
            Self::Ec(_, algorithm) => *algorithm,
            Self::Ed(_) => Algorithm::EdDsa,
        }
    }

    fn sign(&self, message: &[u8], algorithm: Algorithm) -> Result<Vec<u8>, String> {
        let failed = |_| "it could not sign".to_owned();
        match self {
            Self::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Ec(key, _) => {
                let made = key.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(made.as_ref().to_vec())
            }
            Self::Ed(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut made = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut made).map_err(failed)?;
                Ok(made)
            }
        }
    }
}
