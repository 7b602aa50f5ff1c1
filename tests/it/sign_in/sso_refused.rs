//! What a correct provider never does.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::rogue::{Key, Make, Reply, Rogue, forged, sign};

const CALLBACK: &str = "code=c&state={state}";

#[tokio::test]
async fn an_id_token_is_believed_in_none_but_its_one_good_form() {
    fn claims(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Make {
        Arc::new(move |keys, mut claims| {
            change(&mut claims);
            json!(sign(&keys[0], &claims))
        })
    }
    fn set(name: &'static str, value: Value) -> Make {
        claims(move |claims| claims[name] = value.clone())
    }
    fn without(name: &'static str) -> Make {
        claims(move |claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
    }
    fn with(key: usize) -> Make {
        Arc::new(move |keys, claims| json!(sign(&keys[key], &claims)))
    }
    let stranger = Key::new("ed", Algorithm::EdDSA);
    let unknown = Key::new("unknown", Algorithm::EdDSA);
    let now = SystemClock.now().as_secs();
    let header = |alg: &str| json!({ "alg": alg, "kid": "rsa" });

    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    let rsa_public = rogue.behaviour.lock().unwrap().public[1]["n"].to_string();
    let cases: Vec<(&str, u16, Make)> = vec![
        ("EdDSA", 303, with(0)),
        ("RS256", 303, with(1)),
        ("ES256", 303, with(2)),
        (
            "without a kid",
            303,
            Arc::new(|keys, claims| {
                json!(
                    jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &keys[2].signs)
                        .unwrap()
                )
            }),
        ),
        (
            "several audiences and azp",
            303,
            claims(|claims| {
                claims["aud"] = json!(["portcullis", "other"]);
                claims["azp"] = json!("portcullis");
            }),
        ),
        ("none", 401, Arc::new(|_, claims| forged(&json!({ "alg": "none" }), &claims, ""))),
        (
            "None",
            401,
            Arc::new(|_, claims| forged(&json!({ "alg": "None", "kid": "ed" }), &claims, "")),
        ),
        (
            "HS256 with the public key",
            401,
            Arc::new(move |_, claims| {
                let key = EncodingKey::from_secret(rsa_public.as_bytes());
                let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
                json!(jsonwebtoken::encode(&header, &claims, &key).unwrap())
            }),
        ),
        (
            "RS384",
            401,
            Arc::new(|keys, claims| {
                let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::RS384) };
                json!(jsonwebtoken::encode(&header, &claims, &keys[1].signs).unwrap())
            }),
        ),
        (
            "another key of the same id",
            401,
            Arc::new(move |_, claims| json!(sign(&stranger, &claims))),
        ),
        ("a key nobody knows", 401, Arc::new(move |_, claims| json!(sign(&unknown, &claims)))),
        (
            "the kid of another key",
            401,
            Arc::new(|keys, claims| {
                let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::ES256) };
                json!(jsonwebtoken::encode(&header, &claims, &keys[2].signs).unwrap())
            }),
        ),
        (
            "its own key",
            401,
            Arc::new(|_, claims| {
                let own = Key::new("ed", Algorithm::EdDSA);
                let header = Header {
                    kid: Some("ed".into()),
                    jwk: Some(Jwk::from_encoding_key(&own.signs, Algorithm::EdDSA).unwrap()),
                    ..Header::new(Algorithm::EdDSA)
                };
                json!(jsonwebtoken::encode(&header, &claims, &own.signs).unwrap())
            }),
        ),
        (
            "a changed payload",
            401,
            Arc::new(|keys, claims| {
                let token = sign(&keys[0], &claims);
                let mut other = claims.clone();
                other["sub"] = json!("admin");
                let signature = token.rsplit('.').next().unwrap();
                forged(&json!({ "alg": "EdDSA", "kid": "ed" }), &other, signature)
            }),
        ),
        ("no signature", 401, Arc::new(move |_, claims| forged(&header("RS256"), &claims, ""))),
        (
            "crit",
            401,
            Arc::new(|keys, claims| {
                let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
                let head = json!({ "alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1 });
                let message = format!("{}.{}", part(head), part(claims));
                let signature = jsonwebtoken::crypto::sign(
                    message.as_bytes(),
                    &keys[0].signs,
                    Algorithm::EdDSA,
                );
                json!(format!("{message}.{}", signature.unwrap()))
            }),
        ),
        ("no token", 401, Arc::new(|_, _| Value::Null)),
        ("junk", 401, Arc::new(|_, _| json!("a.b.c"))),
        ("an empty one", 401, Arc::new(|_, _| json!(""))),
        ("another iss", 401, set("iss", json!("https://evil.example.com"))),
        ("no iss", 401, without("iss")),
        ("another aud", 401, set("aud", json!("other"))),
        ("no aud", 401, without("aud")),
        ("several audiences without azp", 401, set("aud", json!(["portcullis", "other"]))),
        ("another azp", 401, set("azp", json!("other"))),
        ("expired", 401, set("exp", json!(now - 60))),
        ("no exp", 401, without("exp")),
        ("exp as text", 401, set("exp", json!((now + 60).to_string()))),
        ("issued ahead", 401, set("iat", json!(now + 600))),
        ("not yet valid", 401, set("nbf", json!(now + 600))),
        ("another nonce", 401, set("nonce", json!("A".repeat(43)))),
        ("no nonce", 401, without("nonce")),
        ("no sub", 401, without("sub")),
        ("an empty sub", 401, set("sub", json!(""))),
        ("sub as a number", 401, set("sub", json!(7))),
        ("a sub without end", 401, set("sub", json!("x".repeat(256)))),
    ];
    for (name, expected, make) in cases {
        rogue.change(|behaviour| behaviour.make = make);
        let (status, body) = rogue.sign_in(&replica, CALLBACK).await;
        assert_eq!(status, expected, "{name}: {body}");
        if expected == 401 {
            let told = "The identity provider did not confirm the sign-in";
            assert_eq!(body["error"]["message"], told, "{name}");
        }
    }
    // A key that is not known is looked for once, not every time.
    assert_eq!(rogue.asked("/jwks"), 2);
    assert_eq!(rogue.asked("/.well-known/openid-configuration"), 1);
    // Every code was exchanged with the verifier and the client's secret.
    let behaviour = rogue.behaviour.lock().unwrap();
    let asked = behaviour.asked.iter().filter(|(path, _)| path == "/token");
    for (_, what) in asked {
        assert!(what.contains("code_verifier=") && what.contains("Basic "), "{what}");
        assert!(what.contains("grant_type=authorization_code"), "{what}");
    }
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_found() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    for _ in 0..2 {
        assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
        assert_eq!(rogue.asked("/jwks"), 1, "they are kept");
    }
    let change = |kid: &'static str| {
        rogue.change(|behaviour| {
            behaviour.keys[0] = Key::new(kid, Algorithm::ES256);
            behaviour.public = vec![behaviour.keys[0].public()];
        });
    };
    change("next");
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    assert_eq!(rogue.asked("/jwks"), 2);
    // And not again within the minute, whoever signs by what.
    change("another");
    assert_ne!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    assert_eq!(rogue.asked("/jwks"), 2);
}

