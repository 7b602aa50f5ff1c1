//! Steady load through Envoy, by mutual TLS, to two replicas and their Redis,
//! while operators do what operators do: not one wrong answer, not one 5xx.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::{
    jwt,
    mount::Mount,
    pki::{Authority, Issued},
    redis::Redis,
    stack::{Answer, Mode, NEWEST, envoy, envoy_of, patient, replace, start_agents, with_ports},
    support::{Running, eventually, free_port, listens, portcullis},
};

/// The keys of the tokens: the first is the tests' own.
const KEYS: [&str; 2] = [jwt::SECRET, "the second key, which takes over from the first one"];

/// The files of a replica.
struct Files<'a> {
    redis: &'a str,
    keys: &'a str,
    public: &'a str,
    own: &'a Issued,
    ca: &'a str,
}

impl Files<'_> {
    fn toml(&self) -> String {
        format!(
            "tokens.keys = [{}]\n{}\n[check]\n\
             tls = {{ cert_file = \"tls.crt\", key_file = \"tls.key\", client_ca_file = \"ca.crt\" }}\n\
             [[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\", \"ADMIN\"]\n\
             [[rules]]\nname = \"open\"\npath = \"{}\"\naccess = \"public\"\n\
             [lifecycle]\ndrain = \"6s\"\n[telemetry]\nallowed_decisions = 0.0\n",
            self.keys, self.redis, self.public
        )
    }

    fn mounted<T>(&self, with: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        with(&[
            ("portcullis.toml", &self.toml()),
            ("1.key", KEYS[0]),
            ("2.key", KEYS[1]),
            ("tls.crt", &self.own.certificate),
            ("tls.key", &self.own.key),
            ("ca.crt", self.ca),
        ])
    }
}

struct Replica {
    mount: Mount,
    running: Running,
    port: u16,
}

impl Replica {
    fn run(mount: &Mount, port: u16) -> Running {
        let mut command = portcullis();
        command.arg("serve").arg("--config").arg(mount.file("portcullis.toml"));
        command.env("PORTCULLIS__CHECK__LISTEN", format!("127.0.0.1:{port}"));
        let running = Running::start(&mut command);
        running.line("\"internal\"");
        running
    }

    fn start(files: &Files<'_>) -> Self {
        let (mount, port) = (files.mounted(Mount::new), free_port());
        let running = Self::run(&mount, port);
        Self { mount, running, port }
    }

    fn reloads(&self) -> usize {
        self.running.log().matches("the configuration was reloaded").count()
    }
}

/// All of it.
struct Town {
    ca: Authority,
    redis: Option<Redis>,
    toml: String,
    replicas: Vec<Replica>,
    port: u16,
    admin: u16,
    _envoy: Running,
    _agents: Running,
    _room: tempfile::TempDir,
}

impl Town {
    fn start() -> Self {
        let (ca, redis) = (Authority::new("the town's"), Redis::single());
        let toml = redis.toml.clone();
        let own = ca.issue(1, 2098);
        let files =
            Files { redis: &toml, keys: &keys(&[1]), public: "/open", own: &own, ca: &ca.pem() };
        let replicas = vec![Replica::start(&files), Replica::start(&files)];
        let [port, agents, admin] = [(); 3].map(|()| free_port());
        let room = tempfile::tempdir().unwrap();
        // They check once more, and know both keys from the start.
        let both = format!(
            "[{{ kid = \"1\", secret = {:?} }}, {{ kid = \"2\", secret = {:?} }}]",
            KEYS[0], KEYS[1]
        );
        let agents_running = start_agents(agents, &[("PORTCULLIS__TOKENS__KEYS", both.as_str())]);

        let client = ca.issue(9, 2099);
        let file = |name: &str, text: &str| {
            std::fs::write(room.path().join(name), text).unwrap();
            room.path().join(name).display().to_string()
        };
        let tls = format!(
            "      transport_socket:\n        name: envoy.transport_sockets.tls\n        typed_config:\n          \
             \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n          \
             sni: localhost\n          common_tls_context:\n            alpn_protocols: [h2]\n            \
             tls_certificates: [{{ certificate_chain: {{ filename: {} }}, private_key: {{ filename: {} }} }}]\n            \
             validation_context: {{ trusted_ca: {{ filename: {} }} }}\n",
            file("client.crt", &client.certificate),
            file("client.key", &client.key),
            file("ca.crt", &ca.pem()),
        );
        let one = "              - endpoint:\n                  \
                   address: { socket_address: { address: 127.0.0.1, port_value: 9191 } }\n";
        let other = one.replace("9191", &replicas[1].port.to_string());
        let config = replace(&envoy(Mode::Strict), one, &format!("{one}{other}{tls}"));
        let config = patient(&config);
        let ports = [(8000, port), (9191, replicas[0].port), (8081, agents), (9901, admin)];
        let config = with_ports(&config, "port_value: ", &ports);
        let envoy = Running::start(&mut envoy_of(NEWEST, &config, room.path()));
        listens(port);
        let town = Self {
            ca,
            redis: Some(redis),
            toml,
            replicas,
            port,
            admin,
            _envoy: envoy,
            _agents: agents_running,
            _room: room,
        };
        eventually("both replicas", || {
            let good = town.ask("/api/agents", Some(&token(0, "REGULAR"))).status == 200;
            (good && town.sees(0, true) && town.sees(1, true)).then_some(())
        });
        town
    }

