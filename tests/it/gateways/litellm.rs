//! The agents of the examples with a real LiteLLM proxy, behind real gateways.

use std::{
    process::Command,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    stack::{Mode, NEWEST, Stack, bearer, token},
    support::{PATIENCE, Running, eventually, free_port, root},
    talk::Talk,
};

const KEY: &str = "sk-the-very-secret-master-key-1234";
/// One that LiteLLM does not know.
const OTHER: &str = "sk-another-and-wrong-key-9876";
/// What `tests/litellm/config.yaml` has as a provider's key.
const PROVIDERS_KEY: &str = "sk-the-providers-own-key";
const GATEWAYS: [Mode; 2] = [Mode::Strict, Mode::Nginx];

/// A LiteLLM proxy of `tests/litellm/config.yaml`; it ends with the last that
/// uses it.
struct LiteLlm {
    running: Running,
    port: u16,
    _room: tempfile::TempDir,
}

impl LiteLlm {
    /// The one that runs, or a new one: it takes long to start.
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<LiteLlm>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start() -> Self {
        let binary = root().join("target/litellm/bin/litellm");
        assert!(binary.exists(), "no LiteLLM: run tests/litellm/install");
        let (port, room) = (free_port(), tempfile::tempdir().unwrap());
        #[expect(clippy::disallowed_methods, reason = "Python's own libraries are found by it")]
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(root().join("tests/litellm/run"));
        command.arg(port.to_string()).env_clear().env("PATH", path).env("LITELLM_MASTER_KEY", KEY);
        command.env("HOME", room.path()).current_dir(room.path());
        let mut running = Running::start(&mut command);
        let deadline = Instant::now() + 3 * PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", running.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { running, port, _room: room }
    }
}

/// Stands between the agents and LiteLLM: keeps what the agents send, holds back
/// what follows the first events, when it is told to, and tells when the agents
/// closed a connection.
struct Relay {
    base: String,
    sent: Arc<Mutex<Vec<u8>>>,
    holds: Arc<AtomicBool>,
    closed: Receiver<Instant>,
}

/// So many events pass where the rest is held back.
const PASS: usize = 3;

impl Relay {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sent, holds) = (Arc::default(), Arc::default());
        let (closes, closed) = channel();
        let (keep, hold) = (Arc::clone(&sent), Arc::clone(&holds));
        tokio::spawn(async move {
            loop {
                let (agents, _) = listener.accept().await.unwrap();
                let (from_agents, to_agents) = agents.into_split();
                let (from_model, to_model) =
                    TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
                let back = tokio::spawn(pass_back(from_model, to_agents, Arc::clone(&hold)));
                let (keep, closes) = (Arc::clone(&keep), closes.clone());
                tokio::spawn(async move {
                    pass_on(from_agents, to_model, keep, closes).await;
                    back.abort();
                });
            }
        });
        Self { base, sent, holds, closed }
    }

    /// All that the agents have sent.
    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned()
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    keep: Arc<Mutex<Vec<u8>>>,
    closes: Sender<Instant>,
) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        keep.lock().unwrap().extend_from_slice(&chunk[..length]);
        if to.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
    let _ = closes.send(Instant::now());
}

async fn pass_back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hold: Arc<AtomicBool>) {
    let (mut chunk, mut all, mut passed) = (vec![0; 16 * 1024], Vec::new(), 0);
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        all.extend_from_slice(&chunk[..length]);
        let begins = all.windows(5).enumerate().filter(|(_, window)| window == b"data:");
        let until = match begins.map(|(at, _)| at).nth(PASS) {
            Some(at) if hold.load(Ordering::Relaxed) => at,
            _ => all.len(),
        };
        if until > passed && to.write_all(&all[passed..until]).await.is_err() {
            return;
        }
        passed = passed.max(until);
    }
}

/// The gateway, portcullis and the agents, with LiteLLM behind the relay.
struct Town {
    litellm: Arc<LiteLlm>,
    relay: Relay,
    stack: Stack,
}

impl Town {
    async fn start(mode: Mode) -> Self {
        Self::with_key(mode, KEY).await
    }

    async fn with_key(mode: Mode, key: &'static str) -> Self {
        let litellm = tokio::task::spawn_blocking(LiteLlm::shared).await.unwrap();
        let relay = Relay::before(litellm.port).await;
        let base = relay.base.clone();
        let stack = tokio::task::spawn_blocking(move || {
            let variables = [("LITELLM_BASE_URL", base.as_str()), ("LITELLM_MASTER_KEY", key)];
            Stack::with(NEWEST, mode, &variables)
        });
        Self { litellm, relay, stack: stack.await.unwrap() }
    }

    async fn talk(&self, model: &str) -> Talk {
        let react = self.stack.new_agent(model);
        Talk::begin(self.stack.port, &react, &token(&json!({}))).await
    }

