//! A real provider as an issuer of tokens: through a real Envoy, and by the
//! commands.

use std::{path::Path, process::Output};

use axum::{Json, Router, extract::Request};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    grpc::metadata,
    issuer::{AUDIENCE, Asker, RULE, own, table},
    jwt,
    oidc::{Browser, PUBLIC, Provider},
    redis::Redis,
    replica::Replica,
    stack::{Mode, NEWEST, Stack, UPSTREAM},
    support::{eventually, free_port, output, portcullis},
};

/// An upstream that shows what it was sent; its port.
pub(crate) async fn upstream() -> u16 {
    let show = async |request: Request| {
        let headers = request.headers().iter();
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
        let shown = headers.map(|(name, value)| (name.to_string(), json!(text(value))));
        Json(json!({ "received": shown.collect::<serde_json::Map<_, _>>() }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(show)).await });
    port
}

/// What ann is given when she signs in: an ID token, and an access token for
/// the resource.
async fn signed_in(provider: &Provider) -> (String, String) {
    let verifier = "v".repeat(43);
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let back = format!("{PUBLIC}/sso/callback");
    let query = format!(
        "client_id=portcullis&response_type=code&redirect_uri={back}&state=s&nonce=n\
         &scope=openid%20email%20agents:read&resource={AUDIENCE}&code_challenge_method=S256\
         &code_challenge={}",
        jwt::b64(challenge.as_ref())
    );
    let address = format!("{}/auth?{query}", provider.issuer);
    let to = Url::parse(&Browser::new().at_provider(&address, "ann").await).unwrap();
    let code = to.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let form = format!(
        "grant_type=authorization_code&code={code}&redirect_uri={back}\
         &code_verifier={verifier}&resource={AUDIENCE}"
    );
    let granted = provider.grants("portcullis", &form).await;
    let text = |name: &str| granted[name].as_str().unwrap().to_owned();
    (text("id_token"), text("access_token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_real_provider_pass_through_envoy_as_whose_they_are() {
    let (provider, upstream) = (Provider::start(), upstream().await.to_string());
    let issuers = format!(
        "[{{ name = \"acme\", issuer = \"{}\", audience = [\"{AUDIENCE}\"], \
         role_map = {{ staff = \"REGULAR\", admins = \"ADMIN\" }} }}]",
        provider.issuer
    );
    let environment = [
        ("PORTCULLIS__ISSUERS", issuers.as_str()),
        ("PORTCULLIS__TOKENS__LEEWAY", "0s"),
        (UPSTREAM, &upstream),
    ];
    let stack = Stack::with(NEWEST, Mode::Strict, &environment);
    let (id_token, of_ann) = signed_in(&provider).await;
    let of_robot = provider.robot(AUDIENCE).await;
    let send = |token: &str| {
        let bearer = format!("Bearer {token}");
        stack.send(
            "GET",
            "/api/agents",
            &[("authorization", &bearer), ("x-user-id", "7"), ("x-user-role", "ADMIN")],
        )
    };
    // It may be up before it has the keys, where nobody asks whether it is ready.
    eventually("the keys", || (send(&of_ann).status == 200).then_some(()));
    for (token, user) in [
        (&of_ann, ["acme:ann", "ann", "ann@example.com", "REGULAR"]),
        (&of_robot, ["acme:robot", "robot", "robot@example.com", "ADMIN"]),
    ] {
        let answer = send(token);
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = &answer.json()["received"];
        let told = ["x-user-id", "x-user-name", "x-user-email", "x-user-role"]
            .map(|name| seen[name].as_str().unwrap_or_default().to_owned());
        assert_eq!(told, user);
        assert_eq!(seen["authorization"], format!("Bearer {token}"));
    }

    let elsewhere = provider.robot("https://other.example.com").await;
    let short = provider.robot(&format!("{AUDIENCE}/for/2")).await;
    assert_eq!(send(&short).status, 200);
    for (what, token) in [("another audience", &elsewhere), ("an ID token", &id_token)] {
        let answer = send(token);
        assert_eq!((answer.status, answer.reached()), (401, false), "{what}: {answer:?}");
    }
    eventually("the end of a token", || (send(&short).status == 401).then_some(()));

    // By a key that nobody has met, from one moment to the next.
    provider.does("/rotate").await;
    let newer = provider.robot(AUDIENCE).await;
    assert_eq!(send(&newer).status, 401);
    eventually("the new key", || (send(&newer).status == 200).then_some(()));
    assert_eq!(send(&of_robot).status, 200);

    let log = || stack.portcullis.as_ref().unwrap().log();
    let denials = |reason: &str| log().matches(&format!("\"reason\":\"{reason}\"")).count();
    eventually("the decisions", || (denials("expired") > 0).then_some(()));
    assert_eq!(denials("bad_audience"), 2, "{}", log());
    assert!(!log().contains("eyJ"), "{}", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn log_metadata_and_metrics_name_the_issuer_and_own_tokens_have_none() {
    let provider = Provider::start();
    let acme = table("acme", &provider.issuer, "");
    let replica = Replica::start_with(&format!("telemetry.allowed_decisions = 1.0\n{acme}{RULE}"));
    // Ready, it has the keys.
    let replica = replica.ready().await;
    let (asker, robot) = (Asker::of(&replica).await, provider.robot(AUDIENCE).await);
    for (token, issuer, user) in [(robot.as_str(), "acme", "acme:robot"), (&own(), "absent", "7")] {
        let answer = asker.check(token).await;
        let told = ["decision", "iss", "user_id"].map(|key| metadata(&answer, key));
        assert_eq!(told, ["allow", issuer, user]);
    }
    let decision = tokio::task::block_in_place(|| replica.running.line("acme:robot"));
    let decision: Value = serde_json::from_str(&decision).unwrap();
    assert_eq!((&decision["iss"], &decision["role"]), (&json!("acme"), &json!("ADMIN")));

    assert_eq!(replica.keys("acme").await, 3);
    let age = replica.metric("portcullis_issuer_keys_age_seconds{issuer=\"acme\"}").await;
    assert!((0.0..30.0).contains(&age), "{age}");
    for (result, times) in [("ok", 1), ("unchanged", 0), ("failed", 0)] {
        assert_eq!(replica.fetches("acme", result).await, times, "{result}");
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = portcullis();
    command.args(arguments).args(["--config", config.to_str().unwrap()]);
    said(&output(&mut command, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_fetch_the_keys_and_tell_of_the_issuer() {
    let provider = Provider::start();
    let room = tempfile::tempdir().unwrap();
    let config = room.path().join("portcullis.toml");
    let toml = format!("{}{RULE}", table("acme", &provider.issuer, ""));
    std::fs::write(&config, toml).unwrap();

    let (code, listed, _) = run(&config, &["check-config", "--online"]);
    assert_eq!(code, Some(0), "{listed}");
    let keys = reqwest::get(format!("{}/jwks", provider.issuer)).await.unwrap();
    let keys: Value = keys.json().await.unwrap();
    let kid = |kty: &str| {
        let all = keys["keys"].as_array().unwrap();
        all.iter().find(|key| key["kty"] == kty).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let expected = [("RSA", "RS256"), ("EC", "ES256"), ("OKP", "EdDSA")]
        .map(|(kty, algorithm)| format!("acme: {} {algorithm}\n", kid(kty)));
    assert_eq!(listed, format!("{}ok\n", expected.concat()));

    let token = provider.robot(AUDIENCE).await;
    let (code, told, _) = run(&config, &["token", "inspect", &token]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("\nissuer  acme\naccepted, for another "), "{told}");
    let elsewhere = provider.robot("https://other.example.com").await;
    let (code, told, _) = run(&config, &["token", "inspect", &elsewhere]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("\nissuer  acme\nrefused: ") && told.contains("(bad_audience)"),
        "{told}"
    );

    let bearer = format!("authorization: Bearer {token}");
    let (code, told, _) = run(&config, &["explain", "-H", &bearer, "/api/agents"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("user     robot (id acme:robot, ADMIN)\nissuer   acme\n"), "{told}");

    // And when it is away, each says so, and none accepts anything.
    drop(provider);
    let (code, _, complaint) = run(&config, &["check-config", "--online"]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("error: acme: its keys could not be fetched: "), "{complaint}");
    assert!(complaint.contains("\n  fix: "), "{complaint}");
    assert_eq!(run(&config, &["check-config"]).0, Some(0));
    let (code, told, _) = run(&config, &["token", "inspect", &token]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("keys    the keys of \"acme\" could not be fetched: "), "{told}");
    assert!(told.contains("(issuer_unavailable)"), "{told}");
    let (code, told, warning) = run(&config, &["explain", "-H", &bearer, "/api/agents"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("reason   issuer_unavailable\nstatus   503\n"), "{told}");
    assert!(warning.contains("warning: the keys of \"acme\" could not be fetched"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_issuer_is_revoked_from_the_command_line_on_every_replica() {
    let (provider, redis) = (Provider::start(), Redis::single());
    let toml = format!("{}{RULE}{}", table("acme", &provider.issuer, ""), redis.toml);
    let [one, two] = [(); 2].map(|()| Replica::start_with(&toml));
    let replicas = [one.ready().await, two.ready().await];
    let [revoked, other] = [provider.robot(AUDIENCE).await, provider.robot(AUDIENCE).await];
    let askers = [Asker::of(&replicas[0]).await, Asker::of(&replicas[1]).await];
    for asker in &askers {
        assert_eq!(asker.reason(&revoked).await, "");
    }
    let config = &replicas[0].config_file;
    let (code, told, complaint) = run(config, &["token", "revoke", &revoked]);
    assert_eq!((code, told.as_str()), (Some(0), "revoked\n"), "{complaint}");
    for asker in &askers {
        asker.comes_to(&revoked, "revoked").await;
        assert_eq!(asker.reason(&other).await, "");
    }
    // By the user's id here, which is not that of somebody else's user.
    let (code, told, complaint) = run(config, &["token", "revoke", "--user-id", "robot"]);
    assert_eq!((code, told.as_str()), (Some(0), "revoked\n"), "{complaint}");
    let (code, told, complaint) = run(config, &["token", "revoke", "--user-id", "acme:robot"]);
    assert_eq!((code, told.as_str()), (Some(0), "revoked\n"), "{complaint}");
    for asker in &askers {
        asker.comes_to(&other, "revoked").await;
    }
    // One that nobody has signed is none to revoke.
    let forged = format!("{}AAAA", &other[..other.len() - 4]);
    let (code, _, complaint) = run(config, &["token", "revoke", &forged]);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("the token does not belong to this service"), "{complaint}");
}

#[test]
fn an_issuer_that_is_away_is_told_of_before_it_is_needed() {
    let room = tempfile::tempdir().unwrap();
    let config = room.path().join("portcullis.toml");
    let away = format!("http://127.0.0.1:{}", free_port());
    std::fs::write(&config, format!("{}{RULE}", table("acme", &away, ""))).unwrap();
    let (code, told, complaint) = run(&config, &["check-config", "--online"]);
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(complaint.contains("acme") && complaint.contains("refused"), "{complaint}");
}
