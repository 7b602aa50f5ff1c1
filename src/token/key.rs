//! The keys that tokens are signed with and verified by.

use std::fmt;

use aws_lc_rs::hmac;
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretSlice};
use thiserror::Error;

/// The shortest key: as long as HS256's hash (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// Why a key or a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Shorter than [`MIN_KEY_BYTES`].
    #[error("the key has {0} bytes; HS256 needs at least {MIN_KEY_BYTES}")]
    TooShort(usize),
    /// One that stands in a text that everybody can read.
    #[error("the key is printed in a public example, so that everybody can sign tokens with it")]
    Published,
    /// A ring without a key verifies nothing.
    #[error("there is no key")]
    None,
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

/// A shared secret for HS256. It cannot be printed.
pub struct Key {
    id: Option<String>,
    /// Prepared, so that a verification hashes the message alone.
    verifying: hmac::Key,
    /// The same in lower case, where that is another one: some issuers sign so.
    /// It accepts nothing, and tells why a token is refused.
    lower_case: Option<hmac::Key>,
    signing: EncodingKey,
}

impl Key {
    /// A key of these very bytes, named by an optional `kid`.
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
            lower_case,
            verifying: hmac::Key::new(hmac::HMAC_SHA256, bytes),
            signing: EncodingKey::from_secret(bytes),
        })
    }

    /// The `kid` that names this key in a token's header.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// Whether this key made the signature of the message (HS256; RFC 7518,
    /// section 3.2). The comparison takes the same time wherever they differ.
    pub(super) fn verifies(&self, message: &str, signature: &[u8]) -> bool {
        hmac::verify(&self.verifying, message.as_bytes(), signature).is_ok()
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

/// At least one key: the first signs, all verify.
#[derive(Debug)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// A ring of these keys, in this order.
    ///
    /// # Errors
    ///
    /// [`KeyError::None`] without a key, [`KeyError::RepeatedId`] when two
    /// share a `kid`.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        for (at, key) in keys.iter().enumerate() {
            let repeated = keys.iter().take(at).any(|earlier| earlier.id == key.id);
            if let (Some(id), true) = (&key.id, repeated) {
                return Err(KeyError::RepeatedId(id.clone()));
            }
        }
        Ok(Self(keys))
    }

    /// The keys that a token with this `kid` may be signed with: the one of
    /// that name, or all when it names none.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| kid.is_none() || key.id() == kid)
    }

    pub(super) fn first(&self) -> Option<&Key> {
        self.0.first()
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
    fn a_ring_needs_keys_with_ids_of_their_own() {
        assert_eq!(KeyRing::new(vec![]).err(), Some(KeyError::None));
        let twice = vec![key("a", 1, 32).unwrap(), key("a", 2, 32).unwrap()];
        assert_eq!(KeyRing::new(twice).err(), Some(KeyError::RepeatedId("a".into())));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = Key::new(None, &SecretSlice::from(b"hunter2-hunter2-hunter2-hunter2-".to_vec()));
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
