//! A provider signs people out here (OpenID Connect Back-Channel Logout 1.0).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::{Clock as _, SystemClock};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    oidc::{Browser, PUBLIC, Provider, replica, sso_toml},
    redis::{Redis, cli},
    replica::{CONTROL_PLANE, OPEN, Replica, answer, everybody},
    replicas::{check, until},
    rogue::{Key, Reply, Rogue, sign},
    sessions::{names, renewed, sessions, sid},
    support::{free_port, output, portcullis},
};

const PATH: &str = "/sso/backchannel-logout";
const AT_MOST: Duration = Duration::from_secs(1);
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_out_at_a_real_provider_is_out_on_every_replica_within_a_second() {
    let (redis, port) = (Redis::single(), free_port());
    let told = format!("http://127.0.0.1:{port}{PATH}");
    let provider = Provider::telling(&[PUBLIC], CONTROL_PLANE, &told);
    let sso = provider.toml("portcullis", "");
    // The provider tells the one that it knows, and all others hear of it.
    let mut command = portcullis();
    command.env("PORTCULLIS__HTTP__LISTEN", format!("127.0.0.1:{port}"));
    let toml = format!(
        "login.control_plane_url = \"{CONTROL_PLANE}\"\nhttp.public_url = \"{PUBLIC}\"\n{OPEN}\n{sso}{}",
        redis.toml
    );
    let a = Replica::with_users(command, &toml, &everybody()).ready().await;
    let b = replica("", &sso, &redis.toml).await;

    let mut browsers = Vec::new();
    for who in ["ann", "bob"] {
        let mut browser = Browser::new();
        let (response, _) = browser.sign_in(&a, &b, "?return_to=/x", who).await;
        assert_eq!(response.status(), 303);
        let token = browser.cookie("token").unwrap().to_owned();
        browsers.push((browser, token));
    }
    b.says("\"backchannel_logout\":\"by session\"");
    let [(ann, anns), (_, bobs)] = &mut browsers[..] else { panic!() };
    let new = renewed(&a, anns).await;
    assert_eq!((check(&a, anns).await, check(&b, &new).await), (0, 0));
    // Not by its provider alone: this service's own sessions of the user go on.
    let other = a.token("ann").await;

    ann.sign_out_at(&provider.issuer).await;
    a.says("\"event\":\"backchannel_logout\"");
    let took = until("the end of the session", async || {
        for token in [&*anns, &new] {
            if check(&a, token).await == 0 || check(&b, token).await == 0 {
                return false;
            }
        }
        true
    })
    .await;
    assert!(took < AT_MOST, "{took:?}");
    for token in [&*bobs, &other] {
        assert_eq!((check(&a, token).await, check(&b, token).await), (0, 0));
    }
    a.says("\"sessions\":1");

    let mut online = portcullis();
    online.args(["check-config", "--online", "--config", a.config_file.to_str().unwrap()]);
    let said = String::from_utf8(output(&mut online, "").stdout).unwrap();
    assert_eq!(said, "sso: back-channel logout: by session\nok\n");
}

/// A replica whose provider is in the tests' hand.
struct Setting {
    rogue: Rogue,
    replica: Replica,
}

impl Setting {
    async fn start(store: &str) -> Self {
        let rogue = Rogue::start().await;
        let sso = sso_toml(&rogue.issuer, "portcullis", "client_secret = \"s\"\n", "");
        let replica = replica("", &sso, store).await;
        Self { rogue, replica }
    }

    /// A token of a sign-in there, of this subject and session; of one that has no
    /// name, when that is empty.
    async fn sign_in(&self, subject: &str, session: &str) -> String {
        let mut browser = Browser::new();
        let (_, to) = browser.open(&self.replica.url("/sso/login?return_to=/x")).await;
        let to = reqwest::Url::parse(&to.unwrap()).unwrap();
        let find = |name| to.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned();
        let now = SystemClock.now().as_secs();
        let mut claims = json!({
            "iss": self.rogue.issuer, "aud": "portcullis", "sub": subject, "nonce": find("nonce"),
            "iat": now, "exp": now + 60, "sid": session, "name": subject, "groups": ["staff"],
            "email": format!("{subject}@example.com"), "email_verified": true,
        });
        if session.is_empty() {
            claims.as_object_mut().unwrap().remove("sid");
        }
        self.rogue.change(|behaviour| behaviour.claims = claims);
        let back = format!("/sso/callback?code=c&state={}", find("state"));
        let (response, _) = browser.open(&self.replica.url(&back)).await;
        assert_eq!(response.status(), 303);
        browser.cookie("token").unwrap().to_owned()
    }

