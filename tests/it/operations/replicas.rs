//! Two replicas over one store: what one begins the other finishes, and what
//! one ends is ended at the other. Over 400 lines, since all of it is asked of the
//! same two.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use portcullis::{store::Store, token::TokenRef};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    grpc::question,
    redis::{Redis, cli},
    replica::{OPEN, PASSWORD, Replica, answer, hash, hash_of, users},
    support::{PATIENCE, output, portcullis, portcullis_of, root},
};

pub(crate) async fn pair(redis: &Redis) -> (Replica, Replica) {
    let toml = format!("{OPEN}{}", redis.toml);
    let (a, b) = (Replica::start(&toml), Replica::start(&toml));
    (a.ready().await, b.ready().await)
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// What a check says of a token: the status code of the answer.
pub(crate) async fn check(replica: &Replica, token: &str) -> i32 {
    let mut client =
        AuthorizationClient::connect(format!("http://{}", replica.check)).await.unwrap();
    let bearer = format!("Bearer {token}");
    let question = question("GET", "/api/agents", &[("authorization", &bearer)]);
    client.check(question).await.unwrap().into_inner().status.unwrap().code
}

async fn exactly_one_of_a_hundred(redis: Redis, rounds: usize) {
    let (a, b) = pair(&redis).await;
    let (a, b) = (Arc::new(a), Arc::new(b));
    for round in 0..rounds {
        let code = a.code("ann").await;
        let mut tries = JoinSet::new();
        for n in 0..100 {
            let (replica, code) = (Arc::clone(if n % 2 == 0 { &a } else { &b }), code.clone());
            tries.spawn(async move { replica.exchange(&code).await.0 });
        }
        let mut statuses = tries.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "round {round}: {statuses:?}");
        assert!(statuses[1..].iter().all(|status| *status == 401), "round {round}: {statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_exchanges_at_once_one_succeeds_on_redis() {
    exactly_one_of_a_hundred(Redis::single(), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_exchanges_at_once_one_succeeds_on_a_cluster() {
    exactly_one_of_a_hundred(Redis::cluster(), 200).await;
}

#[tokio::test]
async fn what_one_replica_begins_the_other_finishes_and_ends() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let code = a.code("ann").await;
    let (status, exchanged) = b.exchange(&code).await;
    assert_eq!(status, 200);
    assert_eq!(a.exchange(&code).await.0, 401);
    let token = exchanged["token"].as_str().unwrap();
    assert_eq!((check(&a, token).await, check(&b, token).await), (0, 0));

    assert_eq!(a.logout(token).await.0, 200);
    assert_eq!(check(&a, token).await, 16, "at once where it was said");
    let took =
        until("the logout at the other replica", async || check(&b, token).await == 16).await;
    assert!(took < Duration::from_secs(1), "{took:?}");

    // Lockouts are shared.
    let toml =
        format!("login.limits = {{ failures = 3, failures_per_address = 1000 }}\n{}", redis.toml);
    let (c, d) = (Replica::start(&toml).ready().await, Replica::start(&toml).ready().await);
    let wrong = async |replica: &Replica, name: &str| {
        let body = json!({ "username": name, "password": "wrong" });
        answer(replica.post("/v3/login", &body).send().await.unwrap()).await.0
    };
    assert_eq!(wrong(&c, "zoë").await, 401);
    assert_eq!(wrong(&d, "ZOË").await, 401);
    assert_eq!(wrong(&c, "Zoë").await, 401);
    assert_eq!(wrong(&d, "zoë").await, 429);

    // No key tells a code, a token or a name.
    let keys = cli(redis.port, &["KEYS", "*"]);
    assert!(!keys.contains(&code) && !keys.contains("ann") && !keys.contains("zo"), "{keys}");
}

#[tokio::test]
async fn a_store_over_tls_is_one_whose_certificate_is_trusted() {
    let (redis, certificate) = Redis::tls();
    let toml = format!("login.control_plane_url = \"https://cp.example.com\"\n{}", redis.toml);
    let mut trusting = portcullis();
    trusting.env("SSL_CERT_FILE", certificate);
    let replica = Replica::of(trusting, &toml).ready().await;
    let token = replica.token("ann").await;
    assert_eq!(replica.logout(&token).await.0, 200);

    let doubting = Replica::of(portcullis(), &toml);
    doubting.says("the store is away");
    assert_eq!(doubting.readyz().await.0, 503);
    for log in [replica.running.log(), doubting.running.log()] {
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[tokio::test]
async fn the_command_line_revokes_on_every_replica() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let revoke = |arguments: &[&str]| {
        let mut command = portcullis();
        command.args(["token", "revoke", "--config", a.config_file.to_str().unwrap()]);
        output(command.args(arguments), "")
    };
    let everywhere = async |token: &str| {
        let took = until("it is out", async || {
            check(&a, token).await == 16 && check(&b, token).await == 16
        })
        .await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    };
    let token = a.token("ann").await;
    assert_eq!(revoke(&[&token]).status.code(), Some(0));
    everywhere(&token).await;
    assert_eq!(revoke(&["junk"]).status.code(), Some(2));

    let token = a.token("ann").await;
    let (_, claims) = portcullis::token::peek(&token).unwrap();
    let until_ = claims["exp"].to_string();
    let done = revoke(&["--jti", claims["jti"].as_str().unwrap(), "--until", &until_]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    everywhere(&token).await;

    let (one, two) = (a.token("ann").await, b.token("ann").await);
    let other = a.token("zoë").await;
    let waiting = a.code("ann").await;
    assert_eq!(revoke(&["--user-id", "7"]).status.code(), Some(0));
    everywhere(&one).await;
    everywhere(&two).await;
    assert_eq!(check(&a, &other).await, 0);
    assert_eq!(b.exchange(&waiting).await.0, 401, "what was not exchanged yet is void, too");
    let fresh = b.token("ann").await;
    assert_eq!(
        (check(&a, &fresh).await, check(&b, &fresh).await),
        (0, 0),
        "right after the cut-off"
    );

    for usage in [&[][..], &["--jti", "x"], &["--until", "5"], &["x", "--user-id", "7"]] {
        assert_eq!(revoke(usage).status.code(), Some(2), "{usage:?}");
    }
    drop(redis);
    assert_eq!(revoke(&["--user-id", "7"]).status.code(), Some(1), "the store is away");
}

#[tokio::test]
async fn a_replica_that_was_cut_off_goes_on_and_catches_up() {
    let mut redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let (first, second) = (a.token("ann").await, a.token("ann").await);
    a.logout(&first).await;
    until("the first is out", async || check(&b, &first).await == 16).await;

    // Redis hangs: the list in memory is enforced, and readiness stays.
    redis.servers[0].freeze();
    until("it says so", async || {
        b.readyz().await == (200.try_into().unwrap(), "degraded: store\n".into())
    })
    .await;
    let age = b.metric("portcullis_revocations_age_seconds").await;
    assert_eq!((check(&b, &first).await, check(&b, &second).await), (16, 0));
    until("the age grows", async || {
        b.metric("portcullis_revocations_age_seconds").await > age + 0.3
    })
    .await;
    assert_eq!(b.logout(&second).await.0, 503, "what was not revoked is not said to be");
    redis.servers[0].signal("CONT");
    until("it recovers", async || b.readyz().await.1 == "ok\n").await;
    assert!(b.metric("portcullis_revocations_age_seconds").await < 1.0);

    // Its connections are killed while the other one revokes.
    cli(redis.port, &["CLIENT", "KILL", "TYPE", "normal"]);
    until("a logout", async || a.logout(&second).await.0 == 200).await;
    let took = until("the second is out", async || check(&b, &second).await == 16).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(b.metric("portcullis_revoked_tokens").await >= 2.0);

    // Gone for good: checks go on, sign-ins do not.
    drop(redis.servers.pop());
    let third = json!({ "username": "ann", "password": PASSWORD });
    let (status, body) = answer(a.post("/v3/login", &third).send().await.unwrap()).await;
    assert_eq!((status, &body["error"]["type"]), (503, &json!("unavailable_error")));
    assert_eq!(check(&a, &first).await, 16);
    redis.restart();
    until("sign-ins return", async || {
        a.post("/v3/login", &third).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_starts_without_the_store_lets_nobody_in_unless_it_may() {
    let mut redis = Redis::single();
    drop(redis.servers.pop());
    let toml = redis.toml.clone();
    let waiting = Replica::start(&toml);
    assert_eq!(waiting.readyz().await.0, 503);
    let token = crate::jwt::token(&crate::jwt::claims(
        portcullis::clock::Clock::now(&portcullis::clock::SystemClock).as_secs(),
    ));
    assert_eq!(check(&waiting, &token).await, 7, "not ready");
    let bold = Replica::start(&format!("{toml}require_at_start = false\n"));
    assert_eq!(bold.readyz().await.0, 200);
    assert_eq!(check(&bold, &token).await, 0);
    bold.says("require_at_start");
    redis.restart();
    until("it is ready", async || waiting.readyz().await.0 == 200).await;
    assert_eq!(check(&waiting, &token).await, 0);
}

#[tokio::test]
async fn a_hundred_thousand_revocations_are_loaded_within_two_seconds() {
    let redis = Redis::single();
    let a = Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await;
    let token = a.token("ann").await;
    let (_, claims) = portcullis::token::peek(&token).unwrap();
    let timeout = Duration::from_secs(5);
    let store =
        Store::redis(&redis.target, "portcullis:", timeout, 7 * 24 * Duration::from_secs(3600))
            .unwrap();
    let until_ = portcullis::clock::Timestamp::from_secs(claims["exp"].as_i64().unwrap());
    let store = Arc::new(store);
    for block in 0..1000 {
        let mut calls = JoinSet::new();
        for n in 0..100 {
            let store = Arc::clone(&store);
            let token = TokenRef::by_id(&format!("{block}-{n}"));
            calls.spawn(async move { store.revoke(token, until_).await.unwrap() });
        }
        calls.join_all().await;
    }
    store.revoke(TokenRef::by_id(claims["jti"].as_str().unwrap()), until_).await.unwrap();

    let release = root().join("target/release/portcullis");
    assert!(release.exists(), "no release build: run tests/run");
    let started = Instant::now();
    let fresh =
        Replica::of(portcullis_of(&release), &format!("{OPEN}{}", redis.toml)).ready().await;
    let took = started.elapsed();
    println!("100,001 revocations: ready after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(check(&fresh, &token).await, 16);
    assert!((fresh.metric("portcullis_revoked_tokens").await - 100_001.0).abs() < 0.5);
}

/// A users file reaches the replicas one after the other.
#[tokio::test]
async fn replicas_that_disagree_about_an_account_sign_it_in_nowhere_but_where_it_is_known() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let old = b.token("ann").await;
    let changed = users(&[("7", "ann", "ADMIN", false), ("8", "Zoë", "ADMIN", false)]);
    a.write_users(&changed);
    until("the change is known", async || check(&b, &old).await == 16).await;
    let body = json!({ "username": "ann", "password": PASSWORD });
    let status = async |replica: &Replica| {
        replica.post("/v3/login", &body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&b).await, 503, "it still has the old file");
    let fresh = a.token("ann").await;
    b.write_users(&changed);
    until("the other one has it, too", async || status(&b).await == 200).await;
    assert_eq!((check(&a, &fresh).await, check(&b, &fresh).await), (0, 0), "cut off once");

    // The same with a password, also one that is the same by another hash.
    let another = hash_of(PASSWORD);
    let again = changed.replacen(hash(), &another, 1);
    a.write_users(&again);
    until("the change is known", async || check(&b, &fresh).await == 16).await;
    assert_eq!((status(&b).await, status(&a).await), (503, 200));
    b.write_users(&again);
    until("the other one has it, too", async || status(&b).await == 200).await;
    let fresh = a.token("ann").await;

    // One that is gone when a replica starts was cut off by nobody yet.
    let zoe = a.token("zoë").await;
    drop((a, b));
    let toml = format!("{OPEN}{}", redis.toml);
    let hers = users(&[("7", "ann", "ADMIN", false)]);
    let hers = hers.replacen(hash(), &another, 1);
    let late = Replica::start_of(&toml, &hers).ready().await;
    until("the removed one is out", async || check(&late, &zoe).await == 16).await;
    assert_eq!(check(&late, &fresh).await, 0);

    // With the store away, a change counts at least where it is known.
    drop(redis);
    late.write_users(&users(&[("7", "ann", "ADMIN", true)]));
    until("the disabled one is out", async || check(&late, &fresh).await == 16).await;
}

/// Sign-ins that run on while something happens to Redis: each is answered by
/// a code that works, or by 503, in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_redis_loses_no_code_that_was_given_out() {
    let mut redis = Redis::single();
    let a = Arc::new(Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await);
    let b = Arc::new(Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await);
    // Not of who signs in so often that the first of a hundred sessions ends.
    let good = a.token("zoë").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut loops = JoinSet::new();
    for _ in 0..3 {
        let (a, b, stop) = (Arc::clone(&a), Arc::clone(&b), stop.clone());
        loops.spawn(async move {
            let (mut given, mut refused) = (0_u32, 0_u32);
            let body = json!({ "username": "ann", "password": PASSWORD });
            while !stop.is_cancelled() {
                let (status, answered) =
                    answer(a.post("/v3/login", &body).send().await.unwrap()).await;
                match status {
                    200 => {
                        given += 1;
                        // It works, as soon as the store does.
                        let code = answered["code"].as_str().unwrap();
                        let (started, mut interrupted) = (Instant::now(), false);
                        loop {
                            let (status, _) = b.exchange(code).await;
                            match status {
                                200 => break,
                                503 => interrupted = true,
                                // A try that the outage interrupted may have
                                // used it up; none other has.
                                401 if interrupted => break,
                                other => panic!("{other} for a code that was just given out"),
                            }
                            assert!(started.elapsed() < PATIENCE);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    503 => refused += 1,
                    other => panic!("{other}: {answered}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (given, refused)
        });
    }
    let refusals_are_quick = async || {
        // A call of the store takes at most its timeout, and a sign-in that
        // fails has made one: hashing is not begun.
        let body = json!({ "username": "zoë", "password": PASSWORD });
        let mut seen = 0;
        while seen < 5 {
            let started = Instant::now();
            let (status, _) = answer(a.post("/v3/login", &body).send().await.unwrap()).await;
            if status == 503 {
                seen += 1;
                assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            }
            assert_eq!(check(&a, &good).await, 0, "checks go on");
        }
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.servers[0].freeze();
    refusals_are_quick().await;
    redis.servers[0].signal("CONT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    cli(redis.port, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    refusals_are_quick().await;
    cli(redis.port, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(redis.servers.pop());
    refusals_are_quick().await;
    redis.restart();
    let body = json!({ "username": "ann", "password": PASSWORD });
    until("it recovers", async || a.post("/v3/login", &body).send().await.unwrap().status() == 200)
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let (given, refused) = loops
        .join_all()
        .await
        .into_iter()
        .fold((0, 0), |(g, r), (given, refused)| (g + given, r + refused));
    println!("given {given}, refused {refused}");
    assert!(given > 10 && refused > 3, "given {given}, refused {refused}");
}
