//! `replay`: what a decision log would have been under other rules.

mod line;
mod summary;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::ValueEnum;
use portcullis::{
    app,
    authz::Engine,
    config::{Config, Sources},
    token::RevocationList,
};

use self::{
    line::{Line, Told},
    summary::Summary,
};
use super::{NO, WRONG, YES, fail, print, unusable};

/// The longest line that is read, in bytes: more than any of the log.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Shows how other rules would have decided the requests in a decision log
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis replay --config next.toml --fail-on allow-to-deny decisions.log
  kubectl logs deploy/portcullis | portcullis replay --config next.toml

A line of the log contains no headers, no query and no token. What depends on these is
counted as unknown, never guessed. Only the rules are tried: a token that was refused
stays refused, whatever keys and issuers the other configuration has. The exit code is
0, or 1 if there is a change of the kind that --fail-on names, or 2 if something could
not be read.")]
pub(super) struct Replay {
    /// A TOML file with the rules to try; may be given several times, and later files
    /// override earlier ones
    #[arg(long, required = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A TOML file with the rules to compare with; the default is to compare with the
    /// decisions in the log
    #[arg(long, value_name = "FILE")]
    base: Vec<PathBuf>,
    /// Which changes count as a failure
    #[arg(long, value_enum)]
    fail_on: Option<FailOn>,
    /// The format of the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Decision logs, as JSON lines; if none is given, stdin is read
    log: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    /// A request that was allowed would be denied
    AllowToDeny,
    /// A request that was denied would be allowed
    DenyToAllow,
    /// Any change, including one of a reason or a rule
    Any,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people to read
    Text,
    /// For programs, with up to ten examples of each change
    Json,
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let next = engine(self.config)?;
        let base = if self.base.is_empty() { None } else { Some(engine(self.base)?) };
        let mut summary = Summary::default();
        if self.log.is_empty() {
            read(io::stdin().lock(), "stdin", &next, base.as_ref(), &mut summary)?;
        }
        for file in &self.log {
            let name = file.display().to_string();
            let opened = File::open(file).map_err(|error| {
                fail(WRONG, format!("{name}: {error}"), "name a decision log that can be read")
            })?;
            read(BufReader::new(opened), &name, &next, base.as_ref(), &mut summary)?;
        }
        match self.format {
            Format::Text => print(summary.in_words().trim_end()),
            Format::Json => print(summary.in_json()),
        }
        if summary.decisions == 0 {
            let fix =
                "give a log with the target portcullis::decision, written with log_format json";
            return Err(fail(WRONG, "it contains no decision", fix));
        }
        let fails = match self.fail_on {
            None => false,
            Some(FailOn::AllowToDeny) => summary.turned(false) > 0,
            Some(FailOn::DenyToAllow) => summary.turned(true) > 0,
            Some(FailOn::Any) => summary.has_changes(),
        };
        Ok(ExitCode::from(if fails { NO } else { YES }))
    }
}

fn engine(files: Vec<PathBuf>) -> Result<Engine, ExitCode> {
    let config = Config::load(&Sources::of_process(files)).map_err(|error| unusable(&error))?;
    Ok(app::engine(config, Arc::new(RevocationList::empty())))
}

fn read(
    mut log: impl BufRead,
    name: &str,
    next: &Engine,
    base: Option<&Engine>,
    summary: &mut Summary,
) -> Result<(), ExitCode> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = log.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        let length = length.map_err(|error| {
            fail(WRONG, format!("{name}: {error}"), "give a decision log that can be read")
        })?;
        if length == 0 {
            return Ok(());
        }
        match std::str::from_utf8(&bytes).ok().and_then(Line::read) {
            Some(line) => look(&line, next, base, summary),
            None => summary.other_lines += 1,
        }
    }
}

/// Compares what one line would be.
fn look(line: &Line<'_>, next: &Engine, base: Option<&Engine>, summary: &mut Summary) {
    summary.decisions += 1;
    let before = match base {
        None => Told::Outcome(line.logged()),
        Some(base) => line.under(base),
    };
    match (before, line.under(next)) {
        (Told::Outcome(before), Told::Outcome(after)) => {
            summary.change(before, after, || line.shown());
        }
        (Told::Unknown(what), _) | (_, Told::Unknown(what)) => summary.unknown(what),
    }
}
