//! Keys for machines by the command line, in the store that replicas share.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use portcullis::{
    api_key::{ApiKey, KeyChange, KeyId},
    clock::Timestamp,
    store::{Cursor, KeyRevoked, Store, StoreError},
};
use serde_json::Value;

use crate::{
    api_keys::made,
    grpc::question,
    redis::{Redis, cli},
    replica::{OPEN, Replica},
    replicas::until,
    store::patiently,
    support::{eventually, output, portcullis},
};

const TAKEN: &str = "[api_keys]\n";
const SECOND: Duration = Duration::from_secs(1);

fn of(redis: &Redis) -> Store {
    Store::redis(&redis.target, "test:", Duration::from_secs(5), Duration::from_secs(60)).unwrap()
}

/// All changes that a reader hears who starts.
async fn changes(store: &Store) -> Vec<KeyChange> {
    let (mut all, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let (page, next) = store.key_changes(&cursor).await.unwrap();
        if next == cursor {
            return all;
        }
        all.extend(page.changes().unwrap());
        cursor = next;
    }
}

async fn keeps_keys(store: &Store) {
    patiently(async || store.concerns().await).await;
    let now = store.standing("7").await.unwrap().now;
    let (one, other) = (made(|_| {}).key, made(|_| {}).key);
    assert!(store.add_key(&one).await.unwrap());
    assert!(!store.add_key(&one).await.unwrap(), "an id has one key");
    assert_eq!(store.key(one.id).await.unwrap().as_ref(), Some(&one));
    assert_eq!(store.key(other.id).await.unwrap(), None);
    assert_eq!(changes(store).await, [KeyChange::Key(Box::new(one.clone()))]);

    // Rotated: the old one ends then, and the new one is there, in one step.
    let (soon, later) = (now.plus(Duration::from_secs(60)), now.plus(Duration::from_secs(600)));
    assert!(store.rotate_key(one.id, soon, &other).await.unwrap());
    let rotated = ApiKey { expires: Some(soon), ..one.clone() };
    let expected = [rotated.clone(), other.clone()].map(|key| KeyChange::Key(Box::new(key)));
    assert_eq!(changes(store).await, expected);
    // An end never moves back.
    let third = made(|_| {}).key;
    assert!(store.rotate_key(one.id, later, &third).await.unwrap());
    assert_eq!(store.key(one.id).await.unwrap(), Some(rotated));
    let stranger = made(|_| {}).key;
    assert!(!store.rotate_key(stranger.id, soon, &made(|_| {}).key).await.unwrap());

    assert_eq!(store.revoke_key(other.id).await.unwrap(), KeyRevoked::Now);
    assert_eq!(store.revoke_key(other.id).await.unwrap(), KeyRevoked::Before);
    let revoked = store.key(other.id).await.unwrap().unwrap();
    assert!(revoked.revoked.is_some_and(|at| at >= now) && revoked.says == other.says);
    assert!(!store.rotate_key(other.id, soon, &stranger).await.unwrap(), "it is revoked");
    assert_eq!(store.key(stranger.id).await.unwrap(), None);
    // One that the store has not, which a file may have.
    assert_eq!(store.revoke_key(stranger.id).await.unwrap(), KeyRevoked::Elsewhere);
    assert_eq!(store.revoke_key(stranger.id).await.unwrap(), KeyRevoked::Before);
    assert!(!store.add_key(&stranger).await.unwrap(), "it is revoked");
    let told = changes(store).await;
    assert!(told.iter().any(|it| matches!(it, KeyChange::Revoked(id, _) if *id == stranger.id)));

    // What users had who were cut off: once for each.
    store.cut_off("77").await.unwrap();
    let at = store.cut_off("77").await.unwrap();
    let cut_off: Vec<_> = changes(store).await.into_iter().skip(told.len()).collect();
    assert_eq!(cut_off, [KeyChange::CutOff("77".to_owned(), at)]);

    let uses = [(one.id, 20_000), (KeyId::from_bits(u64::MAX), 20_001)];
    store.note_key_uses(&uses).await.unwrap();
    store.note_key_uses(&[(one.id, 20_002)]).await.unwrap();
    let noted = store.key_uses().await.unwrap();
    assert_eq!((noted[&one.id], noted[&uses[1].0]), (20_002, 20_001));
}

#[tokio::test]
async fn the_store_keeps_keys_on_redis_and_on_a_cluster() {
    keeps_keys(&of(&Redis::single())).await;
    keeps_keys(&of(&Redis::cluster())).await;
}

