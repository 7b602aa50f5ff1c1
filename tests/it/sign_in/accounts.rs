//! Accounts, the limits on guessing, and the commands beside them.

use portcullis::clock::{Clock as _, SystemClock};
use reqwest::Client;
use serde_json::json;

use crate::{
    jwt,
    redis::{Redis, cli},
    replica::{OPEN, PASSWORD, Replica, answer, body, everybody, hash, hash_of, users},
    support::{eventually, output, portcullis},
};

#[tokio::test]
async fn guessing_ends_by_name_and_by_address_whatever_is_forged() {
    let toml = "login.limits = { failures = 3, window = \"60s\", lockout = \"300s\", failures_per_address = 8 }";
    let replica = Replica::start(toml).ready().await;
    let mut turn = 0;
    let mut send = async |name: &str, password: &str| {
        turn += 1;
        // Another forged address at every try.
        let request = replica
            .post("/v3/login", &body(name, password))
            .header("x-forwarded-for", format!("6.6.6.{turn}"));
        request.send().await.unwrap().status().as_u16()
    };
    for name in ["ann", "ANN", "ａｎｎ"] {
        assert_eq!(send(name, "wrong").await, 401);
    }
    assert_eq!(send("ann", PASSWORD).await, 429, "locked out, also with the right one");
    assert_eq!(send("Ann", "wrong").await, 429);
    assert_eq!(send("zoë", PASSWORD).await, 200, "another name is not");
    replica.says("http.trusted_proxies");

    // A right password forgets what was wrong before.
    for _ in 0..4 {
        assert_eq!(send("zoë", "wrong").await, 401);
        assert_eq!(send("zoë", "wrong").await, 401);
        assert_eq!(send("zoë", PASSWORD).await, 200);
    }

    // By address, where that is known; the right ones are given back.
    let plain = async |name: &str, password: &str| {
        replica.post("/v3/login", &body(name, password)).send().await.unwrap().status().as_u16()
    };
    for _ in 0..10 {
        assert_eq!(plain("zoë", PASSWORD).await, 200);
    }
    for n in 0..8 {
        assert_eq!(plain(&format!("guess-{n}"), "wrong").await, 401);
    }
    assert_eq!(plain("zoë", PASSWORD).await, 429);
    replica.says("locked_out");

    let proxied = format!("{toml}\nhttp.trusted_proxies = [\"127.0.0.0/8\"]");
    let replica = Replica::start(&proxied).ready().await;
    let from = async |forwarded: &str| {
        let request =
            replica.post("/v3/login", &body("ann", "wrong")).header("x-forwarded-for", forwarded);
        request.send().await.unwrap().status().as_u16()
    };
    for n in 0..3 {
        assert_eq!(from(&format!("6.6.6.{n}, 192.0.2.1")).await, 401);
    }
    assert_eq!(from("9.9.9.9, 192.0.2.1").await, 429);
    assert_eq!(from("192.0.2.2").await, 401, "another client");
}

#[tokio::test]
async fn a_changed_users_file_is_taken_over_and_shuts_out_whom_it_changes() {
    let replica = Replica::start(OPEN).ready().await;
    let (ann, zoe) = (replica.token("ann").await, replica.token("zoë").await);
    assert_eq!((replica.session(&ann).await, replica.session(&zoe).await), (200, 200));
    let waiting = replica.code("ann").await;

    replica.write_users("[[users]]\nid = 1");
    replica.says("the configuration was not reloaded");
    assert_eq!(replica.session(&ann).await, 200, "a bad file changes nothing");

    replica.write_users(&users(&[
        ("7", "ann", "ADMIN", false),
        ("8", "Zoë", "ADMIN", false),
        ("11", "new", "ADMIN", false),
    ]));
    replica.says("\"user_id\":\"7\",\"cause\":\"ADMIN\"");
    assert_eq!(replica.session(&ann).await, 401, "the role changed");
    assert_eq!(replica.session(&zoe).await, 200);
    assert_eq!(replica.exchange(&waiting).await.0, 401, "issued before the change");
    let again = replica.token("ann").await;
    assert_eq!(replica.session(&again).await, 200, "a sign-in right after the cut-off works");
    replica.token("new").await;

    replica.write_users(&users(&[("7", "ann", "ADMIN", true), ("8", "Zoë", "ADMIN", false)]));
    replica.says("\"cause\":\"disabled\"");
    assert_eq!(replica.session(&again).await, 401, "disabled");
    let refused = replica.post("/v3/login", &body("ann", PASSWORD)).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let removed = replica.post("/v3/login", &body("new", PASSWORD)).send().await.unwrap();
    assert_eq!(removed.status(), 401);
}

