//! `key new` and `key rotate`.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ipnet::IpNet;
use portcullis::{
    api_key::{ApiKey, KeySays, NewKey, entry_of_file, network},
    clock::{Clock as _, SystemClock, Timestamp},
    config::Config,
};
use secrecy::ExposeSecret as _;

use super::{
    super::{ConfigArgs, NO, YES, fail, print, shared::Shared, unusable},
    OTHERWISE, key_id, unknown, wrong,
};

/// Makes a key and prints it, this once: only a hash of it is stored
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # in the Redis that the replicas share: every replica accepts it within a second
  portcullis key new --config portcullis.toml --name ci --user-id 7 --role REGULAR --expires 90d
  # in a file, for api_keys.file
  portcullis key new --file api-keys.toml --name ci --user-id 7 --role REGULAR")]
pub(in crate::cli) struct New {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name of the key's user
    #[arg(long)]
    name: String,
    /// The id of the key's user
    #[arg(long)]
    user_id: String,
    /// The role of the key's user, one of identity.roles
    #[arg(long)]
    role: String,
    /// A scope that the key grants; may be given several times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// How long the key is valid, such as 90d; without it, the key does not expire
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// A network that the key may be used from, such as 10.0.0.0/8; may be given
    /// several times
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    allow: Vec<IpNet>,
    /// A note to store with the key
    #[arg(long)]
    note: Option<String>,
    /// Adds the key to this file of keys instead of the store
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = match &self.file {
            // For the names of the roles: neither that file nor a secret has to be there.
            Some(_) => {
                let sources = self.config.sources().for_upstream().with_random_secret();
                Config::load(&sources).map_err(|problems| unusable(&problems))?
            }
            None => self.config.load()?,
        };
        let roles = &config.identity.roles;
        if roles.get(&self.role).is_none() {
            let fix = format!("use one of: {}", roles.names().join(", "));
            return Err(wrong(format!("--role: {:?} is not a role", self.role), &fix));
        }
        let shared = match &self.file {
            Some(_) => None,
            None => Some(taking_keys(&config)?),
        };
        let now = match &shared {
            // Behind an earlier cut-off of its user, by the store's own clock.
            Some(shared) => shared.ask(|store| store.standing(&self.user_id))?.issue_at(),
            None => SystemClock.now(),
        };
        let says = KeySays {
            user_id: self.user_id,
            name: self.name,
            role: self.role,
            scopes: self.scope,
            allow: self.allow,
            created: Some(now.as_secs()),
            note: self.note,
            replaces: None,
        };
        if let Some(cause) = says.problem() {
            return Err(wrong(cause, "see `portcullis key new --help`"));
        }
        let expires = self.expires.map(|span| now.plus(span));
        let (new, key) = made(says, expires)?;
        match (&shared, &self.file) {
            (Some(shared), _) => {
                if !shared.ask(|store| store.add_key(&key))? {
                    return Err(fail(NO, "another key has this id", "try again"));
                }
            }
            (None, Some(file)) => append(file, &key).map_err(|error| {
                wrong(
                    format!("{}: {error}", file.display()),
                    "name a file that this user may write",
                )
            })?,
            (None, None) => {}
        }
        tell(&new, &key);
        Ok(ExitCode::from(YES))
    }
}

/// Makes a key to replace another one, which stays valid for a while
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis key rotate --config portcullis.toml 2hVbWqL9XyZ --overlap 24h")]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    config: ConfigArgs,
    /// The key's id: the eleven characters after `pck_`
    id: String,
    /// How long the old key stays valid
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = humantime::parse_duration)]
    overlap: Duration,
}

impl Rotate {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        let shared = taking_keys(&config)?;
        let id = key_id(&self.id)?;
        let old = shared.ask(|store| store.key(id))?.ok_or_else(|| unknown(id))?;
        let standing = shared.ask(|store| store.standing(&old.says.user_id))?;
        let made_at = old.says.created.map(Timestamp::from_secs);
        if standing.cut_off.is_some_and(|at| made_at.is_none_or(|made| made <= at)) {
            let cause = format!("the key {id} is void: its user was cut off after it was made");
            return Err(fail(NO, cause, "make another one: `portcullis key new`"));
        }
        let now = standing.issue_at();
        // It lives for as long as the old one did from its making.
        let lifetime = old
            .expires
            .zip(old.says.created)
            .map(|(expires, created)| expires.since(Timestamp::from_secs(created)));
        let replaces = Some(id.to_string());
        let says = KeySays { created: Some(now.as_secs()), replaces, ..old.says };
        let (new, key) = made(says, lifetime.map(|span| now.plus(span)))?;
        let ends = now.plus(self.overlap);
        if !shared.ask(|store| store.rotate_key(id, ends, &key))? {
            let fix = "make another one: `portcullis key new`";
            return Err(fail(NO, format!("the key {id} is revoked"), fix));
        }
        tell(&new, &key);
        Ok(ExitCode::from(YES))
    }
}

/// The store, where the configuration takes keys.
fn taking_keys(config: &Config) -> Result<Shared, ExitCode> {
    if config.api_keys.is_none() {
        let fix = "add [api_keys] to it, for the service and for this command";
        return Err(wrong("the configuration does not accept keys", fix));
    }
    Shared::of(config, OTHERWISE)
}

fn made(says: KeySays, expires: Option<Timestamp>) -> Result<(NewKey, ApiKey), ExitCode> {
    let new = NewKey::make();
    let new = new.ok_or_else(|| fail(NO, "the system gave no random numbers", "try again"))?;
    let key = ApiKey { id: new.id, hash: new.hash, says, expires, revoked: None };
    Ok((new, key))
}

/// The key on stdout, and nothing else; about it on stderr.
fn tell(new: &NewKey, key: &ApiKey) {
    print(new.text.expose_secret());
    let ends = key.expires.map_or_else(
        || "it does not expire".to_owned(),
        |at| format!("it expires at {}", at.to_rfc3339()),
    );
    let _ = writeln!(
        io::stderr(),
        "This is the key {} of {}; {ends}. It is shown only this once.",
        new.id,
        key.says.name
    );
}

/// Writes the key at the end of a file, which nobody else may read where it is new.
fn append(file: &Path, key: &ApiKey) -> io::Result<()> {
    let mut open = OpenOptions::new();
    let mut file = open.create(true).append(true).mode(0o600).open(file)?;
    let gap = if file.metadata()?.len() == 0 { "" } else { "\n" };
    // In one step: a service may read it at any time.
    file.write_all(format!("{gap}{}", entry_of_file(key)).as_bytes())
}

fn cidr(text: &str) -> Result<IpNet, &'static str> {
    network(text).ok_or("it is neither an address nor a network such as 10.0.0.0/8")
}