#[tokio::test]
async fn the_memory_of_a_process_keeps_none_and_says_so() {
    let clock = std::sync::Arc::new(portcullis::clock::SystemClock);
    let store = Store::memory(clock, Duration::from_secs(60));
    let key = made(|_| {}).key;
    assert!(matches!(store.add_key(&key).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.revoke_key(key.id).await, Err(StoreError::Failed(_))));
    assert_eq!(changes(&store).await, []);
}

#[tokio::test]
async fn what_has_ended_is_kept_for_a_month_and_what_a_file_may_have_for_ever() {
    let redis = Redis::single();
    let store = of(&redis);
    let now = store.standing("7").await.unwrap().now;
    let month = Duration::from_secs(30 * 24 * 3600);
    let ended = made(|key| key.expires = Some(now.minus(month).minus(SECOND))).key;
    let ending = made(|key| key.expires = Some(now.minus(month).plus(SECOND * 60))).key;
    let elsewhere = made(|_| {}).key;
    store.add_key(&ended).await.unwrap();
    store.note_key_uses(&[(ended.id, 1)]).await.unwrap();
    store.add_key(&ending).await.unwrap();
    store.revoke_key(elsewhere.id).await.unwrap();
    store.revoke_key(KeyId::from_bits(7)).await.unwrap();
    assert_eq!(store.key(ended.id).await.unwrap(), None);
    assert_eq!(store.key_uses().await.unwrap().get(&ended.id), None);
    assert_eq!(store.key(ending.id).await.unwrap(), Some(ending));
    assert_eq!(changes(&store).await.len(), 3);
    assert_eq!(cli(redis.port, &["XLEN", "test:{revocations}:keys"]), "3");
    assert_eq!(cli(redis.port, &["ZCARD", "test:{revocations}:key-ends"]), "1");

    // One that was revoked stays so: a file may have it yet.
    let revoked = made(|_| {}).key;
    store.add_key(&revoked).await.unwrap();
    store.revoke_key(revoked.id).await.unwrap();
    let (id, ago) = (revoked.id.to_string(), (now.as_secs() - 1).to_string());
    cli(redis.port, &["ZADD", "test:{revocations}:key-ends", &ago, &id]);
    store.revoke_key(KeyId::from_bits(8)).await.unwrap();
    assert_eq!(store.key(revoked.id).await.unwrap(), None);
    let told = changes(&store).await;
    assert!(told.iter().any(|it| matches!(it, KeyChange::Revoked(id, _) if *id == revoked.id)));

    // What a later version says of a key, and what nobody can read, is no key.
    let strange = made(|_| {}).key.id.to_string();
    let entry = ["XADD", "test:{revocations}:keys", "*", &strange, "soon  [\"\",{}]"];
    cli(redis.port, &entry);
    let told = changes(&store).await;
    assert!(matches!(told.last(), Some(KeyChange::Revoked(id, _)) if id.to_string() == strange));
}

