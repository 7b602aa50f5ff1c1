//! Issuers of a configuration that is taken over while the service runs.

use serde_json::json;

use crate::{
    issuer::{Asker, RULE, own, table, token},
    replica::Replica,
    rogue::{Reply, Rogue},
    support::eventually,
};

impl Replica {
    /// Takes this configuration over.
    pub(crate) fn becomes(&self, toml: &str) {
        let count = || self.running.log().matches("the configuration was reloaded").count();
        let before = count();
        let text = format!("login.users_file = \"users.toml\"\n{toml}");
        std::fs::write(&self.config_file, text).unwrap();
        tokio::task::block_in_place(|| {
            eventually("a reload", || (count() > before).then_some(()));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_keeps_an_issuer_keeps_its_keys_and_asks_nobody() {
    let rogue = Rogue::start().await;
    let acme = |more: &str| table("acme", &rogue.issuer, more);
    let replica = Replica::start_with(&format!("{}{RULE}", acme(""))).ready().await;
    let (asker, good) = (Asker::of(&replica).await, token(&rogue, 1));
    assert_eq!((asker.reason(&good).await, rogue.asked("/jwks")), (String::new(), 1));

    // It could not be asked, if anybody tried.
    rogue.change(|it| it.discovery = Reply::Text(503, "text/plain", String::new()));
    replica.becomes(&format!("tokens.leeway = \"1s\"\n{}{RULE}", acme("max_lifetime = \"2h\"")));
    assert_eq!(asker.reason(&good).await, "");
    assert_eq!(rogue.asked("/.well-known/openid-configuration"), 1);
    assert_eq!(replica.complaints("acme"), [""; 0]);

    // Followed in another way, under another name, for other algorithms: what it
    // said stays known, and is asked for anew.
    for (name, more, reason) in [
        ("acme", "refresh = \"2h\"", ""),
        ("other", "refresh = \"2h\"", ""),
        ("other", "algorithms = [\"EdDSA\"]", "bad_algorithm"),
        ("other", "algorithms = [\"RS256\"]", ""),
    ] {
        let asked = rogue.asked("/.well-known/openid-configuration");
        replica.becomes(&format!("{}{RULE}", table(name, &rogue.issuer, more)));
        assert_eq!(asker.reason(&good).await, reason, "{name} {more}");
        let begun = std::time::Instant::now();
        while rogue.asked("/.well-known/openid-configuration") == asked {
            assert!(begun.elapsed() < crate::support::PATIENCE);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert_eq!(replica.readyz().await.0, 200);
    // Somewhere else, nothing of it counts.
    let elsewhere = format!("jwks_uri = \"{}/elsewhere\"", rogue.issuer);
    replica.becomes(&format!("{}{RULE}", acme(&elsewhere)));
    assert_eq!(asker.reason(&good).await, "issuer_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_comes_and_goes_with_the_configuration() {
    let (one, two) = (Rogue::start().await, Rogue::start().await);
    let acme = table("acme", &one.issuer, "");
    let globex = table("globex", &two.issuer, "");
    let replica = Replica::start_with(&format!("{acme}{RULE}")).ready().await;
    let asker = Asker::of(&replica).await;
    let (of_one, of_two) = (token(&one, 0), token(&two, 0));
    assert_eq!(asker.reason(&of_one).await, "");
    assert_eq!(asker.reason(&of_two).await, "unknown_issuer");

    replica.becomes(&format!("{acme}{globex}{RULE}"));
    asker.comes_to(&of_two, "").await;
    assert_eq!(asker.reason(&of_one).await, "");
    assert_eq!((one.asked("/jwks"), two.asked("/jwks")), (1, 1));

    replica.becomes(&format!("{globex}{RULE}"));
    assert_eq!(asker.reason(&of_one).await, "unknown_issuer");
    assert_eq!((asker.reason(&of_two).await, asker.reason(&own()).await), Default::default());
    let metrics = replica.metrics().await;
    assert!(!metrics.contains("portcullis_issuer_keys{issuer=\"acme\"}"), "{metrics}");
    // Nobody asks for its keys any more, whoever sends its tokens.
    for _ in 0..10 {
        asker.reason(&one.signed(1, &json!({ "iss": one.issuer }))).await;
    }
    assert_eq!((one.asked("/jwks"), two.asked("/jwks")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_is_taken_over_when_it_changes() {
    let rogue = Rogue::start().await;
    let public = rogue.behaviour.lock().unwrap().public.clone();
    let toml = format!("{}{RULE}", table("acme", &rogue.issuer, "jwks_file = \"acme.jwks.json\""));
    let room = tempfile::tempdir().unwrap();
    let (config, file) = (room.path().join("portcullis.toml"), room.path().join("acme.jwks.json"));
    let write = |keys: &[serde_json::Value]| {
        let new = file.with_extension("new");
        std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    write(&public[..1]);
    std::fs::write(&config, toml).unwrap();
    let replica = Replica::serving(&config).ready().await;
    let asker = Asker::of(&replica).await;
    let [old, new] = [token(&rogue, 0), token(&rogue, 1)];
    for _ in 0..3 {
        assert_eq!(asker.reason(&old).await, "");
    }
    assert_eq!((asker.reason(&new).await.as_str(), replica.keys("acme").await), ("unknown_key", 1));
    write(&public[1..]);
    asker.comes_to(&old, "unknown_key").await;
    assert_eq!((asker.reason(&new).await.as_str(), replica.keys("acme").await), ("", 2));
    // Junk stays out, and what is there serves.
    write(&[json!({ "kty": "oct", "k": "AAAA" })]);
    tokio::task::block_in_place(|| replica.says("the configuration was not reloaded"));
    assert_eq!(asker.reason(&new).await, "");
    assert_eq!(rogue.asked("/jwks"), 0);
}
