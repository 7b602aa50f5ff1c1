//! How long a revocation is kept in Redis, and for whom.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock as _, SystemClock, Timestamp},
    store::{Cursor, Store},
    token::{MAX_LEEWAY, Revocation, TokenRef},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    jwt,
    redis::{Redis, cli},
    replica::{OPEN, Replica},
    replicas::{check, pair, until},
    store::{behind, patiently},
    support::{PATIENCE, output, portcullis},
};

const STREAM: &str = "test:{revocations}:stream";
const DAY: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(5);

fn of(redis: &Redis) -> Store {
    Store::redis(&redis.target, "test:", TIMEOUT, 7 * DAY).unwrap()
}

fn number(redis: &Redis, arguments: &[&str]) -> u64 {
    let told = cli(redis.port, arguments);
    told.parse().unwrap_or_else(|_| panic!("{arguments:?}: {told}"))
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_secs(now.as_secs() - i64::try_from(span.as_secs()).unwrap())
}

async fn now(store: &Store) -> Timestamp {
    patiently(async || store.standing("7").await).await.now
}

/// Revokes until the readers are told of something.
async fn until_told(store: &Store, told: impl Fn(&[Revocation]) -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !told(&behind(store, Cursor::default()).await) {
        assert!(std::time::Instant::now() < deadline, "it is not told of");
        store.revoke(TokenRef::by_id("any"), Timestamp::from_secs(0)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_stream_holds_what_counts_and_little_else_also_where_that_is_scattered() {
    let redis = Redis::single();
    let store = Arc::new(of(&redis));
    let now = now(&store).await;
    let lasting = |n: usize| n.is_multiple_of(50);
    let mut calls = JoinSet::new();
    for n in 0..20_000 {
        let store = Arc::clone(&store);
        // The rest counts for a second yet.
        let until = if lasting(n) { now.plus(DAY) } else { before(now, MAX_LEEWAY) };
        calls.spawn(async move {
            store.revoke(TokenRef::by_id(&n.to_string()), until.plus(Duration::from_secs(1))).await
        });
        if n % 100 == 99 {
            while let Some(done) = calls.join_next().await {
                done.unwrap().unwrap();
            }
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for n in 0..400 {
        store
            .revoke(TokenRef::by_id(&format!("later {n}")), Timestamp::from_secs(0))
            .await
            .unwrap();
    }
    let told = behind(&store, Cursor::default()).await;
    for n in (0..20_000).filter(|n| lasting(*n)) {
        let token = TokenRef::by_id(&n.to_string());
        assert!(told.contains(&Revocation::Token(token, now.plus(DAY + Duration::from_secs(1)))));
    }
    let count = number(&redis, &["XLEN", STREAM]);
    assert!((400..500).contains(&count), "{count}");
    assert_eq!(number(&redis, &["ZCARD", "test:{revocations}:ends"]), count);
    // Each by itself would take a node of 4 KiB, and 1.6 MB all together.
    let bytes = number(&redis, &["MEMORY", "USAGE", STREAM, "SAMPLES", "0"]);
    println!("{count} scattered entries: {bytes} bytes");
    assert!(bytes < 400_000, "{bytes}");
}

#[tokio::test]
async fn what_a_former_version_has_written_is_read_and_kept_for_as_long_as_it_says() {
    let redis = Redis::single();
    let store = of(&redis);
    let now = now(&store).await;
    let add = |id: &str, fields: &[&str]| {
        cli(redis.port, &[&["XADD", STREAM, id], fields].concat());
    };
    let hex = |n: usize| format!("{n:064x}");
    let far = now.plus(400 * DAY);
    add("1000-1", &["t", &hex(1), "u", &far.as_secs().to_string()]);
    let cut_off = before(now, 3 * DAY).as_secs().to_string();
    add("1000-2", &["c", "7", "a", &cut_off]);
    let (long_ago, ended) = (before(now, 9 * DAY), before(now, 2 * MAX_LEEWAY));
    add("1000-3", &["c", "8", "a", &long_ago.as_secs().to_string()]);
    for n in 100..600 {
        add("*", &["t", &hex(n), "u", &ended.as_secs().to_string()]);
    }
    // What a later one has written is not touched, nor what nobody can read.
    add("*", &["z", "later"]);
    add("*", &["t", "junk", "u", "junk"]);

    let expected = [
        Revocation::Token(TokenRef::from_hex(&hex(1)).unwrap(), far),
        Revocation::User("7".into(), before(now, 3 * DAY)),
    ];
    assert_eq!(behind(&store, Cursor::default()).await[..2], expected);
    for _ in 0..20 {
        store.revoke(TokenRef::by_id("any"), Timestamp::from_secs(0)).await.unwrap();
    }
    let mut told = behind(&store, Cursor::default()).await;
    told.retain(|revocation| !expected.contains(revocation));
    // What is left of the cut-off that nobody needs any more.
    assert_eq!(told, [Revocation::Everybody(long_ago)]);
    assert_eq!(number(&redis, &["XLEN", STREAM]), 5);

    // One that is still at work trims the stream; whatever it appends counts.
    cli(redis.port, &["XTRIM", STREAM, "MINID", "2000"]);
    add("*", &["t", &hex(2), "u", &far.as_secs().to_string()]);
    for _ in 0..20 {
        store.revoke(TokenRef::by_id("any"), Timestamp::from_secs(0)).await.unwrap();
    }
    let token = Revocation::Token(TokenRef::from_hex(&hex(2)).unwrap(), far);
    assert!(behind(&store, Cursor::default()).await.contains(&token));
}

#[tokio::test]
async fn a_cut_off_is_kept_for_as_long_as_the_longest_of_what_was_configured_meanwhile() {
    let redis = Redis::single();
    let store = of(&redis);
    let second = Duration::from_secs(1);
    // Raised while it is there.
    patiently(async || store.standing("7").await).await;
    store.keep_cut_offs(second);
    let at = store.cut_off("raised").await.unwrap();
    store.keep_cut_offs(DAY);
    tokio::time::sleep(2 * second).await;
    store.revoke(TokenRef::by_id("any"), Timestamp::from_secs(0)).await.unwrap();
    let raised = [Revocation::User("raised".into(), at)];
    assert_eq!(behind(&store, Cursor::default()).await, raised);
    // Lowered.
    store.keep_cut_offs(Duration::ZERO);
    store.revoke(TokenRef::by_id("any"), Timestamp::from_secs(0)).await.unwrap();
    assert_eq!(behind(&store, Cursor::default()).await, raised);

    // Gone when it is raised: of all of them one line is left, for everybody.
    store.keep_cut_offs(second);
    let mut last = at;
    for user in ["one", "two", "three"] {
        last = store.cut_off(user).await.unwrap();
        let line = Revocation::Everybody(last);
        until_told(&store, |told| told.contains(&line)).await;
    }
    store.keep_cut_offs(DAY);
    let told = behind(&store, Cursor::default()).await;
    let [raised] = raised;
    assert_eq!(told, [raised, Revocation::Everybody(last)]);
}

/// A token of now, with these changes to its claims.
fn token(changes: &Value) -> String {
    jwt::token(&jwt::with(SystemClock.now().as_secs(), changes))
}

#[tokio::test]
async fn a_replica_that_starts_later_knows_of_all_that_it_would_accept() {
    let redis = Redis::single();
    // A replica that lets no token live for long, and forgets accordingly.
    let hasty = Store::redis(&redis.target, "portcullis:", TIMEOUT, Duration::from_millis(1));
    let hasty = hasty.unwrap();
    let in_a_month = SystemClock.now().plus(30 * DAY).as_secs();
    let month = json!({ "iat": null, "jti": "month", "exp": in_a_month });
    let (long, endless) = (token(&json!({ "jti": "long" })), token(&month));
    let of_a_user = token(&json!({ "jti": null, "userId": "8" }));
    let hour = SystemClock.now().plus(Duration::from_secs(3600));
    patiently(async || hasty.revoke(TokenRef::by_id("long"), hour).await).await;
    let end = Timestamp::from_secs(in_a_month);
    hasty.revoke(TokenRef::by_id("month"), end).await.unwrap();
    let at = hasty.cut_off("8").await.unwrap();
    for n in 0..400 {
        hasty.revoke(TokenRef::by_id(&n.to_string()), hour).await.unwrap();
    }
    until("the store has no cut-off any more", async || {
        hasty.revoke(TokenRef::by_id("another"), hour).await.unwrap();
        hasty.standing("8").await.unwrap().now > at
            && !behind(&hasty, Cursor::default()).await.contains(&Revocation::User("8".into(), at))
    })
    .await;

    // One that accepts them for longer.
    let toml =
        format!("{OPEN}tokens.max_lifetime = \"60d\"\ntokens.leeway = \"1h\"\n{}", redis.toml);
    let late = Replica::start(&toml).ready().await;
    for (token, what) in [
        (&long, "in its hour"),
        (&endless, "without iat, for a month"),
        (&of_a_user, "of a user who was cut off"),
    ] {
        assert_eq!(check(&late, token).await, 16, "{what}");
    }
    until("tokens of after the cut-off", async || {
        check(&late, &token(&json!({ "jti": "after" }))).await == 0
    })
    .await;
    let endless = token(&json!({ "iat": null, "jti": "other", "exp": in_a_month }));
    assert_eq!(check(&late, &endless).await, 0, "one that nobody revoked");
}

#[tokio::test]
async fn what_is_revoked_after_an_outage_is_known_whatever_the_clock_of_redis_says() {
    let mut redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let (first, second) = (a.token("ann").await, token(&json!({ "jti": "second" })));
    assert_eq!(a.logout(&first).await.0, 200);
    until("the first is out", async || check(&b, &first).await == 16).await;
    // Another master takes over: it lacks what came last, and its clock is behind.
    redis.stop();
    until("it is missed", async || b.readyz().await.1 == "degraded: store\n").await;
    redis.restart();
    let hex: String =
        TokenRef::by_id("second").as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let end = SystemClock.now().plus(DAY).as_secs().to_string();
    let stream = "portcullis:{revocations}:stream";
    cli(redis.port, &["XADD", stream, "1000-1", "t", &hex, "u", &end]);
    until("the second is out", async || check(&b, &second).await == 16).await;
    assert_eq!(check(&b, &first).await, 16, "and the first stays so");
}

#[tokio::test]
async fn what_is_revoked_at_another_master_is_known_though_nobody_saw_an_error() {
    let redis = Redis::with_another_history();
    let (a, b) = pair(&redis).await;
    let (first, second) = (a.token("ann").await, token(&json!({ "jti": "second" })));
    assert_eq!(a.logout(&first).await.0, 200);
    until("the first is out", async || check(&b, &first).await == 16).await;
    assert_eq!(check(&b, &second).await, 0);
    // As by a failover that an operator forces: the connections stay, what came last is
    // missing, and the clock is behind.
    let hex: String =
        TokenRef::by_id("second").as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let end = SystemClock.now().plus(DAY).as_secs().to_string();
    let stream = "portcullis:{revocations}:stream";
    cli(redis.port, &["DEL", stream]);
    cli(redis.port, &["XADD", stream, "1000-1", "t", &hex, "u", &end]);
    assert_eq!(cli(redis.port, &["DEBUG", "CHANGE-REPL-ID"]), "OK");
    until("the second is out", async || check(&b, &second).await == 16).await;
    assert_eq!(check(&b, &first).await, 16, "and the first stays so");
    assert!(!b.running.log().contains("the store is away"), "{}", b.running.log());
}

#[tokio::test]
async fn a_token_that_is_in_its_leeway_can_be_revoked_from_the_command_line() {
    let redis = Redis::single();
    let replica = Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await;
    let now = SystemClock.now().as_secs();
    let revoke = |token: &str| {
        let mut command = portcullis();
        command.args(["token", "revoke", "--config", replica.config_file.to_str().unwrap(), token]);
        output(&mut command, "").status.code()
    };
    let ending = token(&json!({ "jti": "ending", "iat": now - 60, "exp": now - 1 }));
    assert_eq!(check(&replica, &ending).await, 0, "within 30 seconds");
    assert_eq!(revoke(&ending), Some(0));
    until("it is out", async || check(&replica, &ending).await == 16).await;
    let hours = json!({ "jti": "gone", "iat": now - 9000, "exp": now - 7200 });
    assert_eq!(revoke(&token(&hours)), Some(2), "there is nothing to do");
}
