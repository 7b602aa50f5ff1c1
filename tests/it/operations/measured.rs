//! What takes time is measured, on the release build.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::phc::PasswordHash,
};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    grpc::question,
    replica::{OPEN, PASSWORD, Replica, answer, everybody},
    replicas::until,
    support::{output, portcullis_of, root},
};

/// The release build: what is measured is what is run.
fn release(toml: &str) -> Replica {
    release_of(toml, &everybody())
}

/// The same with other users.
fn release_of(toml: &str, users: &str) -> Replica {
    let release = root().join("target/release/portcullis");
    assert!(release.exists(), "no release build: run tests/run");
    let toml = format!("login.control_plane_url = \"https://cp.example.com\"\n{OPEN}{toml}");
    Replica::with_users(portcullis_of(&release), &toml, users)
}

/// Whether times are held that a slow machine, or a busy one, does not keep: by
/// `tests/run --times`. What is the same on every machine always is.
#[expect(clippy::disallowed_methods, reason = "it is said to the tests, and not to the service")]
pub(crate) fn times_are_held() -> bool {
    std::env::var_os("PORTCULLIS_TEST_TIMES").is_some()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn a_wrong_name_takes_as_long_as_a_wrong_password() {
    let replica = release("").ready().await;
    let time = async |name: &str| {
        let body = json!({ "username": name, "password": "wrong" });
        let started = Instant::now();
        let (status, _) = answer(replica.post("/v3/login", &body).send().await.unwrap()).await;
        assert_eq!(status, 401);
        started.elapsed()
    };
    // The two kinds take turns, so that what else the machine does is shared;
    // a machine that was busy gets further tries.
    for attempt in 1.. {
        let (mut names, mut passwords) = (Vec::new(), Vec::new());
        for n in 0..200 {
            names.push(time(&format!("nobody-{n}")).await);
            passwords.push(time("ann").await);
        }
        let (name, password) = (median(names), median(passwords));
        println!("wrong name {name:?}, wrong password {password:?}");
        let apart = name.abs_diff(password);
        if apart < name.min(password) / 10 {
            break;
        }
        assert!(attempt < 3, "{name:?} and {password:?}");
    }
}

/// A user whose password's hash takes so much.
fn user(name: &str, kib: u32, passes: u32, disabled: bool) -> String {
    let params = Params::new(kib, passes, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2.hash_password(PASSWORD.as_bytes()).unwrap();
    format!(
        "[[users]]\nid = \"{name}\"\nname = \"{name}\"\nrole = \"ADMIN\"\n\
         password_hash = \"{hash}\"\ndisabled = {disabled}\n"
    )
}

/// The time that all threads of a replica have run: what else the machine does
/// is not in it.
fn ran(replica: &Replica) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", replica.running.child.id())).unwrap();
    // One that has ended meanwhile has none.
    let nanos = |task: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| nanos(task.unwrap())).sum())
}

/// All that a sign-in can be: the names of [`user`]s and one that nobody has,
/// each with a wrong password, and where there is one with the right one.
const SIGN_INS: [(&str, &str, u16); 9] = [
    ("cheap", "wrong", 401),
    ("middling", "wrong", 401),
    ("costly", "wrong", 401),
    ("disabled", "wrong", 401),
    ("nobody", "wrong", 401),
    ("cheap", PASSWORD, 200),
    ("middling", PASSWORD, 200),
    ("costly", PASSWORD, 200),
    ("disabled", PASSWORD, 403),
];

/// Waits until the least that each of them takes is nearly the same for all,
/// and tells it. What else the machine does only adds, now to some, now to others.
async fn takes_the_same(replica: &Replica) -> Duration {
    let mut times = [const { Vec::new() }; SIGN_INS.len()];
    for round in 1.. {
        for ((name, password, expected), times) in SIGN_INS.iter().zip(&mut times) {
            let body = json!({ "username": name, "password": password });
            let before = ran(replica);
            let (status, _) = answer(replica.post("/v3/login", &body).send().await.unwrap()).await;
            times.push(ran(replica).saturating_sub(before));
            assert_eq!(status, *expected, "{name} {password}");
        }
        let least = times.each_ref().map(|times| *times.iter().min().unwrap());
        let (quickest, slowest) = (*least.iter().min().unwrap(), *least.iter().max().unwrap());
        if round >= 7 && slowest.abs_diff(quickest) < quickest / 20 {
            println!("{round} rounds, least {least:?}, medians {:?}", times.map(median));
            return quickest;
        }
        assert!(round < 240, "{least:?}");
    }
    unreachable!()
}

#[tokio::test]
async fn no_name_is_told_by_the_time_of_its_hash_also_after_a_reload() {
    let cheap = [
        user("cheap", 19 * 1024, 2, false),
        user("middling", 19 * 1024, 3, false),
        user("disabled", 19 * 1024, 2, true),
    ]
    .concat();
    let with = |kib| format!("{cheap}{}", user("costly", kib, 2, false));
    let replica = release_of("", &with(32 * 1024)).ready().await;
    let before = takes_the_same(&replica).await;
    replica.write_users(&with(64 * 1024));
    replica.says("the configuration was reloaded");
    // Until the new hash is noted, nobody is signed in by it.
    let body = json!({ "username": "costly", "password": PASSWORD });
    until("a sign-in by the new hash", async || {
        let asked = replica.post("/v3/login", &body).send().await.unwrap();
        asked.status().as_u16() == 200
    })
    .await;
    let after = takes_the_same(&replica).await;
    assert!(
        after > before + before / 4,
        "all take the time of a costlier one: {before:?}, {after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sign_ins_at_once_leave_checks_their_time() {
    let replica = Arc::new(release("").ready().await);
    let token = replica.token("ann").await;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut sign_ins = JoinSet::new();
        for _ in 0..200 {
            let replica = Arc::clone(&replica);
            sign_ins.spawn(async move {
                let body = json!({ "username": "ann", "password": PASSWORD });
                replica.post("/v3/login", &body).send().await.unwrap().status().as_u16()
            });
        }
        let mut client =
            AuthorizationClient::connect(format!("http://{}", replica.check)).await.unwrap();
        let bearer = format!("Bearer {token}");
        let mut times = Vec::new();
        let mut statuses = Vec::new();
        while !sign_ins.is_empty() {
            let started = Instant::now();
            let question = question("GET", "/api/agents", &[("authorization", &bearer)]);
            let response = client.check(question).await.unwrap().into_inner();
            times.push(started.elapsed());
            assert_eq!(response.status.unwrap().code, 0);
            while let Some(status) = sign_ins.try_join_next() {
                statuses.push(status.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        times.sort_unstable();
        let p99 = times[times.len() * 99 / 100];
        println!("{} checks beside 200 sign-ins: p99 {p99:?}", times.len());
        best = best.min(p99);
    }
    assert!(best < Duration::from_millis(20), "{best:?}");
}

#[test]
fn a_flood_of_unknown_kids_has_the_keys_fetched_once_a_minute_and_delays_no_good_token() {
    tokens(&["flood", "3"]);
}

/// What `tokens` of the release build prints, once it has held.
pub(crate) fn tokens(arguments: &[&str]) -> String {
    let tokens = root().join("target/release/tokens");
    assert!(tokens.exists(), "no release build: run tests/run");
    let done = output(Command::new(tokens).args(arguments), "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&done.stdout);
    println!("{said}");
    assert!(done.status.success(), "{}", text(&done.stderr));
    said
}