#[tokio::test]
async fn a_callback_of_another_provider_is_refused() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    for (query, expected) in [
        ("code=c&state={state}&iss={issuer}", 303),
        ("code=c&state={state}&iss=https://evil.example.com", 401),
        ("code=c&state={state}&iss=", 401),
        ("code=c&state={state}&iss={issuer}&iss={issuer}", 400),
        ("code=c&code=d&state={state}", 400),
        ("state={state}", 400),
        ("error=access_denied&state={state}", 401),
        ("error=access_denied&code=c&state={state}", 401),
    ] {
        let (status, body) = rogue.sign_in(&replica, query).await;
        assert_eq!(status, expected, "{query}: {body}");
    }
    replica.says("access_denied");
    // Where the provider says that it tells, it has to (RFC 9207, section 2.4).
    let rogue = Rogue::start().await;
    let says = "authorization_response_iss_parameter_supported";
    rogue.change(|behaviour| behaviour.metadata[says] = json!(true));
    let replica = rogue.replica().await;
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 401);
    assert_eq!(rogue.sign_in(&replica, "code=c&state={state}&iss={issuer}").await.0, 303);
}

fn text(status: u16, kind: &'static str, text: &str) -> Reply {
    Reply::Text(status, kind, text.to_owned())
}

const JSON: &str = "application/json";

