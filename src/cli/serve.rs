//! `serve`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use portcullis::{
    app::{App, AppError, Loader},
    clock::SystemClock,
    config::{Config, Listen},
    lifecycle::Signals,
    login::{self, Accounts},
    telemetry,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{ConfigArgs, NO, WRONG, YES, fail, unusable};

/// Runs the service until SIGTERM or SIGINT, then drains and stops; a second
/// signal ends the draining early
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  AUTH_JWT_SECRET=$(openssl rand -hex 32) portcullis serve
  portcullis serve --config portcullis.toml")]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,

    /// For trying things out: listens only on loopback addresses, uses a random
    /// key for this run if none is given, and adds the user `demo` with the
    /// password `demo` if there is no users file
    #[arg(long)]
    dev: bool,
}

impl Serve {
    /// Reads the configuration, each time in the same way.
    fn loader(self) -> Loader {
        let Self { config, dev } = self;
        let sources = config.sources();
        if !dev {
            return Arc::new(move || Config::load(&sources));
        }
        let (sources, demo) = (sources.with_random_secret(), OnceLock::new());
        Arc::new(move || {
            let mut config = Config::load(&sources)?;
            for_trying(&mut config, &demo);
            Ok(config)
        })
    }

    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let (dev, load) = (self.dev, self.loader());
        let config = load().map_err(|problems| unusable(&problems))?;
        let log = telemetry::init(config.telemetry.log_format)
            .map_err(|error| fail(NO, format!("the log did not start: {error}"), "report this"))?;
        for warning in &config.warnings {
            tracing::warn!(
                key = warning.key,
                source = warning.source,
                fix = warning.fix,
                "{}",
                warning.cause
            );
        }
        if dev {
            tracing::warn!(
                "--dev is for trying things out: anybody on this machine can sign in as demo, and its key is lost when it stops"
            );
        }
        raise_file_limit();
        let result = serve(config, load);
        drop(log);
        result
    }
}

/// What `--dev` changes: nobody from outside, and somebody to be.
fn for_trying(config: &mut Config, demo: &OnceLock<Option<Accounts>>) {
    if let Listen::Tcp(address) = &mut config.check.listen {
        keep_to_loopback(address);
    }
    keep_to_loopback(&mut config.http.listen);
    keep_to_loopback(&mut config.internal.listen);
    if config.login.users_file.is_none()
        && let Some(accounts) = demo.get_or_init(|| demo_account(config))
    {
        config.login.accounts = accounts.clone();
    }
}

fn serve(config: Config, load: Loader) -> Result<ExitCode, ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            fail(NO, format!("the threads did not start: {error}"), "raise the limit on processes")
        })?;
    let ended = runtime.block_on(async {
        let Signals { stop, stop_now, reload } = Signals::listen().map_err(|error| {
            fail(NO, format!("signals cannot be handled: {error}"), "run it on a Unix system")
        })?;
        let app = App::bind(config, Arc::new(SystemClock)).await.map_err(|error| failed(&error))?;
        let app = app.reloading(load, reload);
        app.run(stop, stop_now).await.map_err(|error| failed(&error))?;
        Ok(ExitCode::from(YES))
    });
    // Without a wait for what hangs in a file system.
    runtime.shutdown_background();
    ended
}

fn failed(error: &AppError) -> ExitCode {
    match error {
        AppError::Bind { .. } => fail(
            WRONG,
            error,
            "stop what listens there, or choose another address, or a directory that can be written",
        ),
        AppError::Store(_) => fail(WRONG, error, "write the store's address as a Redis URL"),
        AppError::Sso(_) => {
            fail(WRONG, error, "install the system's certificates, or name them in SSL_CERT_FILE")
        }
        AppError::Traces(_) => fail(WRONG, error, "write telemetry.otlp_endpoint as a URL"),
        AppError::Failed(_) => fail(NO, error, "see the log; if it is of no help, report this"),
    }
}

/// The one user of `--dev`, of the highest role that may sign in, if any.
fn demo_account(config: &Config) -> Option<Accounts> {
    let roles = &config.identity.roles;
    let may_sign_in =
        |name: &&String| roles.get(name).is_some_and(|role| config.login.roles.contains(role));
    let role = roles.names().iter().rev().find(may_sign_in)?;
    let hash = login::hash(&"demo".into()).ok()?;
    let user = format!("id = \"demo\"\nname = \"demo\"\nrole = {role:?}\npassword_hash = {hash:?}");
    Accounts::parse(&format!("[[users]]\n{user}"), roles).ok()
}

fn keep_to_loopback(address: &mut SocketAddr) {
    if !address.ip().is_loopback() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
}

/// A connection is an open file, and the usual soft limit of 1024 is less
/// than the connections that are allowed for.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