#[tokio::test]
async fn a_changed_password_signs_out_and_its_hash_is_nowhere_but_in_the_file() {
    let redis = Redis::single();
    let replica = Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await;
    let (ann, zoe) = (replica.token("ann").await, replica.token("zoë").await);
    let waiting = replica.code("ann").await;

    let new = hash_of("another");
    // Hers is the first.
    replica.write_users(&everybody().replacen(hash(), &new, 1));
    replica.says("\"user_id\":\"7\",\"cause\":\"password\"");
    assert_eq!((replica.session(&ann).await, replica.session(&zoe).await), (401, 200));
    assert_eq!(replica.exchange(&waiting).await.0, 401, "issued before the change");
    let sign_in = async |password: &str| {
        let answered = replica.post("/session", &body("ann", password)).send().await.unwrap();
        answer(answered).await
    };
    assert_eq!(sign_in(PASSWORD).await.0, 401);
    let (status, signed_in) = sign_in("another").await;
    assert_eq!(status, 200);
    assert_eq!(replica.session(signed_in["token"].as_str().unwrap()).await, 200);

    let kept = ["accounts", "passwords"].map(|key| {
        let key = format!("portcullis:{{revocations}}:{key}");
        cli(redis.port, &["HGETALL", &key])
    });
    assert!(kept[0].contains("REGULAR") && kept[1].lines().count() == 8, "{kept:?}");
    let told = format!("{kept:?}{}", replica.running.log());
    for hash in [hash(), new.as_str()] {
        // The salt and the value, each by itself.
        for part in hash.rsplit('$').take(2) {
            assert!(!told.contains(part), "{told}");
        }
    }
}

#[tokio::test]
async fn an_account_that_a_former_version_has_noted_is_not_signed_out_for_that() {
    let redis = Redis::single();
    let key = "portcullis:{revocations}:accounts";
    for (id, role) in [("7", "REGULAR"), ("8", "REGULAR"), ("9", "INACTIVE"), ("10", "disabled")] {
        cli(redis.port, &["HSET", key, id, role]);
    }
    let token = |id: &str, role: &str| {
        let now = SystemClock.now().as_secs() - 5;
        let changes = json!({ "userId": id, "role": role, "jti": id, "iat": now });
        jwt::token(&jwt::with(now, &changes))
    };
    let (ann, zoe) = (token("7", "REGULAR"), token("8", "REGULAR"));
    let replica = Replica::start(&format!("{OPEN}{}", redis.toml)).ready().await;
    // Her role is another one by now: that it knew of.
    replica.says("\"user_id\":\"8\",\"cause\":\"ADMIN\"");
    let passwords = || cli(redis.port, &["HLEN", "portcullis:{revocations}:passwords"]);
    eventually("all to be noted", || (passwords() == "4").then_some(()));
    assert_eq!((replica.session(&ann).await, replica.session(&zoe).await), (200, 401));
    // It goes on beside this one, and finds what it knows.
    assert_eq!(cli(redis.port, &["HGET", key, "7"]), "REGULAR");
    cli(redis.port, &["HDEL", "portcullis:{revocations}:passwords", "7"]);
    replica.token("ann").await;
    // A change after that is one.
    replica.write_users(&everybody().replacen(hash(), &hash_of("another"), 1));
    eventually("the change to be noted", || (passwords() == "4").then_some(()));
    assert_eq!(replica.session(&ann).await, 200, "nobody knows what it was before");
    replica.write_users(&everybody());
    replica.says("\"user_id\":\"7\",\"cause\":\"password\"");
    assert_eq!(replica.session(&ann).await, 401);
}

