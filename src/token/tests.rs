//! Every way in which a token can be good or wrong. Over 400 lines, since all of
//! them are changes to the same good one, by the same few helpers.

#![allow(clippy::string_slice, clippy::needless_pass_by_value, reason = "a test may fail loudly")]

#[path = "../../tests/it/helpers/jwt.rs"]
mod jwt;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use jwt::{HEADER, SECRET, b64, sign, sign_with, token, with};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn key(id: Option<&str>, secret: &str) -> Key {
    Key::new(id.map(str::to_owned), &SecretSlice::from(secret.as_bytes().to_vec())).unwrap()
}

/// What the tests beside the tables of tokens say of somebody.
pub(crate) fn claims_of(name: &str) -> Claims {
    let mut payload = json::Members::parse(br#"{"exp":9}"#, 8).unwrap();
    let role = Roles::new(vec!["A".into()]).unwrap().get("A").unwrap();
    let common = claims::Common::read(&mut payload).unwrap();
    Claims::of(common, UserId::new(name).unwrap(), name.into(), role)
}

fn settings() -> VerifierSettings {
    VerifierSettings {
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(7 * 24 * 3600),
        assume_lifetime: None,
        shape: TokenShape::default(),
    }
}

fn verifier_of(keys: Vec<Key>, settings: VerifierSettings) -> Verifier {
    verifier_with(keys, settings, &Arc::new(RevocationList::empty()))
}

fn verifier_with(
    keys: Vec<Key>,
    settings: VerifierSettings,
    revoked: &Arc<RevocationList>,
) -> Verifier {
    let roles = ["INACTIVE", "RESTRICTED", "REGULAR", "ADMIN"].map(str::to_owned).to_vec();
    let (keys, roles) = (KeyRing::new(keys).unwrap(), Roles::new(roles).unwrap());
    Verifier::new(keys, settings, roles, Arc::clone(revoked))
}

pub(super) fn verifier() -> Verifier {
    verifier_of(vec![key(None, SECRET)], settings())
}

fn verify(token: &str) -> Result<Claims, Refusal> {
    verifier().verify(token, now()).map(|verified| (*verified.claims).clone())
}

/// The refusal of a token with these changes to claims that are fine.
fn refusal(changes: Value) -> Option<Refusal> {
    verify(&token(&with(NOW, &changes))).err()
}

#[test]
fn a_good_token_tells_who_it_is() {
    let claims = verify(&token(&jwt::claims(NOW))).unwrap();
    assert_eq!(claims.name, "ann");
    assert_eq!(claims.user_id.as_str(), "7");
    assert_eq!(claims.email.as_deref(), Some("ann@example.com"));
    assert_eq!(claims.token_id.as_deref(), Some("token-1"));
    assert_eq!(verifier().roles().name(claims.role), "REGULAR");
}

#[test]
fn only_exactly_hs256_is_an_algorithm() {
    let payload = jwt::claims(NOW).to_string();
    for alg in [
        "none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256",
        "HS256 ", "",
    ] {
        let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
        let signed = sign(&header, &payload);
        let unsigned = format!("{}.{}.", b64(&header), b64(&payload));
        assert_eq!(verify(&signed).err(), Some(Refusal::BadAlgorithm), "{alg}");
        assert_eq!(verify(&unsigned).err(), Some(Refusal::BadAlgorithm), "{alg}");
    }
    for header in [r#"{"typ":"JWT"}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":1}"#] {
        assert_eq!(verify(&sign(header, &payload)).err(), Some(Refusal::BadAlgorithm), "{header}");
    }
    // Signed with another hash under a header that says HS256.
    for algorithm in [hmac::HMAC_SHA384, hmac::HMAC_SHA512] {
        let token = sign_with(algorithm, SECRET.as_bytes(), HEADER, &payload);
        assert_eq!(verify(&token).err(), Some(Refusal::BadSignature));
    }
}

#[test]
fn a_header_that_is_not_understood_is_refused() {
    let payload = jwt::claims(NOW).to_string();
    for header in [
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"JOSE"}"#,
        r#"{"alg":"HS256","typ":1}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"HS256","kid":1}"#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#,
        r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#,
        r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#,
        r#"{"alg":"HS256","x5c":["AAAA"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"["HS256"]"#,
        r#""HS256""#,
        "",
        "{",
    ] {
        assert_eq!(verify(&sign(header, &payload)).err(), Some(Refusal::Malformed), "{header}");
    }
    assert!(verify(&sign(r#"{"alg":"HS256"}"#, &payload)).is_ok(), "`typ` may be absent");
}

#[test]
fn a_kid_names_a_key_and_without_one_every_key_is_tried() {
    let other = "another-secret-of-the-tests-0123456789";
    let verifier = verifier_of(vec![key(Some("a"), other), key(Some("b"), SECRET)], settings());
    let payload = jwt::claims(NOW).to_string();
    let refusal = |header: &str, secret: &str| {
        let token = sign_with(hmac::HMAC_SHA256, secret.as_bytes(), header, &payload);
        verifier.verify(&token, now()).err()
    };
    assert_eq!(refusal(r#"{"alg":"HS256","kid":"b"}"#, SECRET), None);
    assert_eq!(refusal(r#"{"alg":"HS256","kid":"a"}"#, other), None);
    assert_eq!(refusal(HEADER, SECRET), None);
    assert_eq!(refusal(HEADER, other), None);
    assert_eq!(refusal(r#"{"alg":"HS256","kid":"a"}"#, SECRET), Some(Refusal::BadSignature));
    assert_eq!(refusal(r#"{"alg":"HS256","kid":"c"}"#, SECRET), Some(Refusal::UnknownKey));
    assert_eq!(refusal(r#"{"alg":"HS256","kid":""}"#, SECRET), Some(Refusal::UnknownKey));
    assert_eq!(refusal(r#"{"alg":"HS256","kid":"../b"}"#, SECRET), Some(Refusal::UnknownKey));
}

#[test]
fn only_a_configured_key_makes_a_good_signature() {
    let payload = jwt::claims(NOW).to_string();
    for secret in ["", "another-secret-of-the-tests-0123456789", &SECRET[1..], "\0"] {
        let token = sign_with(hmac::HMAC_SHA256, secret.as_bytes(), HEADER, &payload);
        assert_eq!(verify(&token).err(), Some(Refusal::BadSignature), "{secret:?}");
    }
    let good = token(&jwt::claims(NOW));
    let (input, signature) = good.rsplit_once('.').unwrap();
    for signature in ["", &b64([0; 32]), &signature[..signature.len() - 4], &b64([0; 64])] {
        let token = format!("{input}.{signature}");
        assert_eq!(verify(&token).err(), Some(Refusal::BadSignature), "{token}");
    }
}

#[test]
fn three_segments_of_canonical_base64url_are_a_token() {
    let good = token(&jwt::claims(NOW));
    let parts: Vec<&str> = good.split('.').collect();
    // The last character of a 43 character segment has two stray bits.
    let stray = {
        let last = parts[2].chars().last().unwrap();
        let alphabet: Vec<char> =
            ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
        let at = alphabet.iter().position(|c| *c == last).unwrap();
        format!("{}.{}.{}{}", parts[0], parts[1], &parts[2][..42], alphabet[at + 1])
    };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        parts[0].into(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{}", parts[2]),
        format!("{good}="),
        format!("{good}=="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].replace(['-', '_'], "+")) + "+",
        stray,
    ] {
        assert_eq!(verify(&bad).err(), Some(Refusal::Malformed), "{bad}");
    }
}

#[test]
fn a_payload_is_one_object_that_repeats_nothing() {
    let fine = r#""sub":"ann","userId":"7","exp":1800003600,"iat":1800000000"#;
    for payload in [
        format!(r#"{{{fine},"role":"REGULAR","role":"ADMIN"}}"#),
        format!(r#"{{{fine},"role":"REGULAR","r\u006fle":"ADMIN"}}"#),
        format!(r#"{{{fine},"role":"REGULAR","x":1,"x":1}}"#),
        format!(r#"[{{{fine},"role":"REGULAR"}}]"#),
        format!(r#"{{{fine},"role":"REGULAR"}}x"#),
        format!(r#"{{{fine},"role":"REGULAR","z":1e999}}"#),
        "null".into(),
        String::new(),
    ] {
        assert_eq!(verify(&sign(HEADER, &payload)).err(), Some(Refusal::Malformed), "{payload}");
    }
    assert!(verify(&sign(HEADER, &format!(r#"{{{fine},"role":"REGULAR"}}"#))).is_ok());
    assert!(
        verify(&sign(HEADER, &format!(r#"{{{fine},"role":"REGULAR","x":"{}"}}"#, "[".repeat(500))))
            .is_ok()
    );
}

#[test]
fn what_is_required_is_missed() {
    for name in ["exp", "sub", "userId", "role"] {
        assert_eq!(refusal(json!({ name: null })), Some(Refusal::MissingClaim), "{name}");
    }
    assert_eq!(refusal(json!({ "email": null })), None);
    for name in ["iat", "jti"] {
        assert_eq!(refusal(json!({ name: null })), None, "{name}");
    }
}

#[test]
fn claims_of_another_type_or_value_are_refused() {
    for changes in [
        json!({ "sub": "" }),
        json!({ "sub": 1 }),
        json!({ "sub": ["ann"] }),
        json!({ "sub": true }),
        json!({ "userId": "" }),
        json!({ "userId": 1.5 }),
        json!({ "userId": 1.0 }),
        json!({ "userId": true }),
        json!({ "userId": ["7"] }),
        json!({ "userId": {} }),
        json!({ "role": "regular" }),
        json!({ "role": "Admin" }),
        json!({ "role": "ADMIN " }),
        json!({ "role": " ADMIN" }),
        json!({ "role": "" }),
        json!({ "role": ["ADMIN"] }),
        json!({ "role": 3 }),
        json!({ "role": "ROOT" }),
        json!({ "role": "REGULAR,ADMIN" }),
        json!({ "email": 1 }),
        json!({ "email": ["a@b"] }),
        json!({ "exp": "1800003600" }),
        json!({ "exp": true }),
        json!({ "exp": [1_800_003_600] }),
        json!({ "iat": "1800000000" }),
        json!({ "nbf": "1800000000" }),
        json!({ "iat": {} }),
        json!({ "iss": 1 }),
        json!({ "jti": 1 }),
        json!({ "jti": "" }),
    ] {
        assert_eq!(refusal(changes.clone()), Some(Refusal::BadClaim), "{changes}");
    }
    for changes in [
        json!({ "userId": 7 }),
        json!({ "userId": -7 }),
        json!({ "userId": u64::MAX }),
        json!({ "exp": 1_800_003_600.5 }),
        json!({ "email": "" }),
    ] {
        assert_eq!(refusal(changes.clone()), None, "{changes}");
    }
    let claims = verify(&token(&with(NOW, &json!({ "userId": 7, "email": "" })))).unwrap();
    assert_eq!((claims.user_id.as_str(), claims.email), ("7", None));
}

#[test]
fn a_token_expires_when_the_leeway_is_over() {
    let token = token(&with(NOW, &json!({ "exp": NOW + 60 })));
    let at = |secs| verifier().verify(&token, Timestamp::from_secs(secs)).err();
    assert_eq!(at(NOW + 89), None);
    assert_eq!(at(NOW + 90), Some(Refusal::Expired));
    let last = Timestamp::from_millis((NOW + 90) * 1000 - 1);
    assert!(verifier().verify(&token, last).is_ok());
    for exp in [json!(-1), json!(0), json!(1.5), json!(-1e300), json!(NOW - 30)] {
        assert_eq!(refusal(json!({ "exp": exp })), Some(Refusal::Expired), "{exp}");
    }
}

#[test]
fn what_lies_ahead_of_the_leeway_is_not_valid_yet() {
    for name in ["nbf", "iat"] {
        assert_eq!(refusal(json!({ name: NOW + 30 })), None, "{name}");
        assert_eq!(refusal(json!({ name: NOW + 31 })), Some(Refusal::NotYetValid), "{name}");
        assert_eq!(refusal(json!({ name: 1e300 })), Some(Refusal::NotYetValid), "{name}");
    }
    assert_eq!(refusal(json!({ "nbf": -5 })), None);
}

#[test]
fn a_life_beyond_the_longest_is_refused() {
    let week = 7 * 24 * 3600;
    assert_eq!(refusal(json!({ "exp": NOW + week })), None);
    for changes in [
        json!({ "exp": NOW + week + 31 }),
        json!({ "exp": NOW + week + 31, "iat": null }),
        json!({ "exp": 1e300 }),
        json!({ "exp": i64::MAX }),
        json!({ "iat": -5 }),
        json!({ "iat": NOW - week }),
    ] {
        assert_eq!(refusal(changes.clone()), Some(Refusal::LivesTooLong), "{changes}");
    }
    // The leeway comes on top: an issuer whose clock is ahead makes no longer life.
    assert_eq!(refusal(json!({ "exp": NOW + week + 30, "iat": null })), None);
    assert_eq!(refusal(json!({ "exp": NOW + week + 30 })), None);
}

#[test]
fn issuer_and_audience_are_required_when_they_are_set() {
    let strict = VerifierSettings {
        issuer: Some("https://iss".into()),
        audience: Some("us".into()),
        ..settings()
    };
    let verifier = verifier_of(vec![key(None, SECRET)], strict);
    let refusal = |changes: Value| verifier.verify(&token(&with(NOW, &changes)), now()).err();
    assert_eq!(refusal(json!({ "iss": "https://iss", "aud": "us" })), None);
    assert_eq!(refusal(json!({ "iss": "https://iss", "aud": ["them", "us"] })), None);
    for iss in [json!(null), json!("https://iss/"), json!("HTTPS://iss")] {
        let changes = json!({ "iss": iss, "aud": "us" });
        assert_eq!(refusal(changes), Some(Refusal::BadIssuer), "{iss}");
    }
    for aud in [json!(null), json!("them"), json!([]), json!(["them"]), json!(["us", 1]), json!(1)]
    {
        let changes = json!({ "iss": "https://iss", "aud": aud });
        assert_eq!(refusal(changes), Some(Refusal::BadAudience), "{aud}");
    }
}

#[test]
fn a_token_for_some_audience_is_not_for_a_service_without_one() {
    for aud in [json!("us"), json!([]), json!(["us"]), json!("")] {
        assert_eq!(refusal(json!({ "aud": aud })), Some(Refusal::BadAudience), "{aud}");
    }
    assert_eq!(refusal(json!({ "iss": "anybody" })), None);
}

#[test]
fn a_revoked_token_is_refused_by_its_id_or_its_signing_input() {
    let verifier = verifier();
    let named = token(&jwt::claims(NOW));
    let nameless = token(&with(NOW, &json!({ "jti": null })));
    let refusal = |token: &str| verifier.verify(token, now()).err();
    assert_eq!((refusal(&named), refusal(&nameless)), (None, None));

    let until = Timestamp::from_secs(NOW + 3600);
    verifier.revocations().revoke_token(TokenRef::by_id("token-1"), until);
    assert_eq!((refusal(&named), refusal(&nameless)), (Some(Refusal::Revoked), None));
    let (input, _) = nameless.rsplit_once('.').unwrap();
    verifier.revocations().revoke_token(TokenRef::by_signing_input(input), until);
    assert_eq!(refusal(&nameless), Some(Refusal::Revoked));

    // An end that is said to be earlier takes nothing back.
    verifier.revocations().revoke_token(TokenRef::by_id("token-1"), now());
    let last = until.plus(MAX_LEEWAY);
    for (at, expected) in [
        (until, Some(Refusal::Revoked)),
        (Timestamp::from_millis(last.as_millis() - 1), Some(Refusal::Revoked)),
        (last, None),
    ] {
        verifier.revocations().forget(at, Duration::MAX);
        assert_eq!(refusal(&named), expected, "whatever the leeway is set to");
    }
}

#[test]
fn what_is_news_of_a_list_is_told_of_once_and_together() {
    let list = RevocationList::empty();
    let told = Arc::<std::sync::Mutex<Vec<Vec<Revocation>>>>::default();
    let heard = Arc::clone(&told);
    list.watch(move |news| heard.lock().unwrap().push(news.to_vec()));
    let at = Timestamp::from_secs;
    let token = |id, end| Revocation::Token(TokenRef::by_id(id), at(end));
    let user = |until| Revocation::User("7".to_owned(), at(until));
    let first = vec![token("a", 10), user(5), Revocation::Everybody(at(3))];
    list.take(first.clone());
    list.take(first.clone());
    // An earlier end or cut-off than what is known changes nothing.
    let earlier = vec![token("a", 9), user(4), Revocation::Everybody(at(2))];
    list.take(earlier);
    let later = vec![token("b", 1), token("a", 11), user(6), Revocation::Everybody(at(4))];
    list.take([first.clone(), later.clone()].concat());
    assert_eq!(*told.lock().unwrap(), [first, later]);
    assert_eq!(list.len(), 2);
    // The later end counts, whichever comes first.
    list.forget(at(10).plus(MAX_LEEWAY), Duration::MAX);
    assert_eq!(list.len(), 1);
    assert!(list.cuts_off("7", Some(at(6))) && !list.cuts_off("7", Some(at(7))));
}

#[test]
fn a_cut_off_is_known_until_the_last_token_before_it_has_expired_and_leaves_a_line_behind() {
    let (day, revoked) = (Duration::from_secs(24 * 3600), Arc::new(RevocationList::empty()));
    let accepting = |max_lifetime| {
        let settings = VerifierSettings { max_lifetime, leeway: MAX_LEEWAY, ..settings() };
        verifier_with(vec![key(None, SECRET)], settings, &revoked)
    };
    let of = |user: &str, iat: i64, life: i64| {
        token(&with(NOW, &json!({ "jti": null, "userId": user, "iat": iat, "exp": iat + life })))
    };
    let short = accepting(day);
    let kept = short.settings().cut_offs_count_for();
    revoked.cut_off_user("7", now());
    // The last moment of the last token before it, by a leeway at either end.
    let last = Timestamp::from_secs(NOW).plus(day + 2 * MAX_LEEWAY);
    revoked.forget(last, kept);
    let before = short.verify(&of("7", NOW, 24 * 3600), now());
    assert_eq!(before.err(), Some(Refusal::Revoked));
    // And it is nobody else's.
    assert!(short.verify(&of("8", NOW, 24 * 3600), now()).is_ok());

    // Forgotten; and then tokens are let in that live longer.
    revoked.forget(last.plus(day), kept);
    let raised = accepting(30 * day);
    let later = last.plus(2 * day);
    for (user, iat, expected) in [
        ("7", NOW, Some(Refusal::Revoked)),
        ("7", NOW - 5, Some(Refusal::Revoked)),
        // Nobody knows any more whose cut-off it was.
        ("8", NOW, Some(Refusal::Revoked)),
        ("7", NOW + 1, None),
        ("8", NOW + 1, None),
    ] {
        let token = of(user, iat, 30 * 24 * 3600);
        assert_eq!(raised.verify(&token, later).err(), expected, "{user} {iat}");
    }
}

#[test]
fn a_session_is_over_when_it_was_ended_or_began_before_a_cut_off() {
    let (list, at) = (RevocationList::empty(), Timestamp::from_secs);
    assert!(!list.has_ended("s", "7", at(9)));
    list.revoke_token(TokenRef::by_session("s"), at(100));
    assert!(list.has_ended("s", "7", at(9)) && !list.has_ended("t", "7", at(9)));
    list.cut_off_user("7", at(9));
    assert!(list.has_ended("t", "7", at(9)) && !list.has_ended("t", "7", at(10)));
    assert!(!list.has_ended("t", "8", at(9)));
    list.take(vec![Revocation::Everybody(at(5))]);
    assert!(list.has_ended("t", "8", at(5)) && !list.has_ended("t", "8", at(6)));
}

#[test]
fn a_cut_off_is_everybodys_when_it_is_forgotten_and_not_before() {
    let (list, kept) = (RevocationList::empty(), Duration::from_secs(10));
    let at = Timestamp::from_secs;
    list.cut_off_user("7", at(5));
    list.cut_off_user("9", at(4));
    list.forget(at(14), kept);
    assert!(list.has_ended("s", "7", at(5)) && !list.has_ended("s", "8", at(5)));
    assert!(list.has_ended("s", "8", at(4)) && !list.cuts_off("9", Some(at(4))));
    list.forget(at(15), kept);
    assert!(list.has_ended("s", "8", at(5)) && !list.has_ended("s", "8", at(6)));
    assert!(!list.cuts_off("7", Some(at(5))) && list.is_empty());
}

#[test]
fn a_cut_off_voids_what_was_issued_up_to_its_second() {
    let verifier = verifier();
    verifier.revocations().cut_off_user("7", Timestamp::from_millis(NOW * 1000 + 999));
    verifier.revocations().cut_off_user("7", Timestamp::from_secs(NOW - 50));
    let refusal = |changes: Value| verifier.verify(&token(&with(NOW, &changes)), now()).err();
    assert_eq!(refusal(json!({ "iat": NOW - 1 })), Some(Refusal::Revoked));
    assert_eq!(refusal(json!({ "iat": NOW })), Some(Refusal::Revoked));
    assert_eq!(refusal(json!({ "iat": NOW, "userId": 7 })), Some(Refusal::Revoked), "1 is \"1\"");
    assert_eq!(refusal(json!({ "iat": null })), Some(Refusal::Revoked));
    assert_eq!(refusal(json!({ "iat": NOW + 1 })), None);
    assert_eq!(refusal(json!({ "iat": NOW - 1, "userId": "8" })), None);
}

#[test]
fn what_is_minted_is_accepted() {
    let strict = VerifierSettings {
        issuer: Some("https://iss".into()),
        audience: Some("us".into()),
        ..settings()
    };
    let verifier = verifier_of(
        vec![key(Some("new"), SECRET), key(Some("old"), "another-secret-of-the-tests-0123456789")],
        strict,
    );
    let user_id = UserId::new("7").unwrap();
    let new = NewToken {
        name: "ann",
        user_id: &user_id,
        role: verifier.roles().get("ADMIN").unwrap(),
        email: None,
        lifetime: Duration::from_secs(3600),
        login_method: None,
        session: None,
    };
    let minter = Minter::new(&verifier);
    let token = minter.mint(&new, now()).unwrap();
    let (header, claims) = peek(token.expose_secret()).unwrap();
    assert_eq!(header["kid"], "new");
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    let claims = Arc::clone(&verifier.verify(token.expose_secret(), now()).unwrap().claims);
    assert_eq!(claims.expires_at, Timestamp::from_secs(NOW + 3600));

    let other = minter.mint(&new, now()).unwrap();
    assert_ne!(token.expose_secret(), other.expose_secret(), "each has an id of its own");

    let longest = NewToken { lifetime: Duration::from_secs(7 * 24 * 3600), ..new.clone() };
    assert!(minter.mint(&longest, now()).is_ok());
    let too_long = NewToken { lifetime: Duration::from_secs(7 * 24 * 3600 + 1), ..new.clone() };
    assert!(matches!(minter.mint(&too_long, now()), Err(MintError::LivesTooLong(..))));
    assert!(matches!(minter.mint(&NewToken { name: "", ..new }, now()), Err(MintError::EmptyName)));
}

proptest! {
    /// No bit of a token can be changed.
    #[test]
    fn a_flipped_bit_is_refused(at in 0_usize..400, bit in 0_u8..8) {
        let good = token(&jwt::claims(NOW)).into_bytes();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] ^= 1 << bit;
        if let Ok(bad) = std::str::from_utf8(&bad) {
            prop_assert!(verify(bad).is_err());
        }
    }

    /// Nothing that is thrown at it makes it panic or pass.
    #[test]
    fn junk_is_refused(junk in "\\PC{0,80}|[A-Za-z0-9_.-]{0,80}|eyJ[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}") {
        prop_assert!(verify(&junk).is_err());
        let _ = peek(&junk);
    }
}

#[test]
fn a_token_that_is_known_is_held_to_all_that_can_change() {
    let verifier = verifier();
    let good = token(&with(NOW, &json!({ "jti": "known" })));
    let claims = Arc::clone(&verifier.verify(&good, now()).unwrap().claims);
    assert_eq!(verifier.verify(&good, now()).unwrap().claims, claims);
    // Its time.
    let later = Timestamp::from_secs(NOW + 8 * 24 * 3600);
    assert_eq!(verifier.verify(&good, later).err(), Some(Refusal::Expired));
    let before = Timestamp::from_secs(NOW - 3600);
    assert!(verifier.verify(&good, before).is_err());
    assert!(verifier.verify(&good, now()).is_ok());
    // Every byte of it: one that ends alike is at the same place.
    for at in 0..good.len() {
        let mut other = good.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert!(verifier.verify(&other, now()).is_err(), "{other}");
    }
    // Its revocation, also when it was known before.
    let (name, until) = verifier.name_of(&good, now()).unwrap();
    verifier.revocations().revoke_token(name, until);
    assert_eq!(verifier.verify(&good, now()).err(), Some(Refusal::Revoked));
    // Other keys know nothing of it.
    let other = verifier_of(vec![key(None, "another-secret-of-at-least-32-bytes")], settings());
    assert_eq!(other.verify(&good, now()).err(), Some(Refusal::BadSignature));
}
