//! Tokens that would be good, were they read in another way than their issuer
//! means them: another algorithm, another key, another kind.

use portcullis::token::{Algorithm, Issuer, IssuerKeys, Refusal, Verifier};
use serde_json::{Value, json};

use crate::{
    jwt::{self, b64},
    signer::Signer,
    token_keys::{claims, iss, issuer, read, secret, seen, settings, verifier},
};

const OWN: &[u8] = jwt::SECRET.as_bytes();

/// Two issuers and a service with tokens of its own.
struct Trust {
    rsa: Signer,
    ec: Signer,
    ec384: Signer,
    other: Signer,
    verifier: Verifier,
}

impl Trust {
    fn new() -> Self {
        let rsa = Signer::new("rsa", Algorithm::Rs256);
        let ec = Signer::new("ec", Algorithm::Es256);
        let ec384 = Signer::new("ec384", Algorithm::Es384);
        let other = Signer::new("other", Algorithm::Rs256);
        let mut acme = issuer("acme", &[&rsa, &ec, &ec384]);
        // Also where somebody has allowed for it, a public key is no secret.
        acme.settings.algorithms.push(Algorithm::Hs256);
        let zeta = issuer("zeta", &[&other]);
        let verifier = verifier(vec![secret(Some("own"), OWN)], vec![acme, zeta]);
        Self { rsa, ec, ec384, other, verifier }
    }

    fn refusal(&self, token: &str) -> Option<Refusal> {
        seen(&self.verifier, token).err()
    }

    /// Of a good token of the issuer's own key, whose header has these.
    fn with_header(&self, changes: &Value) -> Option<Refusal> {
        let mut header = self.rsa.header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.refusal(&self.rsa.sign(&header.to_string(), &good().to_string()))
    }
}

fn good() -> Value {
    claims("acme", &json!({}))
}

fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    jwt::sign_with(aws_lc_rs::hmac::HMAC_SHA256, secret, &header.to_string(), &claims.to_string())
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

#[test]
fn a_public_key_is_no_secret_in_any_form() {
    let trust = Trust::new();
    assert_eq!(seen(&trust.verifier, &trust.rsa.token(&good())).unwrap(), "acme:ann");
    for key in [&trust.rsa, &trust.ec] {
        let (der, jwk) = (key.der(), key.public());
        let pem = pem(&der);
        let member = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            URL_SAFE_NO_PAD.decode(member(name)).unwrap()
        };
        for secret in [
            pem.clone().into_bytes(),
            pem.trim_end().to_owned().into_bytes(),
            pem.replace('\n', "\r\n").into_bytes(),
            b64(&der).into_bytes(),
            der.clone(),
            member("n").into_bytes(),
            number("n"),
            [vec![0], number("n")].concat(),
            member("x").into_bytes(),
            [vec![4], number("x"), number("y")].concat(),
            jwk.to_string().into_bytes(),
            Vec::new(),
        ] {
            for (kid, expected) in [
                (json!({ "alg": "HS256", "kid": key.kid }), Refusal::BadAlgorithm),
                (json!({ "alg": "HS256" }), Refusal::UnknownKey),
                (json!({ "alg": "HS256", "kid": "own" }), Refusal::UnknownKey),
            ] {
                let token = hs256(&secret, &kid, &good());
                assert_eq!(trust.refusal(&token), Some(expected), "{kid}");
            }
        }
    }
    // As the configuration has it, not even the name of the algorithm passes.
    let strict = verifier(Vec::new(), vec![issuer("acme", &[&trust.rsa])]);
    let token = hs256(pem(&trust.rsa.der()).as_bytes(), &json!({ "alg": "HS256" }), &good());
    assert_eq!(seen(&strict, &token).err(), Some(Refusal::BadAlgorithm));
}

