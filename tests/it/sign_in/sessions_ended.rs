//! A session that has ended stays so: whoever has its cookie, whatever was renewed
//! of it, and whichever store says so. And when somebody was there last.

use std::time::Duration;

use reqwest::Method;

use crate::{
    redis::Redis,
    replica::{OPEN, Replica, everybody},
    replicas::{check, pair, until},
    sessions::{names, renewed, request, sessions, sid},
    store::patiently,
};

const AT_MOST: Duration = Duration::from_secs(1);

async fn refused_by_both((a, b): (&Replica, &Replica), what: &str, tokens: &[&str]) -> Duration {
    until(what, async || {
        for token in tokens {
            if check(a, token).await == 0 || check(b, token).await == 0 {
                return false;
            }
        }
        true
    })
    .await
}

#[tokio::test]
async fn a_session_ends_with_the_role_that_it_began_with() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let token = a.token("ann").await;
    let new = renewed(&b, &token).await;
    let other = b.token("Zoë").await;
    // Both know the accounts as they are before one of them changes.
    until("the accounts to be noted", async || {
        let keys = crate::redis::cli(redis.port, &["HLEN", "portcullis:{revocations}:accounts"]);
        keys == "4"
    })
    .await;
    a.write_users(&everybody().replacen("REGULAR", "ADMIN", 1));
    a.says("\"event\":\"cut_off\"");
    let took = refused_by_both((&a, &b), "the change of role", &[&token, &new]).await;
    assert!(took < AT_MOST, "{took:?}");
    for token in [&token, &new] {
        let renew = request(&b, Method::POST, "/session/renew").bearer_auth(token);
        assert_eq!(renew.send().await.unwrap().status(), 401);
    }
    assert_eq!((check(&a, &other).await, check(&b, &other).await), (0, 0));
    // What began before is not shown to who signs in anew.
    let next = a.token("ann").await;
    assert_eq!(names(&sessions(&a, &next).await), [sid(&next)]);
}

#[tokio::test]
async fn a_session_that_has_ended_stays_so_through_a_failover() {
    let mut redis = Redis::sentinel();
    let (a, b) = pair(&redis).await;
    let token = a.token("ann").await;
    let new = renewed(&b, &token).await;
    assert_eq!(a.logout(&token).await.0, 200);
    let took = refused_by_both((&a, &b), "the sign-out", &[&token, &new]).await;
    assert!(took < AT_MOST, "{took:?}");
    let other = b.token("ann").await;

    // The master goes, and another one is named.
    drop(redis.servers.remove(0));
    let tokens = [&*token, &*new];
    until("the store to answer again", async || {
        for token in tokens {
            assert_ne!((check(&a, token).await, check(&b, token).await), (0, 0));
        }
        let all = request(&a, Method::GET, "/session/all").bearer_auth(&other).send();
        all.await.unwrap().status() == 200
    })
    .await;
    for replica in [&a, &b] {
        for token in tokens {
            assert_eq!(check(replica, token).await, 16);
        }
    }
    // Who starts now knows it, too, and what ends now does so everywhere.
    let c = Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await;
    for token in tokens {
        assert_eq!(check(&c, token).await, 16);
    }
    assert_eq!(check(&c, &other).await, 0);
    patiently(async || {
        let status = c.logout(&other).await.0;
        if status == 503 { Err(portcullis::store::StoreError::TimedOut) } else { Ok(status) }
    })
    .await;
    let took = refused_by_both((&a, &b), "the sign-out after the failover", &[&other]).await;
    assert!(took < AT_MOST, "{took:?}");
}

#[tokio::test]
async fn it_is_noted_when_a_session_was_renewed_last() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let token = a.token("ann").await;
    renewed(&b, &token).await;
    until("the note", async || {
        let all = sessions(&a, &token).await;
        all[0]["seen"].as_i64().unwrap() > all[0]["begun"].as_i64().unwrap()
    })
    .await;
    // One that has ended is not brought back by a note.
    renewed(&b, &token).await;
    assert_eq!(b.logout(&token).await.0, 200);
    let next = a.token("ann").await;
    until("another note", async || {
        renewed(&b, &next).await;
        let all = sessions(&a, &next).await;
        assert_eq!(names(&all), [sid(&next)]);
        all[0]["seen"].as_i64().unwrap() > all[0]["begun"].as_i64().unwrap()
    })
    .await;
}
