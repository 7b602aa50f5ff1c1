//! Sets of public keys (RFC 7517), read as strictly as tokens are.

use std::cell::Cell;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use thiserror::Error;

use super::{
    algorithm::Algorithm,
    json::Members,
    key_set::{KeySet, SetKey, Verifying},
    roca::is_of_the_faulty_generator,
};

/// The most keys of a set.
const MAX_KEYS: usize = 100;
/// The most members of a set.
const MAX_MEMBERS: usize = 64;
/// The shortest modulus, in bits (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;
/// The longest modulus, in bits: a longer one costs more than it is worth.
const MAX_RSA_BITS: usize = 8192;
/// The most that is told of a `kid`, in characters.
const MAX_SHOWN: usize = 64;
/// The members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a set cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// It is no JSON object with a list of keys, or repeats a member.
    #[error("it is no JSON Web Key Set")]
    Malformed,
    /// More than anybody needs.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// None that verifies a token.
    #[error("it has no key for the algorithms that are accepted")]
    NoneFits,
}

/// A key that is not used, though it looks as if it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its `kid`, or its place in the set.
    pub key: String,
    /// Why.
    pub cause: &'static str,
}

/// Why one key is not used.
enum Unused {
    /// It is for something else.
    Other,
    /// It should not be in such a set.
    Bad(&'static str),
}

impl KeySet {
    /// The keys of a JSON Web Key Set that may be used with one of these
    /// algorithms, and those that were left out.
    ///
    /// # Errors
    ///
    /// [`KeySetError`], also for a set without any key of use: that is a mistake,
    /// and no reason to let go of keys that were good.
    pub fn read(
        bytes: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<(Self, Vec<LeftOut>), KeySetError> {
        let values = Cell::new(MAX_KEYS * MAX_MEMBERS);
        let parsed = Members::parse_within(bytes, MAX_MEMBERS, &values);
        let mut set = parsed.map_err(|_| match values.get() {
            0 => KeySetError::TooMany,
            _ => KeySetError::Malformed,
        })?;
        let Some(Value::Array(listed)) = set.take("keys") else {
            return Err(KeySetError::Malformed);
        };
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys: Vec<SetKey> = Vec::with_capacity(listed.len());
        let mut left_out = Vec::new();
        for (at, jwk) in listed.iter().enumerate() {
            let name = || match jwk.get("kid").and_then(Value::as_str) {
                Some(kid) => kid.chars().take(MAX_SHOWN).collect(),
                None => format!("number {}", at + 1),
            };
            match usable(jwk, algorithms) {
                Ok(usable) => keys.extend(usable),
                Err(Unused::Other) => {}
                Err(Unused::Bad(cause)) => left_out.push(LeftOut { key: name(), cause }),
            }
        }
        without_ambiguous(&mut keys, &mut left_out);
        if keys.is_empty() {
            return Err(KeySetError::NoneFits);
        }
        Ok((Self(keys), left_out))
    }
}

/// Leaves out keys that one name stands for, and what is there twice.
fn without_ambiguous(keys: &mut Vec<SetKey>, left_out: &mut Vec<LeftOut>) {
    let is_other = |one: &SetKey, other: &SetKey| {
        one.kid.is_some() && one.kid == other.kid && one.material != other.material
    };
    let mut ambiguous: Vec<Box<str>> = Vec::new();
    for key in &*keys {
        if let Some(kid) = &key.kid
            && keys.iter().any(|other| is_other(key, other))
            && !ambiguous.contains(kid)
        {
            ambiguous.push(kid.clone());
        }
    }
    keys.retain(|key| key.kid.as_ref().is_none_or(|kid| !ambiguous.contains(kid)));
    let mut kept: Vec<SetKey> = Vec::with_capacity(keys.len());
    for key in keys.drain(..) {
        let is_there = |other: &SetKey| other.is_same_key(&key) && other.algorithm == key.algorithm;
        if !kept.iter().any(is_there) {
            kept.push(key);
        }
    }
    *keys = kept;
    let cause = "another key has the same kid";
    let short = |kid: Box<str>| kid.chars().take(MAX_SHOWN).collect();
    left_out.extend(ambiguous.into_iter().map(|kid| LeftOut { key: short(kid), cause }));
}

/// A key, once for each algorithm that it may be used with.
fn usable(jwk: &Value, algorithms: &[Algorithm]) -> Result<Vec<SetKey>, Unused> {
    let jwk = jwk.as_object().ok_or(Unused::Bad("it is no JSON object"))?;
    let text = |name: &'static str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Unused::Bad("a member is not text")),
    };
    let kty = text("kty")?.ok_or(Unused::Bad("it has no kty"))?;
    if kty == "oct" {
        return Err(Unused::Bad("it is a symmetric key, which anybody can read there"));
    }
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err(Unused::Bad("it contains a private key, which anybody can read there"));
    }
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(Unused::Other);
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => {}
        Some(Value::Array(_)) => return Err(Unused::Other),
        Some(_) => return Err(Unused::Bad("its key_ops is not a list")),
    }
    let own = match text("alg")? {
        None => None,
        Some(name) => Some(Algorithm::parse(name).ok_or(Unused::Other)?),
    };
    let bytes = |name| {
        let text = text(name)?.ok_or(Unused::Bad("a member of the key is missing"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| Unused::Bad("a member is not base64url"))
    };
    let (fitting, material, make) = material(kty, text("crv")?, bytes)?;
    if own.is_some_and(|own| !fitting.contains(&own)) {
        return Err(Unused::Bad("its alg is not for keys of its kind"));
    }
    let kid = text("kid")?.map(Box::from);
    let mut keys = Vec::new();
    for algorithm in fitting.iter().copied() {
        if !algorithms.contains(&algorithm) || own.is_some_and(|own| own != algorithm) {
            continue;
        }
        let verifying = make(algorithm).ok_or(Unused::Bad("it is no key"))?;
        let material = Box::from(&*material);
        keys.push(SetKey { kid: kid.clone(), algorithm, verifying, material });
    }
    if keys.is_empty() { Err(Unused::Other) } else { Ok(keys) }
}

