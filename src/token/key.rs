//! The service's own keys, by which it signs tokens and verifies them.

use std::fmt;

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    algorithm::Algorithm,
    jws::Header,
    key_set::{KeySet, SetKey, Verifying},
    refusal::Refusal,
};

/// The shortest key: as long as HS256's hash (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// Why a key or a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Shorter than [`MIN_KEY_BYTES`].
    #[error("the key has {0} bytes; HS256 needs at least {MIN_KEY_BYTES}")]
    TooShort(usize),
    /// One that stands in a text that everybody can read.
    #[error("the key is printed in a public example, so anybody can sign tokens with it")]
    Published,
    /// Not a private key of P-256 or Ed25519.
    #[error("it is not a private key of P-256 or Ed25519 in PKCS#8")]
    NoPair,
    /// Two keys that a `kid` could not tell apart.
    #[error("the key id {0:?} is used twice")]
    RepeatedId(String),
}

/// Keys of examples: of this project's own, and of the best-known page about
/// tokens.
const PUBLISHED: [&[u8]; 3] = [
    b"an-example-of-at-least-32-bytes-0123",
    b"the-one-before-it-still-verifies-0123",
    b"a-string-secret-at-least-256-bits-long",
];

/// The default of a system whose tokens are verified here, for who tries it.
const DEFAULTS: [&[u8]; 1] = [b"8a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d"];

/// Whether a secret is the default of another system (Texera's), which everybody
/// can read: good for trying, and for nothing else.
#[must_use]
pub fn is_a_known_default(secret: &SecretSlice<u8>) -> bool {
    DEFAULTS.contains(&secret.expose_secret())
}

/// A shared secret for HS256, or a key pair for ES256 or `EdDSA`. It cannot be
/// printed.
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    /// Prepared, so that a verification hashes the message alone.
    verifying: Verifying,
    /// The same secret in lower case, where that is another one: some issuers
    /// sign so. It accepts nothing, and tells why a token is refused.
    lower_case: Option<hmac::Key>,
    signing: EncodingKey,
    /// The public half, as a JSON Web Key, and the bytes of its point.
    public: Option<(Value, Box<[u8]>)>,
}

impl Key {
    /// A shared secret of these very bytes, named by an optional `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooShort`] under 32 bytes, [`KeyError::Published`] for one
    /// of an example.
    pub fn new(id: Option<String>, secret: &SecretSlice<u8>) -> Result<Self, KeyError> {
        let bytes = secret.expose_secret();
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort(bytes.len()));
        }
        if PUBLISHED.contains(&bytes.trim_ascii()) {
            return Err(KeyError::Published);
        }
        let lower_case = bytes.iter().any(u8::is_ascii_uppercase).then(|| {
            let lower = SecretSlice::from(bytes.to_ascii_lowercase());
            hmac::Key::new(hmac::HMAC_SHA256, lower.expose_secret())
        });
        Ok(Self {
            id,
            algorithm: Algorithm::Hs256,
            lower_case,
            verifying: Verifying::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
            signing: EncodingKey::from_secret(bytes),
            public: None,
        })
    }

    /// The private key of P-256 or Ed25519 in this PKCS#8, named by its `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoPair`] for anything else.
    pub fn pair(id: String, pkcs8: &SecretSlice<u8>) -> Result<Self, KeyError> {
        let der = pkcs8.expose_secret();
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        let (algorithm, signing, point, mut jwk) = if let Ok(pair) = ec {
            let point = pair.public_key().as_ref().to_vec();
            let (x, y) = point.get(1..).unwrap_or_default().split_at(32.min(point.len() - 1));
            let jwk = json!({ "kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y) });
            (Algorithm::Es256, EncodingKey::from_ec_der(der), point, jwk)
        } else {
            let pair =
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::NoPair)?;
            let point = pair.public_key().as_ref().to_vec();
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&point) });
            (Algorithm::EdDsa, EncodingKey::from_ed_der(der), point, jwk)
        };
        let verifying = Verifying::point(algorithm, &point).ok_or(KeyError::NoPair)?;
        if let Value::Object(jwk) = &mut jwk {
            let more = [("kid", id.as_str()), ("alg", algorithm.name()), ("use", "sig")];
            jwk.extend(more.map(|(name, value)| (name.to_owned(), value.into())));
        }
        let public = Some((jwk, point.into()));
        Ok(Self { id: Some(id), algorithm, verifying, lower_case: None, signing, public })
    }

    /// The `kid` that names this key in a token's header.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half (RFC 7517), of a key that has one.
    #[must_use]
    pub fn public(&self) -> Option<&Value> {
        self.public.as_ref().map(|(jwk, _)| jwk)
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// Whether this key made the signature of the message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifying.verifies(message, signature)
    }

    /// Whether the same secret in lower case made the signature.
    pub(super) fn verifies_in_lower_case(&self, message: &str, signature: &[u8]) -> bool {
        let key = self.lower_case.as_ref();
        key.is_some_and(|key| hmac::verify(key, message.as_bytes(), signature).is_ok())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The service's own keys: the first signs, all verify. Without one, it has no
/// tokens of its own.
#[derive(Debug, Default)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// A ring of these keys, in this order.
    ///
    /// # Errors
    ///
    /// [`KeyError::RepeatedId`] when two share a `kid`.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        for (at, key) in keys.iter().enumerate() {
            let repeated = keys.iter().take(at).any(|earlier| earlier.id == key.id);
            if let (Some(id), true) = (&key.id, repeated) {
                return Err(KeyError::RepeatedId(id.clone()));
            }
        }
        Ok(Self(keys))
    }

    /// The same with one more, in the first place.
    #[must_use]
    pub fn with(mut self, key: Key) -> Self {
        self.0.insert(0, key);
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that a token of this header may be signed with: the one of its
    /// `kid`, or all of its algorithm when it names none. For a token of this
    /// service, `alg` is that of its key.
    pub(super) fn candidates(
        &self,
        header: &Header,
    ) -> Result<impl Iterator<Item = &Key>, Refusal> {
        let Header { algorithm, kid, .. } = header;
        let is_named = |key: &&Key| kid.is_none() || key.id() == kid.as_deref();
        let fits = move |key: &&Key| is_named(key) && key.algorithm == *algorithm;
        if !self.0.iter().any(|key| key.algorithm == *algorithm) {
            return Err(Refusal::BadAlgorithm);
        }
        if !self.0.iter().any(|key| fits(&key)) {
            let exists = self.0.iter().any(|key| is_named(&key));
            return Err(if exists { Refusal::BadAlgorithm } else { Refusal::UnknownKey });
        }
        Ok(self.0.iter().filter(fits))
    }

    /// The key that signs the service's own tokens.
    pub(super) fn first(&self) -> Option<&Key> {
        self.0.first()
    }

    /// The key that signs what anybody can verify.
    pub(super) fn first_pair(&self) -> Option<&Key> {
        self.0.iter().find(|key| key.public.is_some())
    }

    /// Whether there is a key by which everybody can verify.
    #[must_use]
    pub fn has_pair(&self) -> bool {
        self.first_pair().is_some()
    }

    /// The public keys, as a JSON Web Key Set.
    #[must_use]
    pub fn public(&self) -> Value {
        json!({ "keys": self.0.iter().filter_map(Key::public).collect::<Vec<_>>() })
    }

    /// The shared secrets, for verifying alone.
    fn into_secrets(self) -> Vec<SetKey> {
        let secrets = self.0.into_iter().filter(|key| key.public.is_none());
        secrets
            .map(|key| SetKey {
                kid: key.id.map(String::into_boxed_str),
                algorithm: key.algorithm,
                verifying: key.verifying,
                material: Box::default(),
            })
            .collect()
    }
}

