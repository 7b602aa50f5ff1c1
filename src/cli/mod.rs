//! The commands, their exit codes and what they say. A file is a command.

mod advice;
mod check_config;
mod check_envoy;
mod completions;
mod explain;
mod hash_password;
mod healthcheck;
mod issued;
mod key;
mod key_pair;
mod keys;
mod man;
mod replay;
mod serve;
mod session;
mod shared;
mod test;
mod token;

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use portcullis::config::{Config, Problems, Sources};

/// Asked and answered: yes.
const YES: u8 = 0;
/// Asked and answered: no.
const NO: u8 = 1;
/// Could not be asked: the usage or the configuration is wrong.
const WRONG: u8 = 2;

/// External authorization and sign-in for Envoy, Envoy Gateway and nginx.
#[derive(Debug, Parser)]
#[command(version = env!("PORTCULLIS_VERSION"), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    CheckConfig(check_config::CheckConfig),
    CheckEnvoy(check_envoy::CheckEnvoy),
    Explain(explain::Explain),
    Test(test::Test),
    Replay(replay::Replay),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Session(session::Session),
    KeyPair(key_pair::KeyPair),
    HashPassword(hash_password::HashPassword),
    Healthcheck(healthcheck::Healthcheck),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Which configuration to use.
#[derive(Clone, Debug, clap::Args)]
struct ConfigArgs {
    /// A TOML file; may be given several times, and later files override earlier
    /// ones. The default is the file named by `PORTCULLIS_CONFIG`. Environment
    /// variables such as `PORTCULLIS__CHECK__LISTEN` override all files
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

impl ConfigArgs {
    fn load(self) -> Result<Config, ExitCode> {
        Config::load(&self.sources()).map_err(|problems| unusable(&problems))
    }

    fn sources(self) -> Sources {
        Sources::of_process(self.config)
    }
}

/// Each problem has its fix already.
fn unusable(problems: &Problems) -> ExitCode {
    let _ = write!(io::stderr(), "{problems}");
    ExitCode::from(WRONG)
}

/// Runs the command of this process's arguments.
pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::CheckConfig(check) => check.run(),
        Command::CheckEnvoy(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Test(test) => test.run(),
        Command::Replay(replay) => replay.run(),
        Command::Token(token) => token.run(),
        Command::Key(key) => key.run(),
        Command::Session(session) => session.run(),
        Command::KeyPair(pair) => pair.run(),
        Command::HashPassword(hash) => hash.run(),
        Command::Healthcheck(check) => check.run(),
        Command::Completions(completions) => Ok(completions.run()),
        Command::Man(man) => man.run(),
    };
    result.unwrap_or_else(|code| code)
}

/// Writes to stdout. Who closes it early has seen enough.
fn print(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Says on stderr what is wrong and what would fix it.
fn fail(code: u8, cause: impl Display, fix: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {cause}\n  fix: {fix}");
    ExitCode::from(code)
}
