//! `session list` and `session end`.

use std::{process::ExitCode, sync::Arc};

use clap::Subcommand;
use portcullis::{
    clock::{Clock as _, SystemClock, Timestamp},
    config::Config,
    sessions::{Record, Register},
    store::{Store, StoreError},
    token::{RevocationList, SessionLimits},
};

use super::{ConfigArgs, NO, YES, fail, print, shared::Shared};

/// Shows and ends the sessions of users
#[derive(Debug, Subcommand)]
pub(super) enum Session {
    List(List),
    End(End),
}

impl Session {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        match self {
            Self::List(list) => list.run(),
            Self::End(end) => end.run(),
        }
    }
}

/// Whose sessions.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The user's id
    #[arg(long)]
    user_id: Option<String>,
    /// The session's id
    #[arg(long)]
    sid: Option<String>,
}

/// Lists the sessions of a user, or a single session
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis session list --config portcullis.toml --user-id 7")]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    whose: Whose,
}

impl List {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let (register, shared) = register(&self.config.load()?)?;
        let found = shared.ask(|store| find(&register, store, &self.whose))?;
        for record in &found {
            print(line(record));
        }
        if found.is_empty() { Err(none()) } else { Ok(ExitCode::from(YES)) }
    }
}

/// Ends all sessions of a user, or a single session, on every replica
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis session end --config portcullis.toml --user-id 7
  portcullis session end --config portcullis.toml --sid 3f2a…")]
pub(super) struct End {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    whose: Whose,
}

impl End {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let (register, shared) = register(&self.config.load()?)?;
        let ended = shared.ask(async |store| {
            let found = find(&register, store, &self.whose).await?;
            for record in &found {
                register.end(record, "operator", SystemClock.now()).await?;
            }
            Ok(found)
        })?;
        for record in &ended {
            print(format_args!("ended {}", record.sid));
        }
        if ended.is_empty() { Err(none()) } else { Ok(ExitCode::from(YES)) }
    }
}

fn none() -> ExitCode {
    let fix =
        "check the id; tokens that belong to no session are revoked with `token revoke --user-id`";
    fail(NO, "there is no such session", fix)
}

fn register(config: &Config) -> Result<(Register, Shared), ExitCode> {
    let shared = Shared::of(config, "sign out by POST /session/logout")?;
    let limits =
        SessionLimits { lifetime: config.tokens.lifetime, absolute: config.sessions.absolute };
    let list = Arc::new(RevocationList::empty());
    Ok((Register::new(Arc::clone(&shared.store), list, limits), shared))
}

/// Those that go on, the newest first.
async fn find(
    register: &Register,
    store: &Store,
    whose: &Whose,
) -> Result<Vec<Record>, StoreError> {
    let now = SystemClock.now();
    let mut found = match (&whose.user_id, &whose.sid) {
        (Some(user_id), _) => register.of_user(user_id, now).await?,
        (None, Some(sid)) => register.find(sid, now).await?.into_iter().collect(),
        (None, None) => Vec::new(),
    };
    // What was cut off with its user has ended, and leaves its record behind.
    if let Some(user_id) = found.first().map(|record| record.user_id.clone())
        && let Some(cut_off) = store.standing(&user_id).await?.cut_off
    {
        found.retain(|record| record.begun > cut_off.as_secs());
    }
    Ok(found)
}

fn line(record: &Record) -> String {
    let Record { sid, user_id, method, agent, address, begun, seen, ends, .. } = record;
    let address = address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let (begun, seen, ends) = (time(*begun), time(*seen), time(*ends));
    let agent = agent.as_deref().unwrap_or("-");
    format!(
        "{sid} user {user_id} by {method} from {address} begun {begun} seen {seen} ends {ends} {agent}"
    )
}

fn time(secs: i64) -> String {
    Timestamp::from_secs(secs).to_rfc3339()
}