    /// No log, and nothing that a client heard, holds a key.
    fn keeps_its_keys(&self, heard: &str) {
        let portcullis = self.stack.portcullis.as_ref().unwrap().log();
        let logs = [
            ("the gateway's log", self.stack.gateway.log()),
            ("portcullis's log", portcullis),
            ("the agents' log", self.stack.agents.log()),
            ("LiteLLM's log", self.litellm.running.log()),
            ("what a client heard", heard.to_owned()),
        ];
        for (what, text) in logs {
            for key in [KEY, PROVIDERS_KEY] {
                assert!(!text.contains(key), "{what}: {text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_pieces_from_litellm_arrive_in_order_through_envoy_and_nginx() {
    for mode in GATEWAYS {
        let town = Town::start(mode).await;
        let good = bearer("REGULAR");
        let models = town.stack.send("GET", "/api/agents/models", &[("authorization", &good)]);
        assert_eq!(models.status, 200, "{models:?}");
        assert_eq!(models.json()["data"][0]["id"], "counting", "{models:?}");

        let mut talk = town.talk("counting").await;
        let counted: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
        let end = json!({ "type": "complete", "state": "AVAILABLE", "finishReason": "stop" });
        // The second time, it has the first in mind.
        for _ in 0..2 {
            assert_eq!(talk.ask("Count.").await, (counted.clone(), end.clone()), "{mode:?}");
        }
        // LiteLLM gets the master key, and nothing that a client or the gateway sent.
        let sent = town.relay.sent().to_ascii_lowercase();
        assert_eq!(sent.matches(&format!("authorization: bearer {KEY}")).count(), 3, "{sent}");
        assert_eq!(sent.matches("authorization:").count(), 3, "{sent}");
        assert!(!sent.contains("x-user") && !sent.contains("cookie:"), "{sent}");
        assert!(!sent.contains(&good["Bearer ".len()..].to_ascii_lowercase()), "{sent}");
        town.keeps_its_keys(&format!("{models:?}{}", talk.heard));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_call_to_litellm_within_a_second() {
    for mode in GATEWAYS {
        let town = Town::start(mode).await;
        town.relay.holds.store(true, Ordering::Relaxed);
        for closes in [true, false] {
            let mut talk = town.talk("counting").await;
            talk.say("Count.").await;
            assert_eq!(talk.hear().await["state"], "GENERATING");
            for n in 0..PASS {
                assert_eq!(talk.hear().await["content"], format!("{n:03}"), "{mode:?}");
            }
            // As long as the client stays, the call does.
            let stays = town.relay.closed.recv_timeout(Duration::from_millis(300));
            assert!(stays.is_err(), "{mode:?}: the call ended by itself");

            let begin = Instant::now();
            if closes {
                talk.close().await;
            } else {
                drop(talk);
            }
            let closed = town.relay.closed.recv_timeout(PATIENCE).unwrap();
            let took = closed.saturating_duration_since(begin);
            println!("{mode:?}, {closes}: the call ended after {took:?}");
            assert!(took < Duration::from_secs(1), "{mode:?}: the call went on for {took:?}");
        }
        // And the agents go on.
        town.relay.holds.store(false, Ordering::Relaxed);
        assert_eq!(town.talk("counting").await.ask("Count.").await.0.len(), 200, "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_litellm_refuses_is_told_without_its_secrets() {
    for mode in GATEWAYS {
        let town = Town::start(mode).await;
        let mut heard = String::new();
        for (model, expected) in [
            ("unknown", "modelType has to be one of /api/agents/models"),
            ("failing", "answered with an error"),
            ("away", "answered with an error"),
        ] {
            let mut talk = town.talk(model).await;
            let error = talk.ask_in_vain("Count.").await;
            assert!(error.starts_with("the model server") && error.contains(expected), "{error}");
            for inner in [KEY, PROVIDERS_KEY, "litellm", "127.0.0.1", "mock"] {
                assert!(!talk.heard.to_ascii_lowercase().contains(inner), "{}", talk.heard);
            }
            town.stack.agents.line(&error);
            heard.push_str(&talk.heard);
        }
        town.keeps_its_keys(&heard);
    }

    let town = Town::with_key(Mode::Nginx, OTHER).await;
    let mut talk = town.talk("counting").await;
    let error = talk.ask_in_vain("Count.").await;
    assert!(error.contains("refuses the key of this service"), "{error}");
    let models =
        town.stack.send("GET", "/api/agents/models", &[("authorization", &bearer("ADMIN"))]);
    assert_eq!((models.status, models.json()["error"].as_str()), (502, Some(error.as_str())));
    assert!(!format!("{models:?}{}", talk.heard).contains(OTHER));
    assert!(!town.stack.agents.log().contains(OTHER));

    // Nobody is there.
    let base = format!("http://127.0.0.1:{}", free_port());
    let variables = [("LITELLM_BASE_URL", base.as_str()), ("LITELLM_MASTER_KEY", KEY)];
    let stack = tokio::task::block_in_place(|| Stack::with(NEWEST, Mode::Nginx, &variables));
    let react = stack.new_agent("counting");
    let mut talk = Talk::begin(stack.port, &react, &token(&json!({}))).await;
    let error = talk.ask_in_vain("Count.").await;
    assert_eq!(error, "the model server cannot be reached: try again later");
    eventually("the agents' log", || stack.agents.log().contains(&error).then_some(()));
    assert!(!stack.agents.log().contains(KEY) && !talk.heard.contains(KEY));
}
