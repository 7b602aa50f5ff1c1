//! The one engine of a configuration in a process, and the thread that watches its files.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use portcullis::{
    app::{self, Lists},
    authz::Engine,
    checker::Checker,
    clock::SystemClock,
    config::{Config, InModule, SeenFile, Sources},
    decision_log::DecisionLog,
    token::RevocationList,
};
use serde::Deserialize;

use crate::log;

/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(500);

/// What stands in `filter_config`. No secret: Envoy shows it in `/config_dump`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The file of portcullis' own configuration.
    config: PathBuf,
    /// What stands in Envoy's listener: without it, Envoy takes a client's address from
    /// what the client writes into `x-forwarded-for`, and nobody is asked for it here.
    #[serde(default)]
    use_remote_address: bool,
}

/// An engine, and all that is told of it.
#[derive(Debug)]
pub(crate) struct Service {
    file: PathBuf,
    pub(crate) checker: Checker,
}

/// Those of the process: however many listeners name a file, it is read once.
static SERVICES: Mutex<Vec<Weak<Service>>> = Mutex::new(Vec::new());

impl Service {
    /// The service that a `filter_config` asks for, and whether Envoy knows addresses.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and how to mend it.
    pub(crate) fn of(config: &[u8]) -> Result<(Arc<Self>, bool), String> {
        log::start();
        let said: Said = serde_json::from_slice(config).map_err(|error| {
            format!(
                "filter_config is not {{\"config\": \"/etc/portcullis/portcullis.toml\"}}: {error}"
            )
        })?;
        let mut services = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|service| service.strong_count() > 0);
        let known = services.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.into_iter().find(|service| service.file == said.config) {
            return Ok((known, said.use_remote_address));
        }
        let read = Read::of(&said.config)?;
        let clock = Arc::new(SystemClock);
        let checker = Checker::new(read.engine, clock, read.log);
        let service = Arc::new(Self { file: said.config, checker });
        let weak = Arc::downgrade(&service);
        services.push(Weak::clone(&weak));
        let watch = move || watch(&weak, read.files);
        let thread = thread::Builder::new().name("portcullis".to_owned());
        thread.spawn(watch).map_err(|error| format!("no thread could be started: {error}"))?;
        Ok((service, said.use_remote_address))
    }
}

/// What a file of a configuration comes to.
struct Read {
    engine: Arc<Engine>,
    log: DecisionLog,
    files: Vec<SeenFile>,
}

impl Read {
    fn of(file: &Path) -> Result<Self, String> {
        let sources = Sources::of_process(vec![file.to_owned()]);
        let config = Config::load(&sources).map_err(|problems| problems.to_string())?;
        if let Some(problem) = InModule::of(&config).refused().next() {
            return Err(problem.to_string());
        }
        for warning in &config.warnings {
            tracing::warn!(key = warning.key, mend = warning.mend, "{}", warning.cause);
        }
        let files = config.files.clone();
        let log = DecisionLog::new(config.telemetry.allowed_decisions);
        let lists = Lists::from(Arc::new(RevocationList::empty()));
        // It renews no session, since it does not know which have ended.
        let engine = app::engine(config, lists);
        Ok(Self { engine: Arc::new(engine), log, files })
    }
}

/// Takes over what has changed and is good, for as long as somebody asks.
fn watch(service: &Weak<Service>, mut files: Vec<SeenFile>) {
    let (mut before, mut good) = (Vec::new(), files.clone());
    loop {
        thread::sleep(POLL);
        let Some(service) = service.upgrade() else { return };
        let seen: Vec<SeenFile> = files.iter().map(SeenFile::again).collect();
        // A file that is still written to would be read by half: a change counts when it
        // has stood for one look.
        let stands = before == seen;
        before.clone_from(&seen);
        if seen == files || !stands {
            continue;
        }
        files = seen;
        let lost = files.iter().find(|file| file.is_lost(&good));
        let next = match lost {
            Some(file) => Err(format!("{} is empty, or no file", file.path().display())),
            // A bug in reading it must not end the watch.
            None => catch_unwind(AssertUnwindSafe(|| Read::of(&service.file)))
                .unwrap_or_else(|_| Err("a bug: reading it has failed".to_owned())),
        };
        match next {
            Ok(next) => {
                files = next.files;
                good.clone_from(&files);
                service.checker.replace(next.engine, None, next.log);
                tracing::info!("the configuration was reloaded");
            }
            Err(cause) => tracing::error!(
                cause,
                mend = "correct it; the earlier one stays in force",
                "the configuration was not reloaded"
            ),
        }
    }
}
