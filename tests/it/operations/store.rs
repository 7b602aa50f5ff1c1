//! One suite over every store.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    clock::{Clock, SystemClock, Timestamp},
    store::{AccountState, Cursor, Key, Limit, Store, StoreError},
    token::{Revocation, TokenRef},
};

use crate::{
    redis::{Redis, cli},
    support::PATIENCE,
};

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const TIMEOUT: Duration = Duration::from_millis(250);

fn of(redis: &Redis) -> Store {
    Store::redis(&redis.target, "test:", TIMEOUT, WEEK).unwrap()
}

/// A busy machine may need a moment for the first connection.
pub(crate) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All revocations behind a cursor.
pub(crate) async fn behind(store: &Store, mut cursor: Cursor) -> Vec<Revocation> {
    let mut all = Vec::new();
    loop {
        let (page, next) = store.revocations(&cursor).await.unwrap();
        if next == cursor {
            return all;
        }
        all.extend(page);
        cursor = next;
    }
}

/// Each revocation is there for as long as it says, for a reader that starts
/// and for one that was away, however many come and go beside it.
async fn keeps_what_counts(store: &Store) {
    let away = store.revocations(&Cursor::default()).await.unwrap().1;
    let now = store.standing("7").await.unwrap().now;
    store.keep_cut_offs(WEEK);
    let cut_off = Revocation::User("lasting".into(), store.cut_off("lasting").await.unwrap());
    // No token would live longer than a moment, by what is configured.
    store.keep_cut_offs(Duration::ZERO);
    let lasting = TokenRef::by_id("lasting");
    let lasting = Revocation::Token(lasting, now.plus(400 * 24 * 60 * MINUTE));
    let ending = Revocation::Token(TokenRef::by_id("ending"), now);
    for revocation in [&lasting, &ending] {
        let Revocation::Token(token, until) = revocation else { unreachable!() };
        store.revoke(*token, *until).await.unwrap();
    }
    for n in 0..400 {
        let ended = Timestamp::from_secs(now.as_secs() - 24 * 3600);
        store.revoke(TokenRef::by_id(&format!("ended-{n}")), ended).await.unwrap();
    }
    // The clock of Redis goes by seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    store.revoke(TokenRef::by_id("another"), now).await.unwrap();
    for reader in [Cursor::default(), away] {
        let told = behind(store, reader).await;
        // Accepted for as long as any leeway can be.
        for revocation in [&cut_off, &lasting, &ending] {
            assert!(told.contains(revocation), "{revocation:?} is not in {told:?}");
        }
    }
}

