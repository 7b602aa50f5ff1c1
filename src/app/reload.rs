//! Takes a changed configuration over while the service runs.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::parts::{Generation, InForce};
use crate::{
    config::{Config, FeedConfig, Listen, LogFormat, Problem, Problems, SeenFile, StoreConfig},
    tls::Tls,
    traces::TraceSettings,
};

/// How often the files are looked at. Looking is cheap, follows the symlink
/// that Kubernetes swaps, and works on every file system.
const POLL: Duration = Duration::from_millis(500);
/// So many looks at files that never stand still are told of.
const MAX_RESTLESS: u32 = 20;
/// How long reading may take before that is told of.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the configuration anew.
pub type Loader = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// How to reload, and when to do so without a change.
pub(super) struct Reloads {
    pub(super) load: Loader,
    pub(super) now: Arc<Notify>,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

/// What a service is started with, and keeps until it is started anew: its
/// listeners and all that guards their doors, and whatever would open one when
/// a file is cut off or a table is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) check: Listen,
    pub(super) http: SocketAddr,
    pub(super) internal: SocketAddr,
    max_message_bytes: usize,
    has_tls: [bool; 2],
    asks_gateways: bool,
    has_own_rules: bool,
    /// `login.users_file`, `[api_keys]` and its file.
    has_files: [bool; 3],
    store: StoreConfig,
    log_format: LogFormat,
    traces: Option<TraceSettings>,
    pub(super) feed: Option<FeedConfig>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let Config { check, http, telemetry, .. } = config;
        Self {
            check: check.listen.clone(),
            http: http.listen,
            internal: config.internal.listen,
            max_message_bytes: check.max_message_bytes,
            has_tls: [check.tls.is_some(), http.tls.is_some()],
            asks_gateways: check.tls.as_ref().is_some_and(Tls::asks_clients),
            has_own_rules: config.has_own_rules,
            has_files: [
                config.login.users_file.is_some(),
                config.api_keys.is_some(),
                config.api_keys.as_ref().is_some_and(|keys| keys.path.is_some()),
            ],
            store: config.store.clone(),
            log_format: telemetry.log_format,
            traces: telemetry.traces.clone(),
            feed: config.feed.clone(),
        }
    }

    /// The keys by which the other is none that can follow. Rules and accounts
    /// may come; to lose them is a mistake.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("check.listen", self.check != other.check),
            ("http.listen", self.http != other.http),
            ("internal.listen", self.internal != other.internal),
            ("check.max_message_bytes", self.max_message_bytes != other.max_message_bytes),
            ("check.tls", self.has_tls[0] != other.has_tls[0]),
            ("http.tls", self.has_tls[1] != other.has_tls[1]),
            ("check.tls.client_ca_file", self.asks_gateways != other.asks_gateways),
            ("rules", self.has_own_rules && !other.has_own_rules),
            ("login.users_file", self.has_files[0] && !other.has_files[0]),
            ("api_keys", self.has_files[1] && !other.has_files[1]),
            ("api_keys.file", self.has_files[2] && !other.has_files[2]),
            ("store", self.store != other.store),
            ("telemetry.log_format", self.log_format != other.log_format),
            ("telemetry.otlp_endpoint", self.traces != other.traces),
            ("feed", self.feed != other.feed),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

/// What came of reading the configuration.
enum Loaded {
    Next(Box<Generation>, Summary),
    Refused,
}

/// What is told of a configuration that was taken over.
struct Summary {
    rules: usize,
    accounts: usize,
}

/// Watches the files of the configuration.
pub(super) struct Reloader {
    reloads: Reloads,
    in_force: Arc<InForce>,
    fixed: Arc<Fixed>,
    /// As they were read last.
    files: Vec<SeenFile>,
    /// As they were when what is in force was read.
    good: Vec<SeenFile>,
}

impl Reloader {
    pub(super) fn new(
        reloads: Reloads,
        in_force: Arc<InForce>,
        fixed: Fixed,
        files: Vec<SeenFile>,
    ) -> Self {
        let good = files.clone();
        Self { reloads, in_force, fixed: Arc::new(fixed), files, good }
    }