/// What the command says: its code, stdout and stderr.
pub(crate) fn key(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = portcullis();
    command.arg("key").args(arguments).args(["--config", config.to_str().unwrap()]);
    let said = output(&mut command, "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

/// A key of the command line.
pub(crate) fn new_key(config: &Path, more: &[&str]) -> String {
    let named = ["new", "--name", "ci", "--user-id", "77", "--role", "REGULAR"];
    let (code, text, said) = key(config, &[&named[..], more].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("It is shown only this once"), "{said}");
    text
}

fn id_of(text: &str) -> &str {
    &text[4..15]
}

/// The status code of a check with this header.
async fn check(replica: &Replica, name: &str, value: &str) -> i32 {
    let mut client =
        AuthorizationClient::connect(format!("http://{}", replica.check)).await.unwrap();
    let question = question("GET", "/api/agents", &[(name, value)]);
    client.check(question).await.unwrap().into_inner().status.unwrap().code
}

async fn by_header(replica: &Replica, text: &str) -> i32 {
    check(replica, "x-api-key", text).await
}

async fn two(redis: &Redis, more: &str) -> [Replica; 2] {
    let toml = format!("{OPEN}{more}{}{TAKEN}", redis.toml);
    let (a, b) = (Replica::start(&toml), Replica::start(&toml));
    [a.ready().await, b.ready().await]
}

async fn everywhere(replicas: &[Replica; 2], text: &str, code: i32) {
    for replica in replicas {
        let took = until("the change", async || by_header(replica, text).await == code).await;
        assert!(took < SECOND, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_command_line_is_good_and_void_on_every_replica_within_a_second() {
    let redis = Redis::single();
    let replicas = two(&redis, "").await;
    let config = &replicas[0].config_file.clone();
    let first = new_key(config, &["--scope", "agents:run", "--expires", "90d"]);
    everywhere(&replicas, &first, 0).await;
    let used = until("its use", async || {
        key(config, &["show", id_of(&first)]).1.contains("\"last_used\": \"2")
    });
    assert!(used.await < Duration::from_secs(12));

    let (code, second, said) = key(config, &["rotate", id_of(&first), "--overlap", "1h"]);
    assert_eq!(code, Some(0), "{said}");
    everywhere(&replicas, &second, 0).await;
    assert_eq!(by_header(&replicas[0], &first).await, 0, "for an hour yet");
    let (_, shown, _) = key(config, &["show", id_of(&second)]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["replaces"], id_of(&first));
    assert_eq!(shown["scopes"], serde_json::json!(["agents:run"]));
    let time = |text: &Value| Timestamp::parse(text.as_str().unwrap()).unwrap().as_secs();
    let life = time(&shown["expires"]) - time(&shown["created"]);
    assert_eq!(life, 90 * 24 * 3600);
    assert_eq!(key(config, &["rotate", id_of(&first), "--overlap", "0s"]).0, Some(0));
    everywhere(&replicas, &first, 16).await;

    assert_eq!(key(config, &["revoke", id_of(&second)]).1, "revoked");
    everywhere(&replicas, &second, 16).await;
    // A whole key names itself, and one that is none is not shown.
    assert_eq!(key(config, &["revoke", &second]).1, "revoked before");
    let (code, _, said) = key(config, &["revoke", &second[..64]]);
    assert_eq!(code, Some(2));
    assert!(said.contains("this is not an id") && !said.contains("pck_2"), "{said}");
    assert!(!said.contains(&second[16..40]), "{said}");
    let (_, list, _) = key(config, &["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(lines[0].starts_with("ID           NAME  USER  ROLE     STATE    EXPIRES"), "{list}");
    assert!(list.contains("revoked") && list.contains("expired") && list.contains("active"));
    assert_eq!(key(config, &["list", "--user-id", "8", "--json"]).1, "");

    for (text, code, told) in [
        (&first, 1, "refused: it has expired (key_expired)"),
        (
            &second,
            1,
            "refused: it was revoked, or everything that its user had was revoked (key_revoked)",
        ),
        (&first[..64].to_owned(), 1, "malformed_key"),
        (&made(|_| {}).text, 1, "unknown_key_id"),
    ] {
        let (status, said, _) = key(config, &["inspect", text]);
        assert_eq!(status, Some(code), "{said}");
        assert!(said.contains(told), "{said}");
    }
    let third = new_key(config, &["--allow", "10.0.0.0/8"]);
    let (_, said, _) = key(config, &["inspect", &third, "--from", "10.0.0.1"]);
    assert!(said.contains("accepted, as ci (id 77)"), "{said}");
    assert!(key(config, &["inspect", &third]).1.contains("key_address"));
    let mut offline = portcullis();
    offline.args(["key", "inspect", "--offline"]);
    let said = output(&mut offline, &third);
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("checksum  right"));

    // Each making, rotation and revocation is in the audit log of each replica.
    for replica in &replicas {
        for (event, id) in [
            ("key_made", id_of(&first)),
            ("key_rotated", id_of(&first)),
            ("key_made", id_of(&second)),
            ("key_revoked", id_of(&second)),
            ("key_made", id_of(&third)),
        ] {
            let is_it = |line: &str| {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                line["target"] == "portcullis::audit"
                    && (&line["event"], &line["key_id"]) == (&event.into(), &id.into())
            };
            eventually(event, || replica.running.log().lines().any(is_it).then_some(()));
        }
    }
    until("the states", async || {
        let states = replicas[0].metrics().await;
        let mut all = ["active\"} 2", "expired\"} 1", "revoked\"} 1"].iter();
        all.all(|state| states.contains(&format!("portcullis_api_keys{{state=\"{state}")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_user_are_void_with_the_user_also_after_a_restart() {
    let redis = Redis::single();
    let replicas = two(&redis, "").await;
    let config = &replicas[0].config_file.clone();
    let text = new_key(config, &[]);
    everywhere(&replicas, &text, 0).await;
    let mut revoke = portcullis();
    revoke.args(["token", "revoke", "--user-id", "77", "--config", config.to_str().unwrap()]);
    assert!(output(&mut revoke, "").status.success());
    everywhere(&replicas, &text, 16).await;
    let (code, _, said) = key(config, &["rotate", id_of(&text)]);
    assert_eq!(code, Some(1), "what is void is not made good again");
    assert!(said.contains("is void") && !said.contains("pck_"), "{said}");
    // A new one of the same second is good: it is made behind the cut-off.
    let next = new_key(config, &[]);
    everywhere(&replicas, &next, 0).await;
    // As when the cut-offs of tokens have been forgotten: those of keys never are.
    for name in ["stream", "ends", "noted", "cut-offs"] {
        assert_eq!(cli(redis.port, &["DEL", &format!("portcullis:{{revocations}}:{name}")]), "1");
    }
    let after = Replica::start(&format!("{OPEN}{}{TAKEN}", redis.toml)).ready().await;
    assert_eq!(by_header(&after, &text).await, 16);
    assert_eq!(by_header(&after, &next).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_stays_so_when_redis_fails_over() {
    let mut redis = Redis::sentinel();
    let replicas = two(&redis, "").await;
    let config = &replicas[0].config_file.clone();
    let (kept, gone) = (new_key(config, &[]), new_key(config, &[]));
    everywhere(&replicas, &gone, 0).await;
    everywhere(&replicas, &kept, 0).await;
    // The other one does not hear of it before it is the master.
    cli(redis.port, &["CONFIG", "SET", "repl-diskless-load", "disabled"]);
    assert_eq!(key(config, &["revoke", id_of(&gone)]).1, "revoked");
    everywhere(&replicas, &gone, 16).await;
    drop(redis.servers.remove(0));
    let added = until("the other master", async || {
        let named = ["new", "--name", "x", "--user-id", "78", "--role", "REGULAR"];
        key(config, &named).0 == Some(0)
    })
    .await;
    println!("failed over in {added:?}");
    let started = Instant::now();
    while started.elapsed() < SECOND {
        for replica in &replicas {
            assert_eq!(by_header(replica, &gone).await, 16);
            assert_eq!(by_header(replica, &kept).await, 0);
        }
    }
}

/// No key, in any of its forms, is in what the service writes.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_in_a_log_a_trace_a_metric_or_an_answer() {
    let redis = Redis::single();
    let replicas = two(&redis, "").await;
    let replica = &replicas[0];
    let good = new_key(&replica.config_file, &[]);
    everywhere(&replicas, &good, 0).await;
    let bad = made(|_| {}).text;
    let slip = format!("{}0", &good[..64]);
    let mut answers = String::new();
    let mut client =
        AuthorizationClient::connect(format!("http://{}", replica.check)).await.unwrap();
    let basic = |user: &str, text: &str| STANDARD.encode(format!("{user}:{text}"));
    for text in [&good, &bad, &slip] {
        for (path, name, value) in [
            ("/api/agents", "authorization", format!("Bearer {text}")),
            ("/api/agents", "authorization", format!("Basic {}", basic("a", text))),
            ("/api/agents", "authorization", format!("Basic {}", basic(text, ""))),
            ("/api/agents", "authorization", format!("Token {text}")),
            ("/api/agents", "x-api-key", text.clone()),
            ("/api/agents", "x-api-key", format!("{text},{text}")),
            ("/api/agents", "cookie", format!("token={text}")),
            ("/api/agents", "connection", text.clone()),
            ("/api/agents", "x-request-id", text.clone()),
            ("/api/agents", "referer", format!("https://a/?key={text}")),
            (&format!("/api/agents?access-token={text}"), "x-a", "b".to_owned()),
            (&format!("/api/agents?key={text}"), "upgrade", "websocket".to_owned()),
            (&format!("/api/agents/{text}"), "x-api-key", text.clone()),
            (&format!("/api/agents;{text}"), "x-api-key", text.clone()),
            (&format!("/api/agents%3Fkey={text}"), "x-api-key", text.clone()),
        ] {
            let question = question("GET", path, &[(name, &value)]);
            let answer = client.check(question).await.unwrap().into_inner();
            answers += &format!("{answer:?}");
            let nginx = replica.client.get(format!("http://{}/auth/nginx", replica.internal));
            let nginx = nginx.header("x-original-method", "GET").header("x-original-uri", path);
            let nginx = nginx.header("x-original-host", "a").header(name, &value);
            let answer = nginx.send().await.unwrap();
            answers += &format!("{:?}{}", answer.headers().clone(), answer.text().await.unwrap());
            let here = replica.client.get(replica.url("/session")).header(name, &value);
            answers += &here.send().await.unwrap().text().await.unwrap();
        }
    }
    let written = format!("{}{}{answers}", replica.running.log(), replica.metrics().await);
    assert!(written.contains("key_id") && written.contains(id_of(&good)), "its id is no secret");
    for text in [&good, &bad, &slip] {
        let secret = &text[16..];
        for form in [secret.to_owned(), basic("a", text), basic(text, ""), text[16..59].to_owned()]
        {
            assert!(!written.contains(&form), "{form}");
        }
        let hash = portcullis::api_key::KeyHash::of(&text[16..59]).to_hex();
        assert!(!written.contains(&hash), "{hash}");
    }
}