async fn keeps_its_contract(store: Store) {
    let store = Arc::new(store);
    patiently(async || store.concerns().await).await;

    // A value is taken once, whoever asks beside.
    for round in 0..20 {
        let key = Key::new("code", &round.to_string());
        store.put(&key, &format!("value {round}"), MINUTE).await.unwrap();
        let takers: Vec<_> = (0..50)
            .map(|_| {
                let (store, key) = (Arc::clone(&store), key.clone());
                tokio::spawn(async move { store.take::<String>(&key).await.unwrap() })
            })
            .collect();
        let mut taken = Vec::new();
        for taker in takers {
            taken.extend(taker.await.unwrap());
        }
        assert_eq!(taken, [format!("value {round}")]);
    }
    assert_eq!(store.take::<String>(&Key::new("code", "none")).await.unwrap(), None);

    // It lives no longer than it should, and is not overwritten in Redis.
    let brief = Key::new("code", "brief");
    store.put(&brief, &1, Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.take::<i32>(&brief).await.unwrap(), None);

    // Tries are counted, locked out, given back and forgotten.
    let tries = Key::new("tries", "ann");
    let limit = Limit { tries: 3, window: MINUTE, lockout: 5 * MINUTE };
    for count in 1..=3 {
        let hits = store.hit(&tries, limit).await.unwrap();
        assert_eq!(hits.count, count);
        assert!(hits.resets_in <= MINUTE && hits.resets_in > MINUTE / 2, "{hits:?}");
    }
    let locked = store.hit(&tries, limit).await.unwrap();
    assert_eq!(locked.count, 4);
    assert!(locked.resets_in > 4 * MINUTE, "{locked:?}");
    store.give_back(&tries).await.unwrap();
    assert_eq!(store.hit(&tries, limit).await.unwrap().count, 4);
    store.forget(&tries).await.unwrap();
    assert_eq!(store.hit(&tries, limit).await.unwrap().count, 1);
    store.give_back(&Key::new("tries", "nobody")).await.unwrap();
    assert_eq!(store.hit(&Key::new("tries", "nobody"), limit).await.unwrap().count, 1);
    // Given back more often than tried, it is no credit.
    for _ in 0..3 {
        store.give_back(&Key::new("tries", "nobody")).await.unwrap();
    }
    assert_eq!(store.hit(&Key::new("tries", "nobody"), limit).await.unwrap().count, 1);
    let brief = Limit { window: Duration::from_millis(50), ..limit };
    store.hit(&Key::new("tries", "brief"), brief).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.hit(&Key::new("tries", "brief"), brief).await.unwrap().count, 1);

    // Of what belongs to a key the last are remembered, for their time.
    let (ann, zoe) = (Key::new("known", "ann"), Key::new("known", "zoe"));
    let at = |n: u32| Key::new("known-at", &n.to_string());
    assert!(!store.remembers(&ann, &at(0)).await.unwrap());
    store.remember(&ann, &at(0), MINUTE).await.unwrap();
    assert!(store.remembers(&ann, &at(0)).await.unwrap());
    assert!(!store.remembers(&ann, &at(1)).await.unwrap());
    assert!(!store.remembers(&zoe, &at(0)).await.unwrap());
    for n in 1..=32 {
        if n == 32 {
            store.remember(&ann, &at(1), MINUTE).await.unwrap();
        }
        store.remember(&ann, &at(n), MINUTE).await.unwrap();
        // The order is that of the clock.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (n, known) in [(0, false), (1, true), (2, true), (32, true)] {
        assert_eq!(store.remembers(&ann, &at(n)).await.unwrap(), known, "{n}");
    }
    store.remember(&zoe, &at(1), Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!store.remembers(&zoe, &at(1)).await.unwrap());

    // Revocations come in their order, and once.
    let (none, start) = store.revocations(&Cursor::default()).await.unwrap();
    assert_eq!(none, []);
    let token = TokenRef::by_id("token-1");
    let until = Timestamp::from_secs(4_000_000_000);
    store.revoke(token, until).await.unwrap();
    assert_eq!(store.standing("7").await.unwrap().cut_off, None);
    let at = store.cut_off("7").await.unwrap();
    assert_eq!(store.standing("7").await.unwrap().cut_off, Some(at));
    assert!(store.standing("7").await.unwrap().issue_at() > at);
    let expected = [Revocation::Token(token, until), Revocation::User("7".into(), at)];
    let (page, cursor) = store.revocations(&start).await.unwrap();
    assert_eq!(page, expected);
    let (page, same) = store.revocations(&cursor).await.unwrap();
    assert_eq!((page, &same), (vec![], &cursor));
    assert_eq!(store.revocations(&Cursor::default()).await.unwrap().0, expected);

    // An account that changes cuts its user off, and only then: by its role or
    // its password, of which former versions know nothing.
    for (state, password, cuts) in [
        ("REGULAR", None, false),
        ("REGULAR", None, false),
        ("REGULAR", Some("one"), false),
        ("ADMIN", Some("one"), true),
        ("ADMIN", Some("one"), false),
        ("ADMIN", Some("two"), true),
        ("ADMIN", Some("two"), false),
        ("removed", None, true),
        ("removed", None, false),
        ("ADMIN", Some("two"), true),
    ] {
        let account = AccountState { state: state.into(), password: password.map(str::to_owned) };
        let cut_off = store.note_account("8", &account).await.unwrap();
        assert_eq!(cut_off.is_some(), cuts, "{state} {password:?}");
        let standing = store.standing("8").await.unwrap();
        assert_eq!(cut_off.is_some(), standing.cut_off == cut_off && cuts);
        assert_eq!(standing.account.as_ref(), Some(&account));
        assert_eq!(store.accounts().await.unwrap(), HashMap::from([("8".into(), account)]));
    }
    let (page, _) = store.revocations(&cursor).await.unwrap();
    let of_8 = |told: &Revocation| matches!(told, Revocation::User(id, _) if id == "8");
    assert!(page.len() == 4 && page.iter().all(of_8), "{page:?}");

    // One cut-off after the other voids what was issued between them, also
    // within one second.
    let mut last = store.cut_off("7").await.unwrap();
    for _ in 0..3 {
        let issued = store.standing("7").await.unwrap().issue_at();
        assert!(issued > last);
        last = store.cut_off("7").await.unwrap();
        assert!(issued.as_secs() <= last.as_secs());
    }
    keeps_what_counts(&store).await;
    crate::store_members::keeps_members(&store).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_its_contract(Store::memory(Arc::new(SystemClock), WEEK)).await;
}