impl KeySet {
    /// The secrets of an issuer that signs with HS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] of [`Key::new`], and for a
    /// `kid` that two have.
    pub fn of_secrets(keys: Vec<Key>) -> Result<Self, KeyError> {
        KeyRing::new(keys).map(|ring| Self(ring.into_secrets()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8, len: usize) -> Result<Key, KeyError> {
        Key::new(Some(id.to_owned()), &SecretSlice::from(vec![byte; len]))
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(key("a", 1, 31).err(), Some(KeyError::TooShort(31)));
        assert!(key("a", 1, 32).is_ok());
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        for published in PUBLISHED {
            let padded = [published, b"\n"].concat();
            for bytes in [published.to_vec(), padded] {
                let key = Key::new(None, &SecretSlice::from(bytes));
                assert_eq!(key.err(), Some(KeyError::Published));
            }
        }
    }

    #[test]
    fn the_keys_of_a_ring_have_ids_of_their_own() {
        let twice = vec![key("a", 1, 32).unwrap(), key("a", 2, 32).unwrap()];
        assert_eq!(KeyRing::new(twice).err(), Some(KeyError::RepeatedId("a".into())));
    }

    #[test]
    fn the_default_of_another_system_is_known() {
        let is_known = |bytes: &[u8]| is_a_known_default(&SecretSlice::from(bytes.to_vec()));
        assert!(DEFAULTS.iter().all(|bytes| is_known(bytes)));
        assert!(!is_known(&[1; 32]));
    }

    #[test]
    fn a_key_that_is_put_in_front_signs() {
        let ring = KeyRing::new(vec![key("a", 1, 32).unwrap()]).unwrap();
        assert!(!ring.is_empty() && !ring.has_pair() && KeyRing::default().is_empty());
        let ring = ring.with(key("b", 2, 32).unwrap());
        assert_eq!(ring.first().and_then(Key::id), Some("b"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = SecretSlice::from(b"hunter2-hunter2-hunter2-hunter2-".to_vec());
        let key = Key::new(Some("a".to_owned()), &secret).unwrap();
        assert_eq!(format!("{key:?}"), "Key { id: Some(\"a\"), .. }");
    }
}
