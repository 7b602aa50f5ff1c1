//! The keys that tokens of an issuer are verified by. The algorithm is a
//! property of the key (RFC 8725, section 3.1): each is kept once for every
//! algorithm that it may be used with, and with no other.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
        RsaParameters, RsaPublicKeyComponents,
    },
};

use super::{
    algorithm::Algorithm,
    jws::{Header, Parts, decode},
    refusal::Refusal,
};
use crate::clock::Timestamp;

/// So many keys are tried for a token that names none. Who publishes several has
/// to name one (OpenID Connect Core, section 10.1).
const MAX_WITHOUT_KID: usize = 4;

/// What verifies a signature.
pub(super) enum Verifying {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifying {
    /// A point of the curve of ES256 or ES384, uncompressed, or one of Ed25519.
    pub(super) fn point(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let key = match algorithm {
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes),
            Algorithm::Es384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes),
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, bytes),
            _ => return None,
        };
        key.ok().map(Self::Public)
    }

    /// Modulus and exponent, without leading zeros.
    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        let parameters: &'static RsaParameters = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        };
        let components = RsaPublicKeyComponents { n, e };
        components.to_parsed_public_key(parameters).ok().map(Self::Public)
    }

    /// Whether the key made the signature of the message. For a secret, the
    /// comparison takes the same time wherever they differ.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// A key for one algorithm.
pub(super) struct SetKey {
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) verifying: Verifying,
    /// What it is made of, for telling it from another one.
    pub(super) material: Box<[u8]>,
}

/// The keys of an issuer. Whether two sets are the same is asked by their place
/// in memory: what was verified by one is not thereby good for another.
#[derive(Default)]
pub struct KeySet(pub(super) Vec<SetKey>);

impl KeySet {
    /// The keys that a token of this header may be signed with.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownKey`] when it names none of these,
    /// [`Refusal::BadAlgorithm`] when it names one of another algorithm.
    fn candidates(&self, header: &Header) -> Result<impl Iterator<Item = &Verifying>, Refusal> {
        let Header { algorithm, kid, .. } = header;
        let is_named = |key: &&SetKey| kid.is_none() || key.kid.as_deref() == kid.as_deref();
        let fits = move |key: &&SetKey| is_named(key) && key.algorithm == *algorithm;
        let count = self.0.iter().filter(fits).count();
        if count == 0 {
            let exists = kid.is_some() && self.0.iter().any(|key| is_named(&key));
            return Err(if exists { Refusal::BadAlgorithm } else { Refusal::UnknownKey });
        }
        if kid.is_none() && count > MAX_WITHOUT_KID {
            return Err(Refusal::UnknownKey);
        }
        Ok(self.0.iter().filter(fits).map(|key| &key.verifying))
    }

    /// Nothing, when one of the keys has signed the token.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] for a signature that is not spelt as it has to be,
    /// those of [`candidates`](Self::candidates), and [`Refusal::BadSignature`].
    pub(super) fn vouch(&self, parts: &Parts<'_>, header: &Header) -> Result<(), Refusal> {
        let signature = decode(parts.signature)?;
        let mut candidates = self.candidates(header)?;
        let made = candidates.any(|key| key.verifies(parts.signing_input.as_bytes(), &signature));
        if made { Ok(()) } else { Err(Refusal::BadSignature) }
    }

    /// How many keys there are, each counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.described().len()
    }

    /// Whether no token can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each key's `kid` and its algorithms, for showing to a person.
    #[must_use]
    pub fn described(&self) -> Vec<(Option<&str>, Vec<Algorithm>)> {
        let mut described: Vec<(&SetKey, Vec<Algorithm>)> = Vec::new();
        for key in &self.0 {
            let same = |(other, _): &&mut (&SetKey, _)| other.is_same_key(key);
            match described.iter_mut().find(same) {
                Some((_, algorithms)) => algorithms.push(key.algorithm),
                None => described.push((key, vec![key.algorithm])),
            }
        }
        described.into_iter().map(|(key, algorithms)| (key.kid.as_deref(), algorithms)).collect()
    }

    /// Whether the other set holds the very same keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| {
                // Of a secret, nothing is kept that could be compared.
                one.algorithm != Algorithm::Hs256
                    && one.algorithm == other.algorithm
                    && one.is_same_key(other)
            })
    }
}

impl SetKey {
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.kid == other.kid && self.material == other.material
    }
}

/// Names alone: one kind of key is a secret.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.described()).finish()
    }
}

/// The payload of a token that one of these keys has signed with one of these
/// algorithms; nothing else about it is looked at.
///
/// # Errors
///
/// A [`Refusal`] of its form, algorithm, key or signature.
pub(crate) fn signed_payload(
    token: &str,
    keys: &KeySet,
    algorithms: &[Algorithm],
) -> Result<(Vec<u8>, Option<String>), Refusal> {
    let parts = Parts::split(token)?;
    let header = Header::read(&decode(parts.header)?)?;
    if !algorithms.contains(&header.algorithm) {
        return Err(Refusal::BadAlgorithm);
    }
    keys.vouch(&parts, &header)?;
    Ok((decode(parts.payload)?, header.typ))
}

/// What is known of an issuer's keys now: when that was heard last, and until
/// when it can be relied upon; neither for keys that are in the configuration.
#[derive(Debug)]
struct Current {
    set: Arc<KeySet>,
    heard: Option<Timestamp>,
    good_until: Option<Timestamp>,
}

/// The keys of an issuer, which somebody else keeps up to date: nothing that
/// verifies a token waits for them.
pub struct IssuerKeys {
    current: ArcSwap<Current>,
    on_unknown: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IssuerKeys").field(&*self.current.load()).finish()
    }
}