    /// Reloads until it is told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            // A file system that hangs keeps nobody from stopping.
            () = self.watch() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn watch(mut self) {
        let (mut before, mut is_due, mut restless) = (Vec::new(), false, 0);
        loop {
            tokio::select! {
                () = self.reloads.now.notified() => is_due = true,
                () = tokio::time::sleep(POLL) => {}
            }
            let seen = look(&self.files).await;
            // A file that is still written to would be read by half: a change
            // counts when it has stood for one look.
            let stands = before == seen;
            before.clone_from(&seen);
            if seen == self.files && !is_due {
                restless = 0;
            } else if stands {
                (is_due, restless) = (self.reload(seen).await, 0);
            } else {
                restless += 1;
                if restless == MAX_RESTLESS {
                    self.failed("a file of it changes all the time", "replace it whole, by mv");
                }
            }
        }
    }

    /// Reads the configuration, and puts it in force when it is good. Says
    /// whether it has to be read once more.
    async fn reload(&mut self, seen: Vec<SeenFile>) -> bool {
        if let Some(file) = seen.iter().find(|file| file.is_lost(&self.good)) {
            let cause = format!("{} is empty, or no file", file.path().display());
            self.failed(&cause, "write it whole; the earlier one stays in force");
            self.files = seen;
            return false;
        }
        let (load, in_force, fixed) =
            (Arc::clone(&self.reloads.load), Arc::clone(&self.in_force), Arc::clone(&self.fixed));
        // Many rules and accounts take a while, and no check waits for them.
        let mut reading = tokio::task::spawn_blocking(move || read(&load, &in_force, &fixed));
        let read = loop {
            tokio::select! {
                read = &mut reading => break read,
                () = tokio::time::sleep(PATIENCE) => {
                    self.failed("reading it takes too long", "check the file system of its files");
                }
            }
        };
        let Ok((files, loaded)) = read else {
            self.failed("a bug: reading it has failed", "report it");
            self.files = seen;
            return false;
        };
        if look(&files).await != files {
            // Changed while it was read: one half of it may be old.
            return true;
        }
        self.files = files;
        match loaded {
            Loaded::Refused => {
                self.failed("it has problems", "correct it; the earlier one stays in force");
            }
            Loaded::Next(next, Summary { rules, accounts }) => {
                self.good.clone_from(&self.files);
                self.in_force.put(*next);
                self.in_force.lasting.metrics.count_reload(true);
                tracing::info!(rules, accounts, "the configuration was reloaded");
            }
        }
        false
    }

    fn failed(&self, cause: &str, fix: &str) {
        self.in_force.lasting.metrics.count_reload(false);
        tracing::error!(cause, fix, "the configuration was not reloaded");
    }
}

/// The files as they are now. Off the async threads: it may hang.
async fn look(files: &[SeenFile]) -> Vec<SeenFile> {
    let files = files.to_vec();
    let looked = move || files.iter().map(SeenFile::again).collect();
    tokio::task::spawn_blocking(looked).await.unwrap_or_default()
}

/// Reads the configuration and makes its parts, and tells what is wrong.
fn read(load: &Loader, in_force: &InForce, fixed: &Fixed) -> (Vec<SeenFile>, Loaded) {
    let config = match load() {
        Ok(config) => config,
        Err(Problems { problems, files, .. }) => {
            for Problem { key, source, cause, fix } in &problems {
                tracing::error!(key, source, fix, "{cause}");
            }
            return (files, Loaded::Refused);
        }
    };
    for Problem { key, source, cause, fix } in &config.warnings {
        tracing::warn!(key, source, fix, "{cause}");
    }
    let files = config.files.clone();
    let differences = fixed.differences(&Fixed::of(&config));
    for key in &differences {
        tracing::error!(
            key,
            fix = "restart the service, or change it back",
            "this key needs a restart"
        );
    }
    let summary = Summary {
        rules: config.policy.rules().len(),
        accounts: config.login.accounts.iter().count(),
    };
    let had_accounts = in_force.lasting.accounts.load().iter().next().is_some();
    let loses_all = had_accounts && summary.accounts == 0 && config.login.users_file.is_some();
    if loses_all {
        let fix = "keep at least one account, or restart the service";
        tracing::error!(key = "login.users_file", fix, "there is no account left in the file");
    }
    if loses_all || !differences.is_empty() {
        return (files, Loaded::Refused);
    }
    match Generation::new(config, &in_force.lasting) {
        Ok(next) => (files, Loaded::Next(Box::new(next), summary)),
        Err(error) => {
            tracing::error!(%error, fix = "correct it", "a part of it cannot be made");
            (files, Loaded::Refused)
        }
    }
}
