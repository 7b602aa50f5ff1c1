//! A provider in the tests' hand, that does what a correct one never does.

use std::{
    convert::Infallible,
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
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    oidc::{Browser, PUBLIC, replica, sso_toml},
    replica::{Replica, answer},
};

/// What an endpoint answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// What it should.
    Right,
    /// This, with a status.
    Text(u16, &'static str, String),
    /// Nothing, for half a minute.
    Nothing,
    /// What it should, after 2 MiB.
    TooMuch,
    /// 100 MB, in pieces.
    Flood,
    /// What it should, a byte every 100 ms.
    Trickle,
    /// What it should, with an entity tag; nothing new to who has that.
    Tagged,
    /// Another address.
    Elsewhere(String),
}

/// A key of the provider.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) signs: EncodingKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) id: &'static str,
}

impl Key {
    pub(crate) fn new(id: &'static str, algorithm: Algorithm) -> Self {
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

    pub(crate) fn public(&self) -> Value {
        let mut key =
            serde_json::to_value(Jwk::from_encoding_key(&self.signs, self.algorithm).unwrap())
                .unwrap();
        key["kid"] = json!(self.id);
        key
    }
}

pub(crate) type Make = Arc<dyn Fn(&[Key], Value) -> Value + Send + Sync>;

/// What the provider does, and what was asked of it.
pub(crate) struct Behaviour {
    pub(crate) metadata: Value,
    pub(crate) discovery: Reply,
    pub(crate) jwks: Reply,
    pub(crate) token: Reply,
    pub(crate) userinfo: Reply,
    pub(crate) keys: Vec<Key>,
    pub(crate) public: Vec<Value>,
    /// Makes the ID token out of its claims.
    pub(crate) make: Make,
    pub(crate) claims: Value,
    pub(crate) person: Value,
    pub(crate) asked: Vec<(String, String)>,
}

pub(crate) type Shared = Arc<Mutex<Behaviour>>;

/// A provider in this process.
pub(crate) struct Rogue {
    pub(crate) issuer: String,
    pub(crate) behaviour: Shared,
}

pub(crate) fn sign(key: &Key, claims: &Value) -> String {
    let header = Header { kid: Some(key.id.into()), ..Header::new(key.algorithm) };
    jsonwebtoken::encode(&header, claims, &key.signs).unwrap()
}

/// A token of this header, with the signature of another one.
pub(crate) fn forged(header: &Value, claims: &Value, signature: &str) -> Value {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    json!(format!("{}.{}.{signature}", part(header), part(claims)))
}

impl Rogue {
    pub(crate) async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    /// One on this address.
    pub(crate) async fn on(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
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

    /// A token of one of its keys.
    pub(crate) fn signed(&self, nth: usize, claims: &Value) -> String {
        sign(&self.behaviour.lock().unwrap().keys[nth], claims)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// How often an endpoint was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let behaviour = self.behaviour.lock().unwrap();
        behaviour.asked.iter().filter(|(own, _)| own == path).count()
    }

    pub(crate) async fn replica(&self) -> Replica {
        replica("", &sso_toml(&self.issuer, "portcullis", "client_secret = \"s\"\n", ""), "").await
    }

    /// A sign-in; its callback has this query, with `{state}` in it.
    pub(crate) async fn sign_in(&self, replica: &Replica, query: &str) -> (u16, Value) {
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

pub(crate) async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").cloned();
    let known = request.headers().get("if-none-match").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (reply, right) = {
        let mut behaviour = shared.lock().unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        behaviour.asked.push((path.clone(), format!("{authorization:?} {body}")));
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                (behaviour.discovery.clone(), behaviour.metadata.clone())
            }
            // Where it leads to, when it leads on.
            "/moved" => (Reply::Right, json!({ "keys": behaviour.public })),
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
        Reply::Flood => {
            let piece = bytes::Bytes::from(vec![b' '; 100_000]);
            let pieces =
                tokio_stream::iter((0..1000).map(move |_| Ok::<_, Infallible>(piece.clone())));
            (json, Body::from_stream(pieces)).into_response()
        }
        Reply::Trickle => {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                for byte in right.to_string().into_bytes() {
                    // Until nobody listens any more.
                    if sender.send(Ok::<_, Infallible>(vec![byte])).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            (json, Body::from_stream(ReceiverStream::new(receiver))).into_response()
        }
        Reply::Tagged => {
            let text = right.to_string();
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash));
            if known.is_some_and(|known| known == *tag) {
                return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
            }
            (json, [("etag", tag)], text).into_response()
        }
        Reply::Elsewhere(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        Reply::TooMuch => (json, format!("{}{right}", " ".repeat(2 * 1024 * 1024))).into_response(),
    }
}
