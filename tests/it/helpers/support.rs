//! Services to ask: in this process, or the real binary.

use std::{
    fmt::Debug,
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, authorization_client::AuthorizationClient,
};
use portcullis::{app::App, clock::Clock};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use crate::{ask, jwt};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until there is something, and fails when there never is.
pub(crate) fn eventually<T>(what: impl Debug, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A service in this process, with its own clock.
pub(crate) struct InProcess {
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    _stop_now: DropGuard,
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl InProcess {
    /// Starts one; its listener is on a free port unless the TOML says else.
    pub(crate) async fn start(toml: &str, clock: Arc<dyn Clock>) -> Self {
        let listens = toml.contains("check.listen");
        let listen = if listens { "" } else { "check.listen = \"127.0.0.1:0\"\n" };
        let listen =
            format!("{listen}http.listen = \"127.0.0.1:0\"\ninternal.listen = \"127.0.0.1:0\"\n");
        let app = App::bind(ask::config(&format!("{listen}{toml}")), clock).await.unwrap();
        let address = app.check_address();
        let (stop, stop_now) = (CancellationToken::new(), CancellationToken::new());
        let running = app.run(stop.clone(), stop_now.clone());
        let ended = tokio::spawn(async move { running.await.unwrap() });
        Self { address, stop, _stop_now: stop_now.drop_guard(), ended }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let address = match self.address.strip_prefix("unix:") {
            Some(path) => format!("unix://{path}"),
            None => format!("http://{}", self.address),
        };
        Endpoint::new(address).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn check(&self, request: CheckRequest) -> CheckResponse {
        let mut client = AuthorizationClient::new(self.channel().await);
        client.check(request).await.unwrap().into_inner()
    }
}

/// A program that ends with this, and what it has said.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: PathBuf,
    /// A master of nginx that is killed leaves its workers behind.
    has_workers: bool,
    _room: tempfile::TempDir,
}

impl Running {
    /// What of it is resident now (`VmRSS`), or was at most (`VmHWM`), in KiB.
    pub(crate) fn memory(&self, key: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = value.unwrap_or_else(|| panic!("it has ended: {}", self.log()));
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Starts a program; both of its outputs go to one log.
    pub(crate) fn start(command: &mut Command) -> Self {
        let room = tempfile::tempdir().unwrap();
        let log = room.path().join("log");
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log, has_workers: command.get_program() == "nginx", _room: room }
    }

    /// All that it has said so far.
    pub(crate) fn log(&self) -> String {
        let mut text = Vec::new();
        File::open(&self.log).unwrap().read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits for a line that holds this text.
    pub(crate) fn line(&self, text: &str) -> String {
        eventually(text, || {
            let log = self.log();
            log.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Has it take no more of the processors than others leave.
    pub(crate) fn step_back(&self) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("chrt")
                .args(["-a", "-i", "-p", "0", &id])
                .output()
                .unwrap()
                .status
                .success()
        );
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Stops it in the middle of what it does, until SIGCONT. The signal is
    /// sent at once, and takes each thread in its own time.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        let stands = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("status")).unwrap().contains("State:\tT")
        };
        eventually("all threads to stand", || {
            let mut all = std::fs::read_dir(&tasks).unwrap();
            all.all(|task| stands(task.unwrap())).then_some(())
        });
    }

    /// Waits for its end, and tells the exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        eventually("the end of a program", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_workers {
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args(["-s", "TERM", &id]).stderr(Stdio::null()).status();
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with the tests' key, and nothing else from the environment.
pub(crate) fn portcullis() -> Command {
    portcullis_of(Path::new(env!("CARGO_BIN_EXE_portcullis")))
}

/// The same of another build.
pub(crate) fn portcullis_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("AUTH_JWT_SECRET", jwt::SECRET);
    for listener in ["HTTP", "INTERNAL"] {
        command.env(format!("PORTCULLIS__{listener}__LISTEN"), "127.0.0.1:0");
    }
    command
}

/// The binary serving checks on this address.
pub(crate) fn serve(listen: &str, environment: &[(&str, &str)]) -> Running {
    let mut command = portcullis();
    command.arg("serve").env("PORTCULLIS__CHECK__LISTEN", listen);
    command.env("PORTCULLIS__LIFECYCLE__DRAIN", "0s").envs(environment.iter().copied());
    let running = Running::start(&mut command);
    running.line("\"check\"");
    running
}

/// The address of a `listening` line.
pub(crate) fn address_of(running: &Running) -> SocketAddr {
    address_of_listener(running, "check")
}

/// The address of one of the listeners.
pub(crate) fn address_of_listener(running: &Running, listener: &str) -> SocketAddr {
    let line = running.line(&format!("\"listener\":\"{listener}\""));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// Runs to the end, with this on stdin.
pub(crate) fn output(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// A token of ann's with this role, as `token mint` prints it; by the configuration of this
/// file, where one is named.
pub(crate) fn minted(role: &str, config: Option<&Path>) -> String {
    let mut command = portcullis();
    command.args(["token", "mint", "--name", "ann", "--user-id", "7", "--role", role]);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let said = output(&mut command, "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
}

/// A port that nobody listens on just now. Below those that the system gives to
/// outgoing connections, of which a browser opens many, and never twice.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth =
            std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 11_000 + u16::try_from(nth % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens there.
pub(crate) fn listens(port: u16) {
    eventually(port, || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
