//! An engine that is made of files, and the thread that watches them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
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
/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(500);

/// The engine of a file.
#[derive(Debug)]
pub(crate) struct Files {
    file: PathBuf,
    pub(crate) checker: Checker,
}

impl Files {
    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads a file, and goes on to watch it for as long as the value lives.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and how to fix it.
    pub(crate) fn watched(file: &Path) -> Result<Arc<Self>, String> {
        let read = Read::of(file)?;
        let checker = Checker::new(read.engine, Arc::new(SystemClock), read.log)
            .shadowed(read.shadow.as_ref());
        let files = Arc::new(Self { file: file.to_owned(), checker });
        let weak = Arc::downgrade(&files);
        let watch = move || watch(&weak, read.files);
        let thread = thread::Builder::new().name("portcullis".to_owned());
        thread.spawn(watch).map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(files)
    }
}

/// What a file of a configuration comes to.
struct Read {
    engine: Arc<Engine>,
    /// What would be in its place.
    shadow: Option<Arc<Engine>>,
    log: DecisionLog,
    files: Vec<SeenFile>,
}

impl Read {
    fn of(file: &Path) -> Result<Self, String> {
        let sources = Sources::of_process(vec![file.to_owned()]);
        let mut config = Config::load(&sources).map_err(|problems| problems.to_string())?;
        if let Some(problem) = InModule::of(&config).refused().next() {
            return Err(problem.to_string());
        }
        for warning in &config.warnings {
            tracing::warn!(key = warning.key, fix = warning.fix, "{}", warning.cause);
        }
        let files = config.files.clone();
        let log = DecisionLog::new(config.telemetry.allowed_decisions);
        let lists = Lists::from(Arc::new(RevocationList::empty()));
        let shadow = config.shadow.take();
        let shadow = shadow.map(|config| Arc::new(app::engine(*config, lists.clone())));
        // It renews no session, since it does not know which have ended.
        let engine = Arc::new(app::engine(config, lists));
        Ok(Self { engine, shadow, log, files })
    }
}

/// Takes over what has changed and is good, for as long as somebody asks.
fn watch(of: &Weak<Files>, mut files: Vec<SeenFile>) {
    let (mut before, mut good) = (Vec::new(), files.clone());
    loop {
        thread::sleep(POLL);
        let Some(of) = of.upgrade() else { return };
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
            None => catch_unwind(AssertUnwindSafe(|| Read::of(&of.file)))
                .unwrap_or_else(|_| Err("a bug: reading it has failed".to_owned())),
        };
        match next {
            Ok(next) => {
                files = next.files;
                good.clone_from(&files);
                of.checker.replace(next.engine, next.shadow, next.log);
                tracing::info!("the configuration was reloaded");
            }
            Err(cause) => tracing::error!(
                cause,
                fix = "correct it; the earlier one stays in force",
                "the configuration was not reloaded"
            ),
        }
    }
}
