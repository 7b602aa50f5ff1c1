//! `serve`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use portcullis::{
    app::{App, AppError},
    clock::SystemClock,
    config::{Config, Listen},
    lifecycle::Shutdown,
    login::{self, Accounts},
    telemetry,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{ConfigArgs, NO, WRONG, YES, fail};

/// Answers checks until SIGTERM or SIGINT, then drains and stops; a second
/// signal cuts the draining short
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  AUTH_JWT_SECRET=$(openssl rand -hex 32) portcullis serve
  portcullis serve --config portcullis.toml")]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,

    /// For trying: a random key for this run when none is given, the user
    /// `demo` with the password `demo` when there is no users file, loopback
    /// addresses alone
    #[arg(long)]
    dev: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let mut config = self.config.load(self.dev)?;
        if self.dev {
            if let Listen::Tcp(address) = &mut config.check.listen {
                keep_to_loopback(address);
            }
            keep_to_loopback(&mut config.http.listen);
            keep_to_loopback(&mut config.internal.listen);
        }
        if self.dev && config.login.users_file.is_none() {
            config.login.accounts = demo(&config)?;
        }
        let log = telemetry::init(config.telemetry.log_format)
            .map_err(|error| fail(NO, format!("the log did not start: {error}"), "report this"))?;
        for warning in &config.warnings {
            tracing::warn!(
                key = warning.key,
                source = warning.source,
                mend = warning.mend,
                "{}",
                warning.cause
            );
        }
        if self.dev {
            tracing::warn!(
                "--dev is for trying: everybody on this machine can sign in as demo, and its key is gone with the run"
            );
        }
        raise_file_limit();
        let result = serve(config);
        drop(log);
        result
    }
}

fn serve(config: Config) -> Result<ExitCode, ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            fail(NO, format!("the threads did not start: {error}"), "raise the limit on processes")
        })?;
    runtime.block_on(async {
        let Shutdown { stop, stop_now } = Shutdown::on_signals().map_err(|error| {
            fail(NO, format!("signals cannot be handled: {error}"), "run it on a Unix system")
        })?;
        let app = App::bind(config, Arc::new(SystemClock)).await.map_err(|error| failed(&error))?;
        app.run(stop, stop_now).await.map_err(|error| failed(&error))?;
        Ok(ExitCode::from(YES))
    })
}

fn failed(error: &AppError) -> ExitCode {
    match error {
        AppError::Bind { .. } => fail(
            WRONG,
            error,
            "stop what listens there, or choose another address or a directory that can be written",
        ),
        AppError::Store(_) => fail(WRONG, error, "write the store's address as a Redis URL"),
        AppError::Sso(_) => {
            fail(WRONG, error, "install the system's certificates, or name them in SSL_CERT_FILE")
        }
        AppError::Failed(_) => fail(NO, error, "see the log; if it is of no help, report this"),
    }
}

/// The one user of `--dev`, of the highest role that may sign in.
fn demo(config: &Config) -> Result<Accounts, ExitCode> {
    let roles = &config.identity.roles;
    let may_sign_in =
        |name: &&String| roles.get(name).is_some_and(|role| config.login.roles.contains(role));
    let role = roles.names().iter().rev().find(may_sign_in);
    let none = || fail(WRONG, "no role may sign in", "list one in login.roles");
    let role = role.ok_or_else(none)?;
    let hash = login::hash(&"demo".into()).map_err(|error| fail(NO, error, "report this"))?;
    let user = format!("id = \"demo\"\nname = \"demo\"\nrole = {role:?}\npassword_hash = {hash:?}");
    Accounts::parse(&format!("[[users]]\n{user}"), roles)
        .map_err(|problems| fail(NO, problems.join("; "), "report this"))
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
