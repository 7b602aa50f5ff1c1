//! Takes a changed configuration over while the service runs.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::parts::{Generation, InForce};
use crate::{
    config::{Config, Listen, LogFormat, Problem, Problems, SeenFile, StoreConfig},
    traces::TraceSettings,
};

/// How often the files are looked at. Looking is cheap, follows the symlink
/// that Kubernetes swaps, and works on every file system.
const POLL: Duration = Duration::from_millis(500);

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

/// What a service is started with, and keeps until it is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) check: Listen,
    pub(super) http: SocketAddr,
    pub(super) internal: SocketAddr,
    max_message_bytes: usize,
    store: StoreConfig,
    log_format: LogFormat,
    traces: Option<TraceSettings>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            check: config.check.listen.clone(),
            http: config.http.listen,
            internal: config.internal.listen,
            max_message_bytes: config.check.max_message_bytes,
            store: config.store.clone(),
            log_format: config.telemetry.log_format,
            traces: config.telemetry.traces.clone(),
        }
    }

    /// The keys in which the other differs.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("check.listen", self.check != other.check),
            ("http.listen", self.http != other.http),
            ("internal.listen", self.internal != other.internal),
            ("check.max_message_bytes", self.max_message_bytes != other.max_message_bytes),
            ("store", self.store != other.store),
            ("telemetry.log_format", self.log_format != other.log_format),
            ("telemetry.otlp_endpoint", self.traces != other.traces),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

/// Watches the files of the configuration.
pub(super) struct Reloader {
    reloads: Reloads,
    in_force: Arc<InForce>,
    fixed: Fixed,
    files: Vec<SeenFile>,
}

impl Reloader {
    pub(super) fn new(
        reloads: Reloads,
        in_force: Arc<InForce>,
        fixed: Fixed,
        files: Vec<SeenFile>,
    ) -> Self {
        Self { reloads, in_force, fixed, files }
    }

    /// Reloads until it is told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut before = None;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = self.reloads.now.notified() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let seen: Vec<SeenFile> = self.files.iter().map(SeenFile::again).collect();
            // A file that is still written to would be read by half: a change
            // counts when it has stood for one look.
            let stands = before.as_ref() == Some(&seen);
            if asked || (stands && seen != self.files) {
                self.reload().await;
            }
            before = Some(seen);
        }
    }

    /// Reads the configuration, and puts it in force when it is good.
    async fn reload(&mut self) {
        let load = Arc::clone(&self.reloads.load);
        // Many rules and accounts take a while, and no check waits for them.
        let Ok(loaded) = tokio::task::spawn_blocking(move || load()).await else {
            self.failed("a bug: reading it has failed", "report it");
            return;
        };
        let files = loaded.as_ref().map_or_else(|no| &no.files, |config| &config.files).clone();
        if files.iter().any(|file| file.again() != *file) {
            // Changed while it was read: one half of it may be old. It is read
            // again as soon as it stands.
            self.reloads.now.notify_one();
            return;
        }
        self.files = files;
        match loaded {
            Ok(config) => self.take_over(config),
            Err(Problems { problems, .. }) => {
                for Problem { key, source, cause, mend } in &problems {
                    tracing::error!(key, source, mend, "{cause}");
                }
                self.failed("it has problems", "correct it; the earlier one stays in force");
            }
        }
    }

    fn take_over(&mut self, config: Config) {
        for Problem { key, source, cause, mend } in &config.warnings {
            tracing::warn!(key, source, mend, "{cause}");
        }
        let differences = self.fixed.differences(&Fixed::of(&config));
        let (rules, accounts) = (config.policy.rules().len(), config.login.accounts.iter().count());
        match Generation::new(config, &self.in_force.lasting) {
            Err(error) => self.failed(&error.to_string(), "the earlier one stays in force"),
            Ok(next) => {
                self.in_force.put(next);
                self.in_force.lasting.metrics.count_reload(true);
                for key in differences {
                    tracing::warn!(key, mend = "restart the service", "takes a restart to change");
                }
                tracing::info!(rules, accounts, "the configuration was reloaded");
            }
        }
    }

    fn failed(&self, cause: &str, mend: &str) {
        self.in_force.lasting.metrics.count_reload(false);
        tracing::error!(cause, mend, "the configuration was not reloaded");
    }
}
