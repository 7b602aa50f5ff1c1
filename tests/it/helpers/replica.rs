//! The real binary signing people in, as one of several replicas.

use std::{net::SocketAddr, path::PathBuf, sync::OnceLock};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Running, address_of_listener, eventually, portcullis};

pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const CONTROL_PLANE: &str = "https://cp.example.com";

/// Limits that no test meets by accident.
pub(crate) const OPEN: &str = "login.limits = { failures = 100000, \
                               failures_per_address = 1000000, failures_per_name = 1000000 }\n";

/// The body of a sign-in.
pub(crate) fn body(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// The hash of [`PASSWORD`].
pub(crate) fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| portcullis::login::hash(&PASSWORD.into()).unwrap())
}

/// A hash of another password, or of the same with another salt.
pub(crate) fn hash_of(password: &str) -> String {
    portcullis::login::hash(&password.into()).unwrap()
}

/// A users file of these: id, name, role, and whether disabled.
pub(crate) fn users(users: &[(&str, &str, &str, bool)]) -> String {
    users
        .iter()
        .map(|(id, name, role, disabled)| {
            format!(
                "[[users]]\nid = \"{id}\"\nname = \"{name}\"\nemail = \"{id}@example.com\"\n\
                 role = \"{role}\"\npassword_hash = \"{}\"\ndisabled = {disabled}\n",
                hash()
            )
        })
        .collect()
}

/// The users that every test has.
pub(crate) fn everybody() -> String {
    users(&[
        ("7", "ann", "REGULAR", false),
        ("8", "Zoë", "ADMIN", false),
        ("9", "ina", "INACTIVE", false),
        ("10", "dis", "ADMIN", true),
    ])
}

/// A running replica.
pub(crate) struct Replica {
    pub(crate) running: Running,
    pub(crate) check: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) users_file: PathBuf,
    pub(crate) config_file: PathBuf,
    pub(crate) client: Client,
    room: Option<tempfile::TempDir>,
}

impl Replica {
    /// Starts one of this configuration, with a control plane.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(&format!(
            "login.control_plane_url = \"{CONTROL_PLANE}\"\n{toml}\n[lifecycle]\ndrain = \"0s\"\n"
        ))
    }

    pub(crate) fn start_with(toml: &str) -> Self {
        Self::of(portcullis(), toml)
    }

    pub(crate) fn of(command: std::process::Command, toml: &str) -> Self {
        Self::with_users(command, toml, &everybody())
    }

    /// Starts one of this configuration and these users, with a control plane.
    pub(crate) fn start_of(toml: &str, users: &str) -> Self {
        let toml = format!("login.control_plane_url = \"{CONTROL_PLANE}\"\n{toml}");
        Self::with_users(portcullis(), &toml, users)
    }

    /// Starts one of this configuration and these users.
    pub(crate) fn with_users(command: std::process::Command, toml: &str, users: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let users_file = room.path().join("users.toml");
        std::fs::write(&users_file, users).unwrap();
        let config_file = room.path().join("portcullis.toml");
        std::fs::write(&config_file, format!("login.users_file = \"users.toml\"\n{toml}")).unwrap();
        let mut replica = Self::of_file(command, &config_file);
        (replica.users_file, replica.room) = (users_file, Some(room));
        replica
    }

    /// Starts one of a configuration that is somewhere already.
    pub(crate) fn serving(config_file: &std::path::Path) -> Self {
        Self::of_file(portcullis(), config_file)
    }

    fn of_file(mut command: std::process::Command, config_file: &std::path::Path) -> Self {
        command.args(["serve", "--config", config_file.to_str().unwrap()]);
        command.env("PORTCULLIS__CHECK__LISTEN", "127.0.0.1:0").env("RUST_LOG", "debug");
        let running = Running::start(&mut command);
        let [check, http, internal] =
            ["check", "http", "internal"].map(|name| address_of_listener(&running, name));
        let client = Client::new();
        let (config_file, users_file) = (config_file.to_owned(), PathBuf::new());
        Self { running, check, http, internal, users_file, config_file, client, room: None }
    }

    /// The value of a sample of `/metrics`, by its name and labels.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let text = self.metrics().await;
        let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
    }

    /// All of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.internal);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(self) -> Self {
        let started = std::time::Instant::now();
        while self.readyz().await.0 != StatusCode::OK {
            assert!(started.elapsed() < crate::support::PATIENCE, "{}", self.running.log());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self
    }

    pub(crate) async fn readyz(&self) -> (StatusCode, String) {
        let url = format!("http://{}/readyz", self.internal);
        let response = self.client.get(url).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    /// A code for this user.
    pub(crate) async fn code(&self, name: &str) -> String {
        let body = json!({ "username": name, "password": PASSWORD });
        let response = self.post("/v3/login", &body).send().await.unwrap();
        let (status, body) = answer(response).await;
        assert_eq!(status, 200, "{body}");
        body["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn exchange(&self, code: &str) -> (u16, Value) {
        let response = self.post("/v3/login/exchange", &json!({ "code": code })).send().await;
        answer(response.unwrap()).await
    }

    /// A token for this user.
    pub(crate) async fn token(&self, name: &str) -> String {
        let code = self.code(name).await;
        let (status, body) = self.exchange(&code).await;
        assert_eq!(status, 200, "{body}");
        body["token"].as_str().unwrap().to_owned()
    }

    /// The status of `GET /session` with this token.
    pub(crate) async fn session(&self, token: &str) -> u16 {
        let request = self.client.get(self.url("/session")).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn logout(&self, token: &str) -> (u16, Value) {
        let request = self.client.post(self.url("/session/logout")).bearer_auth(token);
        answer(request.send().await.unwrap()).await
    }

    pub(crate) fn write_users(&self, text: &str) {
        // As an editor does: another file in its place.
        let new = self.users_file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.users_file).unwrap();
    }

    /// Waits for a line of the log.
    pub(crate) fn says(&self, text: &str) {
        eventually(text, || self.running.log().contains(text).then_some(()));
    }
}

/// Status and body of an answer.
pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
