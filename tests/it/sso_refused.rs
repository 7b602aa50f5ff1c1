//! What a correct provider never does: one that the tests hold in their hand.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    oidc::{Browser, PUBLIC, replica, sso_toml},
    replica::{Replica, answer},
};

/// What an endpoint answers.
#[derive(Clone, Debug)]
enum Reply {
    /// What it should.
    Right,
    /// This, with a status.
    Text(u16, &'static str, String),
    /// Nothing, for half a minute.
    Nothing,
    /// What it should, after 2 MiB.
    TooMuch,
}

/// A key of the provider.
#[derive(Clone)]
struct Key {
    signs: EncodingKey,
    algorithm: Algorithm,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let signs = match algorithm {
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // PKCS #1, behind the 26 bytes with which PKCS #8 wraps it.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let pair = Ed25519KeyPair::generate().unwrap();
                EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
        };
        Self { signs, algorithm, id }
    }

    fn public(&self) -> Value {
        let mut key =
            serde_json::to_value(Jwk::from_encoding_key(&self.signs, self.algorithm).unwrap())
                .unwrap();
        key["kid"] = json!(self.id);
        key
    }
}

type Make = Arc<dyn Fn(&[Key], Value) -> Value + Send + Sync>;

/// What the provider does, and what was asked of it.
struct Behaviour {
    metadata: Value,
    discovery: Reply,
    jwks: Reply,
    token: Reply,
    userinfo: Reply,
    keys: Vec<Key>,
    public: Vec<Value>,
    /// Makes the ID token out of its claims.
    make: Make,
    claims: Value,
    person: Value,
    asked: Vec<(String, String)>,
}

type Shared = Arc<Mutex<Behaviour>>;

/// A provider in this process.
struct Rogue {
    issuer: String,
    behaviour: Shared,
}

fn sign(key: &Key, claims: &Value) -> String {
    let header = Header { kid: Some(key.id.into()), ..Header::new(key.algorithm) };
    jsonwebtoken::encode(&header, claims, &key.signs).unwrap()
}

/// A token of this header, with the signature of another one.
fn forged(header: &Value, claims: &Value, signature: &str) -> Value {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    json!(format!("{}.{}.{signature}", part(header), part(claims)))
}

impl Rogue {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let keys = vec![
            Key::new("ed", Algorithm::EdDSA),
            Key::new("rsa", Algorithm::RS256),
            Key::new("ec", Algorithm::ES256),
        ];
        let behaviour = Arc::new(Mutex::new(Behaviour {
            metadata: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/auth?tenant=1"),
                "token_endpoint": format!("{issuer}/token"),
                "userinfo_endpoint": format!("{issuer}/me"),
                "jwks_uri": format!("{issuer}/jwks"),
                "end_session_endpoint": format!("{issuer}/end"),
            }),
            discovery: Reply::Right,
            jwks: Reply::Right,
            token: Reply::Right,
            userinfo: Reply::Right,
            public: keys.iter().map(Key::public).collect(),
            keys,
            make: Arc::new(|keys, claims| json!(sign(&keys[0], &claims))),
            claims: json!({}),
            person: json!({
                "sub": "eve", "name": "eve", "email": "eve@example.com", "email_verified": true,
                "groups": ["staff"],
            }),
            asked: Vec::new(),
        }));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&behaviour));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, behaviour }
    }

    fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// How often an endpoint was asked.
    fn asked(&self, path: &str) -> usize {
        let behaviour = self.behaviour.lock().unwrap();
        behaviour.asked.iter().filter(|(own, _)| own == path).count()
    }

    async fn replica(&self) -> Replica {
        replica("", &sso_toml(&self.issuer, "portcullis", "client_secret = \"s\"\n", ""), "").await
    }

    /// A sign-in; its callback has this query, with `{state}` in it.
    async fn sign_in(&self, replica: &Replica, query: &str) -> (u16, Value) {
        let mut browser = Browser::new();
        let (response, to) = browser.open(&replica.url("/sso/login?return_to=/x")).await;
        let Some(to) = to else { return answer(response).await };
        let to = reqwest::Url::parse(&to).unwrap();
        assert_eq!(to.query_pairs().next().unwrap(), ("tenant".into(), "1".into()));
        let find =
            |name: &str| to.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned();
        let now = SystemClock.now().as_secs();
        let claims = json!({
            "iss": self.issuer, "aud": "portcullis", "sub": "eve", "nonce": find("nonce"),
            "iat": now, "exp": now + 60,
        });
        self.change(|behaviour| behaviour.claims = claims);
        let query = query.replace("{state}", &find("state")).replace("{issuer}", &self.issuer);
        let (response, to) = browser.open(&replica.url(&format!("/sso/callback?{query}"))).await;
        assert_eq!(to.is_some(), browser.cookie("token").is_some());
        if let Some(to) = to {
            assert_eq!(to, format!("{PUBLIC}/x"));
        }
        answer(response).await
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (reply, right) = {
        let mut behaviour = shared.lock().unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        behaviour.asked.push((path.clone(), format!("{authorization:?} {body}")));
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                (behaviour.discovery.clone(), behaviour.metadata.clone())
            }
            "/jwks" => (behaviour.jwks.clone(), json!({ "keys": behaviour.public })),
            "/me" => (behaviour.userinfo.clone(), behaviour.person.clone()),
            "/token" => {
                let id_token = (behaviour.make)(&behaviour.keys, behaviour.claims.clone());
                let mut answer = json!({ "access_token": "a", "token_type": "Bearer" });
                if !id_token.is_null() {
                    answer["id_token"] = id_token;
                }
                (behaviour.token.clone(), answer)
            }
            _ => (Reply::Text(404, "text/plain", String::new()), Value::Null),
        }
    };
    let json = [("content-type", "application/json")];
    match reply {
        Reply::Right => (json, right.to_string()).into_response(),
        Reply::Text(status, kind, text) => Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(Body::from(text))
            .unwrap(),
        Reply::Nothing => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            (json, right.to_string()).into_response()
        }
        Reply::TooMuch => (json, format!("{}{right}", " ".repeat(2 * 1024 * 1024))).into_response(),
    }
}

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
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    rogue.change(|behaviour| {
        behaviour.keys[0] = Key::new("next", Algorithm::ES256);
        behaviour.public = vec![behaviour.keys[0].public()];
    });
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
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
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 401);
}

#[tokio::test]
async fn a_sign_out_works_with_the_provider_down() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    let mut browser = Browser::new();
    let (_, to) = browser.open(&replica.url("/sso/login")).await;
    assert!(to.is_some());
    assert_eq!(rogue.sign_in(&replica, CALLBACK).await.0, 303);
    // Another replica has not met the provider yet, and cannot now.
    let token = {
        let mut browser = Browser::new();
        let (_, to) = browser.open(&replica.url("/sso/login?return_to=/x")).await;
        let to = reqwest::Url::parse(&to.unwrap()).unwrap();
        let find =
            |name: &str| to.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned();
        rogue.change(|behaviour| behaviour.claims["nonce"] = json!(find("nonce")));
        browser.open(&replica.url(&format!("/sso/callback?code=c&state={}", find("state")))).await;
        browser.cookie("token").unwrap().to_owned()
    };
    rogue.change(|behaviour| behaviour.discovery = text(503, JSON, ""));
    let other = rogue.replica().await;
    let (status, body) = other.logout(&token).await;
    assert_eq!((status, body), (200, json!({ "message": "Session revoked." })));
    let (_, body) = replica.logout(&token).await;
    assert!(
        body["end_session_url"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{}/end?client_id=", rogue.issuer))
    );
}
