//! What an issuer's endpoints can answer instead of its keys.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    issuer::{Asker, RULE, own, table, token},
    jwt,
    replica::Replica,
    rogue::{Behaviour, Reply, Rogue},
};

/// As JSON of so many of these keys, or whatever it is.
fn set(keys: impl IntoIterator<Item = Value>) -> String {
    json!({ "keys": keys.into_iter().collect::<Vec<_>>() }).to_string()
}

fn text(body: impl Into<String>) -> Reply {
    Reply::Text(200, "application/json", body.into())
}

/// The most that a process has held, in bytes.
fn peak(replica: &Replica) -> usize {
    let status = format!("/proc/{}/status", replica.running.child.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// What is done to an issuer that was good, and what the log says of it then.
type Row = (&'static str, &'static str, fn(&mut Behaviour));

const ROWS: [Row; 20] = [
    ("flood", "the answer is longer than 1 MiB", |it| it.jwks = Reply::Flood),
    ("flood-of-metadata", "the answer is longer than 1 MiB", |it| it.discovery = Reply::Flood),
    ("too-many", "its keys: it has more than 100 keys", |it| {
        let key = it.public[0].clone();
        it.jwks = text(set((0..10_000).map(|nth| {
            let mut key = key.clone();
            key["kid"] = json!(nth.to_string());
            key["x"] = json!("");
            key
        })));
    }),
    ("numbers", "its keys: it has more than 100 keys", |it| {
        it.jwks = text(format!("{{\"keys\":[0{}]}}", ",0".repeat(500_000)));
    }),
    ("objects", "its keys: it has more than 100 keys", |it| {
        // As dear to hold as JSON can be.
        it.jwks = text(format!("{{\"keys\":[0{}]}}", ",{\"\":0}".repeat(125_000)));
    }),
    ("deep", "its keys: it is no JSON Web Key Set", |it| it.jwks = text("[".repeat(1_000_000))),
    ("slow", "no answer within 5 seconds", |it| it.jwks = Reply::Trickle),
    ("silent", "no answer within 5 seconds", |it| it.discovery = Reply::Nothing),
    ("page", "its keys: it is no JSON Web Key Set", |it| {
        it.jwks = Reply::Text(200, "text/html", "<!doctype html><title>Sign in</title>".into());
    }),
    ("page-for-metadata", "the answer is no JSON", |it| {
        it.discovery =
            Reply::Text(200, "text/html", "<!doctype html><title>Sign in</title>".into());
    }),
    ("empty", "its keys: it has no key for the algorithms that are accepted", |it| {
        it.jwks = text(set([]));
    }),
    ("junk", "its keys: it has no key for the algorithms that are accepted", |it| {
        it.jwks =
            text(set([json!({ "kty": "EC" }), json!(7), json!({ "kty": "OKP", "crv": "X" })]));
    }),
    ("private", "its keys: it has no key for the algorithms that are accepted", |it| {
        let mut key = it.public[0].clone();
        key["d"] = json!("AAAA");
        it.jwks = text(set([key]));
    }),
    ("symmetric", "its keys: it has no key for the algorithms that are accepted", |it| {
        let key = json!({ "kty": "oct", "k": jwt::b64(jwt::SECRET), "kid": "ed" });
        it.jwks = text(set([key]));
    }),
    ("broken", "it answered with the status 500 Internal Server Error", |it| {
        it.jwks = Reply::Text(500, "text/plain", String::new());
    }),
    ("gone", "it answered with the status 404 Not Found", |it| {
        it.discovery = Reply::Text(404, "text/plain", String::new());
    }),
    ("slash", "it calls itself", |it| {
        let issuer = it.metadata["issuer"].as_str().unwrap().to_owned();
        it.metadata["issuer"] = json!(format!("{issuer}/"));
    }),
    ("plain", "its jwks_uri is not https", |it| {
        it.metadata["jwks_uri"] = json!("http://keys.example.com/jwks");
    }),
    ("file", "its jwks_uri is not https", |it| {
        it.metadata["jwks_uri"] = json!("file:///etc/passwd");
    }),
    ("nowhere", "missing field `jwks_uri`", |it| {
        it.metadata.as_object_mut().unwrap().remove("jwks_uri");
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_issuer_answers_its_last_good_keys_serve_and_it_is_told_once() {
    let mut rogues = JoinSet::new();
    for (name, cause, change) in ROWS {
        rogues.spawn(async move { (name, cause, change, Rogue::start().await) });
    }
    let rogues = rogues.join_all().await;
    let tables = rogues.iter().map(|(name, _, _, rogue)| {
        let apart = format!("refresh = \"1s\"\nid_prefix = \"{name}/\"");
        table(name, &rogue.issuer, &apart)
    });
    let tables: String = tables.collect();
    let replica = Replica::start_with(&format!("{tables}{RULE}")).ready().await;
    let asker = Asker::of(&replica).await;
    let good: Vec<String> = rogues.iter().map(|(.., rogue)| token(rogue, 0)).collect();
    for ((name, ..), token) in rogues.iter().zip(&good) {
        assert_eq!(asker.reason(token).await, "", "{name}");
        assert_eq!(replica.complaints(name), [""; 0]);
    }
    let before = peak(&replica);

    for (_, _, change, rogue) in &rogues {
        rogue.change(change);
    }
    for ((name, cause, ..), token) in rogues.iter().zip(&good) {
        replica.has_fetched(name, "failed", 2).await;
        assert_eq!(asker.reason(token).await, "", "{name}");
        assert_eq!(replica.keys(name).await, 3, "{name}");
        let told = replica.complaints(name);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        let told: Value = serde_json::from_str(&told[0]).unwrap();
        assert_eq!(told["level"], "WARN");
        assert!(told["cause"].as_str().unwrap().contains(cause), "{name}: {told}");
        assert!(told["fix"].as_str().unwrap().contains("check-config --online"), "{told}");
        assert!(
            told["message"].as_str().unwrap().ends_with("the last good ones are used"),
            "{told}"
        );
    }
    assert_eq!(asker.reason(&own()).await, "");
    let grown = peak(&replica) - before;
    println!("{} MiB more than the {} of {} issuers", grown >> 20, before >> 20, ROWS.len());
    assert!(grown < 48 << 20, "{grown} bytes");

    // What recovers is good again, and told of.
    for (_, _, _, rogue) in &rogues {
        rogue.change(|it| {
            (it.jwks, it.discovery) = (Reply::Right, Reply::Right);
            it.metadata["issuer"] = json!(rogue.issuer);
            it.metadata["jwks_uri"] = json!(format!("{}/jwks", rogue.issuer));
        });
    }
    for (name, ..) in &rogues {
        let times = replica.fetches(name, "ok").await;
        replica.has_fetched(name, "ok", times + 1).await;
        assert_eq!(replica.complaints(name).len(), 1, "{name}");
    }
    let again = replica.running.log().matches("were fetched again").count();
    assert_eq!(again, ROWS.len());
}

/// A replica of one issuer that is asked all the time, and who asks it.
async fn followed(rogue: &Rogue, refresh: &str) -> (Replica, Asker) {
    let acme = table("acme", &rogue.issuer, &format!("refresh = \"{refresh}\""));
    let replica = Replica::start_with(&format!("{acme}{RULE}")).ready().await;
    let asker = Asker::of(&replica).await;
    (replica, asker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_within_an_origin_and_to_no_other() {
    let (rogue, other) = (Rogue::start().await, Rogue::start().await);
    let moved = format!("{}/moved", rogue.issuer);
    rogue.change(|it| it.jwks = Reply::Elsewhere(moved));
    let (replica, asker) = followed(&rogue, "1s").await;
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "");

    // Keys of somebody else are not asked for, by whatever name the place goes.
    let elsewhere = format!("{}/jwks", other.issuer);
    for to in [elsewhere.replace("127.0.0.1", "localhost"), elsewhere] {
        let failed = replica.fetches("acme", "failed").await;
        rogue.change(|it| it.jwks = Reply::Elsewhere(to));
        replica.has_fetched("acme", "failed", failed + 2).await;
        assert_eq!(other.asked("/jwks"), 0);
        assert_eq!(asker.reason(&token(&rogue, 0)).await, "");
    }
    let told = replica.complaints("acme");
    assert!(told.len() == 1 && told[0].contains("302 Found"), "{told:?}");
    // In a circle it goes nowhere.
    let circle = format!("{}/jwks", rogue.issuer);
    rogue.change(|it| it.jwks = Reply::Elsewhere(circle));
    let (asked, failed) = (rogue.asked("/jwks"), replica.fetches("acme", "failed").await);
    replica.has_fetched("acme", "failed", failed + 2).await;
    let asked = rogue.asked("/jwks") - asked;
    assert!(asked <= 5 * 4, "{asked} times for a few fetches");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_leaves_the_set_is_gone_and_one_that_should_not_be_there_is_told_once() {
    let rogue = Rogue::start().await;
    let (replica, asker) = followed(&rogue, "1s").await;
    let tokens: Vec<String> = (0..3).map(|nth| token(&rogue, nth)).collect();
    // Twice, so that they are remembered.
    for token in [&tokens[..], &tokens].concat() {
        assert_eq!(asker.reason(&token).await, "");
    }
    rogue.change(|it| drop(it.public.remove(0)));
    asker.comes_to(&tokens[0], "unknown_key").await;
    assert_eq!((asker.reason(&tokens[1]).await, replica.keys("acme").await), (String::new(), 2));

    // It comes back with its private part in it, beside keys of use.
    let mut private = rogue.behaviour.lock().unwrap().keys[0].public();
    private["d"] = json!("AAAA");
    rogue.change(|it| it.public.push(private));
    let times = replica.fetches("acme", "ok").await;
    replica.has_fetched("acme", "ok", times + 3).await;
    for (token, reason) in tokens.iter().zip(["unknown_key", "", ""]) {
        assert_eq!(asker.reason(token).await, reason);
    }
    let told = replica.complaints("acme");
    assert_eq!(told.len(), 1, "{told:?}");
    let told: Value = serde_json::from_str(&told[0]).unwrap();
    assert_eq!(
        (&told["key"], &told["message"]),
        (&json!("ed"), &json!("a key of the issuer is not used"),)
    );
    assert!(told["cause"].as_str().unwrap().contains("private"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_has_not_changed_is_not_sent_again_and_one_that_has_is_taken_over() {
    let rogue = Rogue::start().await;
    rogue.change(|it| it.jwks = Reply::Tagged);
    let (replica, asker) = followed(&rogue, "1s").await;
    replica.has_fetched("acme", "unchanged", 2).await;
    assert_eq!(replica.fetches("acme", "ok").await, 1);
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "");
    rogue.change(|it| drop(it.public.remove(0)));
    asker.comes_to(&token(&rogue, 0), "unknown_key").await;
    assert_eq!(asker.reason(&token(&rogue, 1)).await, "");
    let unchanged = replica.fetches("acme", "unchanged").await;
    replica.has_fetched("acme", "unchanged", unchanged + 1).await;
    assert_eq!(replica.fetches("acme", "ok").await, 2);
    assert_eq!(asker.reason(&token(&rogue, 0)).await, "unknown_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_kids_has_the_keys_fetched_once() {
    let rogue = Rogue::start().await;
    let (replica, asker) = followed(&rogue, "1h").await;
    let good = token(&rogue, 0);
    let payload = good.split('.').nth(1).unwrap().to_owned();
    let asked = || (rogue.asked("/.well-known/openid-configuration"), rogue.asked("/jwks"));
    assert_eq!(asked(), (1, 1));
    let begun = std::time::Instant::now();
    let mut flood = JoinSet::new();
    for client in 0..8 {
        let (asker, payload) = (asker.clone(), payload.clone());
        flood.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < Duration::from_secs(4) {
                let kid = format!("{client}-{count}");
                let header = json!({ "alg": "EdDSA", "kid": kid });
                let forged =
                    format!("{}.{payload}.{}", jwt::b64(header.to_string()), "A".repeat(86));
                assert_eq!(asker.reason(&forged).await, "unknown_key");
                count += 1;
            }
            count
        });
    }
    let count: usize = flood.join_all().await.into_iter().sum();
    println!("{count} unknown kids in 4 s");
    assert!(count > 100, "{count}");
    assert_eq!(asked(), (2, 2), "once for all of them");
    assert_eq!((asker.reason(&good).await, replica.complaints("acme").len()), (String::new(), 0));
}