#[test]
fn an_algorithm_is_that_of_the_key_to_the_letter() {
    let trust = Trust::new();
    for alg in [
        "rs256", "Rs256", "RS256 ", "RS2560", "none", "None", "NONE", "nOnE", "", "HS384",
        "ES256K", "ES512", "RSA1_5", "dir",
    ] {
        assert_eq!(trust.with_header(&json!({ "alg": alg })), Some(Refusal::BadAlgorithm), "{alg}");
        let unsigned =
            format!("{}.{}.", b64(json!({ "alg": alg }).to_string()), b64(good().to_string()));
        assert_eq!(trust.refusal(&unsigned), Some(Refusal::BadAlgorithm), "{alg}");
    }
    for alg in [json!(null), json!(["RS256"]), json!({ "alg": "RS256" }), json!(256)] {
        assert_eq!(trust.with_header(&json!({ "alg": alg })), Some(Refusal::BadAlgorithm), "{alg}");
    }
    let of = |key: &Signer, header: Value| {
        trust.refusal(&key.sign(&header.to_string(), &good().to_string()))
    };
    // One curve by the name of the other, by either key, and by none.
    for (key, alg, kid) in [
        (&trust.ec384, "ES256", "ec384"),
        (&trust.ec, "ES384", "ec"),
        (&trust.rsa, "ES256", "rsa"),
        (&trust.ec, "RS256", "ec"),
        (&trust.ec, "EdDSA", "ec"),
    ] {
        let header = json!({ "alg": alg, "kid": kid });
        assert_eq!(of(key, header), Some(Refusal::BadAlgorithm), "{alg} by {kid}");
    }
    assert_eq!(
        of(&trust.ec384, json!({ "alg": "ES256", "kid": "ec" })),
        Some(Refusal::BadSignature)
    );
    assert_eq!(
        of(&trust.ec, json!({ "alg": "ES384", "kid": "ec384" })),
        Some(Refusal::BadSignature)
    );
    assert_eq!(of(&trust.ec384, json!({ "alg": "ES256" })), Some(Refusal::BadSignature));
    assert_eq!(of(&trust.ec384, json!({ "alg": "ES384" })), None);
    assert_eq!(
        of(&trust.rsa, json!({ "alg": "PS256", "kid": "rsa" })),
        Some(Refusal::BadSignature)
    );
    // Unless the issuer says what its key is for, where it may be two things.
    let mut jwk = trust.rsa.public();
    jwk["alg"] = json!("RS256");
    let keys = std::sync::Arc::new(IssuerKeys::fixed(read(&[jwk]).unwrap()));
    let said = verifier(Vec::new(), vec![Issuer { settings: settings("acme"), keys }]);
    let token = trust.rsa.sign(r#"{"alg":"PS256","kid":"rsa"}"#, &good().to_string());
    assert_eq!(seen(&said, &token).err(), Some(Refusal::BadAlgorithm));
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let trust = Trust::new();
    let long = "a".repeat(8 * 1024);
    for kid in [
        "other",
        "own",
        "RSA",
        "rsa ",
        " rsa",
        "rsa\0",
        "rsa\0.pem",
        "",
        "\0",
        "%72sa",
        "../../dev/null",
        "/etc/passwd",
        "file:///dev/null",
        "https://evil.example/keys",
        "rsa' OR '1'='1",
        "' UNION SELECT 'a",
        "rsa; --",
        "$(id)",
        "`id`",
        "| id",
        "*",
        "rs?",
        "number 1",
        "\u{212b}",
        &long,
    ] {
        assert_eq!(trust.with_header(&json!({ "kid": kid })), Some(Refusal::UnknownKey), "{kid:?}");
        // Nor is there a key of nothing, or of zeros.
        for secret in [&b""[..], &[0; 32], b"\0"] {
            let token = hs256(secret, &json!({ "alg": "HS256", "kid": kid }), &good());
            assert_eq!(trust.refusal(&token), Some(Refusal::UnknownKey), "{kid:?}");
        }
    }
    for kid in [json!(null), json!(1), json!(["rsa"]), json!({ "kid": "rsa" }), json!(true)] {
        assert_eq!(trust.with_header(&json!({ "kid": kid })), Some(Refusal::Malformed), "{kid}");
    }
}

#[test]
fn a_token_brings_no_key_and_is_nothing_but_a_signed_token() {
    let trust = Trust::new();
    let evil = Signer::new("evil", Algorithm::Rs256);
    for (name, value) in [
        ("jwk", evil.public()),
        ("jwk", trust.rsa.public()),
        ("jku", json!("https://evil.example/keys")),
        ("jku", json!(format!("{}/keys", iss("acme")))),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("cty", json!(null)),
    ] {
        let changes = json!({ name: value });
        assert_eq!(trust.with_header(&changes), Some(Refusal::Malformed), "{changes}");
        let header = json!({ "alg": "RS256", "kid": "rsa", name: value }).to_string();
        let token = evil.sign(&header, &good().to_string());
        assert_eq!(trust.refusal(&token), Some(Refusal::Malformed), "{changes}");
    }
    // Not base64url at all, as RFC 7797 would have it.
    let header =
        b64(json!({ "alg": "RS256", "kid": "rsa", "b64": false, "crit": ["b64"] }).to_string());
    let input = format!("{header}.{}", good());
    let token = format!("{input}.{}", b64(trust.rsa.signature(&input)));
    assert_eq!(trust.refusal(&token), Some(Refusal::Malformed));
    // A token within a token, with and without a name for it.
    let inner = trust.rsa.token(&good());
    let header = trust.rsa.header().to_string();
    assert_eq!(trust.refusal(&trust.rsa.sign(&header, &inner)), Some(Refusal::Malformed));
    assert_eq!(
        trust.refusal(&trust.rsa.sign(&header, &json!(inner).to_string())),
        Some(Refusal::Malformed)
    );
    // Encrypted: five parts, and the JSON forms of both.
    let header = b64(r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"rsa"}"#);
    let parts: Vec<&str> = inner.split('.').collect();
    for token in [
        format!("{header}.AAAA.AAAA.AAAA.AAAA"),
        format!("{inner}.AAAA.AAAA"),
        format!("{header}..AAAA.AAAA.AAAA"),
        json!({ "payload": parts[1], "protected": parts[0], "signature": parts[2] }).to_string(),
        json!({ "payload": parts[1], "signatures": [{ "protected": parts[0], "signature": parts[2] }] }).to_string(),
    ] {
        assert_eq!(trust.refusal(&token), Some(Refusal::Malformed), "{token}");
    }
    // Members that stand twice are read in two ways.
    for header in [
        r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"other","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"other","k\u0069d":"rsa"}"#,
    ] {
        assert_eq!(
            trust.refusal(&trust.rsa.sign(header, &good().to_string())),
            Some(Refusal::Malformed)
        );
    }
    let twice = good().to_string().replacen('{', &format!("{{\"iss\":\"{}\",", iss("zeta")), 1);
    assert_eq!(
        trust.refusal(&trust.rsa.sign(&trust.rsa.header().to_string(), &twice)),
        Some(Refusal::Malformed)
    );
}

#[test]
fn the_keys_of_one_issuer_vouch_for_no_other() {
    let trust = Trust::new();
    let zeta = claims("zeta", &json!({}));
    assert_eq!(seen(&trust.verifier, &trust.other.token(&zeta)).unwrap(), "zeta:ann");
    // Each other's keys, by their name, by the other's, and without.
    for (key, kid, claims, expected) in [
        (&trust.other, Some("other"), &good(), Refusal::UnknownKey),
        (&trust.other, Some("rsa"), &good(), Refusal::BadSignature),
        (&trust.other, None, &good(), Refusal::BadSignature),
        (&trust.rsa, Some("rsa"), &zeta, Refusal::UnknownKey),
        (&trust.rsa, Some("other"), &zeta, Refusal::BadSignature),
        (&trust.rsa, None, &zeta, Refusal::BadSignature),
    ] {
        let mut header = json!({ "alg": "RS256", "kid": kid });
        if kid.is_none() {
            header.as_object_mut().unwrap().remove("kid");
        }
        let token = key.sign(&header.to_string(), &claims.to_string());
        assert_eq!(trust.refusal(&token), Some(expected), "{header} {claims}");
    }
    // The service's own key, and theirs for its own tokens.
    let own = json!({ "alg": "HS256", "kid": "own" });
    assert_eq!(trust.refusal(&hs256(OWN, &own, &good())), Some(Refusal::UnknownKey));
    assert_eq!(
        trust.refusal(&hs256(OWN, &json!({ "alg": "HS256" }), &good())),
        Some(Refusal::UnknownKey)
    );
    assert_eq!(trust.refusal(&hs256(OWN, &own, &zeta)), Some(Refusal::BadAlgorithm));
    let plain = jwt::claims(crate::ask::NOW);
    assert_eq!(seen(&trust.verifier, &hs256(OWN, &own, &plain)).unwrap(), "7");
    assert_eq!(trust.refusal(&trust.rsa.token(&plain)), Some(Refusal::BadAlgorithm));
    // An issuer that nobody has named, and nearly one that is.
    for name in [iss("evil"), iss("acme") + "/", iss("ACME"), String::new(), "acme".into()] {
        let token = trust.rsa.token(&claims("acme", &json!({ "iss": name })));
        assert_eq!(trust.refusal(&token), Some(Refusal::UnknownIssuer), "{name}");
    }
    for name in [json!([iss("acme")]), json!(1), json!({}), json!(true)] {
        let token = trust.rsa.token(&claims("acme", &json!({ "iss": name })));
        assert_eq!(trust.refusal(&token), Some(Refusal::BadClaim), "{name}");
    }
}

#[test]
fn a_token_of_another_kind_or_for_somebody_else_is_refused() {
    let trust = Trust::new();
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/JWT"] {
        assert_eq!(trust.with_header(&json!({ "typ": typ })), None, "{typ}");
    }
    for typ in [
        "logout+jwt",
        "application/logout+jwt",
        "dpop+jwt",
        "id+jwt",
        "secevent+jwt",
        "JOSE",
        "JWT ",
        "",
        "application/",
        "at+jwt;x",
        "application/application/jwt",
    ] {
        assert_eq!(trust.with_header(&json!({ "typ": typ })), Some(Refusal::Malformed), "{typ}");
    }
    for typ in [json!(null), json!(["JWT"]), json!(1)] {
        assert_eq!(trust.with_header(&json!({ "typ": typ })), Some(Refusal::Malformed), "{typ}");
    }
    // Where access tokens say what they are, an ID token does not pass for one.
    let mut acme = issuer("acme", &[&trust.rsa]);
    acme.settings.types = vec!["at+jwt".into()];
    let strict = verifier(Vec::new(), vec![acme]);
    assert_eq!(seen(&strict, &trust.rsa.token(&good())).err(), Some(Refusal::Malformed));
    let access = r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#;
    assert!(seen(&strict, &trust.rsa.sign(access, &good().to_string())).is_ok());
    // An ID token is for its client; the other issuer's audience is not ours.
    for aud in [
        json!("client-id"),
        json!("zeta-api"),
        json!(["zeta-api", "client-id"]),
        json!([]),
        json!(null),
        json!("acme-api/"),
        json!("ACME-API"),
        json!("acme-api-2"),
        json!("acme"),
    ] {
        let token = trust.rsa.token(&claims("acme", &json!({ "aud": aud })));
        assert_eq!(trust.refusal(&token), Some(Refusal::BadAudience), "{aud}");
    }
    let token = trust.rsa.token(&claims("acme", &json!({ "aud": ["zeta-api", "acme-api"] })));
    assert_eq!(trust.refusal(&token), None);
}
