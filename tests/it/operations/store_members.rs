//! What belongs to a key by names: every store keeps it alike.

use std::{collections::HashMap, time::Duration};

use portcullis::store::{Key, Store};

const MINUTE: Duration = Duration::from_secs(60);
const BRIEF: Duration = Duration::from_millis(80);

fn expected(members: &[(&str, i64)]) -> HashMap<String, i64> {
    members.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// A part of the contract of a store.
pub(crate) async fn keeps_members(store: &Store) {
    let (ann, zoe) = (Key::new("members", "ann"), Key::new("members", "zoe"));
    let of = async |key: &Key| store.members::<i64>(key).await.unwrap();
    assert_eq!(of(&ann).await, HashMap::new());

    // They are counted, replaced, and each key has its own.
    assert_eq!(store.put_member(&ann, "a", &1, MINUTE).await, Ok(1));
    assert_eq!(store.put_member(&ann, "b 2\n", &2, MINUTE).await, Ok(2));
    assert_eq!(store.put_member(&ann, "a", &3, MINUTE).await, Ok(2));
    assert_eq!(store.put_member(&zoe, "a", &4, MINUTE).await, Ok(1));
    assert_eq!(of(&ann).await, expected(&[("a", 3), ("b 2\n", 2)]));

    // Only what is there is replaced.
    assert_eq!(store.replace_member(&ann, "a", &5).await, Ok(true));
    assert_eq!(store.replace_member(&ann, "c", &6).await, Ok(false));
    assert_eq!(of(&ann).await, expected(&[("a", 5), ("b 2\n", 2)]));

    // What is taken out is gone, also twice.
    for _ in 0..2 {
        store.remove_member(&ann, "a").await.unwrap();
        assert_eq!(of(&ann).await, expected(&[("b 2\n", 2)]));
        assert_eq!(store.replace_member(&ann, "a", &7).await, Ok(false));
    }
    assert_eq!(of(&zoe).await, expected(&[("a", 4)]));

    // Each ends by itself, whatever the others do, and a replaced one no later.
    assert_eq!(store.put_member(&ann, "brief", &8, BRIEF).await, Ok(2));
    assert_eq!(store.replace_member(&ann, "brief", &9).await, Ok(true));
    assert_eq!(of(&ann).await, expected(&[("b 2\n", 2), ("brief", 9)]));
    tokio::time::sleep(2 * BRIEF).await;
    assert_eq!(of(&ann).await, expected(&[("b 2\n", 2)]));
    assert_eq!(store.replace_member(&ann, "brief", &10).await, Ok(false));
    assert_eq!(store.put_member(&ann, "c", &11, MINUTE).await, Ok(2));

    // So does the key, with the last of them.
    store.remove_member(&zoe, "a").await.unwrap();
    store.put_member(&zoe, "brief", &1, BRIEF).await.unwrap();
    store.put_member(&zoe, "briefer", &1, BRIEF / 4).await.unwrap();
    assert_eq!(of(&zoe).await.len(), 2);
    tokio::time::sleep(2 * BRIEF).await;
    assert_eq!(of(&zoe).await, HashMap::new());
}