/// A clock that tests move, also back.
#[derive(Debug)]
struct Moved(std::sync::atomic::AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_cut_off_is_not_before_what_was_issued_by_a_clock_that_was_ahead() {
    let clock = Arc::new(Moved(2_000_000_000.into()));
    let store = Store::memory(Arc::clone(&clock) as Arc<dyn Clock>, WEEK);
    let issued = store.standing("7").await.unwrap().issue_at();
    clock.0.fetch_sub(3600, std::sync::atomic::Ordering::Relaxed);
    let at = store.cut_off("7").await.unwrap();
    assert!(at >= issued, "{at:?} {issued:?}");
    assert!(store.standing("7").await.unwrap().issue_at() > at);
    assert!(store.cut_off("8").await.unwrap() < issued, "nobody else is shut out for longer");

    // Another master had said so, whose clock was ahead.
    let redis = Redis::single();
    let store = of(&redis);
    let now = patiently(async || store.standing("7").await).await.now;
    let noted = cli(redis.port, &["ZSCORE", "test:{revocations}:issued", "7"]);
    assert_eq!(noted, now.as_secs().to_string());
    let issued = now.plus(Duration::from_secs(3600));
    let ahead = issued.as_secs().to_string();
    cli(redis.port, &["ZADD", "test:{revocations}:issued", &ahead, "7"]);
    assert_eq!(store.cut_off("7").await.unwrap(), issued);
    assert_eq!(store.standing("7").await.unwrap().issue_at(), issued.plus(Duration::from_secs(1)));
    assert!(store.cut_off("8").await.unwrap() < issued);
    // The same where an account has changed.
    let state = |state: &str| AccountState { state: state.to_owned(), password: None };
    store.note_account("7", &state("REGULAR")).await.unwrap();
    let again = store.note_account("7", &state("disabled")).await.unwrap().unwrap();
    assert!(again > issued, "{again:?}");
    // It is kept for as long as a cut-off is.
    store.keep_cut_offs(Duration::ZERO);
    cli(redis.port, &["ZADD", "test:{revocations}:issued", "1000", "old"]);
    store.standing("9").await.unwrap();
    assert_eq!(cli(redis.port, &["ZSCORE", "test:{revocations}:issued", "old"]), "");
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let redis = Redis::single();
    keeps_its_contract(of(&redis)).await;
    // Nothing in a key tells what it is about.
    let keys = cli(redis.port, &["KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("test:")), "{keys}");
    assert!(!keys.contains("ann") && !keys.contains("brief"), "{keys}");
}

#[tokio::test]
async fn redis_with_a_password_keeps_the_contract() {
    keeps_its_contract(of(&Redis::with_password("s3cret"))).await;
}

#[tokio::test]
async fn a_redis_cluster_keeps_the_contract() {
    keeps_its_contract(of(&Redis::cluster())).await;
}

#[tokio::test]
async fn redis_behind_a_sentinel_keeps_the_contract_and_fails_over() {
    let mut redis = Redis::sentinel();
    let store = of(&redis);
    keeps_its_contract(of(&redis)).await;
    patiently(async || store.cut_off("9").await).await;
    // The master goes; the sentinel names another, and the store finds it.
    drop(redis.servers.remove(0));
    patiently(async || {
        store.put(&Key::new("code", &format!("{:?}", Instant::now())), &1, MINUTE).await
    })
    .await;
    assert!(store.standing("9").await.unwrap().cut_off.is_some());
}

#[tokio::test]
async fn who_starts_reads_much_at_once_and_who_follows_little() {
    let redis = Redis::single();
    let store = of(&redis);
    let revoke = async |ids: std::ops::Range<u32>| {
        for id in ids {
            let until = Timestamp::from_secs(4_000_000_000);
            store.revoke(TokenRef::by_id(&id.to_string()), until).await.unwrap();
        }
    };
    // How many were told, and how often they were asked for.
    let read = async |cursor: &Cursor| {
        let asked = || redis.calls("xrange");
        let before = asked();
        let (page, next) = store.revocations(cursor).await.unwrap();
        (page.len(), asked() - before, next)
    };
    revoke(0..250).await;
    let mut stranger = Cursor::default();
    stranger.catch_up();
    // Who has been at the end of another history starts anew.
    assert!(matches!(read(&stranger).await, (250, 1, _)));
    let (count, pages, mut cursor) = read(&Cursor::default()).await;
    assert_eq!((count, pages), (250, 1));
    cursor.catch_up();
    revoke(250..1550).await;
    let (count, pages, next) = read(&cursor).await;
    assert_eq!((count, pages), (1000, 40), "and hands over what it has, now and then");
    let (count, pages, next) = read(&next).await;
    assert_eq!((count, pages), (300, 13));
    assert!(matches!(read(&next).await, (0, 1, same) if same == next));
}

#[tokio::test]
async fn an_outage_is_an_error_in_time_and_ends_by_itself() {
    let mut redis = Redis::single();
    let store = of(&redis);
    let key = |n: u32| Key::new("code", &n.to_string());
    patiently(async || store.put(&key(0), &0, MINUTE).await).await;

    // It hangs.
    redis.servers[0].freeze();
    for n in 1..4 {
        let started = Instant::now();
        assert!(store.put(&key(n), &n, MINUTE).await.is_err());
        assert!(store.take::<u32>(&key(n)).await.is_err(), "an error, and not an empty answer");
        assert!(started.elapsed() < 4 * TIMEOUT, "{:?}", started.elapsed());
    }
    redis.servers[0].signal("CONT");
    patiently(async || store.put(&key(10), &0, MINUTE).await).await;

    // It takes no writes.
    cli(redis.port, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(matches!(store.put(&key(11), &0, MINUTE).await, Err(StoreError::Failed(_))));
    assert!(store.take::<u32>(&key(0)).await.is_err());
    cli(redis.port, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    patiently(async || store.put(&key(12), &0, MINUTE).await).await;

    // It is gone, and another one comes.
    drop(redis.servers.pop());
    assert!(store.put(&key(13), &0, MINUTE).await.is_err());
    redis.restart();
    patiently(async || store.put(&key(14), &0, MINUTE).await).await;
}

#[tokio::test]
async fn a_redis_that_is_slow_is_waited_for_as_long_as_it_may_take() {
    let redis = Redis::single();
    let store = Store::redis(&redis.target, "test:", PATIENCE, WEEK).unwrap();
    store.concerns().await.unwrap();
    redis.servers[0].freeze();
    let key = Key::new("code", "slow");
    let (put, ()) = tokio::join!(store.put(&key, &1, MINUTE), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        redis.servers[0].signal("CONT");
    });
    assert_eq!(put, Ok(()));
}

#[tokio::test]
async fn a_redis_that_may_lose_something_is_warned_of() {
    let redis = Redis::single();
    let store = of(&redis);
    assert_eq!(patiently(async || store.concerns().await).await, [""; 0]);
    cli(redis.port, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let concerns = store.concerns().await.unwrap();
    assert!(concerns[0].contains("allkeys-lru"), "{concerns:?}");

    let pair = Redis::sentinel();
    let concerns = patiently(async || of(&pair).concerns().await).await;
    assert!(concerns[0].contains("min-replicas-to-write"), "{concerns:?}");
}

#[tokio::test]
async fn memory_refuses_rather_than_drop_a_live_value() {
    let store = Store::memory(Arc::new(SystemClock), WEEK);
    let mut stored = 0;
    while store.put(&Key::new("code", &stored.to_string()), &stored, MINUTE).await.is_ok() {
        stored += 1;
        assert!(stored <= 1_000_000, "it has no end");
    }
    let more = store.put(&Key::new("code", "more"), &0, MINUTE).await;
    assert_eq!(more, Err(StoreError::Full));
    assert_eq!(store.take::<i32>(&Key::new("code", "0")).await.unwrap(), Some(0));
}

#[tokio::test]
async fn memory_forgets_revocations_that_mean_nothing_any_more() {
    let store = Store::memory(Arc::new(SystemClock), WEEK);
    for n in 0..150_000 {
        let past = Timestamp::from_secs(1_000_000_000);
        store.revoke(TokenRef::by_id(&n.to_string()), past).await.unwrap();
    }
    let cursor = store.revocations(&Cursor::default()).await.unwrap().1;
    store.cut_off("7").await.unwrap();
    let (page, _) = store.revocations(&cursor).await.unwrap();
    assert!(matches!(page.as_slice(), [Revocation::User(id, _)] if id == "7"), "{page:?}");
}

#[tokio::test]
async fn memory_leaves_one_line_for_everybody_of_the_cut_offs_that_it_forgets() {
    let store = Store::memory(Arc::new(SystemClock), WEEK);
    let at = store.cut_off("7").await.unwrap();
    // From now on none of them counts.
    store.keep_cut_offs(Duration::ZERO);
    for n in 0..100_000 {
        let past = Timestamp::from_secs(1_000_000_000);
        store.revoke(TokenRef::by_id(&n.to_string()), past).await.unwrap();
    }
    let told = store.revocations(&Cursor::default()).await.unwrap().0;
    assert!(told.contains(&Revocation::Everybody(at)), "{:?}", told.first());
    assert!(!told.contains(&Revocation::User("7".into(), at)));
    assert_eq!(store.standing("7").await.unwrap().cut_off, None);
}

#[test]
fn no_password_of_a_store_is_printed() {
    let target = portcullis::store::Target::Single("redis://:hunter2@127.0.0.1:1".into());
    let store = Store::redis(&target, "p:", TIMEOUT, MINUTE).unwrap();
    assert!(!format!("{target:?}{store:?}").contains("hunter2"));
}
