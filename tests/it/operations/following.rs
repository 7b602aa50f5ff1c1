//! Who follows the store, and whom that delays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis::{
    api_key::KeyList,
    clock::{Clock, SystemClock, Timestamp},
    revocations::{Follower, ListHealth},
    store::{Key, Store},
    token::{RevocationList, TokenRef},
};
use tokio_util::sync::CancellationToken;

use super::replicas::until;
use crate::redis::{Redis, cli};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn follower(store: &Arc<Store>, list: &Arc<RevocationList>, clock: Arc<dyn Clock>) -> Follower {
    let (keys, health) = (Arc::<KeyList>::default(), Arc::<ListHealth>::default());
    Follower { store: Arc::clone(store), list: Arc::clone(list), keys, health, clock }
}

#[tokio::test]
async fn a_follower_takes_much_in_small_pieces_by_a_connection_of_its_own() {
    let redis = Redis::single();
    let store = Store::redis(&redis.target, "portcullis:", Duration::from_secs(5), DAY).unwrap();
    let (store, list) = (Arc::new(store), Arc::<RevocationList>::default());
    let most = Arc::<AtomicUsize>::default();
    let told = Arc::clone(&most);
    list.watch(move |some| {
        told.fetch_max(some.len(), Ordering::Relaxed);
    });
    let stop = CancellationToken::new();
    let follows =
        tokio::spawn(follower(&store, &list, Arc::new(SystemClock)).run_apart(stop.clone()));
    until("an empty list", async || list.is_loaded()).await;
    store.put(&Key::new("code", "a"), b"a", DAY).await.unwrap();
    let connections = cli(redis.port, &["CLIENT", "LIST"]);
    let ours = connections.lines().filter(|line| !line.contains("cmd=client")).count();
    assert_eq!(ours, 2, "{connections}");

    // All at once.
    let before = redis.calls("xrange");
    let script = "for i = 1, 2000 do redis.call('XADD', KEYS[1], '*', \
                  't', string.format('%064x', i), 'u', ARGV[1]) end";
    let end = SystemClock.now().plus(DAY).as_secs().to_string();
    cli(redis.port, &["EVAL", script, "1", "portcullis:{revocations}:stream", &end]);
    until("all of them", async || list.len() == 2000).await;
    assert_eq!(most.load(Ordering::Relaxed), 100, "so many are told of at a time");
    let pages = redis.calls("xrange") - before;
    assert!(pages >= 80, "so many are read at a time: {pages} pages");

    stop.cancel();
    assert_eq!(follows.await.unwrap(), Ok(()));
}

#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        panic!("there is no time")
    }
}

#[tokio::test]
async fn a_follower_that_is_no_more_is_told_of() {
    let store = Arc::new(Store::memory(Arc::new(SystemClock), DAY));
    store.revoke(TokenRef::by_id("a"), SystemClock.now().plus(DAY)).await.unwrap();
    let list = Arc::<RevocationList>::default();
    let ended = follower(&store, &list, Arc::new(NoClock)).run_apart(CancellationToken::new());
    assert_eq!(ended.await, Err("a bug: the thread that follows the store has ended".to_owned()));
    assert!(!list.is_loaded(), "nobody is let in by it");
}
