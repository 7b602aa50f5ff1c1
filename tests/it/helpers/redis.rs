//! Real Redis: alone, as a cluster of three, and behind a sentinel.

use std::{path::Path, process::Command};

use portcullis::store::Target;

use crate::support::{Running, eventually, free_port};

/// A running Redis, in whatever form.
pub(crate) struct Redis {
    pub(crate) target: Target,
    /// What a configuration has under `[store]`.
    pub(crate) toml: String,
    /// The servers; the first one is the one to hurt.
    pub(crate) servers: Vec<Running>,
    pub(crate) port: u16,
    room: tempfile::TempDir,
}

fn server(port: u16, room: &Path, more: &[&str]) -> Running {
    let directory = room.join(port.to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let running = Running::start(
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir", directory.to_str().unwrap()])
            .args(more),
    );
    eventually("redis", || (cli(port, &["PING"]) == "PONG").then_some(()));
    running
}

/// Asks a server by redis-cli.
pub(crate) fn cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .output()
        .expect("no redis-cli: run tests/run");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Redis {
    pub(crate) fn single() -> Self {
        Self::single_with(&[], "")
    }

    /// One that can be told to begin another history, as a master does that takes over.
    pub(crate) fn with_another_history() -> Self {
        Self::single_with(&["--enable-debug-command", "local"], "")
    }

    /// One with a password.
    pub(crate) fn with_password(password: &str) -> Self {
        let redis = Self::single_with(&[], &format!(":{password}@"));
        cli(redis.port, &["CONFIG", "SET", "requirepass", password]);
        redis
    }

    fn single_with(more: &[&str], user: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let port = free_port();
        let url = format!("redis://{user}127.0.0.1:{port}");
        Self {
            target: Target::Single(url.clone()),
            toml: format!("[store]\nkind = \"redis\"\nurl = \"{url}\"\n"),
            servers: vec![server(port, room.path(), more)],
            port,
            room,
        }
    }

    /// One that speaks TLS alone, and the certificate to trust.
    pub(crate) fn tls() -> (Self, String) {
        let room = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
        let (key, certificate) = (file("key.pem"), file("cert.pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args([
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .args(["-keyout", &key, "-out", &certificate])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let running = Running::start(
            Command::new("redis-server")
                .args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--tls-auth-clients", "no", "--requirepass", "s3cret"])
                .args(["--tls-cert-file", &certificate, "--tls-key-file", &key])
                .args(["--tls-ca-cert-file", &certificate]),
        );
        crate::support::listens(port);
        let url = format!("rediss://:s3cret@localhost:{port}");
        let redis = Self {
            target: Target::Single(url.clone()),
            toml: format!("[store]\nkind = \"redis\"\nurl = \"{url}\"\ntimeout = \"1s\"\n"),
            servers: vec![running],
            port,
            room,
        };
        (redis, certificate)
    }

    /// How often it was asked so, by its own count.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let all = cli(self.port, &["INFO", "commandstats"]);
        let of = |line: &str| {
            line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next()?.parse().ok()
        };
        all.lines().find_map(of).unwrap_or(0)
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.servers.clear();
    }

    /// Starts the server of a killed one again.
    pub(crate) fn restart(&mut self) {
        self.servers.clear();
        self.servers.push(server(self.port, self.room.path(), &[]));
    }

    pub(crate) fn cluster() -> Self {
        let room = tempfile::tempdir().unwrap();
        let ports = [(); 3].map(|()| free_port());
        let servers = ports
            .iter()
            .map(|port| {
                let bus = free_port().to_string();
                server(*port, room.path(), &["--cluster-enabled", "yes", "--cluster-port", &bus])
            })
            .collect();
        let nodes = ports.map(|port| format!("127.0.0.1:{port}"));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&nodes)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        for port in ports {
            eventually("the cluster", || {
                let info = cli(port, &["CLUSTER", "INFO"]);
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
                    .then_some(())
            });
        }
        let urls: Vec<String> = nodes.iter().map(|node| format!("redis://{node}")).collect();
        Self {
            target: Target::Cluster(urls.clone()),
            toml: format!("[store]\nkind = \"redis-cluster\"\nurls = {urls:?}\n"),
            servers,
            port: ports[0],
            room,
        }
    }

    pub(crate) fn sentinel() -> Self {
        let room = tempfile::tempdir().unwrap();
        let [master, replica, sentinel] = [(); 3].map(|()| free_port());
        let of_master = format!("127.0.0.1 {master}");
        let mut servers = vec![
            server(master, room.path(), &[]),
            server(replica, room.path(), &["--replicaof", &of_master]),
        ];
        let config = room.path().join("sentinel.conf");
        let text = format!(
            "port {sentinel}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        );
        std::fs::write(&config, text).unwrap();
        servers.push(Running::start(Command::new("redis-server").arg(&config).arg("--sentinel")));
        eventually("the sentinel", || {
            let known = cli(sentinel, &["SENTINEL", "REPLICAS", "main"]);
            known.contains(&replica.to_string()).then_some(())
        });
        eventually("the replica", || {
            cli(replica, &["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
        let urls = vec![format!("redis://127.0.0.1:{sentinel}")];
        Self {
            target: Target::Sentinel(urls.clone(), "main".into()),
            toml: format!(
                "[store]\nkind = \"redis-sentinel\"\nsentinels = {urls:?}\nmaster = \"main\"\n"
            ),
            servers,
            port: master,
            room,
        }
    }
}