type Make = Box<dyn Fn(Algorithm) -> Option<Verifying>>;

/// The algorithms that a key's kind is for, its bytes, and what makes it.
fn material(
    kty: &str,
    crv: Option<&str>,
    bytes: impl Fn(&'static str) -> Result<Vec<u8>, Unused>,
) -> Result<(&'static [Algorithm], Vec<u8>, Make), Unused> {
    match (kty, crv) {
        ("RSA", _) => {
            let (n, e) = (without_zeros(bytes("n")?), without_zeros(bytes("e")?));
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if bits < MIN_RSA_BITS {
                return Err(Unused::Bad("it is an RSA key of fewer than 2,048 bits"));
            }
            if bits > MAX_RSA_BITS || e.len() > 8 {
                return Err(Unused::Bad("it is an RSA key of more than 8,192 bits"));
            }
            // By 1, everybody's own text is its signature; an even one is none.
            if e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
                return Err(Unused::Bad("its exponent is not an odd number from 3 on"));
            }
            if is_of_the_faulty_generator(&n) {
                return Err(Unused::Bad(
                    "it is an RSA key of a faulty generator (CVE-2017-15361): make another one",
                ));
            }
            let material = [&n[..], b"/", &e].concat();
            let make = move |algorithm| Verifying::rsa(algorithm, &n, &e);
            let rsa = &Algorithm::PUBLIC;
            Ok((rsa.get(..6).unwrap_or_default(), material, Box::new(make)))
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (size, algorithm): (_, &'static [Algorithm]) = match curve {
                "P-256" => (32, &[Algorithm::Es256]),
                _ => (48, &[Algorithm::Es384]),
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != size || y.len() != size {
                return Err(Unused::Bad("its point is not of the length of its curve"));
            }
            let point = [&[4][..], &x, &y].concat();
            let material = point.clone();
            let make = move |algorithm| Verifying::point(algorithm, &point);
            Ok((algorithm, material, Box::new(make)))
        }
        ("OKP", Some("Ed25519")) => {
            let point = bytes("x")?;
            if point.len() != 32 {
                return Err(Unused::Bad("its point is not of the length of its curve"));
            }
            let material = point.clone();
            let make = move |algorithm| Verifying::point(algorithm, &point);
            Ok((&[Algorithm::EdDsa], material, Box::new(make)))
        }
        // Of a kind that is not used here.
        _ => Err(Unused::Other),
    }
}

/// RFC 7518, section 6.3.1.1, has no leading zeros; some write one for the sign.
fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use serde_json::{Map, json};

    use super::*;
    use crate::token::signed_payload;

    fn b64(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Value> {
        vec(any::<u8>(), length).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes).into())
    }

    fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
        select(values).prop_map(Value::from)
    }

    /// Any JSON, not very large.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec(("keys|kty|kid|\\PC{0,3}", inner), 0..4)
                    .prop_map(|members| Value::Object(Map::from_iter(members))),
            ]
        })
    }

    /// Nearly a key: each member is there or not, of its type or not.
    fn nearly_a_key() -> impl Strategy<Value = Value> {
        let coordinate = || prop_oneof![b64(32), b64(48), b64(0..70)];
        let members: Vec<(&str, BoxedStrategy<Value>)> = vec![
            ("kty", one_of(&["RSA", "EC", "OKP", "oct", "rsa", ""]).boxed()),
            ("crv", one_of(&["P-256", "P-384", "P-521", "Ed25519", "X25519"]).boxed()),
            ("kid", one_of(&["1", "2", "", "../1"]).boxed()),
            ("alg", one_of(&["RS256", "ES256", "EdDSA", "HS256", "none"]).boxed()),
            ("use", one_of(&["sig", "enc"]).boxed()),
            ("key_ops", Just(json!(["verify"])).boxed()),
            ("n", prop_oneof![b64(256), b64(0..300)].boxed()),
            ("e", prop_oneof![Just(json!("AQAB")), b64(0..12)].boxed()),
            ("x", coordinate().boxed()),
            ("y", coordinate().boxed()),
            ("d", b64(0..40).boxed()),
        ];
        let members: Vec<BoxedStrategy<Option<(String, Value)>>> = members
            .into_iter()
            .map(|(name, right)| {
                let value = prop_oneof![9 => right, 1 => anything()];
                let there = if ["d", "key_ops", "alg"].contains(&name) { 0.2 } else { 0.9 };
                let member = value.prop_map(move |value| (name.to_owned(), value));
                option::weighted(there, member).boxed()
            })
            .collect();
        members.prop_map(|members| Value::Object(members.into_iter().flatten().collect()))
    }

    /// What holds of every set that was read.
    fn is_sound(bytes: &[u8]) -> Result<(), TestCaseError> {
        let accepted = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
        let Ok((set, _)) = KeySet::read(bytes, &accepted) else { return Ok(()) };
        prop_assert!(!set.is_empty() && set.len() <= MAX_KEYS);
        prop_assert!(set.0.iter().all(|key| accepted.contains(&key.algorithm)));
        for header in [r#"{"alg":"RS256","kid":"1"}"#, r#"{"alg":"EdDSA"}"#, r#"{"alg":"ES256"}"#] {
            let (header, zeros) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode([0; 64]));
            let token = format!("{header}.e30.{zeros}");
            let seen = signed_payload(&token, &set, &accepted);
            prop_assert!(seen.is_err(), "{}", token);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn nothing_that_is_published_does_harm(keys in vec(nearly_a_key(), 0..6), other in anything()) {
            is_sound(json!({ "keys": keys, "other": other }).to_string().as_bytes())?;
            is_sound(json!({ "keys": other }).to_string().as_bytes())?;
            is_sound(other.to_string().as_bytes())?;
        }

        #[test]
        fn any_bytes_are_a_set_or_none(bytes in vec(any::<u8>(), 0..80)) {
            is_sound(&bytes)?;
        }
    }
}