    /// What a logout token says that is as it should be.
    fn claims(&self, changes: &Value) -> Value {
        let now = SystemClock.now().as_secs();
        let mut claims = json!({
            "iss": self.rogue.issuer, "aud": "portcullis", "iat": now, "exp": now + 120,
            "jti": format!("{:?}", std::time::Instant::now()), "events": { EVENT: {} },
            "sid": "theirs",
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    fn signed(&self, changes: &Value) -> String {
        self.rogue.signed(0, &self.claims(changes))
    }

    async fn send(&self, token: &str) -> Response {
        let request = self.replica.client.post(self.replica.url(PATH));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("logout_token={token}")).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_logout_token_is_believed_in_none_but_its_one_good_form() {
    let setting = Setting::start("").await;
    let token = setting.sign_in("eve", "theirs").await;
    let now = SystemClock.now().as_secs();
    let signed = |changes: Value| setting.signed(&changes);
    let with = |header: Header, key: &EncodingKey| {
        jsonwebtoken::encode(&header, &setting.claims(&json!({})), key).unwrap()
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned =
        |header: Value| format!("{}.{}.", part(&header), part(&setting.claims(&json!({}))));
    let (ed, modulus) = {
        let behaviour = setting.rogue.behaviour.lock().unwrap();
        (behaviour.keys[0].signs.clone(), behaviour.public[1]["n"].to_string())
    };
    let of_type = |typ: &str| {
        let mut header = Header::new(Algorithm::EdDSA);
        (header.typ, header.kid) = (Some(typ.to_owned()), Some("ed".to_owned()));
        with(header, &ed)
    };
    let stranger = Key::new("ed", Algorithm::EdDSA);
    let good = signed(json!({}));
    let mut changed = good.clone();
    changed.replace_range(good.len() - 2.., if good.ends_with("AA") { "BB" } else { "AA" });
    let id_token = {
        let claims = json!({ "nonce": "n", "events": null, "jti": null, "sub": "eve" });
        signed(claims)
    };
    let of_public_key = {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        with(header, &EncodingKey::from_secret(modulus.as_bytes()))
    };
    let bad = [
        ("with a nonce", signed(json!({ "nonce": "n" }))),
        ("with an empty nonce", signed(json!({ "nonce": "" }))),
        ("without events", signed(json!({ "events": null }))),
        ("of another event", signed(json!({ "events": { "https://example.com/other": {} } }))),
        ("whose event is no object", signed(json!({ "events": { EVENT: true } }))),
        ("whose events are a list", signed(json!({ "events": [EVENT] }))),
        ("without a signature", unsigned(json!({ "alg": "none" }))),
        ("signed by nothing", unsigned(json!({ "alg": "EdDSA", "kid": "ed" }))),
        ("signed with the public key", of_public_key),
        ("signed by another key of that name", sign(&stranger, &setting.claims(&json!({})))),
        ("with another signature", changed),
        ("too old", signed(json!({ "iat": now - 331, "exp": null }))),
        ("of tomorrow", signed(json!({ "iat": now + 40 }))),
        ("without a time", signed(json!({ "iat": null }))),
        ("with a time that is text", signed(json!({ "iat": now.to_string() }))),
        ("expired", signed(json!({ "exp": now - 31 }))),
        ("of another issuer", signed(json!({ "iss": "https://evil.example.com" }))),
        ("without an issuer", signed(json!({ "iss": null }))),
        ("for another client", signed(json!({ "aud": "other" }))),
        ("for nobody", signed(json!({ "aud": null }))),
        ("without an id", signed(json!({ "jti": null }))),
        ("with a long id", signed(json!({ "jti": "x".repeat(256) }))),
        ("of nobody", signed(json!({ "sid": null }))),
        ("of a session that is no text", signed(json!({ "sid": 7, "sub": "eve" }))),
        ("of a subject that is empty", signed(json!({ "sub": "" }))),
        ("an access token's type", of_type("at+jwt")),
        ("an ID token", id_token),
        ("nothing", String::new()),
        ("no token", "a.b.c".to_owned()),
        ("too long", format!("{good}{}", "x".repeat(16 * 1024))),
        ("two tokens", format!("{good}&logout_token={good}")),
    ];
    for (what, token_of_logout) in &bad {
        let response = setting.send(token_of_logout).await;
        assert_eq!(response.headers()["cache-control"], "no-store", "{what}");
        let (status, told) = answer(response).await;
        assert_eq!((status, &told["error"]["param"]), (400, &json!("logout_token")), "{what}");
        assert_eq!(told["error"]["type"], "invalid_request_error", "{what}");
    }
    for (kind, body) in [
        ("application/json", json!({ "logout_token": good }).to_string()),
        ("text/plain", format!("logout_token={good}")),
        ("application/x-www-form-urlencoded", "other=1".to_owned()),
    ] {
        let request = setting.replica.client.post(setting.replica.url(PATH));
        let response = request.header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{kind}");
    }
    let get = setting.replica.client.get(setting.replica.url(PATH)).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(check(&setting.replica, &token).await, 0, "none of them has ended anything");

    // The good one, once; whatever page its sender claims to be.
    for (typ, n) in [("logout+jwt", 1), ("JWT", 2), ("application/LOGOUT+jwt", 3)] {
        let token = setting.sign_in("eve", "theirs").await;
        let logout = of_type(typ);
        let response = setting.send(&logout).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(answer(response).await, (200, json!("")), "{typ}");
        assert_eq!(check(&setting.replica, &token).await, 16, "{typ}");
        let next = setting.sign_in("eve", "theirs").await;
        assert_eq!(setting.send(&logout).await.status(), 400, "once: {n}");
        assert_eq!(check(&setting.replica, &next).await, 0);
    }
    setting.replica.says("its jti came before");
    let log = setting.replica.running.log();
    assert!(!log.contains(&good), "no token is in the log");
}

#[tokio::test]
async fn a_provider_ends_what_it_names_and_nothing_else() {
    let setting = Setting::start("").await;
    let (one, two) = (setting.sign_in("eve", "s1").await, setting.sign_in("eve", "s2").await);
    let other = setting.sign_in("bob", "s3").await;
    let own = setting.replica.token("ann").await;
    let replica = &setting.replica;
    let all = async || {
        let mut all = Vec::new();
        for token in [&one, &two, &other, &own] {
            all.push(check(replica, token).await);
        }
        all
    };
    assert_eq!(names(&sessions(replica, &one).await).len(), 2);
    // Nobody of that name: it is done.
    assert_eq!(setting.send(&setting.signed(&json!({ "sid": "none" }))).await.status(), 200);
    assert_eq!(all().await, [0, 0, 0, 0]);
    // Both: the session.
    let both = json!({ "sid": "s1", "sub": "eve" });
    assert_eq!(setting.send(&setting.signed(&both)).await.status(), 200);
    assert_eq!(all().await, [16, 0, 0, 0]);
    assert_eq!(names(&sessions(replica, &two).await), [sid(&two)]);
    // The subject: all of theirs, and none that begins after.
    let three = setting.sign_in("eve", "s4").await;
    let subject = json!({ "sid": null, "sub": "eve" });
    assert_eq!(setting.send(&setting.signed(&subject)).await.status(), 200);
    assert_eq!(all().await, [16, 16, 0, 0]);
    assert_eq!(check(replica, &three).await, 16);
    let four = setting.sign_in("eve", "s1").await;
    assert_eq!(check(replica, &four).await, 0);
    // A session of which it had not said the name could be the one that it names now.
    let (unnamed, bobs) = (setting.sign_in("eve", "").await, setting.sign_in("bob", "").await);
    let named = json!({ "sid": "another", "sub": "eve" });
    assert_eq!(setting.send(&setting.signed(&named)).await.status(), 200);
    assert_eq!(check(replica, &unnamed).await, 16);
    assert_eq!((check(replica, &four).await, check(replica, &bobs).await), (0, 0));
    setting.replica.says("\"cause\":\"provider\"");
}

#[tokio::test]
async fn a_logout_that_could_not_be_done_can_be_told_again() {
    let mut redis = Redis::single();
    let setting = Setting::start(&redis.toml).await;
    let token = setting.sign_in("eve", "theirs").await;
    let logout = setting.signed(&json!({}));
    redis.servers[0].freeze();
    assert_eq!(setting.send(&logout).await.status(), 503);
    assert_eq!(check(&setting.replica, &token).await, 0);
    redis.servers[0].signal("CONT");
    until("the store to answer", async || setting.send(&logout).await.status() == 200).await;
    assert_eq!(check(&setting.replica, &token).await, 16);

    // A store that counts the logout token, and ends nothing, is no end of it either.
    let token = setting.sign_in("eve", "theirs").await;
    let logout = setting.signed(&json!({}));
    let those = ["ACL", "SETUSER", "default", "resetkeys", "~*logout:*", "~*-from:*"];
    cli(redis.port, &those);
    assert_eq!(setting.send(&logout).await.status(), 503);
    cli(redis.port, &["ACL", "SETUSER", "default", "~*"]);
    assert_eq!(setting.send(&logout).await.status(), 200);
    assert_eq!(check(&setting.replica, &token).await, 16);
    assert_eq!(setting.send(&logout).await.status(), 400);
    redis.stop();

    // A provider whose keys cannot be had is no word against the token.
    let setting = Setting::start("").await;
    setting.rogue.change(|behaviour| {
        behaviour.discovery = Reply::Text(500, "text/plain", String::new());
    });
    assert_eq!(setting.send(&setting.signed(&json!({}))).await.status(), 503);
}

#[tokio::test]
async fn a_provider_may_sign_a_logout_with_a_key_that_is_new() {
    let setting = Setting::start("").await;
    let token = setting.sign_in("eve", "theirs").await;
    let new = Key::new("new", Algorithm::ES256);
    let logout = sign(&new, &setting.claims(&json!({})));
    assert_eq!(setting.send(&logout).await.status(), 400);
    assert_eq!(check(&setting.replica, &token).await, 0);

    let setting = Setting::start("").await;
    let token = setting.sign_in("eve", "theirs").await;
    setting.rogue.change(|behaviour| behaviour.public.push(new.public()));
    let logout = sign(&new, &setting.claims(&json!({})));
    assert_eq!(setting.send(&logout).await.status(), 200);
    assert_eq!(check(&setting.replica, &token).await, 16);
}

#[tokio::test]
async fn guessing_at_logout_tokens_ends_and_a_provider_that_is_right_is_not_counted() {
    let rogue = Rogue::start().await;
    let limits = "login.limits = { failures_per_address = 3 }\n";
    let sso = sso_toml(&rogue.issuer, "portcullis", "client_secret = \"s\"\n", "");
    let toml = format!("http.public_url = \"{PUBLIC}\"\n{limits}\n{sso}");
    let replica = Replica::start(&toml).ready().await;
    let setting = Setting { rogue, replica };
    for _ in 0..10 {
        assert_eq!(setting.send(&setting.signed(&json!({}))).await.status(), 200);
    }
    for _ in 0..3 {
        assert_eq!(setting.send("a.b.c").await.status(), 400);
    }
    let refused = setting.send(&setting.signed(&json!({}))).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    // Where there is no single sign-on, there is no such address.
    let plain = Replica::start(OPEN).ready().await;
    let request = plain.client.post(plain.url(PATH)).body("logout_token=a");
    assert_eq!(request.send().await.unwrap().status(), 404);
}
