//! A key of another issuer, and tokens with any header and any claims. Shared by
//! the tests and the benches.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::token::Algorithm;
use serde_json::{Value, json};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key of an issuer.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pair: Pair,
}

impl Signer {
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(Box::new(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()))
            }
            Algorithm::Es256 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            Algorithm::Es384 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            _ => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { kid: kid.to_owned(), algorithm, pair }
    }

    /// As its issuer publishes it.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                // RSAPublicKey: the modulus behind nine bytes, the exponent last.
                let der = pair.public_key().as_ref();
                json!({ "kty": "RSA", "n": b64(&der[9..265]), "e": b64(&der[267..]) })
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(self.coordinate());
                let curve = if self.coordinate() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    fn coordinate(&self) -> usize {
        if self.algorithm == Algorithm::Es256 { 32 } else { 48 }
    }

    /// The public half as a `SubjectPublicKeyInfo`.
    pub(crate) fn der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ec(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ed(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn signature(&self, input: &str) -> Vec<u8> {
        let (random, input) = (SystemRandom::new(), input.as_bytes());
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let how: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == Algorithm::Rs256 {
                        &RSA_PKCS1_SHA256
                    } else {
                        &RSA_PSS_SHA256
                    };
                pair.sign(how, &random, input, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, input).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(input).as_ref().to_vec(),
        }
    }

    /// A token of this header and these bytes, whatever they are.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signature = self.signature(&input);
        format!("{input}.{}", b64(signature))
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm.name(), "kid": self.kid })
    }

    /// A token of these claims, as its issuer makes it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}
