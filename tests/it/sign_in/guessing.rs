//! The limits on guessing one name from many addresses.

use reqwest::header::RETRY_AFTER;
use serde_json::Value;

use crate::{
    redis::{Redis, cli},
    replica::{PASSWORD, Replica, answer, body},
};

/// The last proxy in front tells whose address it is.
const PROXIED: &str = "http.trusted_proxies = [\"127.0.0.0/8\"]\n";
const LIMITS: &str = "login.limits = { failures = 3, failures_per_name = 6, \
                      failures_per_address = 1000 }\n";

/// A try from an address: the status and the body of the answer.
async fn attempt(replica: &Replica, from: &str, name: &str, password: &str) -> (u16, Value) {
    let request = replica.post("/v3/login", &body(name, password));
    let response = request.header("x-forwarded-for", from).send().await.unwrap();
    let waits = response.headers().contains_key(RETRY_AFTER);
    let (status, body) = answer(response).await;
    assert_eq!(waits, status == 429);
    (status, body)
}

async fn status(replica: &Replica, from: &str, name: &str, password: &str) -> u16 {
    attempt(replica, from, name, password).await.0
}

/// Guesses at a name, twice from each address, until nobody may go on.
async fn lock(replicas: [&Replica; 2], name: &str) {
    for n in 0..3 {
        for replica in replicas {
            let from = format!("198.51.100.{n}");
            assert_eq!(status(replica, &from, name, "wrong").await, 401, "{name} from {from}");
        }
    }
}

async fn a_locked_name_is_open_to_whom_it_knows(a: &Replica, b: &Replica) {
    let (home, mobile) = ("192.0.2.1", "2001:db8:1:1::5");
    assert_eq!(status(a, home, "ann", PASSWORD).await, 200);
    assert_eq!(status(b, mobile, "ann", PASSWORD).await, 200);
    // Who may not sign in is known nowhere.
    assert_eq!(status(a, home, "dis", PASSWORD).await, 403);
    for name in ["ann", "dis", "nobody"] {
        lock([a, b], name).await;
    }

    // A new address is refused, by one answer for all: a name that there is, one
    // that there is not, the right password and a wrong one.
    let answers = [
        attempt(b, "203.0.113.1", "ann", "wrong").await,
        attempt(a, "203.0.113.2", "ANN", PASSWORD).await,
        attempt(b, "203.0.113.3", "nobody", "wrong").await,
        attempt(a, home, "nobody", PASSWORD).await,
        attempt(b, home, "dis", PASSWORD).await,
    ];
    assert_eq!(answers[0].0, 429);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(status(a, "203.0.113.1", "zoë", PASSWORD).await, 200, "another name");

    // Whose address it knows goes on, on any replica, as often as it pleases;
    // that opens the name to nobody else.
    for _ in 0..5 {
        assert_eq!(status(b, home, "ann", PASSWORD).await, 200);
        assert_eq!(status(a, "2001:db8:1:1:9::", "Ann", PASSWORD).await, 200, "its /64");
    }
    assert_eq!(status(a, "203.0.113.4", "ann", PASSWORD).await, 429);
    assert_eq!(status(a, "2001:db8:1:2::5", "ann", PASSWORD).await, 429, "another /64");
    assert_eq!(status(a, mobile, "nobody", PASSWORD).await, 429);

    // There a wrong one is wrong, and they are counted as ever.
    for replica in [a, b, a] {
        assert_eq!(status(replica, home, "ann", "wrong").await, 401);
    }
    assert_eq!(status(b, home, "ann", PASSWORD).await, 429);
}

#[tokio::test]
async fn a_name_that_many_addresses_guess_at_is_open_to_those_that_it_knows() {
    let toml = format!("{PROXIED}{LIMITS}");
    let replica = Replica::start(&toml).ready().await;
    a_locked_name_is_open_to_whom_it_knows(&replica, &replica).await;
}

#[tokio::test]
async fn replicas_know_together_which_addresses_a_name_knows() {
    let redis = Redis::single();
    let toml = format!("{PROXIED}{LIMITS}{}", redis.toml);
    let (a, b) = (Replica::start(&toml).ready().await, Replica::start(&toml).ready().await);
    a_locked_name_is_open_to_whom_it_knows(&a, &b).await;
    // Nothing that is kept tells a name or an address.
    let keys = cli(redis.port, &["KEYS", "*"]);
    let known: Vec<&str> = keys.lines().filter(|key| key.contains(":known:")).collect();
    assert_eq!(known.len(), 2, "ann and zoë: {keys}");
    for key in &known {
        let kept = cli(redis.port, &["ZRANGE", key, "0", "-1"]);
        assert!(kept.lines().all(|line| line.strip_prefix("known-at:").unwrap().len() == 64));
        let left: i64 = cli(redis.port, &["TTL", key]).parse().unwrap();
        let days = 90 * 24 * 3600;
        assert!((days - 600..=days).contains(&left), "{left}");
    }
    for told in ["ann", "192.0.2", "2001:db8", "198.51"] {
        assert!(!keys.contains(told), "{keys}");
    }
}

#[tokio::test]
async fn one_address_cannot_lock_a_name_for_the_others() {
    let replica = Replica::start(&format!("{PROXIED}{LIMITS}")).ready().await;
    for n in 0..20 {
        let expected = if n < 3 { 401 } else { 429 };
        assert_eq!(status(&replica, "198.51.100.1", "ann", "wrong").await, expected);
    }
    assert_eq!(status(&replica, "203.0.113.1", "ann", PASSWORD).await, 200);
}

#[tokio::test]
async fn by_default_a_hundred_guesses_at_a_name_are_the_end() {
    let replica = Replica::start(PROXIED).ready().await;
    for n in 0..100 {
        assert_eq!(status(&replica, &format!("198.51.100.{n}"), "ann", "wrong").await, 401, "{n}");
    }
    assert_eq!(status(&replica, "203.0.113.1", "ann", PASSWORD).await, 429);
    replica.says("locked_out");
}
