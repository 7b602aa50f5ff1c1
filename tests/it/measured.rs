//! What takes time is measured, on the release build.

use std::{
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
    support::{portcullis_of, root},
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

/// The medians of what all that a sign-in can be takes; they take turns.
async fn medians(replica: &Replica, rounds: usize) -> Vec<(String, Duration)> {
    let wrong = ["cheap", "middling", "costly", "disabled", "nobody"];
    let right = ["cheap", "middling", "costly", "disabled"];
    let asked: Vec<(&str, &str)> = wrong
        .iter()
        .map(|name| (*name, "wrong"))
        .chain(right.iter().map(|name| (*name, PASSWORD)))
        .collect();
    let mut times = vec![Vec::new(); asked.len()];
    for _ in 0..rounds {
        for ((name, password), times) in asked.iter().zip(&mut times) {
            let body = json!({ "username": name, "password": password });
            let before = ran(replica);
            let (status, _) = answer(replica.post("/v3/login", &body).send().await.unwrap()).await;
            times.push(ran(replica).saturating_sub(before));
            let expected = match (*name, *password) {
                (_, "wrong") => 401,
                ("disabled", _) => 403,
                _ => 200,
            };
            assert_eq!(status, expected, "{name} {password}");
        }
    }
    let told = asked.iter().map(|(name, password)| format!("{name}/{password}"));
    told.zip(times.into_iter().map(median)).collect()
}

#[tokio::test]
async fn no_name_is_told_by_the_time_of_its_hash_also_after_a_reload() {
    let cheap = [
        user("cheap", 19 * 1024, 2, false),
        user("middling", 19 * 1024, 3, false),
        user("disabled", 19 * 1024, 2, true),
    ]
    .concat();
    let replica = release_of("", &format!("{cheap}{}", user("costly", 32 * 1024, 2, false)));
    let replica = replica.ready().await;
    let mut before = Duration::ZERO;
    for costly in [32, 64] {
        if costly == 64 {
            replica.write_users(&format!("{cheap}{}", user("costly", 64 * 1024, 2, false)));
            replica.says("the configuration was reloaded");
        }
        for attempt in 1.. {
            let medians = medians(&replica, 9).await;
            println!("{costly} MiB: {medians:?}");
            let (quickest, slowest) = (
                medians.iter().map(|(_, time)| *time).min().unwrap(),
                medians.iter().map(|(_, time)| *time).max().unwrap(),
            );
            if slowest - quickest < quickest / 10 {
                assert!(quickest > before, "all take the time of the costlier one");
                before = slowest;
                break;
            }
            assert!(attempt < 4, "{medians:?}");
        }
    }
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
