//! Every vector of Project Wycheproof for what is verified here, by the code
//! that verifies tokens: `tests/data/wycheproof/README.md` has their source.
//!
//! A verdict of ours is the published one, or stricter and listed with its
//! reason; none is laxer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretSlice;
use serde_json::{Value, json};

use super::{Algorithm, Key, KeyError, KeySet, Refusal, key_set::Verifying, signed_payload};

/// What is refused here though its vector is valid, and why.
type Stricter<'a> = &'a [(u64, &'static str)];

fn groups(file: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(file).unwrap();
    serde_json::from_value(file["testGroups"].take()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    hex.chunks(2).map(|two| digit(two[0]) * 16 + digit(two[1])).collect()
}

/// The secrets of a set, as an operator would write them; none when there is
/// another key among them, which nobody can.
fn secrets(keys: &[Value]) -> Option<KeySet> {
    let key = |key: &Value| {
        let is_a_secret = key["kty"] == "oct" && key["alg"] == "HS256";
        let k = URL_SAFE_NO_PAD.decode(key["k"].as_str().filter(|_| is_a_secret)?).ok()?;
        Key::new(key["kid"].as_str().map(str::to_owned), &SecretSlice::from(k)).ok()
    };
    KeySet::of_secrets(keys.iter().map(key).collect::<Option<_>>()?).ok()
}

/// The keys of a group: the public ones as an issuer publishes them, or the
/// secrets. What is neither is read as if it had been published.
fn set(group: &Value) -> Option<KeySet> {
    let named = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let keys = named["keys"].as_array().cloned().unwrap_or_else(|| vec![named.clone()]);
    let published = json!({ "keys": keys }).to_string();
    let read = KeySet::read(published.as_bytes(), &Algorithm::PUBLIC).map(|(set, _)| set);
    read.ok().or_else(|| secrets(&keys))
}

/// Holds a file of whole tokens to its verdicts, and says how many it has.
fn tokens(file: &str, stricter: Stricter<'_>, contradictory: &[u64]) -> usize {
    let algorithms = [&[Algorithm::Hs256][..], &Algorithm::PUBLIC].concat();
    let groups = groups(file);
    let (mut count, mut laxer, mut refused) = (0, Vec::new(), Vec::new());
    for group in &groups {
        let set = set(group);
        let vectors = group["tests"].as_array().unwrap();
        count += vectors.len();
        for vector in vectors {
            let id = vector["tcId"].as_u64().unwrap();
            let token = vector.get("jws").or(vector.get("jwe")).unwrap();
            // Some are of the JSON serialization, as they would stand in a header.
            let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
            let seen = match &set {
                None => Err(Refusal::UnknownKey),
                Some(set) => signed_payload(&token, set, &algorithms),
            };
            match (vector["result"] == "valid", seen) {
                (true, Err(refusal)) => refused.push((id, refusal)),
                (false, Ok(_)) => {
                    laxer.push(id);
                    let is_the_valid_one =
                        |other: &Value| other["jws"] == vector["jws"] && other["result"] == "valid";
                    assert!(vectors.iter().any(is_the_valid_one), "{id} was accepted");
                }
                _ => {}
            }
        }
    }
    assert_eq!(laxer, contradictory, "the same tokens are published as valid, too");
    let listed: Vec<u64> = stricter.iter().map(|(id, _)| *id).collect();
    let seen: Vec<u64> = refused.iter().map(|(id, _)| *id).collect();
    assert_eq!(seen, listed, "{refused:?}");
    count
}

/// Runs a file of signatures by the keys that a group's has for an algorithm.
fn signatures(file: &str, algorithm: Algorithm, jwk: &str) -> usize {
    let groups = groups(file);
    let mut count = 0;
    for group in &groups {
        // Some groups have no JWK: their point, which is what it would hold.
        let jwk = match &group[jwk] {
            Value::Null => {
                let point = bytes(&group["publicKey"]["uncompressed"]);
                let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            jwk => jwk.clone(),
        };
        let published = json!({ "keys": [jwk] }).to_string();
        let (set, left_out) = KeySet::read(published.as_bytes(), &[algorithm]).unwrap();
        assert_eq!((set.0.len(), left_out), (1, Vec::new()), "{published}");
        count += held_to(&set.0[0].verifying, group, "sig", |_| false);
    }
    count
}

/// Holds a key to the vectors of its group, of which some are refused here.
fn held_to(
    key: &Verifying,
    group: &Value,
    signature: &str,
    is_stricter: impl Fn(&Value) -> bool,
) -> usize {
    let vectors = group["tests"].as_array().unwrap();
    for vector in vectors {
        let seen = key.verifies(&bytes(&vector["msg"]), &bytes(&vector[signature]));
        // What is merely acceptable is not accepted: a DigestInfo without NULL.
        let is_valid = vector["result"] == "valid";
        assert_eq!(seen, is_valid && !is_stricter(vector), "{vector}");
    }
    vectors.len()
}

#[test]
fn tokens_are_accepted_and_refused_as_wycheproof_says() {
    let file = include_str!("../../tests/data/wycheproof/json_web_signature_test.json");
    let p_521 = "P-521 is not among the algorithms that issuers may use";
    let foreign = "it holds a character that base64url does not have (RFC 7515, section 2)";
    let other = "its alg is PS384, and that of its key is PS256 (RFC 8725, section 3.1)";
    let stricter =
        [(346, other), (347, p_521), (350, other), (351, p_521), (372, foreign), (373, foreign)];
    // Published as invalid, and 357 to the last byte, which is published as valid:
    // the padding that their comments tell of is not in them. Nobody can hold to both.
    assert_eq!(tokens(file, &stricter, &[367, 370]), 401);
}

#[test]
fn sets_of_keys_are_used_as_wycheproof_says() {
    let file = include_str!("../../tests/data/wycheproof/json_web_key_test.json");
    let long = "HS384 and HS512 are not among the algorithms that issuers may use";
    assert_eq!(tokens(file, &[(14, long), (15, long)], &[]), 26);
    let file = include_str!("../../tests/data/wycheproof/json_web_crypto_test.json");
    let encrypted = "it is encrypted, and nothing is decrypted here";
    assert_eq!(tokens(file, &[(50, encrypted), (67, encrypted)], &[]), 83);
}

#[test]
fn signatures_are_verified_as_wycheproof_says() {
    let file = include_str!("../../tests/data/wycheproof/rsa_signature_2048_sha256_test.json");
    assert_eq!(signatures(file, Algorithm::Rs256, "keyJwk"), 259);
    let file = include_str!("../../tests/data/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");
    assert_eq!(signatures(file, Algorithm::Es256, "publicKeyJwk"), 262);
    let file = include_str!("../../tests/data/wycheproof/ed25519_test.json");
    assert_eq!(signatures(file, Algorithm::EdDsa, "publicKeyJwk"), 151);
}

#[test]
fn tags_are_verified_as_wycheproof_says_and_only_when_they_are_whole() {
    let file = include_str!("../../tests/data/wycheproof/hmac_sha256_test.json");
    let mut count = 0;
    for group in groups(file) {
        let is_cut_short = |_: &Value| group["tagSize"] != 256;
        for vector in group["tests"].as_array().unwrap() {
            count += 1;
            let key = Key::new(None, &SecretSlice::from(bytes(&vector["key"])));
            if group["keySize"] == 128 {
                // Too short for HS256, so that there is nothing to verify by.
                assert_eq!(key.err(), Some(KeyError::TooShort(16)));
                continue;
            }
            let set = KeySet::of_secrets(vec![key.unwrap()]).unwrap();
            let alone = json!({ "tests": [vector] });
            held_to(&set.0[0].verifying, &alone, "tag", is_cut_short);
        }
    }
    assert_eq!(count, 174);
}
