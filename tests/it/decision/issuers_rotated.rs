//! A real provider changes its keys under load, and goes away.

use std::time::Duration;

use crate::{
    confined::release,
    issuer::{AUDIENCE, Asker, RULE, table},
    oidc::Provider,
    replica::Replica,
    steady::Load,
    support::{portcullis, portcullis_of},
};

/// Two of them, of the release build where there is one: it is what is run.
pub(crate) async fn replicas(toml: &str) -> [Replica; 2] {
    let start = || {
        let release = release();
        Replica::of(if release.exists() { portcullis_of(&release) } else { portcullis() }, toml)
    };
    let [one, two] = [start(), start()];
    [one.ready().await, two.ready().await]
}

/// Twenty of them, by its newest key.
pub(crate) async fn tokens(provider: &Provider) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(provider.robot(AUDIENCE).await);
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_refuse_a_new_token_once_at_most_and_no_old_one_under_load() {
    let provider = Provider::start();
    let toml = |refresh: &str| {
        let more = format!("refresh = \"{refresh}\"");
        format!("{}{RULE}", table("acme", &provider.issuer, &more))
    };
    let replicas = replicas(&toml("1h")).await;
    let askers = [Asker::of(&replicas[0]).await, Asker::of(&replicas[1]).await];
    let old = tokens(&provider).await;

    // By a key that nobody has seen, from one moment to the next.
    let load = Load::of(&askers, &old);
    provider.does("/rotate").await;
    let new = tokens(&provider).await;
    for (replica, asker) in replicas.iter().zip(&askers) {
        assert_eq!(asker.reason(&new[0]).await, "unknown_key");
        replica.has_fetched("acme", "ok", 2).await;
        for token in &new {
            assert_eq!(asker.reason(token).await, "");
        }
        assert_eq!(replica.keys("acme").await, 4);
    }
    let both = [&old[..], &new].concat();
    let beside = Load::during(&askers, &both, Duration::from_secs(1)).await;
    assert_eq!(beside.denials(), [""; 0]);

    // Followed in another way, by a configuration that is taken over meanwhile.
    for replica in &replicas {
        let toml = format!("login.users_file = \"users.toml\"\n{}", toml("1s"));
        std::fs::write(&replica.config_file, toml).unwrap();
    }
    for replica in &replicas {
        tokio::task::block_in_place(|| replica.says("the configuration was reloaded"));
        replica.has_fetched("acme", "ok", 4).await;
    }
    assert_eq!(load.end().await.denials(), [""; 0], "its key was in the set all the time");

    provider.does("/retire").await;
    for asker in &askers {
        asker.comes_to(&old[0], "unknown_key").await;
        for (old, new) in old.iter().zip(&new) {
            assert_eq!(
                (asker.reason(old).await.as_str(), &*asker.reason(new).await),
                ("unknown_key", "")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_check_waits_for_an_issuer_that_hangs_or_is_gone() {
    let provider = Provider::start();
    let acme = table("acme", &provider.issuer, "refresh = \"1s\"");
    let replicas = replicas(&format!("{acme}{RULE}")).await;
    let askers = [Asker::of(&replicas[0]).await, Asker::of(&replicas[1]).await];
    let good = tokens(&provider).await;
    let span = Duration::from_secs(3);
    drop(Load::during(&askers, &good, span / 3).await);
    let before = Load::during(&askers, &good, span).await;
    provider.running.freeze();
    let hanging = Load::during(&askers, &good, span).await;
    drop(provider);
    let gone = Load::during(&askers, &good, span).await;
    for replica in &replicas {
        replica.has_fetched("acme", "failed", 1).await;
        assert_eq!(replica.complaints("acme").len(), 1, "{:?}", replica.complaints("acme"));
    }
    for (seen, when) in [(&before, "before"), (&hanging, "hanging"), (&gone, "gone")] {
        let [p50, p99] = seen.latencies();
        println!("{when}: {} checks, p50 {p50:?}, p99 {p99:?}", seen.0.len());
        assert_eq!(seen.denials(), [""; 0], "{when}");
    }
    // Whoever waited for it would wait for seconds; the rest is for a machine that
    // has other things to do.
    for seen in [hanging, gone] {
        for (now, then) in seen.latencies().iter().zip(before.latencies()) {
            assert!(*now < then * 4 + Duration::from_millis(200), "{now:?}, before {then:?}");
        }
    }
}