impl IssuerKeys {
    /// Keys that do not change.
    #[must_use]
    pub fn fixed(set: KeySet) -> Self {
        let current = Current { set: Arc::new(set), heard: None, good_until: None };
        Self { current: ArcSwap::from_pointee(current), on_unknown: Box::new(|| {}) }
    }

    /// Keys that are yet to come. `on_unknown` is called, at whatever rate, for
    /// every token that names a key that is not among them.
    #[must_use]
    pub fn awaited(on_unknown: impl Fn() + Send + Sync + 'static) -> Self {
        let never = Some(Timestamp::from_millis(i64::MIN));
        let current = Current { set: Arc::default(), heard: None, good_until: never };
        Self { current: ArcSwap::from_pointee(current), on_unknown: Box::new(on_unknown) }
    }

    /// Takes over what the issuer has said then, for use that long. The same keys
    /// as before stay where they are, and with them what they have verified.
    pub fn put(&self, set: KeySet, heard: Timestamp, good_for: Duration) {
        let before = self.set();
        let set = if before.is_same(&set) { before } else { Arc::new(set) };
        self.hear(set, heard, good_for);
    }

    /// Takes note that the issuer has said then that nothing has changed.
    pub fn confirm(&self, heard: Timestamp, good_for: Duration) {
        self.hear(self.set(), heard, good_for);
    }

    fn hear(&self, set: Arc<KeySet>, heard: Timestamp, good_for: Duration) {
        let good_until = Some(heard.plus(good_for));
        self.current.store(Arc::new(Current { set, heard: Some(heard), good_until }));
    }

    /// When the issuer has said so last; never, for keys of the configuration,
    /// and for those that are yet to come.
    #[must_use]
    pub fn heard(&self) -> Option<Timestamp> {
        self.current.load().heard
    }

    /// Whether there are keys, and not too old ones.
    #[must_use]
    pub fn can_be_relied_upon(&self, now: Timestamp) -> bool {
        self.current.load().good_until.is_none_or(|until| now < until)
    }

    /// The keys, whatever their age.
    #[must_use]
    pub fn set(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.load().set)
    }

    /// The keys.
    ///
    /// # Errors
    ///
    /// [`Refusal::IssuerUnavailable`] when they are too old to be relied upon.
    pub(super) fn good(&self, now: Timestamp) -> Result<Arc<KeySet>, Refusal> {
        let current = self.current.load();
        match current.good_until {
            Some(until) if now >= until => Err(Refusal::IssuerUnavailable),
            _ => Ok(Arc::clone(&current.set)),
        }
    }

    /// Whether these are the keys now, and can be relied upon.
    pub(super) fn are(&self, set: &Arc<KeySet>, now: Timestamp) -> bool {
        let current = self.current.load();
        Arc::ptr_eq(&current.set, set) && current.good_until.is_none_or(|until| now < until)
    }

    pub(super) fn miss(&self) {
        (self.on_unknown)();
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    fn public() -> String {
        URL_SAFE_NO_PAD.encode(Ed25519KeyPair::generate().unwrap().public_key())
    }

    fn set(jwk: &Value, algorithm: Algorithm) -> KeySet {
        KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes(), &[algorithm]).unwrap().0
    }

    fn named(kid: &str, x: &str) -> KeySet {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
        set(&jwk, Algorithm::EdDsa)
    }

    #[test]
    fn keys_stay_where_they_are_until_they_are_others() {
        let (one, other) = (public(), public());
        let keys = IssuerKeys::awaited(|| {});
        let put = |set| {
            keys.put(set, Timestamp::from_secs(0), Duration::from_secs(60));
            keys.set()
        };
        let first = put(named("1", &one));
        assert!(Arc::ptr_eq(&first, &put(named("1", &one))));
        for changed in [named("2", &one), named("1", &other), KeySet::default()] {
            assert!(!Arc::ptr_eq(&put(named("1", &one)), &put(changed)));
        }
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let rsa = json!({ "kty": "RSA", "n": n, "e": "AQAB" });
        let first = put(set(&rsa, Algorithm::Rs256));
        assert!(Arc::ptr_eq(&first, &put(set(&rsa, Algorithm::Rs256))));
        assert!(!Arc::ptr_eq(&first, &put(set(&rsa, Algorithm::Ps256))));
        assert!(KeySet::default().is_empty() && !first.is_empty());
    }

    #[test]
    fn a_secret_is_never_taken_for_the_one_before() {
        let secret = |byte| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
            let verifying = Verifying::Secret(Box::new(key));
            let algorithm = Algorithm::Hs256;
            KeySet(vec![SetKey { kid: None, algorithm, verifying, material: Box::default() }])
        };
        assert!(!secret(1).is_same(&secret(2)));
    }

    #[test]
    fn keys_are_relied_upon_to_the_very_end_of_their_time() {
        let keys = IssuerKeys::awaited(|| {});
        let (before, end) = (Timestamp::from_secs(59), Timestamp::from_secs(60));
        keys.put(named("1", &public()), Timestamp::from_secs(0), Duration::from_secs(60));
        let set = keys.set();
        assert!(keys.can_be_relied_upon(before) && !keys.can_be_relied_upon(end));
        assert!(keys.are(&set, before) && !keys.are(&set, end));
        assert!(keys.good(before).is_ok() && keys.good(end).is_err());
        assert!(!keys.are(&Arc::default(), before));
        let fixed = IssuerKeys::fixed(named("1", &public()));
        assert!(fixed.can_be_relied_upon(end) && fixed.are(&fixed.set(), end));
        // Nothing is shown but names.
        assert!(format!("{fixed:?}").contains("EdDSA") || format!("{fixed:?}").contains("EdDsa"));
    }
}