/// Answers that are none, of whatever endpoint.
fn nonsense() -> Vec<Reply> {
    vec![
        text(200, JSON, "null"),
        text(200, JSON, "[]"),
        text(200, JSON, "{}"),
        text(200, JSON, ""),
        text(200, "text/html", "<html>Sign in</html>"),
        text(500, JSON, "{}"),
        text(503, JSON, r#"{"error":"server_error"}"#),
        text(302, "text/html", ""),
        Reply::TooMuch,
        Reply::Nothing,
    ]
}

#[tokio::test]
async fn a_token_endpoint_that_answers_nonsense_signs_nobody_in() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    for reply in nonsense() {
        rogue.change(|behaviour| behaviour.token = reply.clone());
        let (status, body) = rogue.sign_in(&replica, CALLBACK).await;
        assert_eq!(status, 502, "{reply:?}: {body}");
    }
    for reply in [
        text(200, JSON, r#"{"error":"invalid_grant"}"#),
        text(200, JSON, r#"{"error":"invalid_grant\u001b[31m","error_description":"x"}"#),
        text(400, JSON, r#"{"error":"invalid_grant"}"#),
        text(401, JSON, r#"{"error":"invalid_client"}"#),
    ] {
        rogue.change(|behaviour| behaviour.token = reply.clone());
        let (status, body) = rogue.sign_in(&replica, CALLBACK).await;
        assert_eq!(status, 401, "{reply:?}: {body}");
    }
    rogue.change(|behaviour| behaviour.token = Reply::Right);
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
}

#[tokio::test]
async fn a_userinfo_that_is_not_the_same_persons_signs_nobody_in() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    for reply in nonsense() {
        rogue.change(|behaviour| behaviour.userinfo = reply.clone());
        let (status, body) = rogue.sign_in(&replica, CALLBACK).await;
        // An object without a `sub` is somebody else's.
        let expected =
            if matches!(&reply, Reply::Text(200, _, text) if text == "{}") { 401 } else { 502 };
        assert_eq!(status, expected, "{reply:?}: {body}");
    }
    rogue.change(|behaviour| behaviour.userinfo = Reply::Right);
    for sub in [json!("admin"), json!(""), Value::Null, json!(["eve"])] {
        rogue.change(|behaviour| behaviour.person["sub"] = sub.clone());
        assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 401, "{sub}");
    }
}

#[tokio::test]
async fn what_the_id_token_says_needs_no_userinfo() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    rogue.change(|behaviour| {
        behaviour.make = Arc::new(|keys, mut claims| {
            let more = json!({
                "email": "7@example.com", "email_verified": true, "name": "x", "groups": "admins",
            });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!(sign(&keys[0], &claims))
        });
    });
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    assert_eq!(rogue.asked("/me"), 0);
    // That email is the account 7's.
    replica.says("\"user_id\":\"7\"");

    // One that is not called verified there, is not by another source.
    for verified in [json!(false), json!("true"), json!(1), Value::Null] {
        let said = verified.clone();
        rogue.change(|behaviour| {
            behaviour.make = Arc::new(move |keys, mut claims| {
                claims["email"] = json!("8@example.com");
                if !said.is_null() {
                    claims["email_verified"] = said.clone();
                }
                json!(sign(&keys[0], &claims))
            });
        });
        assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    }
    assert!(!replica.running.log().contains("\"user_id\":\"8\""));
}

#[tokio::test]
async fn a_provider_that_is_down_keeps_nobody_from_starting() {
    let rogue = Rogue::start().await;
    for (name, reply) in [
        ("down", text(503, "text/html", "")),
        ("html", text(200, "text/html", "<html>")),
        ("null", text(200, JSON, "null")),
        ("much", Reply::TooMuch),
        ("nothing", Reply::Nothing),
    ] {
        rogue.change(|behaviour| behaviour.discovery = reply);
        let replica = rogue.replica().await;
        let (status, body) = rogue.sign_in(&replica, CALLBACK).await;
        assert_eq!(status, 503, "{name}: {body}");
        // It comes up, and so does the sign-in.
        rogue.change(|behaviour| behaviour.discovery = Reply::Right);
        let started = std::time::Instant::now();
        while rogue.sign_in(&replica, CALLBACK).await.0 != 303 {
            assert!(started.elapsed() < crate::support::PATIENCE, "{name}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn metadata_and_keys_that_do_not_fit_are_refused() {
    for (name, value) in [
        ("issuer", json!("https://evil.example.com")),
        ("token_endpoint", json!("file:///etc/passwd")),
        ("jwks_uri", json!("/jwks")),
        ("jwks_uri", Value::Null),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        let rogue = Rogue::start().await;
        rogue.change(|behaviour| behaviour.metadata[name] = value);
        let replica = rogue.replica().await;
        assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 503, "{name}");
    }
    let rogue = Rogue::start().await;
    for reply in nonsense() {
        rogue.change(|behaviour| behaviour.jwks = reply.clone());
        let replica = rogue.replica().await;
        assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 502, "{reply:?}");
    }
    // Keys that cannot be used are left out, whatever they call themselves.
    let rogue = Rogue::start().await;
    rogue.change(|behaviour| {
        let mut encrypts = behaviour.public[0].clone();
        encrypts["use"] = json!("enc");
        behaviour.public = vec![
            encrypts,
            json!({ "kty": "new" }),
            json!("x"),
            json!({ "kty": "oct", "kid": "ed", "k": "AAAA" }),
        ];
    });
    let replica = rogue.replica().await;
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 502);
}
