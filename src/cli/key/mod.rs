//! `key new`, `key list`, `key show`, `key revoke`, `key rotate` and `key inspect`.

mod inspect;
mod list;
mod new;

use std::process::ExitCode;

use clap::Subcommand;
use portcullis::{
    api_key::{KeyId, KeyText},
    store::KeyRevoked,
};

use super::{ConfigArgs, NO, WRONG, YES, fail, print, shared::Shared};

/// What to do without a shared store.
const OTHERWISE: &str = "keep the keys in api_keys.file: see `portcullis key new --file`";

/// Makes, lists and revokes keys for machines (API keys)
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    New(new::New),
    List(list::List),
    Show(list::Show),
    Revoke(Revoke),
    Rotate(new::Rotate),
    Inspect(inspect::Inspect),
}

impl Key {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        match self {
            Self::New(new) => new.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Revoke(revoke) => revoke.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}

/// Revokes a key on every replica within a second, also one from a file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis key revoke --config portcullis.toml 2hVbWqL9XyZ")]
pub(super) struct Revoke {
    #[command(flatten)]
    config: ConfigArgs,
    /// The key's id: the eleven characters after `pck_`
    id: String,
}

impl Revoke {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let id = key_id(&self.id)?;
        let config = self.config.load()?;
        let otherwise = "remove the key from api_keys.file: the file is read again at once";
        let shared = Shared::of(&config, otherwise)?;
        print(match shared.ask(|store| store.revoke_key(id))? {
            KeyRevoked::Now => "revoked",
            KeyRevoked::Before => "revoked before",
            KeyRevoked::Elsewhere => {
                "revoked, though the store has no such key: if it is in a file, it is refused from now on"
            }
        });
        Ok(ExitCode::from(YES))
    }
}

/// An id, or that of a whole key. What is neither is not shown: it may be a key, but
/// for a slip of the pen.
fn key_id(text: &str) -> Result<KeyId, ExitCode> {
    let of_key = || KeyText::parse(text).map(|key| key.id);
    KeyId::parse(text).or_else(of_key).ok_or_else(|| {
        wrong("this is not an id", "give only the eleven letters and digits after `pck_`")
    })
}

fn unknown(id: KeyId) -> ExitCode {
    let fix = "list the existing keys with `portcullis key list`";
    fail(NO, format!("the store has no key {id}"), fix)
}

/// The usage is wrong.
fn wrong(cause: impl std::fmt::Display, fix: &str) -> ExitCode {
    fail(WRONG, cause, fix)
}