    fn ask(&self, path: &str, token: Option<&str>) -> Answer {
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        get(self.port, path, &authorization.unwrap_or_default())
    }

    /// Whether Envoy takes this replica to be healthy, or not.
    fn sees(&self, nth: usize, healthy: bool) -> bool {
        let clusters = get(self.admin, "/clusters", "").body;
        let flags = format!("127.0.0.1:{}::health_flags::", self.replicas[nth].port);
        let line = clusters.lines().find_map(|line| line.split_once(&flags));
        line.is_some_and(|(_, flags)| (flags == "healthy") == healthy)
    }

    /// Starts this replica anew, and waits until it is asked again.
    fn comes_back(&mut self, nth: usize) {
        let Replica { mount, port, running } = &mut self.replicas[nth];
        *running = Replica::run(mount, *port);
        eventually("Envoy to see it", || self.sees(nth, true).then_some(()));
        let running = &self.replicas[nth].running;
        eventually("questions", || running.log().contains("no_rule").then_some(()));
    }

    /// Changes the files of both replicas, and waits until both have them.
    fn reload(&self, keys: &str, public: &str, own: &Issued) {
        let ca = self.ca.pem();
        let files = Files { redis: &self.toml, keys, public, own, ca: &ca };
        for replica in &self.replicas {
            let before = replica.reloads();
            files.mounted(|files| replica.mount.swap(files));
            eventually("a reload", || (replica.reloads() > before).then_some(()));
        }
    }
}

fn get(port: u16, path: &str, header: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut stream)
}

