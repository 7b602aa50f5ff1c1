//! A real provider changes its keys, and goes away, under load through a real
//! Envoy that asks two replicas in turn. By the name of this, tests/run has
//! nothing run beside it.

use std::{net::TcpStream, time::Duration};

use crate::{
    confined::release,
    issuer::{RULE, table},
    issuers::upstream,
    issuers_rotated::{replicas, tokens},
    oidc::Provider,
    replica::Replica,
    replicas::until,
    stack::{Mode, NEWEST, envoy, envoy_of, patient, replace, with_ports},
    steady::{Asks, Load},
    support::{Running, free_port, listens},
};

/// So many requests are measured at a time: two seconds of them.
const MANY: usize = 2000;

/// Who asks through Envoy, over connections of its own.
#[derive(Clone)]
struct Client {
    client: reqwest::Client,
    url: String,
}

impl Asks for Client {
    /// The status, when it is not 200.
    async fn ask_about(&self, token: &str) -> String {
        let request = self.client.get(&self.url).bearer_auth(token);
        match request.send().await {
            Ok(answer) if answer.status() == 200 => {
                answer.bytes().await.map_or_else(|error| error.to_string(), |_| String::new())
            }
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) => format!("{error:?}"),
        }
    }
}

/// An Envoy by `envoy/envoy.yaml`, which asks these two.
struct Gateway {
    port: u16,
    _envoy: Running,
    _room: tempfile::TempDir,
}

impl Gateway {
    async fn before([one, two]: &[Replica; 2]) -> Self {
        let (port, admin, upstream) = (free_port(), free_port(), upstream().await);
        let endpoint = "              - endpoint:\n                  \
                        address: { socket_address: { address: 127.0.0.1, port_value: 9191 } }\n";
        let other = endpoint.replace("9191", &two.check.port().to_string());
        let config = replace(&envoy(Mode::Strict), endpoint, &format!("{endpoint}{other}"));
        let config = patient(&config);
        let ports = [(8000, port), (9191, one.check.port()), (8081, upstream), (9901, admin)];
        let config = with_ports(&config, "port_value: ", &ports);
        let room = tempfile::tempdir().unwrap();
        let envoy = Running::start(&mut envoy_of(NEWEST, &config, room.path()));
        tokio::task::block_in_place(|| listens(port));
        Self { port, _envoy: envoy, _room: room }
    }

    fn client(&self) -> Client {
        let url = format!("http://127.0.0.1:{}/api/agents", self.port);
        Client { client: reqwest::Client::new(), url }
    }
}

/// How many checks there were at a replica whose labels have this among them.
async fn checks(replica: &Replica, label: &str) -> u64 {
    let metrics = replica.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with("portcullis_checks_total{"));
    let counts = lines.filter(|line| line.contains(label)).map(|line| line.rsplit_once(' '));
    counts.map(|count| count.unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_refuses_a_new_token_once_a_replica_and_nobody_waits_for_the_issuer()
{
    assert!(release().exists(), "no release build: run tests/run");
    let provider = Provider::start();
    let toml = |refresh: &str| {
        let more = format!("refresh = \"{refresh}\"");
        format!("{}{RULE}", table("acme", &provider.issuer, &more))
    };
    let replicas = replicas(&toml("1h")).await;
    let gateway = Gateway::before(&replicas).await;
    let (client, old) = (gateway.client(), tokens(&provider).await);
    until("a good answer", async || client.ask_about(&old[0]).await.is_empty()).await;
    let load = Load::of(&[gateway.client(), gateway.client()], &old);
    for replica in &replicas {
        until("both to be asked", async || checks(replica, "\"allow\"").await > 10).await;
    }

    // By a key that nobody has seen, from one moment to the next. Whoever has the
    // first token tries again when the replica that refused it has asked.
    provider.does("/rotate").await;
    let new = tokens(&provider).await;
    let fetched = async || {
        let [one, two] = &replicas;
        [one.fetches("acme", "ok").await, two.fetches("acme", "ok").await]
    };
    let mut refused = 0;
    while fetched().await != [2, 2] {
        match client.ask_about(&new[0]).await.as_str() {
            "" => {}
            "401" => refused += 1,
            other => panic!("{other}"),
        }
        until("the new key", async || fetched().await.iter().sum::<u64>() == 2 + refused).await;
    }
    let both = [&old[..], &new].concat();
    load.with(&both);
    let (before, beside) = load.next(MANY).await;
    assert_eq!((before.denials(), beside.denials()), (vec![], vec![]));
    for replica in &replicas {
        let denied = checks(replica, "\"deny\"").await;
        assert_eq!((denied, checks(replica, "\"unknown_key\"").await), (1, 1));
        assert_eq!((replica.fetches("acme", "ok").await, replica.keys("acme").await), (2, 4));
    }

    // Asked all the time, and gone.
    for replica in &replicas {
        let toml = format!("login.users_file = \"users.toml\"\n{}", toml("1s"));
        std::fs::write(&replica.config_file, toml).unwrap();
    }
    for replica in &replicas {
        replica.has_fetched("acme", "ok", 4).await;
    }
    let (reloaded, there) = load.next(MANY).await;
    let port = provider.issuer.rsplit_once(':').unwrap().1.parse().unwrap();
    drop(provider);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    for replica in &replicas {
        replica.has_fetched("acme", "failed", 1).await;
    }
    let [p50, p99] = there.latencies();
    println!("there: {} requests, p50 {p50:?}, p99 {p99:?}", there.0.len());
    let mut denied = [reloaded.denials(), there.denials()].concat().len();
    // A machine that was busy gets further tries.
    for attempt in 1.. {
        let (between, gone) = load.next(MANY).await;
        denied += between.denials().len() + gone.denials().len();
        let [now, p99] = gone.latencies();
        println!("gone: {} requests, p50 {now:?}, p99 {p99:?}", gone.0.len());
        if now < p50 * 2 + Duration::from_millis(5) {
            break;
        }
        assert!(attempt < 3, "{now:?}, before {p50:?}");
    }
    denied += load.end().await.denials().len();
    assert_eq!(denied, 0);
    for replica in &replicas {
        // It was asked meanwhile, and then again.
        replica.has_fetched("acme", "failed", 2).await;
        assert_eq!(checks(replica, "\"deny\"").await, 1);
    }
}
