//! The table held to a plain map, and the file to what it writes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{
    file::{entry_of_file, keys_of_file},
    list::{KeyChange, KeyList, Told},
    record::{ApiKey, KeySays},
    table::KeyTable,
    text::{KeyHash, KeyId},
};
use crate::clock::Timestamp;

fn key(id: u64, says: &str, expires: Option<i64>, revoked: Option<i64>) -> ApiKey {
    ApiKey {
        id: KeyId::from_bits(id),
        hash: KeyHash::of(&format!("secret of {id}")),
        says: KeySays {
            user_id: format!("user {says}"),
            name: says.to_owned(),
            role: if says.len().is_multiple_of(2) { "ADMIN" } else { "REGULAR" }.to_owned(),
            scopes: says.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
            created: Some(5),
            ..KeySays::default()
        },
        expires: expires.map(Timestamp::from_secs),
        revoked: revoked.map(Timestamp::from_secs),
    }
}

#[test]
fn what_is_none_is_compared_with_a_key_that_is_there() {
    let mut table = KeyTable::default();
    let nothing = KeyHash::from_bytes([0; 32]);
    assert!(bool::from(table.stand_in(KeyId::from_bits(7)).is(&nothing)));
    for id in 0..1000 {
        table.put(&key(id, "a", None, None));
    }
    for id in 1000..3000 {
        assert!(!bool::from(table.stand_in(KeyId::from_bits(id)).is(&nothing)), "{id}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, String, Option<i64>, bool),
    Revoke(u64),
    Forget(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..40_u64;
    prop_oneof![
        6 => (id.clone(), "[a-c ]{1,4}", proptest::option::of(1..100_i64), any::<bool>())
            .prop_map(|(id, says, end, revoked)| Step::Put(id, says, end, revoked)),
        1 => id.prop_map(Step::Revoke),
        1 => (0..100_i64).prop_map(Step::Forget),
    ]
}

proptest! {
    /// A key is what was put last, but that its end never moves back, and that it
    /// stays revoked.
    #[test]
    fn a_table_holds_what_a_map_would(steps in proptest::collection::vec(step(), 0..200)) {
        let mut table = KeyTable::default();
        let mut map: HashMap<u64, (String, Option<i64>, bool)> = HashMap::new();
        for step in steps {
            match step {
                Step::Put(id, says, end, revoked) => {
                    let at = revoked.then_some(50);
                    table.put(&key(id, &says, end, at));
                    let mut end = [end, at].into_iter().flatten().min();
                    let mut is_revoked = revoked;
                    if let Some((_, known, was)) = map.get(&id) {
                        end = [end, *known].into_iter().flatten().min();
                        is_revoked |= was;
                    }
                    map.insert(id, (says, end, is_revoked));
                }
                Step::Revoke(id) => {
                    table.revoke(KeyId::from_bits(id), Timestamp::from_secs(60));
                    if let Some((_, end, revoked)) = map.get_mut(&id) {
                        (*end, *revoked) = (end.map_or(Some(60), |end| Some(end.min(60))), true);
                    }
                }
                // Too few to be worth it.
                Step::Forget(now) => {
                    let next = table.without_forgotten(Timestamp::from_secs(now));
                    prop_assert!(next.is_none());
                }
            }
        }
        prop_assert_eq!(table.len(), map.len());
        for (id, (says, end, revoked)) in &map {
            let put = key(*id, says, None, None);
            let entry = table.get(put.id).unwrap();
            prop_assert_eq!(entry.expires.map(Timestamp::as_secs), *end);
            prop_assert_eq!(entry.is_revoked, *revoked);
            prop_assert_eq!(&entry.hash, &put.hash);
            prop_assert_eq!((entry.user_id, entry.name), (&*put.says.user_id, &**says));
            prop_assert_eq!(&entry.profile.role, &put.says.role);
            prop_assert_eq!(entry.profile.scope.clone().unwrap_or_default(), put.says.scopes.join(" "));
        }
        let counts = table.counts(Timestamp::from_secs(50));
        prop_assert_eq!(counts.active + counts.expired + counts.revoked, map.len());
        prop_assert_eq!(counts.revoked, map.values().filter(|(_, _, revoked)| *revoked).count());
    }
}

#[test]
fn what_ended_long_ago_is_dropped_and_the_rest_is_kept() {
    let mut table = KeyTable::default();
    for id in 0..20_000 {
        table.put(&key(id, "a", (id % 2 == 0).then_some(1000), None));
    }
    let at = Timestamp::from_secs;
    assert!(table.without_forgotten(at(1000)).is_none(), "they are told from what never was");
    let table = table.without_forgotten(at(1000 + 30 * 24 * 3600)).unwrap();
    assert_eq!(table.len(), 10_000);
    for id in 0..20_000 {
        assert_eq!(table.contains(KeyId::from_bits(id)), id % 2 == 1, "{id}");
    }
    assert_eq!(table.get(KeyId::from_bits(7)).unwrap().name, "a");
}

#[test]
fn what_the_command_writes_can_be_read() {
    let mut one = key(7, "a \"b\" \u{e9}", Some(1_800_000_000), None);
    one.says.note = Some("x\ty\n".to_owned());
    one.says.scopes = vec!["agents:run".to_owned()];
    one.says.allow = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let text = format!("{}\n{}", entry_of_file(&one), entry_of_file(&key(8, "b", None, None)));
    let read = keys_of_file(&text, |_| true).unwrap();
    let mut expected = KeyTable::default();
    expected.put(&one);
    expected.put(&key(8, "b", None, None));
    assert_eq!(read.len(), 2);
    assert!(read.is_alike(&expected, one.id) && read.is_alike(&expected, KeyId::from_bits(8)));
    assert_eq!(read.get(one.id).unwrap().profile.allow, one.says.allow);
    // In whatever form TOML has it.
    let line = |key: &ApiKey| {
        let lines: Vec<String> = entry_of_file(key).lines().skip(1).map(str::to_owned).collect();
        format!("{{ {} }}", lines.join(", "))
    };
    let inline = format!("# ours\nkeys = [{}, {}]\n", line(&one), line(&key(8, "b", None, None)));
    assert_eq!(keys_of_file(&inline, |_| true).unwrap().len(), 2);
    let spaced = format!("\n\n# ours\n\n{text}\n\n# the end\n");
    assert_eq!(keys_of_file(&spaced, |_| true).unwrap().len(), 2);
    assert_eq!(keys_of_file("", |_| true).unwrap().len(), 0);
    assert!(keys_of_file("colour = 1\n", |_| true).is_err());
}

#[test]
fn a_file_tells_each_of_its_problems_without_a_hash() {
    let entry = |more: &str| {
        let hash = KeyHash::of("x").to_hex();
        let whole = format!(
            "[[keys]]\nid = \"{}\"\nhash = \"{hash}\"\nuser_id = 7\nname = \"ci\"\nrole = \"ADMIN\"\n",
            KeyId::from_bits(7)
        );
        (whole + more, hash)
    };
    for (change, expected) in [
        (("user_id = 7", "user_id = \"\""), "the user's id is empty"),
        (("name = \"ci\"", "name = \"a\\u0000\""), "control characters"),
        (("ADMIN", "ROOT"), "\"ROOT\" is not one of identity.roles"),
        (("hash = \"", "hash = \"x"), "the hash is not valid"),
        (("id = \"", "id = \"x"), "the id is not valid"),
    ] {
        let (text, hash) = entry("");
        let text = text.replacen(change.0, change.1, 1);
        let problems = keys_of_file(&text, |role| role == "ADMIN").unwrap_err();
        assert!(problems.concat().contains(expected), "{problems:?}");
        assert!(!problems.concat().contains(&hash), "{problems:?}");
    }
    for (more, expected) in [
        ("expires = \"soon\"", "expires is not a time"),
        ("allow = [\"10.0.0.0/33\"]", "is not a network"),
        ("scopes = [\"a b\"]", "is not a scope"),
        ("colour = 1", "unknown field"),
    ] {
        let problems = keys_of_file(&entry(more).0, |_| true).unwrap_err();
        assert!(problems.concat().contains(expected), "{problems:?}");
    }
    let (text, _) = entry("");
    let problems = keys_of_file(&(text.clone() + &text), |_| true).unwrap_err();
    assert!(problems.concat().contains("used twice"), "{problems:?}");
    // Three ways to write a time.
    for time in ["2027-01-15T08:00:00Z", "\"2027-01-15T08:00:00Z\"", "1800000000"] {
        let read = keys_of_file(&entry(&format!("expires = {time}")).0, |_| true).unwrap();
        let entry = read.get(KeyId::from_bits(7)).unwrap();
        assert_eq!(entry.expires, Some(Timestamp::from_secs(1_800_000_000)), "{time}");
        assert_eq!(read.counts(Timestamp::from_secs(1_800_000_000)).expired, 1);
    }
}

#[test]
fn each_change_is_told_of_once() {
    let list = KeyList::default();
    let told = |changes: &[KeyChange]| {
        let mut told = Vec::new();
        list.apply(changes, |event, id, _| told.push((event, id)));
        told
    };
    let change = |key: ApiKey| KeyChange::Key(Box::new(key));
    let id = KeyId::from_bits(7);
    assert_eq!(told(&[change(key(7, "a", None, None))]), [(Told::Made, id)]);
    assert_eq!(told(&[change(key(7, "a", None, None))]), []);
    assert_eq!(told(&[change(key(7, "a", Some(90), None))]), [(Told::Rotated, id)]);
    assert_eq!(told(&[change(key(7, "a", Some(90), Some(80)))]), [(Told::Revoked, id)]);
    assert_eq!(told(&[change(key(7, "a", Some(90), Some(80)))]), []);
    // After a failover an older word may come again: what is known counts.
    assert_eq!(told(&[change(key(7, "a", None, None))]), []);
    list.count(Timestamp::from_secs(1));
    assert_eq!(list.counts().revoked, 1);
    let other = KeyId::from_bits(8);
    let at = Timestamp::from_secs(9);
    assert_eq!(told(&[KeyChange::Revoked(other, at)]), [(Told::Revoked, other)]);
    assert_eq!(told(&[KeyChange::Revoked(other, at)]), []);
}
