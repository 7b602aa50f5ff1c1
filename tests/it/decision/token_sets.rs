//! What a published set of keys may hold, and what is made of the rest.

use portcullis::token::{Algorithm, KeySet};
use serde_json::{Value, json};

use crate::{jwt::b64, signer::Signer};

#[test]
fn a_set_leaves_out_what_should_not_be_in_it_and_says_why() {
    let (rsa, ec, ec384) = (
        Signer::new("rsa", Algorithm::Rs256),
        Signer::new("ec", Algorithm::Es256),
        Signer::new("ec384", Algorithm::Es384),
    );
    let with = |key: &Signer, changes: Value| {
        let mut jwk = key.public();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwk
    };
    let good =
        with(&ec, json!({ "kid": "good", "use": "sig", "key_ops": ["verify"], "alg": "ES256" }));
    // With a good key beside it, the set is used, and says what was left out.
    let left_out = |jwk: Value| {
        let set = json!({ "keys": [good, jwk] }).to_string();
        let (set, left_out) = KeySet::read(set.as_bytes(), &Algorithm::PUBLIC).unwrap();
        assert_eq!(set.described(), [(Some("good"), vec![Algorithm::Es256])], "{jwk}");
        left_out.into_iter().map(|one| format!("{}: {}", one.key, one.cause)).collect::<Vec<_>>()
    };
    let numbers = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        json!({ "n": b64(&n) })
    };
    for (jwk, cause) in [
        (
            with(&rsa, json!({ "d": "AQ" })),
            "it contains a private key, which anybody can read there",
        ),
        (
            with(&ec, json!({ "d": "AQ" })),
            "it contains a private key, which anybody can read there",
        ),
        (
            with(&rsa, json!({ "qi": "AQ" })),
            "it contains a private key, which anybody can read there",
        ),
        (
            with(&rsa, json!({ "k": "AQ" })),
            "it contains a private key, which anybody can read there",
        ),
        (
            json!({ "kty": "oct", "k": b64([7; 32]), "kid": "rsa" }),
            "it is a symmetric key, which anybody can read there",
        ),
        (with(&rsa, numbers(1024)), "it is an RSA key of fewer than 2,048 bits"),
        (with(&rsa, numbers(2047)), "it is an RSA key of fewer than 2,048 bits"),
        (with(&rsa, numbers(8193)), "it is an RSA key of more than 8,192 bits"),
        (with(&rsa, json!({ "e": b64([1; 9]) })), "it is an RSA key of more than 8,192 bits"),
        (with(&rsa, json!({ "e": "AQ" })), "its exponent is not an odd number from 3 on"),
        (with(&rsa, json!({ "e": "Ag" })), "its exponent is not an odd number from 3 on"),
        (with(&rsa, json!({ "e": "" })), "its exponent is not an odd number from 3 on"),
        (with(&rsa, json!({ "e": "AAAAAQ" })), "its exponent is not an odd number from 3 on"),
        (with(&rsa, json!({ "n": "" })), "it is an RSA key of fewer than 2,048 bits"),
        (with(&rsa, json!({ "n": "====" })), "a member is not base64url"),
        (with(&rsa, json!({ "alg": "ES256" })), "its alg is not for keys of its kind"),
        (with(&rsa, json!({ "alg": "HS256" })), "its alg is not for keys of its kind"),
        (with(&ec384, json!({ "alg": "ES256" })), "its alg is not for keys of its kind"),
        (with(&ec384, json!({ "crv": "P-256" })), "its point is not of the length of its curve"),
        (with(&ec, json!({ "crv": "P-384" })), "its point is not of the length of its curve"),
        (with(&ec, json!({ "x": b64([1; 31]) })), "its point is not of the length of its curve"),
        (with(&ec, json!({ "y": b64([1; 33]) })), "its point is not of the length of its curve"),
        (with(&ec, json!({ "y": b64([1; 32]) })), "it is no key"),
        (with(&ec, json!({ "x": 1 })), "a member is not text"),
        (with(&ec, json!({ "kty": null })), "a member is not text"),
        (with(&ec, json!({ "key_ops": "verify" })), "its key_ops is not a list"),
    ] {
        let name = jwk["kid"].as_str().unwrap().to_owned();
        assert_eq!(left_out(jwk.clone()), [format!("{name}: {cause}")], "{jwk}");
    }
    // As long as may be.
    for changes in [numbers(2048), numbers(8192), json!({ "e": b64([1; 8]) })] {
        let set = json!({ "keys": [with(&rsa, changes.clone())] }).to_string();
        assert_eq!(KeySet::read(set.as_bytes(), &[Algorithm::Rs256]).unwrap().0.len(), 1);
    }
    // For something else: nothing is wrong with them.
    for jwk in [
        with(&rsa, json!({ "use": "enc" })),
        with(&rsa, json!({ "use": "SIG" })),
        with(&rsa, json!({ "key_ops": ["sign"] })),
        with(&rsa, json!({ "key_ops": ["encrypt", "wrapKey"] })),
        with(&rsa, json!({ "key_ops": [] })),
        with(&rsa, json!({ "alg": "RSA-OAEP-256" })),
        with(&rsa, json!({ "alg": "rs256" })),
        with(&ec, json!({ "crv": "secp256k1" })),
        with(&ec, json!({ "kty": "OKP" })),
        with(&ec, json!({ "crv": "P-521", "alg": "ES512" })),
    ] {
        assert_eq!(left_out(jwk.clone()), [""; 0], "{jwk}");
    }
    // One name for two keys is a name for neither; what is there twice, is once.
    let twin = with(&Signer::new("x", Algorithm::Rs256), json!({ "kid": "rsa" }));
    let set = json!({ "keys": [good, good, rsa.public(), twin] }).to_string();
    let (set, out) = KeySet::read(set.as_bytes(), &Algorithm::PUBLIC).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!((out.len(), &*out[0].key, out[0].cause), (1, "rsa", "another key has the same kid"));
    // As many as may be.
    let key = ec.public().to_string();
    let most = format!(r#"{{"keys":[{}]}}"#, vec![&*key; 100].join(","));
    assert_eq!(KeySet::read(most.as_bytes(), &Algorithm::PUBLIC).unwrap().0.len(), 1);
    // A set that is read in two ways, is too long, or has nothing, is none.
    for (bad, cause) in [
        (format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#), "it is no JSON Web Key Set"),
        (
            format!(r#"{{"keys":[{}]}}"#, key.replacen('{', r#"{"kid":"a","#, 1)),
            "it is no JSON Web Key Set",
        ),
        (format!("[{key}]"), "it is no JSON Web Key Set"),
        (key.clone(), "it is no JSON Web Key Set"),
        (r#"{"keys":{}}"#.into(), "it is no JSON Web Key Set"),
        (r#"{"keys":[]}"#.into(), "it has no key for the algorithms that are accepted"),
        (format!(r#"{{"keys":[{}]}}"#, vec![&*key; 101].join(",")), "it has more than 100 keys"),
        ("<html></html>".into(), "it is no JSON Web Key Set"),
    ] {
        let seen =
            KeySet::read(bad.as_bytes(), &Algorithm::PUBLIC).err().map(|error| error.to_string());
        assert_eq!(seen.as_deref(), Some(cause), "{bad:.80}");
    }
}
