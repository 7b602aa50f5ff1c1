//! The last good keys of an issuer that is away: in memory, and in the store.

use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    issuer::{Asker, RULE, own, table, token},
    redis::{Redis, cli},
    replica::Replica,
    rogue::{Reply, Rogue},
    support::{eventually, free_port},
};

/// Nothing can be had of it any more.
fn breaks(rogue: &Rogue) {
    let broken = || Reply::Text(503, "text/plain", String::new());
    rogue.change(|it| (it.discovery, it.jwks) = (broken(), broken()));
}

/// Where the keys of the one issuer are in the store.
fn kept(redis: &Redis) -> Option<String> {
    let keys = cli(redis.port, &["KEYS", "*issuer-keys*"]);
    assert!(!keys.contains('\n'), "{keys}");
    Some(keys).filter(|key| !key.is_empty())
}

fn level(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    line["level"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_while_the_issuer_is_away_has_what_another_was_told() {
    let (rogue, redis) = (Rogue::start().await, Redis::single());
    let toml = format!("{}{RULE}{}", table("acme", &rogue.issuer, ""), redis.toml);
    let first = Replica::start_with(&toml).ready().await;
    assert_eq!(Asker::of(&first).await.reason(&token(&rogue, 0)).await, "");
    let key = tokio::task::block_in_place(|| eventually("the kept keys", || kept(&redis)));
    breaks(&rogue);
    drop(first);

    let second = Replica::start_with(&toml).ready().await;
    let asker = Asker::of(&second).await;
    // From its first moment on: it is not ready before.
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "");
    second.has_fetched("acme", "failed", 2).await;
    assert_eq!((second.fetches("acme", "ok").await, second.keys("acme").await), (0, 3));
    let told = second.complaints("acme");
    assert!(told.len() == 1 && told[0].contains("the last good ones are used"), "{told:?}");

    // What the store holds is read as strictly as what an issuer sends.
    let kept = cli(redis.port, &["GET", &key]);
    let secret = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "ed" }] }).to_string();
    let ancient: Value = serde_json::from_str(&kept).unwrap();
    let ancient = json!({ "heard": 1, "set": ancient["set"] }).to_string();
    for bad in ["junk", &json!({ "heard": i64::MAX, "set": secret }).to_string(), &ancient] {
        cli(redis.port, &["SET", &key, bad]);
        let third = Replica::start_with(&toml).ready().await;
        let asker = Asker::of(&third).await;
        let denied = asker.ask(&token(&rogue, 0)).await;
        assert_eq!(denied, (503, "issuer_unavailable".into()), "{bad}");
        // As soon as another replica has been told anew.
        cli(redis.port, &["SET", &key, &kept]);
        asker.comes_to(&token(&rogue, 0), "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_not_ready_before_it_has_asked_each_issuer_and_is_whatever_comes_of_it() {
    let rogue = Rogue::start().await;
    rogue.change(|it| it.discovery = Reply::Nothing);
    let toml = format!("{}{RULE}", table("acme", &rogue.issuer, ""));
    let replica = Replica::start_with(&toml);
    assert_eq!(replica.readyz().await.1, "the keys of the issuers are being fetched\n");
    let asker = Asker::of(&replica).await;
    let health = async || {
        let channel = Endpoint::new(format!("http://{}", replica.check)).unwrap();
        let mut client = HealthClient::new(channel.connect().await.unwrap());
        client.check(HealthCheckRequest::default()).await.unwrap().into_inner().status()
    };
    assert_eq!(health().await, ServingStatus::NotServing);
    // Who asks all the same is answered.
    assert_eq!(asker.reason(&own()).await, "");
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "issuer_unavailable");

    let replica = replica.ready().await;
    assert_eq!(replica.fetches("acme", "ok").await, 0);
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "issuer_unavailable");
    rogue.change(|it| it.discovery = Reply::Right);
    asker.comes_to(&token(&rogue, 0), "").await;
    // One that is new later takes nothing back.
    let other = table("other", &format!("http://127.0.0.1:{}", free_port()), "");
    replica.becomes(&format!("{}{other}{RULE}", table("acme", &rogue.issuer, "")));
    assert_eq!(replica.readyz().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_never_reached_is_503_for_its_tokens_alone() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let acme = table("acme", &format!("http://{address}"), "");
    let replica = Replica::start_with(&format!("{acme}{RULE}")).ready().await;
    let asker = Asker::of(&replica).await;
    // Nobody is there to have made it; what it says of its issuer is enough.
    let stranger = Rogue::start().await;
    let issuer = format!("http://{address}");
    let claims = json!({ "iss": issuer, "sub": "ann", "exp": 4_000_000_000_u32 });
    let answer = asker.check(&stranger.signed(0, &claims)).await;
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!() };
    assert_eq!(denied.status.unwrap().code, 503);
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(body["error"]["code"], "503", "{body}");
    let headers: Vec<String> =
        denied.headers.into_iter().map(|one| one.header.unwrap().key.to_lowercase()).collect();
    assert!(headers.contains(&"content-type".to_owned()), "{headers:?}");
    assert!(!headers.contains(&"www-authenticate".to_owned()), "{headers:?}");

    assert_eq!(asker.reason(&own()).await, "");
    assert_eq!(replica.readyz().await.0, 200);
    assert_eq!(replica.keys("acme").await, 0);
    assert!(!replica.metrics().await.contains("portcullis_issuer_keys_age_seconds{"));
    replica.has_fetched("acme", "failed", 2).await;
    let told = replica.complaints("acme");
    assert!(told.len() == 1 && level(&told[0]) == "ERROR", "{told:?}");
    assert!(told[0].contains("its tokens are refused"), "{told:?}");

    let rogue = Rogue::on(&address).await;
    asker.comes_to(&token(&rogue, 0), "").await;
    assert_eq!(replica.complaints("acme").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_too_old_are_relied_upon_no_longer_and_that_is_told() {
    let rogue = Rogue::start().await;
    let short = "refresh = \"1s\"\nstale_for = \"6s\"";
    let toml = format!("{}{RULE}", table("acme", &rogue.issuer, short));
    let replica = Replica::start_with(&toml).ready().await;
    let (asker, good) = (Asker::of(&replica).await, token(&rogue, 0));
    // Remembered, which makes it no better.
    for _ in 0..3 {
        assert_eq!(asker.reason(&good).await, "");
    }
    breaks(&rogue);
    let begun = std::time::Instant::now();
    replica.has_fetched("acme", "failed", 1).await;
    assert_eq!(asker.reason(&good).await, "");
    asker.comes_to(&good, "issuer_unavailable").await;
    // It was told of them less than a second before it broke.
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(asker.ask(&good).await.0, 503);
    assert_eq!(asker.reason(&own()).await, "");
    let failed = replica.fetches("acme", "failed").await;
    replica.has_fetched("acme", "failed", failed + 2).await;
    let told = replica.complaints("acme");
    let levels: Vec<String> = told.iter().map(|line| level(line)).collect();
    assert_eq!(levels, ["WARN", "ERROR"], "{told:?}");
    let age = replica.metric("portcullis_issuer_keys_age_seconds{issuer=\"acme\"}").await;
    assert!(age >= 6.0, "{age}");
    assert_eq!(replica.keys("acme").await, 0, "none that verifies a token");

    rogue.change(|it| (it.discovery, it.jwks) = (Reply::Right, Reply::Right));
    asker.comes_to(&good, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_another_replica_left_are_not_confirmed_by_a_tag_of_those_before() {
    let (rogue, redis) = (Rogue::start().await, Redis::single());
    rogue.change(|it| it.jwks = Reply::Tagged);
    let quick = table("acme", &rogue.issuer, "refresh = \"1s\"");
    let toml = format!("{quick}{RULE}{}", redis.toml);
    let replica = Replica::start_with(&toml).ready().await;
    let asker = Asker::of(&replica).await;
    let [first, second] = [token(&rogue, 0), token(&rogue, 1)];
    replica.has_fetched("acme", "unchanged", 1).await;
    assert_eq!(asker.reason(&first).await, "");

    // Away for this one, while another is told of a set without the first key.
    breaks(&rogue);
    replica.has_fetched("acme", "failed", 1).await;
    let key = kept(&redis).unwrap();
    let later = {
        let behaviour = rogue.behaviour.lock().unwrap();
        json!({ "heard": i64::MAX / 1000, "set": json!({ "keys": [behaviour.public[1]] }).to_string() })
    };
    cli(redis.port, &["SET", &key, &later.to_string()]);
    asker.comes_to(&first, "unknown_key").await;
    assert_eq!(asker.reason(&second).await, "");
    // And back, with what it had before: its tag is not that of what is here.
    rogue.change(|it| (it.discovery, it.jwks) = (Reply::Right, Reply::Tagged));
    asker.comes_to(&first, "").await;
}