#[test]
fn a_users_file_that_cannot_work_is_named_with_all_its_problems() {
    let room = tempfile::tempdir().unwrap();
    let hash = hash();
    let weak = "$argon2id$v=19$m=4096,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$FOmwYkUQmUxlfJyNgOJL4Q";
    let user = |id: &str, name: &str, role: &str, hash: &str| {
        format!(
            "[[users]]\nid = {id}\nname = \"{name}\"\nrole = \"{role}\"\npassword_hash = \"{hash}\"\n"
        )
    };
    std::fs::write(
        room.path().join("users.toml"),
        [
            user("1", "ann", "ADMIN", hash),
            user("\"1\"", "bob", "ADMIN", hash),
            user("2", "ＡＮＮ", "ADMIN", hash),
            user("3", "c", "KING", hash),
            user("4", "d", "ADMIN", "plain"),
            user("5", "e", "ADMIN", weak),
            user("\"sso:6\"", "f", "ADMIN", hash),
            user("7", " ", "ADMIN", hash),
        ]
        .concat(),
    )
    .unwrap();
    let config = room.path().join("p.toml");
    std::fs::write(&config, "login.users_file = \"users.toml\"").unwrap();
    let checked =
        output(portcullis().args(["check-config", "--config", config.to_str().unwrap()]), "");
    assert_eq!(checked.status.code(), Some(2));
    let said = String::from_utf8(checked.stderr).unwrap();
    for expected in [
        "users[1]: the id \"1\" is used twice",
        "users[2]: the name",
        "users[3]: \"KING\"",
        "users[4]: password_hash: it is not an argon2id hash",
        "users[5]: password_hash: it has 4096 KiB",
        "users[6]: the id",
        "users[7]: the name is empty",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(!said.contains(hash) && !said.contains(weak), "no hash is shown");
    std::fs::write(room.path().join("users.toml"), everybody()).unwrap();
    assert!(
        output(portcullis().args(["check-config", "--config", config.to_str().unwrap()]), "")
            .status
            .success()
    );
}

#[test]
fn hashes_of_many_costs_are_warned_of_and_bounded() {
    let room = tempfile::tempdir().unwrap();
    let config = room.path().join("p.toml");
    std::fs::write(&config, "login.users_file = \"users.toml\"").unwrap();
    let checked = |costs: usize| {
        // What is looked at are the parameters: the hashes are nobody's.
        let user = |n: usize| {
            let hash = hash().replace("t=2", &format!("t={}", 2 + n % costs));
            format!(
                "[[users]]\nid = {n}\nname = \"n{n}\"\nrole = \"ADMIN\"\npassword_hash = \"{hash}\"\n"
            )
        };
        let users: String = (0..20).map(user).collect();
        std::fs::write(room.path().join("users.toml"), users).unwrap();
        let mut command = portcullis();
        let done = output(command.args(["check-config", "--config", config.to_str().unwrap()]), "");
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    assert_eq!(checked(1), (Some(0), "ok\n".to_owned()));
    let (code, said) = checked(2);
    assert_eq!(code, Some(0));
    assert!(said.contains("its hashes have 2 different costs"), "{said}");
    let (code, said) = checked(9);
    assert_eq!(code, Some(2));
    assert!(said.contains("its hashes have 9 different costs"), "{said}");
}

#[test]
fn hash_password_prints_a_hash_that_is_accepted() {
    for stdin in ["s3cret", "s3cret\n", "s3cret\r\n"] {
        let hashed = output(portcullis().arg("hash-password"), stdin);
        assert_eq!(hashed.status.code(), Some(0));
        let hash = String::from_utf8(hashed.stdout).unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && hash.lines().count() == 1,
            "{hash}"
        );
    }
    let empty = output(portcullis().arg("hash-password"), "");
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8(empty.stderr).unwrap().contains("fix: "));
}

#[tokio::test]
async fn healthcheck_asks_the_running_service() {
    let replica = Replica::start("").ready().await;
    let mut command = portcullis();
    command.arg("healthcheck").env("PORTCULLIS__INTERNAL__LISTEN", replica.internal.to_string());
    let healthy = output(&mut command, "");
    assert_eq!((healthy.status.code(), healthy.stdout.as_slice()), (Some(0), &b"ok\n"[..]));
    drop(replica);
    assert_eq!(output(&mut command, "").status.code(), Some(1));
}

#[tokio::test]
async fn the_internal_listener_knows_its_peers() {
    let replica = Replica::start("internal.peers = [\"10.0.0.0/8\"]");
    assert_eq!(replica.readyz().await.0, 403);
    let replica = Replica::start("internal.peers = [\"127.0.0.0/8\"]").ready().await;
    let live =
        Client::new().get(format!("http://{}/livez", replica.internal)).send().await.unwrap();
    assert_eq!(live.status(), 200);
}