/// The list of keys with these numbers, the first of which signs.
fn keys(numbers: &[u8]) -> String {
    let key = |number| format!("{{ kid = \"{number}\", secret_file = \"{number}.key\" }}");
    numbers.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// A token of that role, signed with the key of that place.
fn token(key: usize, role: &str) -> String {
    let claims = jwt::with(SystemClock.now().as_secs(), &json!({ "role": role }));
    let header = format!("{{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"{}\"}}", key + 1);
    let hs256 = aws_lc_rs::hmac::HMAC_SHA256;
    jwt::sign_with(hs256, KEYS[key].as_bytes(), &header, &claims.to_string())
}

/// What is asked all the time, and what it has to come to. The second key's
/// tokens join when the replicas know it.
struct Load {
    stop: AtomicBool,
    second_key: AtomicBool,
    asked: AtomicU64,
    wrong: Mutex<BTreeMap<String, u64>>,
}

impl Load {
    fn start(port: u16, clients: usize) -> (Arc<Self>, Vec<tokio::task::JoinHandle<()>>) {
        let load = Arc::new(Self {
            stop: AtomicBool::new(false),
            second_key: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            wrong: Mutex::default(),
        });
        let run = |_| {
            let load = Arc::clone(&load);
            tokio::spawn(async move { load.run(port).await })
        };
        let clients = (0..clients).map(run).collect();
        (load, clients)
    }

    async fn run(&self, port: u16) {
        let client = reqwest::Client::new();
        let (regular, inactive) = (token(0, "REGULAR"), token(0, "INACTIVE"));
        let (second, forged) = (token(1, "ADMIN"), format!("{}A", &regular[..regular.len() - 3]));
        let cases = [
            ("/api/agents", Some(&regular), 200),
            ("/api/agents", Some(&inactive), 403),
            ("/api/agents", Some(&forged), 401),
            ("/api/agents", None, 401),
            ("/nowhere", Some(&regular), 403),
            ("/api/agents", Some(&second), 200),
        ];
        while !self.stop.load(Ordering::Relaxed) {
            let second_key = self.second_key.load(Ordering::Relaxed);
            for (nth, (path, token, expected)) in cases.iter().enumerate() {
                if nth == 5 && !second_key {
                    continue;
                }
                let mut request = client.get(format!("http://127.0.0.1:{port}{path}"));
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let status = match request.send().await {
                    Ok(answer) => answer.status().as_u16().to_string(),
                    Err(error) => format!("{error:?}"),
                };
                self.asked.fetch_add(1, Ordering::Relaxed);
                if status != expected.to_string() {
                    let what = format!("{path} ({nth}): {status}, not {expected}");
                    *self.wrong.lock().unwrap().entry(what).or_default() += 1;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn end(&self, clients: Vec<tokio::task::JoinHandle<()>>) -> (u64, BTreeMap<String, u64>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        (self.asked.load(Ordering::Relaxed), self.wrong.lock().unwrap().clone())
    }
}

/// Everything that operators do, within this time at least.
async fn operators_at_work(reloads: u32, at_least: Duration) {
    let started = Instant::now();
    let mut town = tokio::task::block_in_place(Town::start);
    let (load, clients) = Load::start(town.port, 6);
    let certificates: Vec<Issued> = (2..5).map(|serial| town.ca.issue(serial, 2099)).collect();
    tokio::task::block_in_place(|| {
        // The key: known everywhere, then first everywhere, then alone would
        // be too early, since the old tokens are to be good to their end.
        town.reload(&keys(&[1, 2]), "/open", &certificates[0]);
        load.second_key.store(true, Ordering::Relaxed);
        let newest = keys(&[2, 1]);
        for nth in 1..reloads {
            let own = &certificates[nth as usize % certificates.len()];
            town.reload(&newest, if nth % 2 == 0 { "/open" } else { "/other" }, own);
        }
        // One replica goes, as a rollout takes it, and another comes.
        town.replicas[1].running.signal("TERM");
        assert_eq!(town.replicas[1].running.ended(), Some(0));
        town.comes_back(1);
        // Redis goes, and is away for good.
        town.redis = None;
        for replica in &town.replicas {
            replica.running.line("the store is away");
        }
    });
    let left = at_least.saturating_sub(started.elapsed());
    tokio::time::sleep(left.max(Duration::from_secs(2))).await;
    let (asked, wrong) = load.end(clients).await;
    println!("{asked} requests in {:?}, wrong: {wrong:?}", started.elapsed());
    assert!(wrong.is_empty(), "of {asked} requests: {wrong:?}");
    assert!(asked > 1000, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_what_operators_do() {
    operators_at_work(4, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: tests/run --soak"]
async fn for_a_minute_nobody_notices_what_operators_do() {
    operators_at_work(20, Duration::from_secs(60)).await;
}

/// What a replica that is killed costs: the questions on their way to it.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_killed_replica_only_what_was_on_its_way_is_lost() {
    let mut town = tokio::task::block_in_place(Town::start);
    let (load, clients) = Load::start(town.port, 6);
    tokio::task::block_in_place(|| {
        for _ in 0..3 {
            let before = load.asked.load(Ordering::Relaxed);
            let more = || load.asked.load(Ordering::Relaxed) > before + 200;
            eventually("more requests", || more().then_some(()));
            town.replicas[1].running.signal("KILL");
            town.replicas[1].running.ended();
            eventually("Envoy to see it", || town.sees(1, false).then_some(()));
            town.comes_back(1);
        }
    });
    let (asked, wrong) = load.end(clients).await;
    let failed: u64 = wrong.values().sum();
    println!("{failed} of {asked} requests failed at three kills: {wrong:?}");
    // As many as there are clients could be on their way, each time; and never
    // is anything let through that should not be.
    assert!(failed <= 3 * 6, "{failed} of {asked}: {wrong:?}");
    assert!(wrong.keys().all(|what| what.contains(": 503,")), "{wrong:?}");
}
